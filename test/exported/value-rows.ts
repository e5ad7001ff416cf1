import type { ExportedGroup, ExportedInputs } from '../parity/support/exported.js'

/** The rows of a case one by one, each as long as it is by itself. */
export function valueRows(group: ExportedGroup, given: ExportedInputs | undefined): Float32Array[] {
  const name = ['input_values', 'input_features', 'pixel_values'].find((one) => given?.[one] !== undefined) ?? ''
  const { data, shape } = group.tensor(String(given?.[name]))
  const [rows = 1, ...rest] = shape
  const each = data.length / rows
  const mask = given?.['attention_mask'] as number[][] | undefined
  const longest = rest.at(-1) ?? 1
  return Array.from({ length: rows }, (_, row) => {
    const values = data.subarray(row * each, (row + 1) * each)
    const own = mask?.[row]?.filter((one) => one === 1).length ?? longest
    return values.filter((_value, i) => i % longest < own)
  })
}
