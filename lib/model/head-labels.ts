import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import type { ModelConfig } from '../config/model-config.js'
import type { BatchHeads } from './head-rule.js'
import { type ForwardInputs, type Ids, packInputs, type Shaped } from './inputs.js'

interface LabelledModel {
  readonly config: ModelConfig
  readonly heads: ReadonlyMap<string, HeadConfig>
}

type Labels = NonNullable<ForwardInputs['labels']>

/** Where several heads answer a batch, the labels of each head's rows as that head reads them; undefined without labels. */
export function headLabels(
  inputs: ForwardInputs,
  { names, rows: rowHeads }: BatchHeads,
  model: LabelledModel
): (Int32Array | Float32Array)[] | undefined {
  const { inputIds, attentionMask, labels } = inputs
  if (labels === undefined) return undefined
  const count = rowCount(inputIds)
  if (rowCount(labels as Ids) !== count) {
    throw check.valueError('labels', `expected one entry for each of ${count} rows, got ${rowCount(labels as Ids)}`)
  }
  return names.map((name, head) => {
    // Copies of a row have its labels.
    const own = Array.from(rowHeads.keys())
      .filter((i) => rowHeads[i] === head)
      .map((i) => i % count)
    const some = {
      inputIds: own.map((row) => rowOf(inputIds, row)),
      attentionMask: attentionMask && own.map((row) => rowOf(attentionMask, row)),
      labels: own.map((row) => labelOf(labels, row))
    } as ForwardInputs
    const packed = packInputs(some, model.config, model.heads.get(name), `the labels of head '${name}'`)
    return packed.batch.labels ?? new Int32Array()
  })
}

/** Rows of ids, or labels of rows. */
export function rowCount(values: Ids | Labels): number {
  const shape = (values as Shaped).shape as readonly number[] | undefined
  return shape === undefined ? (values as ArrayLike<unknown>).length : (shape[0] ?? 0)
}

function rowOf(values: Ids, row: number): ArrayLike<number> {
  const { data, shape } = values as Shaped
  if (shape === undefined) return (values as readonly ArrayLike<number>[])[row] ?? []
  const width = shape[1] ?? 1
  return Array.from({ length: width }, (_, i) => Number(data[row * width + i]))
}

function labelOf(labels: Labels, row: number): number | ArrayLike<number> {
  const isTable = (labels as Shaped).shape !== undefined
  if (isTable)
    return (labels as Shaped).shape.length === 1 ? Number((labels as Shaped).data[row]) : rowOf(labels as Ids, row)
  return (labels as ArrayLike<number | ArrayLike<number>>)[row] ?? Number.NaN
}
