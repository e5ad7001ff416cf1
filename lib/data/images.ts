import * as check from '../config/check.js'
import { describeShape, type ImageShape, imageValues } from '../config/image-shape.js'

const isNumbers = (value: unknown): value is ArrayLike<number> =>
  Array.isArray(value) ? typeof value[0] === 'number' : ArrayBuffer.isView(value) && 'length' in value

/** Bytes are an image as a decoder gives it: to a model they would be a hundred times too large. */
export function checkScaled(name: string, value: unknown): void {
  if (!(value instanceof Uint8Array || value instanceof Uint8ClampedArray)) return
  throw check.typeError(
    name,
    "numbers scaled as the model's preprocessor_config.json says, in a Float32Array (imagePixels makes them of bytes)",
    value
  )
}

/** An image's numbers, checked for their kind. Whether each is a finite one the core looks at. */
export function checkPixels(name: string, value: unknown): ArrayLike<number> {
  checkScaled(name, value)
  if (Array.isArray(value) && Array.isArray(value[0])) {
    throw check.valueError(name, 'expected one flat array, channel by channel and line by line, got nested arrays')
  }
  if (isNumbers(value) && value.length > 0) return value
  throw check.typeError(name, 'the numbers of an image, in a Float32Array or an array', value)
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
