import type { ModelConfig } from './model-config.js'

export const modelTypes = ['bert', 'roberta', 'xlm-roberta', 'electra', 'distilbert', 'gpt2', 'vit'] as const

export type ModelType = (typeof modelTypes)[number]

export type Field = keyof Omit<ModelConfig, 'modelType' | 'exported'>

/** A field of config.json with one value that the core computes: any other would change the numbers in silence. */
export interface FixedField {
  readonly value: unknown
  /** What another value would need. */
  readonly why: string
}

/** What a family's config.json and folders look like, where families differ. */
export interface ModelFamily {
  /** Hugging Face's defaults for the fields that a file leaves out. */
  readonly defaults: Omit<ModelConfig, 'modelType' | 'exported'>
  /** Our fields under the family's own names, in snake_case. */
  readonly names: { readonly [K in Field]?: string }
  /** Our fields that this family's files do not have: they keep their default. */
  readonly absent: readonly Field[]
  readonly fixed: Readonly<Record<string, FixedField>>
  /** Heads read a row's last token, and the model writes: tokens see only those before them. */
  readonly isCausal: boolean
  /** Positions begin after the padding id and count real tokens alone, as RoBERTa's do; else every token from 0. */
  readonly positionsAfterPadding: boolean
  /** `model_class` in adapter folders. */
  readonly adapterClass: string
}

const bertDefaults = {
  vocabSize: 30522,
  embeddingSize: 768,
  hiddenSize: 768,
  numHiddenLayers: 12,
  numAttentionHeads: 12,
  intermediateSize: 3072,
  hiddenAct: 'gelu',
  embeddingDropoutProb: 0.1,
  hiddenDropoutProb: 0.1,
  attentionProbsDropoutProb: 0.1,
  maxPositionEmbeddings: 512,
  sinusoidalPosEmbds: false,
  typeVocabSize: 2,
  initializerRange: 0.02,
  layerNormEps: 1e-12,
  padTokenId: 0,
  qkvBias: true,
  imageSize: null,
  patchSize: null,
  numChannels: 0,
  bosTokenId: null,
  eosTokenId: null,
  tieWordEmbeddings: true,
  classifierDropout: null,
  nameOrPath: ''
} as const

const fixed: Readonly<Record<string, FixedField>> = {
  position_embedding_type: { value: 'absolute', why: 'relative positions, or none,' },
  is_decoder: { value: false, why: 'causal attention' },
  add_cross_attention: { value: false, why: 'cross attention' },
  is_encoder_decoder: { value: false, why: 'encoder-decoder models' }
}

/** Fields that no family of text has. */
const ofImages = ['qkvBias', 'imageSize', 'patchSize', 'numChannels'] as const

const bert: ModelFamily = {
  defaults: bertDefaults,
  names: {},
  absent: ['embeddingSize', 'embeddingDropoutProb', 'sinusoidalPosEmbds', ...ofImages],
  fixed,
  isCausal: false,
  positionsAfterPadding: false,
  adapterClass: 'BertAdapterModel'
}

export const modelFamilies: Readonly<Record<ModelType, ModelFamily>> = {
  bert,
  roberta: {
    ...bert,
    defaults: { ...bertDefaults, vocabSize: 50265, padTokenId: 1 },
    positionsAfterPadding: true,
    adapterClass: 'RobertaAdapterModel'
  },
  'xlm-roberta': {
    ...bert,
    defaults: { ...bertDefaults, padTokenId: 1 },
    positionsAfterPadding: true,
    adapterClass: 'XLMRobertaAdapterModel'
  },
  electra: {
    ...bert,
    defaults: { ...bertDefaults, embeddingSize: 128, hiddenSize: 256, numAttentionHeads: 4, intermediateSize: 1024 },
    absent: ['embeddingDropoutProb', 'sinusoidalPosEmbds', ...ofImages],
    adapterClass: 'ElectraAdapterModel'
  },
  distilbert: {
    ...bert,
    // The adapter library finds no dropout for its heads in this family's config, so they have none.
    defaults: { ...bertDefaults, numHiddenLayers: 6, typeVocabSize: 0, classifierDropout: 0 },
    names: {
      hiddenSize: 'dim',
      numHiddenLayers: 'n_layers',
      numAttentionHeads: 'n_heads',
      intermediateSize: 'hidden_dim',
      hiddenAct: 'activation',
      hiddenDropoutProb: 'dropout',
      attentionProbsDropoutProb: 'attention_dropout'
    },
    absent: ['embeddingSize', 'embeddingDropoutProb', 'typeVocabSize', 'layerNormEps', ...ofImages],
    adapterClass: 'DistilBertAdapterModel'
  },
  gpt2: {
    // As in DistilBERT, heads have no dropout; there is no padding id, and the feed-forward is four times as wide as the
    // hidden state where the file does not say more.
    defaults: {
      ...bertDefaults,
      vocabSize: 50257,
      intermediateSize: 0,
      hiddenAct: 'gelu_new',
      maxPositionEmbeddings: 1024,
      typeVocabSize: 0,
      layerNormEps: 1e-5,
      padTokenId: -1,
      eosTokenId: 50256,
      classifierDropout: 0
    },
    names: {
      hiddenSize: 'n_embd',
      numHiddenLayers: 'n_layer',
      numAttentionHeads: 'n_head',
      intermediateSize: 'n_inner',
      hiddenAct: 'activation_function',
      embeddingDropoutProb: 'embd_pdrop',
      hiddenDropoutProb: 'resid_pdrop',
      attentionProbsDropoutProb: 'attn_pdrop',
      maxPositionEmbeddings: 'n_positions',
      layerNormEps: 'layer_norm_epsilon'
    },
    absent: ['embeddingSize', 'sinusoidalPosEmbds', 'typeVocabSize', ...ofImages],
    fixed: {
      add_cross_attention: { value: false, why: 'cross attention' },
      is_encoder_decoder: { value: false, why: 'encoder-decoder models' },
      scale_attn_weights: { value: true, why: 'attention without a scale' },
      scale_attn_by_inverse_layer_idx: { value: false, why: 'another scale of attention in each layer' }
    },
    isCausal: true,
    positionsAfterPadding: false,
    adapterClass: 'GPT2AdapterModel'
  },
  vit: {
    defaults: {
      ...bertDefaults,
      vocabSize: 0,
      hiddenDropoutProb: 0,
      attentionProbsDropoutProb: 0,
      typeVocabSize: 0,
      padTokenId: -1,
      imageSize: [224, 224],
      patchSize: [16, 16],
      numChannels: 3
    },
    names: {},
    absent: [
      'vocabSize',
      'embeddingSize',
      'embeddingDropoutProb',
      'maxPositionEmbeddings',
      'sinusoidalPosEmbds',
      'typeVocabSize',
      'padTokenId',
      'bosTokenId',
      'eosTokenId',
      'tieWordEmbeddings',
      'classifierDropout'
    ],
    fixed: { pooler_act: { value: 'tanh', why: 'another activation in the pooler' } },
    isCausal: false,
    positionsAfterPadding: false,
    adapterClass: 'ViTAdapterModel'
  }
}

/** Of an exported network what its graph and its class say. */
export function familyOf({
  modelType,
  exported
}: Pick<ModelConfig, 'modelType' | 'exported'>): Pick<
  ModelFamily,
  'isCausal' | 'positionsAfterPadding' | 'adapterClass'
> {
  if (exported === null) return modelFamilies[modelType as ModelType]
  const { className, isCausal } = exported
  const base = className.replace(/(LMHeadModel|Model|For[A-Z]\w*)$/, '')
  return { isCausal, positionsAfterPadding: false, adapterClass: `${base}AdapterModel` }
}

/** Where transformers has the classes of most families. */
export function moduleOf(modelType: string): string {
  const name = modelType.replaceAll('-', '_')
  return `transformers.models.${name}.modeling_${name}`
}
