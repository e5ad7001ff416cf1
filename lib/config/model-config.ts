import { basename, resolve } from 'node:path'
import type { NativeModelConfig } from '../native/config-types.js'
import { AdapterError } from '../native/errors.js'
import { type Activation, activations } from './activations.js'
import { camelCase, snakeCase } from './case.js'
import * as check from './check.js'
import type { DecoderFacts, ExportedNetwork } from './exported-network.js'
import { type ImageShape, imageShape } from './image-shape.js'
import { type Field, familyOf, type ModelFamily, type ModelType, modelFamilies, modelTypes } from './model-families.js'
import { type RowValues, rowValues } from './row-values.js'

export { type ModelType, modelTypes } from './model-families.js'

/** What Hugging Face's config.json says about an encoder, as far as it changes a number. Frozen. */
export interface ModelConfig extends Omit<NativeModelConfig, 'image'> {
  /** One of `modelTypes`; of an exported network any that Hugging Face has. */
  readonly modelType: string
  readonly hiddenAct: Activation
  /** Dropout of heads; null: hiddenDropoutProb. Default null. */
  readonly classifierDropout: number | null
  /** `eos_token_id`: where generation ends a row; null: nowhere. */
  readonly eosTokenId: number | readonly number[] | null
  /** `bos_token_id`: what Python's generation begins with; kept for it. null: that of the class. */
  readonly bosTokenId: number | null
  /** `tie_word_embeddings`: where it is false, a head for words has an output layer of its own. */
  readonly tieWordEmbeddings: boolean
  /** `image_size`: height and width of the images that the model reads; null: it reads text. */
  readonly imageSize: readonly [number, number] | null
  /** `patch_size`: height and width. */
  readonly patchSize: readonly [number, number] | null
  /** `num_channels` of an image. */
  readonly numChannels: number
  /** `_name_or_path`: where the weights came from; goes into adapter folders as `model_name`. */
  readonly nameOrPath: string
  /** The network that a graph describes; null: one of our own families. */
  readonly exported: ExportedNetwork | null
}

// Sizes have an upper limit, so that a hostile file cannot ask for more memory than any encoder has.
const largestSize = 1 << 24

const rules: { readonly [K in Field]: (name: string, value: unknown) => ModelConfig[K] } = {
  vocabSize: size,
  embeddingSize: size,
  hiddenSize: size,
  numHiddenLayers: (name, value) => check.checkInteger(name, value, 1, 1024),
  numAttentionHeads: (name, value) => check.checkInteger(name, value, 1, 1024),
  intermediateSize: size,
  hiddenAct: checkActivation,
  embeddingDropoutProb: probability,
  hiddenDropoutProb: probability,
  attentionProbsDropoutProb: probability,
  maxPositionEmbeddings: size,
  sinusoidalPosEmbds: check.checkBoolean,
  typeVocabSize: size,
  initializerRange: (name, value) => check.checkNumber(name, value, { from: 0 }),
  layerNormEps: (name, value) => check.checkNumber(name, value, { from: 0, below: 1 }),
  padTokenId: (name, value) => check.checkInteger(name, value, -1, largestSize),
  qkvBias: check.checkBoolean,
  imageSize: checkPair,
  patchSize: checkPair,
  numChannels: (name, value) => check.checkInteger(name, value, 1, 1024),
  bosTokenId: (name, value) => check.checkInteger(name, value, 0, largestSize),
  eosTokenId: checkEnds,
  tieWordEmbeddings: check.checkBoolean,
  classifierDropout: (name, value) => (value === null ? null : probability(name, value)),
  nameOrPath: check.checkString
}

function size(name: string, value: unknown): number {
  return check.checkInteger(name, value, 1, largestSize)
}

/** One number for a square, or height and width. */
function checkPair(name: string, value: unknown): readonly [number, number] {
  const side = (part: string, one: unknown) => check.checkInteger(part, one, 1, 1 << 14)
  if (!Array.isArray(value)) return Object.freeze([side(name, value), side(name, value)] as const)
  if (value.length !== 2) throw check.typeError(name, 'a number, or height and width', value)
  return Object.freeze([side(`${name}[0]`, value[0]), side(`${name}[1]`, value[1])] as const)
}

function checkEnds(name: string, value: unknown): number | readonly number[] | null {
  const one = (part: string, id: unknown) => check.checkInteger(part, id, 0, largestSize)
  return Array.isArray(value) ? value.map((id, i) => one(`${name}[${i}]`, id)) : one(name, value)
}

function probability(name: string, value: unknown): number {
  return check.checkNumber(name, value, { from: 0, to: 1 })
}

function checkActivation(name: string, value: unknown): Activation {
  const activation = check.checkOneOf(name, value, activations)
  return activation
}

/**
 * Reads a Hugging Face config.json, or the same fields in camelCase.
 * @param source the folder or name on the hub that it came from, for what to do where it is refused
 */
export function modelConfigFromJson(json: Readonly<Record<string, unknown>>, source?: string): ModelConfig {
  const given = byField(json)
  const type = check.checkString('model_type', given.get('modelType') ?? missingType())
  const refuse = refusal(source)
  if (!modelTypes.includes(type as ModelType)) refuse('model_type', type, `one of ${modelTypes.join(', ')}`)
  const family = modelFamilies[type as ModelType]
  refuseOtherMaths(given, family, refuse)
  const fields = new Map<string, unknown>([
    ['modelType', type],
    ['exported', null]
  ])
  for (const field of Object.keys(rules) as Field[]) {
    const name = jsonName(field, family)
    const value = family.absent.includes(field) ? undefined : (given.get(camelCase(name)) ?? given.get(field))
    fields.set(field, value === undefined || value === null ? family.defaults[field] : rules[field](name, value))
  }
  // Only ELECTRA's embeddings have a width of their own, and only GPT-2's a dropout of their own.
  if (family.absent.includes('embeddingSize')) fields.set('embeddingSize', fields.get('hiddenSize'))
  if (family.absent.includes('embeddingDropoutProb'))
    fields.set('embeddingDropoutProb', fields.get('hiddenDropoutProb'))
  if (fields.get('intermediateSize') === 0) fields.set('intermediateSize', 4 * Number(fields.get('hiddenSize')))
  const config = Object.fromEntries(fields) as unknown as ModelConfig
  checkTogether(config, family)
  return Object.freeze(config)
}

/** What a family's config.json calls a field. */
function jsonName(field: Field, family: ModelFamily): string {
  return field === 'nameOrPath' ? '_name_or_path' : (family.names[field] ?? snakeCase(field))
}

function byField(json: Readonly<Record<string, unknown>>): Map<string, unknown> {
  const entries = Object.entries(check.checkObject('model config', json))
  return new Map(entries.map(([key, value]) => [key === '_name_or_path' ? 'nameOrPath' : camelCase(key), value]))
}

function missingType(): never {
  throw check.valueError('model_type', `the file does not say what the model is; known: ${modelTypes.join(', ')}`)
}

function refuseOtherMaths(
  given: ReadonlyMap<string, unknown>,
  { fixed, defaults }: ModelFamily,
  refuse: (...what: Refused) => never
): void {
  for (const [key, { value, why }] of Object.entries(fixed)) {
    const got = given.get(camelCase(key))
    // Python's None is no default: it counts as false.
    if (got !== undefined && (got ?? false) !== value) refuse(key, got, String(value), why)
  }
  const [pooled, hidden] = [given.get('poolerOutputSize'), given.get('hiddenSize') ?? defaults.hiddenSize]
  if (pooled != null && pooled !== hidden) refuse('pooler_output_size', pooled, `${hidden}, the hidden size`)
  const pruned = given.get('prunedHeads')
  if (typeof pruned === 'object' && pruned !== null && Object.keys(pruned).length > 0) {
    refuse('pruned_heads', 'pruned attention heads', 'none')
  }
  if (given.get('quantizationConfig') != null) refuse('quantization_config', 'a quantized model', 'none')
}

function checkTogether(config: ModelConfig, family: ModelFamily): void {
  const { hiddenSize, numAttentionHeads, maxPositionEmbeddings, padTokenId, vocabSize } = config
  if (hiddenSize % numAttentionHeads !== 0) {
    const heads = jsonName('numAttentionHeads', family)
    throw check.valueError(
      jsonName('hiddenSize', family),
      `${hiddenSize} cannot be divided by ${heads} ${numAttentionHeads}`
    )
  }
  const [image, patch] = [config.imageSize, config.patchSize]
  if (image !== null && patch !== null && (patch[0] > image[0] || patch[1] > image[1])) {
    throw check.rangeError('patch_size', `at most the image_size, ${image.join(' × ')}`, patch)
  }
  if (family.absent.includes('vocabSize')) return
  if (padTokenId >= vocabSize) throw check.rangeError('pad_token_id', `an id below vocab_size ${vocabSize}`, padTokenId)
  if (family.positionsAfterPadding && maxPositionEmbeddings <= padTokenId + 1) {
    const expected = `more than ${padTokenId + 1}, because positions begin after pad_token_id`
    throw check.rangeError('max_position_embeddings', expected, maxPositionEmbeddings)
  }
}

/** Whether positions begin after the padding id and count real tokens alone (RoBERTa). */
export function positionsAfterPadding(config: ModelConfig): boolean {
  return familyOf(config).positionsAfterPadding
}

/** Whether tokens see only those before them, so that heads for rows read the last one and the model can write. */
export function isCausal(config: ModelConfig): boolean {
  return familyOf(config).isCausal
}

/** The longest row that the model has positions for: RoBERTa's begin after the padding id. */
export function maxRowLength(config: ModelConfig): number {
  return positionsAfterPadding(config)
    ? config.maxPositionEmbeddings - config.padTokenId - 1
    : config.maxPositionEmbeddings
}

/** What rows are checked against. */
export function rowLimits(config: ModelConfig): RowLimits {
  const { typeVocabSize } = config
  // A network of somebody's own may map its ids before it looks them up: how many there are it alone knows.
  const vocabSize = config.exported && config.vocabSize === 0 ? 2 ** 31 : config.vocabSize
  return {
    ...{ maxLength: maxRowLength(config), vocabSize, typeVocabSize },
    image: imageShape(config),
    values: rowValues(config),
    decoder: config.exported?.decoder ?? null
  }
}

/** What a model has room for. */
export interface RowLimits {
  /** Longest row that there are positions for. */
  readonly maxLength: number
  /** Ids lie below it. */
  readonly vocabSize: number
  /** Token types lie below it; 0: the model has none. */
  readonly typeVocabSize: number
  /** Rows are images of this shape; null: they are text. */
  readonly image: ImageShape | null
  /** Rows are numbers of this form, and no images of one size; null: they are not. */
  readonly values?: RowValues | null
  /** Rows are read by an encoder and answered by a decoder; null: there is one stream of tokens. */
  readonly decoder?: DecoderFacts | null
}

/** A config.json that transformers reads. */
export function modelConfigToJson(config: ModelConfig, architecture?: string): Record<string, unknown> {
  const { nameOrPath: _, modelType, exported, ...fields } = config
  if (exported !== null) refuseExported(exported)
  const family = modelFamilies[modelType as ModelType]
  // What a file leaves out is none for ids, tied words, and the dropout of heads that the family has.
  const isNone = (field: Field, value: unknown) =>
    (field === 'padTokenId' && value === -1) ||
    ((field === 'eosTokenId' || field === 'bosTokenId') && value === null) ||
    (field === 'classifierDropout' && value === family.defaults.classifierDropout) ||
    (field === 'tieWordEmbeddings' && value === true)
  const written = (Object.entries(fields) as [Field, unknown][]).filter(
    ([field, value]) => !family.absent.includes(field) && !isNone(field, value)
  )
  return {
    model_type: modelType,
    ...Object.fromEntries(written.map(([field, value]) => [jsonName(field, family), square(value)])),
    ...(architecture === undefined ? {} : { architectures: [architecture] }),
    ...(config.imageSize === null && { position_embedding_type: 'absolute' })
  }
}

/** Sides of a square are one number in a file. */
function square(value: unknown): unknown {
  return Array.isArray(value) && value.length === 2 && value[0] === value[1] ? value[0] : value
}

/** What the core takes. */
export function nativeModelConfig(config: ModelConfig): NativeModelConfig {
  const { classifierDropout: _, nameOrPath: __, eosTokenId: ___, bosTokenId: ____, ...others } = config
  const { tieWordEmbeddings: _____, exported: ______, ...rest } = others
  const { imageSize: _______, patchSize: ________, numChannels: _________, ...native } = rest
  return { ...native, image: imageShape(config) }
}

export function refuseExported({ className }: ExportedNetwork): never {
  throw new AdapterError('ERR_UNSUPPORTED', 'save the model', `the base model is ${className}, read from an archive`, {
    expected: 'saveAdapter and saveHead; the archive itself is the base model',
    got: 'the whole model',
    hint: 'Of a base model that trained (trainAll) stateDict() has the values, which loadStateDict gives an archive that is opened.'
  })
}

type Refused = [field: string, got: unknown, expected: string, why?: string]

const refusal =
  (source: string | undefined) =>
  (...[field, got, expected, why]: Refused): never => {
    const reason = why === undefined ? '' : `: ${why} would be needed`
    throw new AdapterError('ERR_UNSUPPORTED', 'read the model config', `this ${field} is not supported${reason}`, {
      expected,
      got: check.describe(got),
      hint:
        field === 'quantization_config'
          ? 'Take the model as it was before it was quantized.'
          : `${asArchive(source)} Models of these types need none: ${modelTypes.join(', ')}.`
    })
  }

/** What opens any other model. */
function asArchive(source: string | undefined): string {
  const word = (text: string) => (/^[\w./~:@-]+$/.test(text) ? text : JSON.stringify(text))
  const file = source === undefined ? 'model.pt2' : `${basename(resolve(source))}.pt2`
  const command = `npx torch-adapters-export ${source === undefined ? 'MODEL' : word(source)} ${word(file)}`
  return (
    `As an archive of torch.export it works: run \`${command}\` where Python has torch and transformers, then ` +
    `AutoModel.fromExported('${file}'), or --model ${word(file)} on the command line.`
  )
}
