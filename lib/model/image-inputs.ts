import * as check from '../config/check.js'
import { describeShape, type ImageShape, imageTokens, imageValues } from '../config/image-shape.js'
import { checkPixels, encodeImage } from '../data/images.js'
import { imageOf, type ValuesOfRow } from '../data/value-rows.js'
import type { Shaped } from './input-rows.js'

/** Images one by one, or all of them in one array of shape [rows, channels, height, width]. */
export type PixelValues = readonly ValuesOfRow[] | Shaped<ArrayLike<number>>

/** Each row's image, as the core takes it. */
export function imagesOf(given: PixelValues, shape: ImageShape): Float32Array[] {
  const images = Array.isArray(given) ? (given as readonly ValuesOfRow[]) : cut(given as Shaped, shape)
  if (images.length === 0) throw check.valueError('pixelValues', 'expected at least one image, got an empty batch')
  return images.map((pixels, i) => {
    const name = `pixelValues[${i}]`
    return encodeImage(checkPixels(name, imageOf(name, pixels, shape)), shape, name)
  })
}

function cut(given: Shaped, image: ImageShape): ArrayLike<number>[] {
  const { data, shape } = check.checkObject('pixelValues', given) as unknown as Shaped<ArrayLike<number>>
  if (typeof data?.length !== 'number' || !Array.isArray(shape)) {
    throw check.typeError('pixelValues', 'images, or { data, shape: [rows, channels, height, width] }', given)
  }
  const { channels, height, width } = image
  const [rows = 0, ...rest] = shape as number[]
  if (rest.length !== 3 || rest[0] !== channels || rest[1] !== height || rest[2] !== width) {
    const size = rest.slice(1)
    const isGiven = shape.length === 4 && rest[0] === channels
    const other = !isGiven
      ? ''
      : image.tokens === undefined
        ? `; imageSize: [${size.join(', ')}] says that they are of that size`
        : '; an archive takes images of one size: resize them'
    throw check.valueError(
      'pixelValues',
      `expected images of ${describeShape(image)}, got [${rest.join(', ')}]${other}`
    )
  }
  const each = imageValues(image)
  if (rows * each !== data.length) {
    throw check.valueError('pixelValues', `expected ${rows * each} values for its shape, got ${data.length}`)
  }
  if (rows === 0) return []
  const values = checkPixels('pixelValues.data', data)
  const all = values instanceof Float32Array ? values : Float32Array.from(values)
  return Array.from({ length: rows }, (_, row) => all.subarray(row * each, (row + 1) * each))
}

/** Where the tokens of images stand: all of them, one row after the other. */
export function imagePlaces(rows: number, shape: ImageShape): { columns: number; places: Int32Array } {
  const columns = imageTokens(shape)
  return { columns, places: Int32Array.from({ length: rows * columns }, (_, place) => place) }
}
