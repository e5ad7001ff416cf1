import type { HeadConfig } from '../config/head-config.js'
import { labelsTokens } from '../data/labels.js'
import type { NativeForwardResult } from '../native/pass-types.js'
import type { DType, TensorData } from '../native/types.js'
import { byQuestion, byWord, type RowFacts, repeatedFacts, rowFacts } from './choice-outputs.js'
import { byPlace, type FusionAttentions } from './fusion-attentions.js'
import type { BatchHeads } from './head-rule.js'
import type { PackedInputs } from './inputs.js'

/** Plain numbers, row-major. */
export interface Tensor {
  readonly data: Float32Array
  readonly shape: readonly number[]
  readonly dtype: DType
}

export interface ForwardOutputs {
  /**
   * [rows, labels], or [rows, columns, labels] for heads that answer for each token; zero where there is no token. Question
   * answering: [rows, columns, 2], each token as the answer's first and last. Multiple choice: [questions, choices];
   * dependency parsing: [rows, words, 1 + words], each word's head, the root first; -Infinity where there is no choice.
   */
  readonly logits?: Tensor
  /** Dependency parsing: [rows, words, 1 + words, relations]. */
  readonly relationLogits?: Tensor
  /** Mean over rows, or over labelled tokens; of several heads the sum of theirs. There when labels were given. */
  readonly loss?: number
  /** Instead of logits where rows have different heads, in the order of their first rows. */
  readonly headOutputs?: readonly HeadOutput[]
  /**
   * [rows, columns, hidden]; of an exported network with one value a row [rows, hidden] where it reads ids, and [rows, 1, hidden]
   * where it reads numbers. There without a head, and with outputHiddenStates.
   */
  readonly lastHiddenState?: Tensor
  /** The embeddings' output and each layer's, [rows, columns, hidden]. */
  readonly hiddenStates?: readonly Tensor[]
  /** Each [rows, columns, children]. There with outputAdapterFusionAttentions. */
  readonly adapterFusionAttentions?: FusionAttentions
}

/** What one of several heads answers. */
export interface HeadOutput {
  readonly head: string
  /** The rows that it answers; with Parallel counted through all copies. */
  readonly rows: readonly number[]
  /** As ForwardOutputs.logits, of its rows alone. */
  readonly logits: Tensor
  readonly relationLogits?: Tensor
  readonly loss?: number
}

/** Token outputs come back as the rectangle that the caller knows. */
export function layOut(
  result: NativeForwardResult,
  inputs: Rows,
  heads: BatchHeads | string | null,
  configs: ReadonlyMap<string, HeadConfig>
): ForwardOutputs {
  const { logits, loss, lastHiddenState, hiddenStates, fusionAttentions } = result
  const several = typeof heads === 'object' && heads !== null
  return {
    ...(logits && logitsOf(logits, inputs, configs.get(heads as string))),
    ...(several && {
      headOutputs: heads.names.map((name, i) => headOutput(result, inputs, heads, i, configs.get(name)))
    }),
    ...(loss !== undefined && { loss }),
    ...(lastHiddenState && { lastHiddenState: rectangle(lastHiddenState, inputs) }),
    ...(hiddenStates && { hiddenStates: hiddenStates.map((state) => rectangle(state, inputs)) }),
    ...(fusionAttentions && {
      adapterFusionAttentions: byPlace(fusionAttentions, (scores) => rectangle(scores, inputs))
    })
  }
}

function headOutput(
  { headLogits = [], headLosses = [] }: NativeForwardResult,
  inputs: Rows,
  heads: BatchHeads,
  index: number,
  config: HeadConfig | undefined
): HeadOutput {
  const rows = [...heads.rows.keys()].filter((row) => heads.rows[row] === index)
  const logits = headLogits[index] as TensorData
  const loss = headLosses[index]
  return {
    head: heads.names[index] as string,
    rows,
    ...logitsOf(logits, someRows(inputs, rows), config),
    ...(loss !== undefined && { loss })
  }
}

/** Rows that outputs are of: those of all copies, or those that one head answers. */
export type Rows = Omit<PackedInputs, 'batch'> & { readonly batch: RowFacts }

/** The same rows several times, one copy after the other: what Parallel gives. */
export function repeatedRows(inputs: PackedInputs, times: number): Rows {
  if (times === 1) return inputs
  const { batch, rows, columns, places } = inputs
  const copies = Array.from({ length: times }, (_, copy) => copy)
  return {
    batch: repeatedFacts(batch, times),
    rows: rows * times,
    columns,
    places: Int32Array.from(copies.flatMap((copy) => Array.from(places, (place) => place + copy * rows * columns)))
  }
}

/** These rows' places, in a rectangle of their own. */
function someRows({ batch, columns, places }: Rows, rows: readonly number[]): Rows {
  const numbers = new Map(rows.map((row, i) => [row, i]))
  const kept = places.filter((place) => numbers.has(Math.floor(place / columns)))
  const moved = kept.map((place) => (numbers.get(Math.floor(place / columns)) ?? 0) * columns + (place % columns))
  return { batch: rowFacts(batch, rows), rows: rows.length, columns, places: moved }
}

function logitsOf(
  logits: TensorData,
  inputs: Rows,
  head: HeadConfig | undefined
): { readonly logits: Tensor; readonly relationLogits?: Tensor } {
  if (head === undefined) return { logits }
  if (head.headType === 'multiple_choice') return { logits: byQuestion(logits, inputs.batch) }
  if (head.headType === 'dependency_parsing') return byWord(logits, inputs.batch)
  const byToken = labelsTokens(head) || head.headType === 'question_answering'
  return { logits: byToken ? rectangle(logits, inputs) : logits }
}

function rectangle({ data, shape, dtype }: TensorData, { rows, columns, places }: Omit<Rows, 'batch'>): Tensor {
  const width = shape[1] ?? 1
  // Networks that give one value a row.
  if (shape[0] === rows && places.length !== rows) return { data, shape, dtype }
  const all = new Float32Array(rows * columns * width)
  places.forEach((place, token) => {
    all.set(data.subarray(token * width, (token + 1) * width), place * width)
  })
  return { data: all, shape: [rows, columns, width], dtype }
}
