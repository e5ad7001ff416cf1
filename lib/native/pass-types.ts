import type { TensorData } from './types.js'

// What one pass through the network is given, and what it gives.

/**
 * Rows without padding: all rows' ids one after the other.
 * Labels: classification Int32Array [rows]; regression Float32Array [rows]; multi-label Float32Array [rows × labels];
 * tagging and language modelling Int32Array [tokens], -100 where no label stands; causal: the label of the next token;
 * question answering Int32Array [rows × 2], the first and the last token's place in the row; multiple choice Int32Array
 * [questions]; dependency parsing Int32Array [tokens × 2], at each word's first token its head (0: the root) and relation.
 */
export interface NativeBatch {
  /** Empty where rows are images. */
  readonly inputIds: Int32Array
  /** An image for each row, in place of ids; of exported networks any numbers, and rows of several lengths. */
  readonly pixelValues?: readonly Float32Array[] | undefined
  /** Their height and width. Default: those of the model's config; others interpolate its positions. */
  readonly imageSize?: readonly [number, number] | undefined
  readonly rowLengths: Int32Array
  /** What an encoder reads, where `inputIds` are its decoder's: as many rows, of lengths of their own. */
  readonly sourceIds?: Int32Array | undefined
  readonly sourceLengths?: Int32Array | undefined
  readonly tokenTypeIds?: Int32Array | undefined
  readonly positionIds?: Int32Array | undefined
  /** Multiple choice: how many neighbouring rows are the choices of each question. */
  readonly choices?: Int32Array | undefined
  /** Dependency parsing: which of its row's words a token is a part of, counted from 0 without a gap; -1: of none. */
  readonly wordIds?: Int32Array | undefined
  readonly labels?: Int32Array | Float32Array | undefined
}

/** What a row passes through: an adapter's name, null for the base model's own value, or a block of them. */
export type NativeSetup =
  | string
  | null
  | { readonly type: 'stack'; readonly children: readonly NativeSetup[] }
  | { readonly type: 'fuse'; readonly children: readonly NativeSetup[]; readonly fusion: string }
  /** Tokens of a row for each child. */
  | { readonly type: 'split'; readonly children: readonly NativeSetup[]; readonly sizes: readonly number[] }
  | { readonly type: 'average'; readonly children: readonly NativeSetup[]; readonly weights: readonly number[] }

export interface NativeForwardOptions {
  /**
   * The batch's rows so many times, one copy after the other: setups and heads are for the rows of all copies, and what
   * copies have in common is computed once. Default 1.
   */
  readonly copies?: number | undefined
  /** The setups used in this batch. Neighbours of one setup run together. */
  readonly setups: readonly NativeSetup[]
  /** For each row which of the setups, -1: the base model alone. Absent: every row has the first, if there is one. */
  readonly rowSetups?: Int32Array | undefined
  /** Head's name, or null: hidden states only. */
  readonly head: string | null
  /** Instead of `head`: the heads used in this batch, and for each row which of them. */
  readonly heads?: readonly string[] | undefined
  readonly rowHeads?: Int32Array | undefined
  /** For each of `heads` the labels of its rows, as a batch's. The loss is the sum of the heads'. */
  readonly headLabels?: readonly (Int32Array | Float32Array)[] | undefined
  /** Of heads whose loss counts classes differently, or smooths labels. */
  readonly losses?: readonly NativeHeadLoss[] | undefined
  /** Layers in which no setup runs. */
  readonly skipLayers?: readonly number[] | undefined
  readonly outputHiddenStates?: boolean | undefined
  readonly outputLastHiddenState?: boolean | undefined
  readonly outputFusionAttentions?: boolean | undefined
  /**
   * Instead of logits, the number of the largest of each token that has a label [labelled tokens]: of a vocabulary's
   * logits an evaluation reads no more. Heads that answer for tokens. Default false.
   */
  readonly bestLabels?: boolean | undefined
  /** What frozen layers give may come from the model's store, where one is open. Default false. */
  readonly frozenStates?: boolean | undefined
}

export interface NativeHeadLoss {
  readonly head: string
  /** One for each label, above 0. Absent: all count alike. */
  readonly classWeights?: Float32Array | undefined
  readonly labelSmoothing: number
}

/** [tokens, children] of one fusion at one place. */
export interface NativeFusionAttention {
  readonly fusion: string
  readonly layer: number
  readonly location: 'mhAdapter' | 'outputAdapter'
  readonly scores: TensorData
}

/** Passes one after the other, whose answers stay where they were computed until the last is done. */
export interface NativePassGroup {
  readonly batches: readonly NativeBatch[]
  readonly passes: readonly NativeForwardOptions[]
}

/** Hidden states are [tokens, hidden], rows one after the other as in the batch. */
export interface NativeForwardResult {
  readonly logits?: TensorData
  /**
   * With `heads`: for each of them its rows' logits, [its rows or their tokens, labels], in the batch's order; of
   * dependency parsing [pairs, 1 + relations]: for each word the root and all words of its row as its head.
   */
  readonly headLogits?: TensorData[]
  /** With `headLabels`: each head's loss. */
  readonly headLosses?: (number | undefined)[]
  readonly loss?: number
  readonly lastHiddenState?: TensorData
  readonly hiddenStates?: TensorData[]
  readonly fusionAttentions?: NativeFusionAttention[]
}

export interface NativeGenerateOptions {
  readonly maxNewTokens: number
  readonly doSample: boolean
  readonly temperature: number
  /** 0: all. */
  readonly topK: number
  readonly topP: number
  readonly endTokens: readonly number[]
  readonly seed: number
  /** Of each row of the batch, for its draws. */
  readonly rowNumbers: readonly number[]
  /** What stopGenerating knows it by; 0: nothing. */
  readonly stopId: number
}
