import type { NativeImageShape } from '../native/config-types.js'
import * as check from './check.js'
import type { ModelConfig } from './model-config.js'

/** What an image is to a model, and the patches that it is cut into. */
export type ImageShape = NativeImageShape

/** Null for a model of text. */
export function imageShape(
  config: Pick<ModelConfig, 'imageSize' | 'patchSize' | 'numChannels' | 'exported'>
): ImageShape | null {
  const { imageSize, patchSize, numChannels, exported } = config
  if (imageSize === null || patchSize === null) return null
  const [height, width] = imageSize
  const [patchHeight, patchWidth] = patchSize
  const tokens = exported?.rowTokens
  return { channels: numChannels, height, width, patchHeight, patchWidth, ...(tokens !== undefined && { tokens }) }
}

/** Height and width. */
export type ImageSize = readonly [height: number, width: number]

/** The config of a model as it reads images of another size; the same where none is given. */
export function withImageSize(config: ModelConfig, imageSize: ImageSize | undefined): ModelConfig {
  if (imageSize === undefined) return config
  const { patchSize } = config
  if (patchSize === null) throw check.valueError('imageSize', 'the model reads text; leave it out')
  if (config.exported !== null)
    throw check.valueError(
      'imageSize',
      `the archive takes images of one size, ${config.imageSize?.join(' × ')}: resize them`
    )
  const [height, width, ...rest] = check.checkArray('imageSize', imageSize)
  if (rest.length > 0 || width === undefined) throw check.typeError('imageSize', '[height, width]', imageSize)
  return {
    ...config,
    imageSize: [
      check.checkInteger('imageSize[0]', height, patchSize[0], largestSide),
      check.checkInteger('imageSize[1]', width, patchSize[1], largestSide)
    ]
  }
}

const largestSide = 1 << 14

/** Numbers of one image. */
export function imageValues({ channels, height, width }: ImageShape): number {
  return channels * height * width
}

/** Tokens that the model makes of an image: its patches and the class token. */
export function imageTokens({ height, width, patchHeight, patchWidth, tokens }: ImageShape): number {
  return tokens ?? Math.floor(height / patchHeight) * Math.floor(width / patchWidth) + 1
}

/** For messages: `[3, 224, 224]`. */
export function describeShape({ channels, height, width }: ImageShape): string {
  return `[${channels}, ${height}, ${width}]`
}
