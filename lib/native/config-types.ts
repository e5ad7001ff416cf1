/** Configs as the core takes them: what a model, an adapter, a head, a fusion or an inserted module is made of. Plain data. */

/** What is to stand in a place. The same id is the same module, wherever it stands. */
export interface NativeModuleDescription {
  readonly kind: 'module' | 'sequential' | 'parallel' | 'adapter' | 'hierarchical' | 'dynamic' | 'fused'
  readonly id: number
  readonly path?: string
  readonly parts?: readonly NativeModuleDescription[]
  readonly names?: readonly string[]
  readonly hidden_size?: number
  readonly sizes?: readonly number[]
  readonly activation?: string
  readonly soft_mask?: boolean
  readonly temperature?: number
  readonly identity_start?: boolean
  readonly heads?: number
  readonly scale?: number
}

export interface NativeReplacement {
  readonly path: string
  readonly with: NativeModuleDescription
}

export interface NativeModelConfig {
  /** One of the families; of an exported network any. */
  readonly modelType: string
  /** 0: a model of images, or an exported network that maps its ids before it looks them up. */
  readonly vocabSize: number
  /** Of the embeddings; the hidden size in all families but ELECTRA. */
  readonly embeddingSize: number
  readonly hiddenSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  readonly intermediateSize: number
  readonly hiddenAct: string
  readonly embeddingDropoutProb: number
  readonly hiddenDropoutProb: number
  readonly attentionProbsDropoutProb: number
  readonly maxPositionEmbeddings: number
  /** Positions start as sines and cosines. */
  readonly sinusoidalPosEmbds: boolean
  /** 0: the model has no token types. */
  readonly typeVocabSize: number
  readonly initializerRange: number
  readonly layerNormEps: number
  readonly padTokenId: number
  /** Query, key and value have biases. */
  readonly qkvBias: boolean
  /** Null: a model of text. */
  readonly image: NativeImageShape | null
}

/** An image, and the patches that it is cut into. */
export interface NativeImageShape {
  readonly channels: number
  readonly height: number
  readonly width: number
  readonly patchHeight: number
  readonly patchWidth: number
  /** Of an exported network: what it makes of an image. Else by its patches. */
  readonly tokens?: number
}

/** Snake case, as AdapterHub's adapter_config.json spells it; every field is present. */
export interface NativeBottleneckConfig {
  readonly method: 'bottleneck'
  readonly mh_adapter: boolean
  readonly output_adapter: boolean
  /** Bottleneck size for each layer, 0 where the layer has no adapter. Computed in TypeScript from reduction_factor and leave_out. */
  readonly bottleneck_sizes: number[]
  readonly non_linearity: string
  readonly original_ln_before: boolean
  readonly original_ln_after: boolean
  readonly ln_before: boolean
  readonly ln_after: boolean
  readonly init_weights: 'bert' | 'mam_adapter' | 'houlsby' | 'zeros'
  readonly init_weights_seed: number | null
  readonly is_parallel: boolean
  readonly scaling: number | 'learned' | 'channel'
  readonly use_gating: boolean
  readonly residual_before_ln: boolean | 'post_add'
  readonly adapter_residual_before_ln: boolean
  readonly dropout: number
  readonly stochastic_depth: number
  readonly invertible: NativeInvertibleConfig | null
  readonly phm: NativePhmConfig | null
}

/** An invertible adapter: inner widths of the networks that read the first and the second half of an embedding. */
export interface NativeInvertibleConfig {
  readonly glow: boolean
  readonly first_inner: number
  readonly second_inner: number
}

/** PHM layers: `rule` is C, `weights` are W. */
export interface NativePhmConfig {
  readonly dim: number
  readonly factorized_weights: boolean
  readonly shared_weights: boolean
  readonly shared_rule: boolean
  readonly factorized_rule: boolean
  readonly uniform_rule: boolean
  readonly init_range: number
  readonly learn_rule: boolean
  readonly weight_init: 'glorot-uniform' | 'glorot-normal' | 'normal'
  readonly rank: number
  readonly bias: boolean
}

/** LoRA and its kin; every field is present. */
export interface NativeLoraConfig {
  readonly method: 'lora'
  readonly query: boolean
  readonly key: boolean
  readonly value: boolean
  /** The whole of the product that makes all three, as one matrix. */
  readonly query_key_value: boolean
  /** The layer behind the heads. */
  readonly attention_output: boolean
  /** The two layers of the feed-forward block. */
  readonly intermediate: boolean
  readonly output: boolean
  /** Instead of the places above: paths of Linears that an exported network has. */
  readonly linears: readonly string[]
  readonly rank: number
  /** Layers, from 0, without it at the places above. */
  readonly leave_out: readonly number[]
  readonly alpha: number
  readonly dropout: number
  /** IA³: what the vector multiplies. */
  readonly scales: 'none' | 'output' | 'input'
  readonly init_weights: 'lora' | 'bert' | 'ia3' | 'vera'
  readonly init_weights_seed: number | null
  readonly use_gating: boolean
  /** As the adapter library or PEFT computes it. */
  readonly dora: 'none' | 'adapters' | 'peft'
  readonly vera_d: number | null
  readonly vera_b: number | null
  readonly mtl: {
    readonly up_projections: number
    readonly linear: boolean
    readonly weights_sharpness: number
  } | null
}

export interface NativePrefixConfig {
  readonly method: 'prefix_tuning'
  /** For each layer, 0 where the layer has no prefix. */
  readonly lengths: number[]
  readonly flat: boolean
  readonly bottleneck_size: number
  readonly non_linearity: string
  readonly dropout: number
  readonly use_gating: boolean
  readonly shared_gating: boolean
  readonly shifts_positions: boolean
  readonly init_weights_seed: number | null
}

export interface NativePromptConfig {
  readonly method: 'prompt_tuning'
  readonly length: number
  /** Behind each row's first token, not in front of it. */
  readonly after_first: boolean
  /** In front, and like words, with positions of their own. */
  readonly as_words: boolean
  readonly random_uniform_scale: number
  /** Ids of the words that it starts with; empty: random numbers. */
  readonly start_ids: readonly number[]
  readonly init_weights_seed: number | null
}

export interface NativeReftConfig {
  readonly method: 'reft'
  /** For each layer, 0 where the layer has no adapter. */
  readonly ranks: number[]
  readonly prefix_positions: number
  readonly suffix_positions: number
  readonly orthogonality: boolean
  readonly tied_weights: boolean
  readonly subtract_projection: boolean
  readonly dropout: number
  readonly non_linearity: string | null
  readonly init_weights_seed: number | null
}

/** An adapter layer on the last hidden state. */
export interface NativeOutputAdapterConfig {
  readonly method: 'output'
  readonly adapter_size: number
  readonly activation: string
}

export type NativeAdapterConfig =
  | NativeBottleneckConfig
  | NativeLoraConfig
  | NativePrefixConfig
  | NativePromptConfig
  | NativeReftConfig
  | NativeOutputAdapterConfig

export interface NativeHeadConfig {
  readonly head_type:
    | 'classification'
    | 'multilabel_classification'
    | 'tagging'
    | 'question_answering'
    | 'multiple_choice'
    | 'dependency_parsing'
    | 'masked_lm'
    | 'causal_lm'
  /** Outputs a row (or token). 1 with `classification` is a regression. Ignored by language modelling. */
  readonly num_labels: number
  readonly layers: number
  readonly activation_function: string | null
  readonly use_pooler: boolean
  readonly bias: boolean
  /** Of language modelling with more than one layer. */
  readonly layer_norm: boolean
  /** Of causal_lm: its last layer is the word embedding. */
  readonly tied: boolean
  /** Dropout before each linear layer; null: the model's hidden dropout. */
  readonly dropout_prob: number | null
}

/** AdapterHub's AdapterFusionConfig. */
export interface NativeFusionConfig {
  readonly key: boolean
  readonly query: boolean
  readonly value: boolean
  readonly query_before_ln: boolean
  readonly regularization: boolean
  readonly residual_before: boolean
  readonly temperature: boolean
  readonly value_initialized: boolean
  readonly dropout_prob: number
}
