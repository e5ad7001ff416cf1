import * as check from '../config/check.js'
import { ownName, type RowValues, tokensOfRow, valueFields } from '../config/row-values.js'
import { labelsTokens } from '../data/labels.js'
import { checkValues, givenValues, rowOf, type ValuesOfRow } from '../data/value-rows.js'
import { type LabelsFor, rowLabels, tokenLabelsOf } from './input-labels.js'
import { alike, type Ids, type Shaped } from './input-rows.js'
import type { PackedInputs } from './inputs.js'

/** Row by row, of any lengths, or all of them in one array of shape [rows, …]. */
export type Values = readonly ValuesOfRow[] | Shaped<ArrayLike<number>>

/** What networks of sounds and features take: `inputValues` or `inputFeatures`, whatever PyTorch calls the input. */
export interface ValueInputs {
  readonly inputValues?: Values | undefined
  readonly inputFeatures?: Values | undefined
  readonly pixelValues?: Values | undefined
  /** As of ids: one for each row, or [rows][tokens] for heads that answer for tokens. */
  readonly labels?: LabelledValues | undefined
}
type LabelledValues = ArrayLike<number> | readonly ArrayLike<number>[] | Shaped

export function packValues(inputs: ValueInputs, shape: RowValues, { head, name: labelName }: LabelsFor): PackedInputs {
  const named = ownName(shape.inputs, 'inputValues')
  check.checkKeys('inputs', check.checkObject('inputs', inputs), [...valueFields, 'labels'], named)
  const given = givenValues(inputs)
  if (given === undefined) throw check.typeError('inputs.inputValues', "rows' numbers", undefined)
  const values = cut(given.name, given.values).map((row, i) => rowOf(`${given.name}[${i}]`, row, shape))
  const lengths = values.map((row, i) => tokensOfRow(`${given.name}[${i}]`, row.length, shape))
  const columns = Math.max(...lengths)
  const places = Int32Array.from(
    lengths.flatMap((length, row) => Array.from({ length }, (_, column) => row * columns + column))
  )
  return {
    batch: {
      inputIds: new Int32Array(0),
      pixelValues: values,
      rowLengths: Int32Array.from(lengths),
      labels: valueLabels(inputs.labels, lengths, { head, name: labelName })
    },
    rows: values.length,
    columns,
    places
  }
}

/** Labels of rows, or of the tokens that come of them. */
export function valueLabels(
  labels: ValueInputs['labels'],
  lengths: readonly number[],
  { head, name }: LabelsFor
): Int32Array | Float32Array | undefined {
  if (labels === undefined || head === undefined || !labelsTokens(head))
    return rowLabels(labels, head, lengths.length, name)
  const kept = lengths.map((length) => Array.from({ length }, (_, column) => column))
  const like = { name: 'inputValues', values: kept, columns: Math.max(...lengths) }
  const rows = alike(name, labels as Ids, like)
  return rows && tokenLabelsOf(rows, kept, head, { vocabSize: 0 }, name)
}

/** A table of rows of one size in rows. */
function cut(name: string, given: unknown): readonly unknown[] {
  if (Array.isArray(given)) {
    if (given.length === 0) throw check.valueError(name, 'expected at least one row, got an empty batch')
    return given
  }
  const table = check.checkObject(name, given) as unknown as Shaped<ArrayLike<number>>
  const [rows = 0, ...rest] = Array.isArray(table.shape) ? (table.shape as number[]) : []
  if (!(rows > 0) || typeof table.data?.length !== 'number') {
    throw check.typeError(name, `rows of numbers, or { data, shape: [rows, …] }`, given)
  }
  const each = table.data.length / rows
  const data = checkValues(`${name}.data`, table.data)
  const all = data instanceof Float32Array ? data : Float32Array.from(data)
  return Array.from({ length: rows }, (_, row) => ({ data: all.subarray(row * each, (row + 1) * each), shape: rest }))
}
