import * as check from '../config/check.js'

/** A parameter's values, row by row. */
export interface StateValue {
  readonly data: Float32Array
  readonly shape: readonly number[]
}

/** Values by the names that namedParameters has. */
export type StateDict = ReadonlyMap<string, StateValue> | Readonly<Record<string, StateValue>>

/** The same as a Map, whose values are known to have numbers and a shape; the core checks names and sizes. */
export function checkStateDict(values: unknown): ReadonlyMap<string, StateValue> {
  if (!(values instanceof Map) && !check.isPlainObject(values)) {
    const hint = 'such as new Map([[name, model.parameter(name)]]); loadAdapter and fromPretrained read files'
    throw check.typeError('loadStateDict', `a Map or an object of { data, shape } by name, ${hint}`, values)
  }
  const entries: [unknown, unknown][] = values instanceof Map ? [...values] : Object.entries(values)
  return new Map(
    entries.map(([name, value]) => [check.checkString('loadStateDict: a name', name), checkValue(name, value)])
  )
}

function checkValue(name: unknown, value: unknown): StateValue {
  const place = `loadStateDict: ${name}`
  const { data, shape } = check.checkObject(place, value)
  if (!(data instanceof Float32Array)) throw check.typeError(`${place}.data`, 'a Float32Array', data)
  const sizes = check.checkArray(`${place}.shape`, shape)
  return { data, shape: sizes.map((size, i) => check.checkInteger(`${place}.shape[${i}]`, size, 0)) }
}
