import { AdapterError } from '../native/errors.js'
import type { NativeModelConfig } from '../native/types.js'
import { type Activation, activations } from './activations.js'
import { camelCase, snakeCase } from './case.js'
import * as check from './check.js'

export const modelTypes = ['bert', 'roberta', 'xlm-roberta'] as const

export type ModelType = (typeof modelTypes)[number]

/** What Hugging Face's config.json says about an encoder, as far as it changes a number. Frozen. */
export interface ModelConfig extends NativeModelConfig {
  readonly modelType: ModelType
  readonly hiddenAct: Activation
  /** Dropout of heads; null: hiddenDropoutProb. Default null. */
  readonly classifierDropout: number | null
  /** `_name_or_path`: where the weights came from; goes into adapter folders as `model_name`. */
  readonly nameOrPath: string
}

/** Hugging Face's defaults for the fields that a file leaves out. */
const bertDefaults = {
  vocabSize: 30522,
  hiddenSize: 768,
  numHiddenLayers: 12,
  numAttentionHeads: 12,
  intermediateSize: 3072,
  hiddenAct: 'gelu',
  hiddenDropoutProb: 0.1,
  attentionProbsDropoutProb: 0.1,
  maxPositionEmbeddings: 512,
  typeVocabSize: 2,
  initializerRange: 0.02,
  layerNormEps: 1e-12,
  padTokenId: 0,
  classifierDropout: null,
  nameOrPath: ''
} as const

const defaults: Readonly<Record<ModelType, Omit<ModelConfig, 'modelType'>>> = {
  bert: bertDefaults,
  roberta: { ...bertDefaults, vocabSize: 50265, padTokenId: 1 },
  'xlm-roberta': { ...bertDefaults, padTokenId: 1 }
}

type Field = keyof Omit<ModelConfig, 'modelType'>

// Sizes have an upper limit, so that a hostile file cannot ask for more memory than any encoder has.
const largestSize = 1 << 24

const rules: { readonly [K in Field]: (name: string, value: unknown) => ModelConfig[K] } = {
  vocabSize: size,
  hiddenSize: size,
  numHiddenLayers: (name, value) => check.checkInteger(name, value, 1, 1024),
  numAttentionHeads: (name, value) => check.checkInteger(name, value, 1, 1024),
  intermediateSize: size,
  hiddenAct: checkActivation,
  hiddenDropoutProb: probability,
  attentionProbsDropoutProb: probability,
  maxPositionEmbeddings: size,
  typeVocabSize: size,
  initializerRange: (name, value) => check.checkNumber(name, value, { from: 0 }),
  layerNormEps: (name, value) => check.checkNumber(name, value, { from: 0, below: 1 }),
  padTokenId: (name, value) => check.checkInteger(name, value, 0, largestSize),
  classifierDropout: (name, value) => (value === null ? null : probability(name, value)),
  nameOrPath: check.checkString
}

function size(name: string, value: unknown): number {
  return check.checkInteger(name, value, 1, largestSize)
}

function probability(name: string, value: unknown): number {
  return check.checkNumber(name, value, { from: 0, to: 1 })
}

function checkActivation(name: string, value: unknown): Activation {
  const activation = check.checkOneOf(name, value, activations)
  return activation
}

/** Fields with one value that this core computes. Any other would change the numbers in silence. */
const fixed: Readonly<Record<string, { readonly value: unknown; readonly why: string }>> = {
  position_embedding_type: { value: 'absolute', why: 'relative positions' },
  is_decoder: { value: false, why: 'causal attention' },
  add_cross_attention: { value: false, why: 'cross attention' },
  is_encoder_decoder: { value: false, why: 'encoder-decoder models' },
  tie_word_embeddings: { value: true, why: 'an output layer of its own' }
}

/** Reads a Hugging Face config.json, or the same fields in camelCase. */
export function modelConfigFromJson(json: Readonly<Record<string, unknown>>): ModelConfig {
  const given = byField(json)
  const type = check.checkString('model_type', given.get('modelType') ?? missingType())
  if (!modelTypes.includes(type as ModelType)) refuse('model_type', type, `one of ${modelTypes.join(', ')}`)
  refuseOtherMaths(given)
  const fields = new Map<string, unknown>([['modelType', type]])
  for (const field of Object.keys(rules) as Field[]) {
    const value = given.get(field)
    const fallback = defaults[type as ModelType][field]
    fields.set(field, value === undefined || value === null ? fallback : rules[field](snakeName(field), value))
  }
  const config = Object.fromEntries(fields) as unknown as ModelConfig
  checkTogether(config)
  return Object.freeze(config)
}

function snakeName(field: string): string {
  return field === 'nameOrPath' ? '_name_or_path' : snakeCase(field)
}

function byField(json: Readonly<Record<string, unknown>>): Map<string, unknown> {
  const entries = Object.entries(check.checkObject('model config', json))
  return new Map(entries.map(([key, value]) => [key === '_name_or_path' ? 'nameOrPath' : camelCase(key), value]))
}

function missingType(): never {
  throw check.valueError('model_type', `the file does not say what the model is; known: ${modelTypes.join(', ')}`)
}

function refuseOtherMaths(given: ReadonlyMap<string, unknown>): void {
  for (const [key, { value, why }] of Object.entries(fixed)) {
    const got = given.get(camelCase(key)) ?? value
    if (got !== value) refuse(key, got, String(value), why)
  }
  const pruned = given.get('prunedHeads')
  if (typeof pruned === 'object' && pruned !== null && Object.keys(pruned).length > 0) {
    refuse('pruned_heads', 'pruned attention heads', 'none')
  }
  if (given.get('quantizationConfig') != null) refuse('quantization_config', 'a quantized model', 'none')
}

function checkTogether(config: ModelConfig): void {
  const { hiddenSize, numAttentionHeads, maxPositionEmbeddings, padTokenId, vocabSize, modelType } = config
  if (hiddenSize % numAttentionHeads !== 0) {
    throw check.valueError('hidden_size', `${hiddenSize} cannot be divided by num_attention_heads ${numAttentionHeads}`)
  }
  if (padTokenId >= vocabSize) throw check.rangeError('pad_token_id', `an id below vocab_size ${vocabSize}`, padTokenId)
  if (modelType !== 'bert' && maxPositionEmbeddings <= padTokenId + 1) {
    const expected = `more than ${padTokenId + 1}, because positions begin after pad_token_id`
    throw check.rangeError('max_position_embeddings', expected, maxPositionEmbeddings)
  }
}

/** The longest row that the model has positions for: RoBERTa's begin after the padding id. */
export function maxRowLength(config: ModelConfig): number {
  return config.modelType === 'bert'
    ? config.maxPositionEmbeddings
    : config.maxPositionEmbeddings - config.padTokenId - 1
}

/** A config.json that transformers reads. */
export function modelConfigToJson(config: ModelConfig, architecture?: string): Record<string, unknown> {
  const { nameOrPath: _, ...fields } = config
  const json = Object.fromEntries(Object.entries(fields).map(([key, value]) => [snakeCase(key), value]))
  return {
    ...json,
    ...(architecture === undefined ? {} : { architectures: [architecture] }),
    position_embedding_type: 'absolute'
  }
}

/** What the core takes. */
export function nativeModelConfig(config: ModelConfig): NativeModelConfig {
  const { classifierDropout: _, nameOrPath: __, ...native } = config
  return native
}

function refuse(field: string, got: unknown, expected: string, why?: string): never {
  const reason = why === undefined ? '' : `: ${why} would be needed`
  throw new AdapterError('ERR_UNSUPPORTED', 'read the model config', `this ${field} is not supported${reason}`, {
    expected,
    got: check.describe(got),
    hint: 'BERT, RoBERTa and XLM-RoBERTa encoders with absolute positions work.'
  })
}
