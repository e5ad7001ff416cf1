import * as check from '../config/check.js'
import { describeShape, type ImageShape, imageValues } from '../config/image-shape.js'
import { checkNumbers } from './numbers.js'

/** An image's numbers, checked for their kind. Bytes are one as a decoder gives it: to a model a hundred times too large. */
export function checkPixels(name: string, value: unknown): ArrayLike<number> {
  if (value instanceof Uint8Array || value instanceof Uint8ClampedArray) {
    throw check.typeError(
      name,
      "numbers scaled as the model's preprocessor_config.json says, in a Float32Array (imagePixels makes them of bytes)",
      value
    )
  }
  return checkNumbers(name, value, 'the numbers of an image', 'channel by channel and line by line')
}

export function checkImageSize(pixels: ArrayLike<number>, shape: ImageShape, name: string): void {
  const count = imageValues(shape)
  if (pixels.length === count) return
  const message = `expected ${count} values, ${describeShape(shape)}, got ${pixels.length}`
  throw check.valueError(name, `${message}; in forward and predict imageSize names another size`)
}

/** The image as the core takes it: a Float32Array as it is, without a copy. */
export function encodeImage(pixels: ArrayLike<number>, shape: ImageShape, name: string): Float32Array {
  checkImageSize(pixels, shape, name)
  return pixels instanceof Float32Array ? pixels : Float32Array.from(pixels)
}
