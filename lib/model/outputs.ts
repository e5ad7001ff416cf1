import type { DType, NativeForwardResult, TensorData } from '../native/types.js'
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
  /** Mean over rows, or over labelled tokens. There when labels were given. */
  readonly loss?: number
  /** [rows, columns, hidden]. There without a head, and with outputHiddenStates. */
  readonly lastHiddenState?: Tensor
  /** The embeddings' output and each layer's, [rows, columns, hidden]. */
  readonly hiddenStates?: readonly Tensor[]
}

/** Token outputs come back as the rectangle that the caller knows. */
export function layOut(result: NativeForwardResult, inputs: PackedInputs, tokenHead: boolean): ForwardOutputs {
  const { logits, loss, lastHiddenState, hiddenStates } = result
  return {
    ...(logits && { logits: tokenHead ? rectangle(logits, inputs) : logits }),
    ...(loss !== undefined && { loss }),
    ...(lastHiddenState && { lastHiddenState: rectangle(lastHiddenState, inputs) }),
    ...(hiddenStates && { hiddenStates: hiddenStates.map((state) => rectangle(state, inputs)) })
  }
}

function rectangle({ data, shape, dtype }: TensorData, { rows, columns, places }: PackedInputs): Tensor {
  const width = shape[1] ?? 1
  const all = new Float32Array(rows * columns * width)
  places.forEach((place, token) => {
    all.set(data.subarray(token * width, (token + 1) * width), place * width)
  })
  return { data: all, shape: [rows, columns, width], dtype }
}
