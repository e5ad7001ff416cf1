/** What a graph of a `.pt2` archive says of itself. */
export interface NativeExportedFacts {
  /** PyTorch's class. */
  readonly type: string
  readonly hidden: number
  /** Features of what comes out. */
  readonly outputSize: number
  readonly layers: number
  /** Ids lie below it; 0: rows are no ids. */
  readonly vocabulary: number
  /** Tokens; 0: any number. */
  readonly longestRow: number
  /** Tokens of a row that is no text, 0: they differ, or rows are ids. */
  readonly rowTokens: number
  readonly isCausal: boolean
  /** Of the head that the network brings along; 0: it has none. */
  readonly ownLabels: number
  readonly ownHeadReadsRows: boolean
  readonly ownHeadGivesSpans: boolean
  /** Otherwise: how many tokens come of a row whose one open size is `lengthText`, as PyTorch writes both. */
  readonly lengthText: string
  readonly tokensText: string
  /** Rows are read by an encoder and answered by a decoder. */
  readonly hasDecoder: boolean
  /** Names of what comes out, in its order. */
  readonly outputs: string[]
  /** Of the keys in a layer's attention; 0: prefixes have no place. */
  readonly keyFeatures: number
  readonly keyHeads: number
  /** In front of all names; most often empty. */
  readonly prefix: string
  /** Names of the model's own children. */
  readonly topLevel: string[]
  readonly inputs: string[]
  /** Sizes of one row's floating-point input, -1 where any will do; empty: rows are ids. */
  readonly image: number[]
  readonly linears: {
    readonly path: string
    readonly layer: number
    readonly in: number
    readonly out: number
    readonly transposed: boolean
    readonly place: LoraPlaceName | null
    /** Makes query, key and value of its layer, in an order of its own. */
    readonly merged: boolean
  }[]
  /** Linears at which nothing can stand, by path, with the reason. */
  readonly unclearLinears: Readonly<Record<string, string>>
  readonly explanation: string[]
  /** A text for each site that placements have alike where adapters stand at the same values of one graph. */
  readonly sites: string[]
  /** The archive's `extra` files. */
  readonly extra: Readonly<Record<string, Buffer>>
}

type LoraPlaceName = 'query' | 'key' | 'value' | 'query_key_value' | 'attention_output' | 'intermediate' | 'output'

/** A network that was read and is no model yet. */
export interface NativeExportedHandle {
  readonly handle: unknown
  readonly facts: NativeExportedFacts
}
