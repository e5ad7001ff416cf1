import * as check from '../config/check.js'

/** Numbers with their shape, row-major: `{ data: Int32Array, shape: [2, 8] }`. */
export interface Shaped<T extends ArrayLike<number | bigint> = ArrayLike<number | bigint>> {
  readonly data: T
  readonly shape: readonly number[]
}

/** Rows of any length, or a padded rectangle [rows, columns]. */
export type Ids = readonly ArrayLike<number>[] | Shaped

export interface Rows {
  /** What the caller calls them. */
  readonly name: string
  readonly values: readonly ArrayLike<number | bigint>[]
  readonly columns: number
}

export function rowsOf(name: string, ids: Ids): Rows {
  if (Array.isArray(ids)) {
    check.checkWhole(name, ids)
    ids.forEach((row, i) => {
      if (typeof row !== 'object' || row === null || typeof row.length !== 'number') {
        throw check.typeError(`${name}[${i}]`, 'an array of numbers', row)
      }
    })
    return { name, values: ids, columns: Math.max(0, ...ids.map((row) => row.length)) }
  }
  const { data, shape } = (check.isPlainObject(ids) ? ids : {}) as Shaped
  if (typeof data?.length !== 'number' || !Array.isArray(shape) || shape.length !== 2) {
    throw check.typeError(name, 'rows of numbers, or { data, shape: [rows, columns] }', ids)
  }
  const [rows = 0, columns = 0] = shape.map((size, i) => check.checkInteger(`${name}.shape[${i}]`, size, 0))
  if (rows * columns !== data.length) {
    throw check.valueError(
      name,
      `expected ${rows} × ${columns} = ${rows * columns} values for its shape, got ${data.length}`
    )
  }
  const array = data as unknown as {
    subarray?: (a: number, b: number) => ArrayLike<number>
    slice: (a: number, b: number) => ArrayLike<number>
  }
  const cut = (a: number, b: number) => (array.subarray ? array.subarray(a, b) : array.slice(a, b))
  return { name, values: Array.from({ length: rows }, (_, i) => cut(i * columns, (i + 1) * columns)), columns }
}

/** Another input over the same tokens: as many rows, each as long. */
export function alike(name: string, ids: Ids | undefined, like: Rows): Rows | undefined {
  if (ids === undefined) return undefined
  const rows = rowsOf(name, ids)
  if (rows.values.length !== like.values.length) {
    throw check.valueError(name, `expected ${like.values.length} rows as in ${like.name}, got ${rows.values.length}`)
  }
  rows.values.forEach((row, i) => {
    const length = like.values[i]?.length ?? 0
    if (row.length !== length)
      throw check.valueError(`${name}[${i}]`, `expected ${length} values as in ${like.name}, got ${row.length}`)
  })
  return rows
}

/** For each row the columns of its real tokens. */
export function keptColumns(ids: Rows, mask: Rows | undefined): readonly number[][] {
  return ids.values.map((row, i) => {
    const columns: number[] = []
    for (let c = 0; c < row.length; c++) if (!mask || isReal(mask.name, i, c, mask.values[i]?.[c])) columns.push(c)
    if (columns.length === 0) {
      throw check.valueError(
        `${ids.name}[${i}]`,
        mask ? 'the mask leaves this row without a token' : 'this row has no tokens'
      )
    }
    return columns
  })
}

/** NaN where it is none: a caller without types may have null there, which Number() makes 0. */
export const numberOf = (value: unknown): number =>
  typeof value === 'number' || typeof value === 'bigint' ? Number(value) : Number.NaN

/** A mask of weights, or an additive one of 0 and -10000, means something else. */
function isReal(name: string, row: number, column: number, value: unknown): boolean {
  const number = numberOf(value)
  if (number === 0 || number === 1) return number === 1
  if (typeof value === 'boolean') return value
  throw check.rangeError(`${name}[${row}][${column}]`, '1 for a token or 0 for padding', value)
}

export function flatten(kept: readonly number[][], value: (row: number, column: number) => number): Int32Array {
  const all = new Int32Array(kept.reduce((sum, columns) => sum + columns.length, 0))
  let at = 0
  kept.forEach((columns, i) => {
    for (const c of columns) all[at++] = value(i, c)
  })
  return all
}

export function integer(name: string, row: number, column: number, value: number | bigint | undefined): number {
  const number = numberOf(value)
  if (!Number.isInteger(number) || Math.abs(number) > 0x7fffffff) {
    throw check.typeError(`${name}[${row}][${column}]`, 'a whole number', value)
  }
  return number
}

export function below(
  name: string,
  row: number,
  column: number,
  value: number | bigint | undefined,
  limit: number,
  what: string
): number {
  const number = integer(name, row, column, value)
  if (number >= 0 && number < limit) return number
  throw check.rangeError(`${name}[${row}][${column}]`, `${what}, from 0 to ${limit - 1}`, number)
}
