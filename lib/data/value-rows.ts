import * as check from '../config/check.js'
import { describeSizes, type RowValues, valueFields } from '../config/row-values.js'
import { checkPixels } from './images.js'

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

/** A row's numbers, checked for their kind. */
export function checkValues(name: string, row: unknown): ArrayLike<number> {
  const isShaped = typeof row === 'object' && row !== null && 'shape' in row && 'data' in row
  return checkPixels(name, isShaped ? (row as ShapedNumbers).data : row)
}

/** One row as the core takes it, flat: a Float32Array as it is, without a copy. */
export function rowOf(name: string, row: unknown, shape: RowValues): Float32Array {
  const shaped = typeof row === 'object' && row !== null && 'shape' in row ? (row as ShapedNumbers) : null
  if (shaped !== null) checkShape(name, shaped, shape.sizes, shape)
  const values = checkValues(name, row)
  return values instanceof Float32Array ? values : Float32Array.from(values)
}

function checkShape(name: string, { data, shape }: ShapedNumbers, sizes: readonly number[], values: RowValues): void {
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
