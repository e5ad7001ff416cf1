import type { NativeImageShape } from '../native/config-types.js'
import type { ModelConfig } from './model-config.js'

/** What an image is to a model, and the patches that it is cut into. */
export type ImageShape = NativeImageShape

/** Null for a model of text. */
export function imageShape(config: Pick<ModelConfig, 'imageSize' | 'patchSize' | 'numChannels'>): ImageShape | null {
  const { imageSize, patchSize, numChannels } = config
  if (imageSize === null || patchSize === null) return null
  const [height, width] = imageSize
  const [patchHeight, patchWidth] = patchSize
  return { channels: numChannels, height, width, patchHeight, patchWidth }
}

/** Numbers of one image. */
export function imageValues({ channels, height, width }: ImageShape): number {
  return channels * height * width
}

/** Tokens that the model makes of an image: its patches and the class token. */
export function imageTokens({ height, width, patchHeight, patchWidth }: ImageShape): number {
  return Math.floor(height / patchHeight) * Math.floor(width / patchWidth) + 1
}

/** For messages: `[3, 224, 224]`. */
export function describeShape({ channels, height, width }: ImageShape): string {
  return `[${channels}, ${height}, ${width}]`
}
