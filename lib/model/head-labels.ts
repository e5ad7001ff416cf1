import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import { imageShape } from '../config/image-shape.js'
import type { ModelConfig } from '../config/model-config.js'
import type { BatchHeads } from './head-rule.js'
import { imagesOf, type PixelValues } from './image-inputs.js'
import { type ForwardInputs, type Ids, type ImageInputs, packInputs, type Shaped, type TokenInputs } from './inputs.js'

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
  const { labels } = inputs
  if (labels === undefined) return undefined
  const count = rowCount(inputs)
  if (lengthOf(labels) !== count) {
    throw check.valueError('labels', `expected one entry for each of ${count} rows, got ${lengthOf(labels)}`)
  }
  const rowsOf = rowsAlone(inputs, model.config)
  return names.map((name, head) => {
    if (model.heads.get(name)?.headType === 'multiple_choice') {
      throw check.valueError('labels', `those of '${name}' are one for several rows; give its rows a pass of their own`)
    }
    // Copies of a row have its labels.
    const own = Array.from(rowHeads.keys())
      .filter((i) => rowHeads[i] === head)
      .map((i) => i % count)
    const some = { ...rowsOf(own), labels: own.map((row) => labelOf(labels, row)) } as ForwardInputs
    const packed = packInputs(some, model.config, model.heads.get(name), `the labels of head '${name}'`)
    return packed.batch.labels ?? new Int32Array()
  })
}

/** Some of the rows, without labels. */
function rowsAlone(inputs: ForwardInputs, config: ModelConfig): (rows: readonly number[]) => ForwardInputs {
  const shape = imageShape(config)
  if (shape !== null && 'pixelValues' in inputs) {
    const images = imagesOf(inputs.pixelValues, shape)
    return (rows) => ({ pixelValues: rows.map((row) => images[row] ?? []) })
  }
  const { inputIds, attentionMask, wordIds } = inputs as TokenInputs
  return (rows) => ({
    inputIds: rows.map((row) => rowOf(inputIds, row)),
    attentionMask: attentionMask && rows.map((row) => rowOf(attentionMask, row)),
    wordIds: wordIds && rows.map((row) => rowOf(wordIds, row))
  })
}

/** Rows of ids or images; 0 where neither was given. */
export function rowCount(inputs: ForwardInputs): number {
  const { inputIds, pixelValues } = inputs as Partial<TokenInputs & ImageInputs>
  return lengthOf(pixelValues ?? inputIds ?? [])
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
