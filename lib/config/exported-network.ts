import type { LoraPlace } from './lora-config.js'
import type { PlacementRecord } from './placement-record.js'

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
  /** It makes query, key and value of its layer in an order of its own (head by head, or of other sizes): no part can be told. */
  readonly merged: boolean
}

export interface DecoderFacts {
  /** `decoder_start_token_id`: the id in front of what a decoder writes; null: the config does not say. */
  readonly startTokenId: number | null
}

/** What heads for rows read of a row: an output of the graph, or one of its tokens, or their mean. */
export interface ExportReading {
  /** Null: the tokens' states. */
  readonly output: string | null
  /** 'automatic': the first token, or the last where tokens see only those before them. */
  readonly pooling: 'automatic' | 'first' | 'last' | 'mean'
}

/** What the graph of a `.pt2` archive says of itself, beside the numbers that every model has. */
export interface ExportedNetwork {
  /** PyTorch's class, such as `LlamaModel`. */
  readonly className: string
  /** Where Python has it, such as `transformers.models.llama.modeling_llama`; empty: unknown. */
  readonly pythonModule: string
  /** The class is one of transformers'. */
  readonly ofHuggingFace: boolean
  /** Its forward takes `inputs_embeds` for ids, which PEFT's classes for tasks give it. */
  readonly takesEmbeds: boolean
  /** It is a class with a head: the base model is a module of it. */
  readonly hasOwnHead: boolean
  /** Features that heads read, which are others than the layers' (`hiddenSize`) where the network maps their last states. */
  readonly outputSize: number
  /**
   * In front of the names of all modules and parameters: empty, as names are those of the exported module; 'model' where it
   * has a module that is called as what stands beside it here (`heads`, `adapters`).
   */
  readonly prefix: string
  /** In front of names in files of a class with a head: PyTorch's base_model_prefix. Empty: there is none. */
  readonly filePrefix: string
  /** Of the keys in a layer's attention, all heads; 0: prefixes have no place there. */
  readonly keyFeatures: number
  /** Heads of these keys, fewer than the queries' where heads share them. */
  readonly keyHeads: number
  /** `sliding_window`: some of its layers attend to this many of the last tokens alone; null: none does. */
  readonly slidingWindow: number | null
  /** Tokens see only those before them. */
  readonly isCausal: boolean
  /** What a pass is given, by PyTorch's names. */
  readonly inputs: readonly string[]
  /** Names of what comes out, in its order. */
  readonly outputs: readonly string[]
  /** Tokens that the network makes of a row that is no text; 0: rows are ids, or it depends on the row. */
  readonly rowTokens: number
  /** Sizes of a row that is neither text nor an image of one size; -1: it differs from row to row. */
  readonly values: readonly number[]
  /** How many tokens come of a row whose one open size is `lengthName`, as PyTorch writes it. */
  readonly tokensText: string
  readonly lengthName: string
  /** An encoder reads the row and a decoder, whose tokens these are, answers; null: there is one stream of tokens. */
  readonly decoder: DecoderFacts | null
  /** What heads for rows read. */
  readonly reading: ExportReading
  readonly linears: readonly ExportedLinear[]
  /** Where adapters stand. */
  readonly placed: PlacementRecord
  /** Linears at which nothing can stand, by path: the weight is read in several ways, which the reason names. */
  readonly unclearLinears: Readonly<Record<string, string>>
  /** What was found where, a sentence each. */
  readonly explanation: readonly string[]
}
