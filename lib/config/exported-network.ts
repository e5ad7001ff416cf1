import type { LoraPlace } from './lora-config.js'

/** A Linear of an exported network. */
export interface ExportedLinear {
  /** Below the model, such as `layers.0.self_attn.q_proj`. */
  readonly path: string
  /** -1: it stands in no layer. */
  readonly layer: number
  readonly in: number
  readonly out: number
  /** Its weight is [in, out], as Conv1D keeps it. */
  readonly transposed: boolean
  /** What it is to its layer; null: nothing that a config without `targetModules` names. */
  readonly place: LoraPlace | null
}

/** What the graph of a `.pt2` archive says of itself, beside the numbers that every model has. */
export interface ExportedNetwork {
  /** PyTorch's class, such as `LlamaModel`. */
  readonly className: string
  /** The name in front of all parameters of a class with a head: its base_model_prefix. */
  readonly prefix: string
  /** Tokens see only those before them. */
  readonly isCausal: boolean
  /** What a pass is given, by PyTorch's names. */
  readonly inputs: readonly string[]
  /** Tokens that the network makes of a row that is no text; 0: rows are ids. */
  readonly rowTokens: number
  readonly linears: readonly ExportedLinear[]
  /** What was found where, a sentence each. */
  readonly explanation: readonly string[]
}
