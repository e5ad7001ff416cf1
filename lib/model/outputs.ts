import type { HeadConfig } from '../config/head-config.js'
import { labelsTokens } from '../data/labels.js'
import type { DType, NativeForwardResult, TensorData } from '../native/types.js'
import type { BatchHeads } from './head-rule.js'
import type { PackedInputs } from './inputs.js'

/** Plain numbers, row-major. */
export interface Tensor {
  readonly data: Float32Array
  readonly shape: readonly number[]
  readonly dtype: DType
}

export interface ForwardOutputs {
  /** [rows, labels], or [rows, columns, labels] for heads that answer for each token; zero where there is no token. */
  readonly logits?: Tensor
  /** Mean over rows, or over labelled tokens; of several heads the sum of theirs. There when labels were given. */
  readonly loss?: number
  /** Instead of logits where rows have different heads, in the order of their first rows. */
  readonly headOutputs?: readonly HeadOutput[]
  /** [rows, columns, hidden]. There without a head, and with outputHiddenStates. */
  readonly lastHiddenState?: Tensor
  /** The embeddings' output and each layer's, [rows, columns, hidden]. */
  readonly hiddenStates?: readonly Tensor[]
}

/** What one of several heads answers. */
export interface HeadOutput {
  readonly head: string
  /** The rows that it answers; with Parallel counted through all copies. */
  readonly rows: readonly number[]
  /** As ForwardOutputs.logits, of its rows alone. */
  readonly logits: Tensor
  readonly loss?: number
}

/** Token outputs come back as the rectangle that the caller knows. */
export function layOut(
  result: NativeForwardResult,
  inputs: PackedInputs,
  heads: BatchHeads | string | null,
  configs: ReadonlyMap<string, HeadConfig>
): ForwardOutputs {
  const { logits, loss, lastHiddenState, hiddenStates } = result
  const forTokens = (head: string | null) => head !== null && labelsTokens(configs.get(head) as HeadConfig)
  const several = typeof heads === 'object' && heads !== null
  return {
    ...(logits && { logits: !several && forTokens(heads) ? rectangle(logits, inputs) : logits }),
    ...(several && {
      headOutputs: heads.names.map((name, i) => headOutput(result, inputs, heads, i, forTokens(name)))
    }),
    ...(loss !== undefined && { loss }),
    ...(lastHiddenState && { lastHiddenState: rectangle(lastHiddenState, inputs) }),
    ...(hiddenStates && { hiddenStates: hiddenStates.map((state) => rectangle(state, inputs)) })
  }
}

function headOutput(
  { headLogits = [], headLosses = [] }: NativeForwardResult,
  inputs: PackedInputs,
  heads: BatchHeads,
  index: number,
  forTokens: boolean
): HeadOutput {
  const rows = [...heads.rows.keys()].filter((row) => heads.rows[row] === index)
  const logits = headLogits[index] as TensorData
  const loss = headLosses[index]
  return {
    head: heads.names[index] as string,
    rows,
    logits: forTokens ? rectangle(logits, someRows(inputs, rows)) : logits,
    ...(loss !== undefined && { loss })
  }
}

/** These rows' places, in a rectangle of their own. */
function someRows({ columns, places }: PackedInputs, rows: readonly number[]): Omit<PackedInputs, 'batch'> {
  const numbers = new Map(rows.map((row, i) => [row, i]))
  const kept = places.filter((place) => numbers.has(Math.floor(place / columns)))
  const moved = kept.map((place) => (numbers.get(Math.floor(place / columns)) ?? 0) * columns + (place % columns))
  return { rows: rows.length, columns, places: moved }
}

function rectangle({ data, shape, dtype }: TensorData, { rows, columns, places }: Omit<PackedInputs, 'batch'>): Tensor {
  const width = shape[1] ?? 1
  const all = new Float32Array(rows * columns * width)
  places.forEach((place, token) => {
    all.set(data.subarray(token * width, (token + 1) * width), place * width)
  })
  return { data: all, shape: [rows, columns, width], dtype }
}
