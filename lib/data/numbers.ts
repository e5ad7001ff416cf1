import * as check from '../config/check.js'

const isNumbers = (value: unknown): value is ArrayLike<number> =>
  Array.isArray(value) ? typeof value[0] === 'number' : ArrayBuffer.isView(value) && 'length' in value

/** Of bytes, of the bits of half floats, and of BigInts: their entries are not the numbers that are meant. */
const others = [Uint8Array, Uint8ClampedArray, Uint16Array, BigInt64Array, BigUint64Array]

/**
 * A row's numbers, checked for their kind. Whether each is a finite one the core looks at.
 * @param what for messages: whose numbers they are
 * @param order for messages: how they lie in one flat array
 */
export function checkNumbers(name: string, value: unknown, what: string, order: string): ArrayLike<number> {
  if (Array.isArray(value) && Array.isArray(value[0])) {
    throw check.valueError(name, `expected one flat array, ${order}, got nested arrays`)
  }
  const isEmpty = (Array.isArray(value) || ArrayBuffer.isView(value)) && 'length' in value && value.length === 0
  if (isEmpty) throw check.valueError(name, `expected ${what}, at least one, got an empty array`)
  if (isNumbers(value) && !others.some((kind) => value instanceof kind)) return value
  throw check.typeError(name, `${what}, in a Float32Array or an array`, value)
}
