import * as check from '../config/check.js'
import type { ImageShape } from '../config/image-shape.js'
import { describeSizes, type RowValues, valueFields } from '../config/row-values.js'
import { checkPixels } from './images.js'
import { checkNumbers } from './numbers.js'

/** Numbers with their shape, row-major. */
interface ShapedNumbers {
  readonly data: ArrayLike<number>
  readonly shape: readonly number[]
}

/** A row's numbers, flat, or with their shape. */
export type ValuesOfRow = ArrayLike<number> | ShapedNumbers

/** The field of a batch or row that holds numbers, with its name; undefined: none does. */
export function givenValues(inputs: object): { name: string; values: unknown } | undefined {
  const given = inputs as Readonly<Record<string, unknown>>
  const [name, ...more] = valueFields.filter((field) => given[field] != null)
  if (more.length > 0) throw check.valueError('inputs', `give ${name} or ${more[0]}, not both`)
  return name === undefined ? undefined : { name, values: given[name] }
}

/**
 * A row's numbers, checked for their kind.
 * @param name with the field in it: those of images are said to be an image's
 */
export function checkValues(name: string, row: unknown): ArrayLike<number> {
  const values = isShaped(row) && 'data' in row ? row.data : row
  if (name.includes('pixelValues')) return checkPixels(name, values)
  return checkNumbers(name, values, "a row's numbers", 'the last size first, or { data, shape }')
}

/** An image's numbers, flat; of one with its shape, that is checked. Whether they are as many as the model reads is not. */
export function imageOf(name: string, row: ValuesOfRow, { channels, height, width }: ImageShape): ArrayLike<number> {
  if (!isShaped(row)) return row
  checkShape(name, row, { sizes: [channels, height, width] })
  return row.data
}

const isShaped = (row: unknown): row is ShapedNumbers => typeof row === 'object' && row !== null && 'shape' in row

/** One row as the core takes it, flat: a Float32Array as it is, without a copy. */
export function rowOf(name: string, row: unknown, shape: RowValues): Float32Array {
  if (isShaped(row)) checkShape(name, row, shape)
  const values = checkValues(name, row)
  return values instanceof Float32Array ? values : Float32Array.from(values)
}

function checkShape(name: string, { data, shape }: ShapedNumbers, values: Pick<RowValues, 'sizes'>): void {
  const { sizes } = values
  const fits =
    Array.isArray(shape) &&
    shape.length === sizes.length &&
    sizes.every((size, i) => (size < 0 ? Number(shape[i]) > 0 : shape[i] === size))
  if (!fits) {
    throw check.valueError(
      name,
      `expected rows of ${describeSizes(values)}, got [${Array.from(shape ?? []).join(', ')}]`
    )
  }
  const count = (shape as readonly number[]).reduce((product, size) => product * size, 1)
  if (typeof data?.length === 'number' && data.length === count) return
  throw check.valueError(name, `expected ${count} values for its shape, got ${data?.length}`)
}
