import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import type { ModelConfig } from '../config/model-config.js'
import { rowValues } from '../config/row-values.js'
import { givenValues } from '../data/value-rows.js'
import type { BatchHeads } from './head-rule.js'
import type { PixelValues } from './image-inputs.js'
import { type Labels, labelsOf, rowLabels } from './input-labels.js'
import type { Ids, Shaped } from './input-rows.js'
import type { ForwardInputs, TokenInputs } from './inputs.js'
import { decoderRows } from './pair-inputs.js'
import { packValues, type ValueInputs, valueLabels } from './value-inputs.js'

interface LabelledModel {
  readonly config: ModelConfig
  readonly heads: ReadonlyMap<string, HeadConfig>
}

/** Where several heads answer a batch, the labels of each head's rows as that head reads them; undefined without labels. */
export function headLabels(
  inputs: ForwardInputs,
  { names, rows: rowHeads }: BatchHeads,
  model: LabelledModel
): (Int32Array | Float32Array)[] | undefined {
  const { labels } = inputs
  if (labels === undefined) return undefined
  const count = rowCount(inputs)
  if (lengthOf(labels) !== count) {
    throw check.valueError('labels', `expected one entry for each of ${count} rows, got ${lengthOf(labels)}`)
  }
  const { wordIds } = inputs as Partial<TokenInputs>
  const decoder = model.config.exported?.decoder ?? null
  const values = rowValues(model.config)
  const lengths = values === null ? [] : Array.from(packValues(withoutLabels(inputs), values, noHead).batch.rowLengths)
  return names.map((name, head) => {
    const config = model.heads.get(name)
    if (config?.headType === 'multiple_choice') {
      throw check.valueError('labels', `those of '${name}' are one for several rows; give its rows a pass of their own`)
    }
    // Copies of a row have its labels.
    const own = Array.from(rowHeads.keys())
      .filter((i) => rowHeads[i] === head)
      .map((i) => i % count)
    const ownLabels = own.map((row) => labelOf(labels, row)) as Labels
    const asked = { head: config, name: `the labels of head '${name}'`, isAligned: decoder !== null }
    const { inputIds, attentionMask } =
      decoder === null
        ? (inputs as Partial<TokenInputs>)
        : decoderRows(inputs as TokenInputs, decoder, { ...asked, name: 'labels' })
    if (inputIds === undefined) {
      const found =
        values === null
          ? rowLabels(ownLabels, config, own.length, asked.name)
          : valueLabels(
              ownLabels,
              own.map((row) => lengths[row] ?? 0),
              asked
            )
      return found ?? new Int32Array()
    }
    const some = (ids: Ids | undefined) => ids && own.map((row) => rowOf(ids, row))
    const rows = { inputIds: some(inputIds) ?? [], attentionMask: some(attentionMask), wordIds: some(wordIds) }
    return labelsOf({ ...rows, labels: ownLabels }, model.config, asked) ?? new Int32Array()
  })
}

const noHead = { head: undefined, name: 'labels' }

function withoutLabels(inputs: ForwardInputs): ValueInputs {
  const { labels: _, ...rest } = inputs
  return rest as ValueInputs
}

/** Rows of ids or numbers; 0 where neither was given. */
export function rowCount(inputs: ForwardInputs): number {
  const { inputIds } = inputs as Partial<TokenInputs>
  return lengthOf((givenValues(inputs)?.values as PixelValues | undefined) ?? inputIds ?? [])
}

function lengthOf(values: Ids | PixelValues | Labels): number {
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
