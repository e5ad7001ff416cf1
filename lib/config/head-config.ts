import type { NativeHeadConfig } from '../native/config-types.js'
import { AdapterError } from '../native/errors.js'
import type { NonLinearity } from './activations.js'
import { camelCase, snakeCase } from './case.js'
import * as check from './check.js'
import {
  type ChoiceHeadConfig,
  choiceHeadExtras,
  choiceHeadFields,
  choiceHeadFromFields,
  choiceHeadOptions,
  dependencyParsingHead,
  isChoiceHead,
  multipleChoiceHead,
  nativeChoiceFields,
  questionAnsweringHead
} from './choice-heads.js'
import {
  checkHeadKeys,
  defaultIds,
  type HeadOptions,
  type LabelledHead,
  type LabelOptions,
  labelEntries,
  labelled,
  labelledFields,
  layerFields
} from './head-fields.js'

interface RowHead extends LabelledHead {
  /**
   * `use_pooler`: read the model's pooler instead of the row's first token (GPT-2: its last). Default false. A model without
   * a pooler refuses it.
   */
  readonly usePooler: boolean
  /** `bias`: of the last layer. Default true. */
  readonly bias: boolean
}

/** One label a row; with one output it is regression (mean squared error). Logits [rows, numLabels]. */
export interface ClassificationHeadConfig extends RowHead {
  readonly headType: 'classification'
}

/** Any number of labels a row. Logits [rows, numLabels], each a label's own. */
export interface MultiLabelHeadConfig extends RowHead {
  readonly headType: 'multilabel_classification'
}

/** One label an image, or any number of them; with one output it is regression. Logits [images, numLabels]. */
export interface ImageClassificationHeadConfig extends RowHead {
  readonly headType: 'image_classification'
  /** `layers`: linear layers, from 1 to 16. Default 1. */
  readonly layers: number
  /** `multilabel`: any number of labels an image. Default false. */
  readonly multilabel: boolean
}

/** One label a token. Logits [rows, columns, numLabels]. */
export interface TaggingHeadConfig extends LabelledHead {
  readonly headType: 'tagging'
  /** `layers`: linear layers, from 1 to 16. Default 1. */
  readonly layers: number
}

/** Heads that answer with words of the vocabulary. */
interface WordHead {
  /**
   * Whether the last layer's matrix is the word embedding. Default true. false: one of its own, which starts as the word
   * embedding and learns (a class of transformers with `tie_word_embeddings: false`, PEFT's `modules_to_save: ['lm_head']`);
   * Python's `adapters` has it where the model's config says so, and for other models refuses its config.
   */
  readonly tied: boolean
}

/** Masked language modelling. Logits [rows, columns, vocabulary]. */
export interface MaskedLmHeadConfig extends WordHead {
  readonly headType: 'masked_lm'
  /** `layers`: linear layers, from 1 to 16, with a LayerNorm behind each but the last. Default 2. */
  readonly layers: number
  /** `activation_function`: between two layers. Default 'gelu'; null: none. */
  readonly activationFunction: NonLinearity | null
}

/** Predicting the next token. For models whose tokens see only those before them. Logits [rows, columns, vocabulary]. */
export interface CausalLmHeadConfig extends WordHead {
  readonly headType: 'causal_lm'
  /** `layers`: linear layers, from 1 to 16. Default 2; 1: the word embedding alone, as in pretrained models. */
  readonly layers: number
  /** `activation_function`: between two layers. Default 'gelu'; null: none. */
  readonly activationFunction: NonLinearity | null
  /** `layer_norm`: a LayerNorm behind each layer but the last. Default true. */
  readonly layerNorm: boolean
  /** `bias`: of the last layer. Default true. */
  readonly bias: boolean
}

/** Heads with a label, labels or a value for each row. */
export type RowHeadConfig = ClassificationHeadConfig | MultiLabelHeadConfig | ImageClassificationHeadConfig
/** Heads with a label for each row or token. */
export type LabelledHeadConfig = RowHeadConfig | TaggingHeadConfig
export type LanguageHeadConfig = MaskedLmHeadConfig | CausalLmHeadConfig

/** Told apart by `headType`. Frozen. */
export type HeadConfig = LabelledHeadConfig | ChoiceHeadConfig | LanguageHeadConfig
export type HeadType = HeadConfig['headType']

/** What `addClassificationHead` takes. */
export type ClassificationHeadOptions = HeadOptions<ClassificationHeadConfig>
/** What `addRegressionHead` takes. */
export type RegressionHeadOptions = Omit<ClassificationHeadOptions, 'numLabels' | 'labels' | 'id2label' | 'label2id'>
/** What `addMultiLabelClassificationHead` takes. */
export type MultiLabelHeadOptions = HeadOptions<MultiLabelHeadConfig>
/** What `addImageClassificationHead` takes. */
export type ImageClassificationHeadOptions = HeadOptions<ImageClassificationHeadConfig>
/** What `addTaggingHead` takes. */
export type TaggingHeadOptions = HeadOptions<TaggingHeadConfig>
/** What `addMaskedLmHead` takes. */
export type MaskedLmHeadOptions = Omit<HeadOptions<MaskedLmHeadConfig>, 'labels' | 'id2label'>
/** What `addCausalLmHead` takes. */
export type CausalLmHeadOptions = Omit<HeadOptions<CausalLmHeadConfig>, 'labels' | 'id2label'>

const row = [...labelled, 'usePooler', 'bias'] as const

const fieldsOf: Readonly<Record<HeadType, readonly string[]>> = {
  classification: row,
  multilabel_classification: row,
  image_classification: [...row, 'multilabel'],
  tagging: labelled,
  ...choiceHeadFields,
  masked_lm: ['layers', 'activationFunction', 'tied'],
  causal_lm: ['layers', 'activationFunction', 'layerNorm', 'bias', 'tied']
}

/** What the calls that add a head take. */
export const headOptions = {
  classification: [...row, 'labels', 'id2label'],
  regression: row.filter((field) => field !== 'numLabels' && field !== 'label2id'),
  multilabel_classification: [...row, 'labels', 'id2label'],
  image_classification: [...row, 'multilabel', 'labels', 'id2label'],
  tagging: [...labelled, 'labels', 'id2label'],
  ...choiceHeadOptions,
  masked_lm: fieldsOf.masked_lm,
  causal_lm: fieldsOf.causal_lm
} as const satisfies Readonly<Record<HeadType | 'regression', readonly string[]>>

export function classificationHead(options: ClassificationHeadOptions = {}): ClassificationHeadConfig {
  refuseOneLabel(options)
  return rowHead('classification', options)
}

function refuseOneLabel({ labels }: LabelOptions): void {
  if (!Array.isArray(labels) || labels.length !== 1) return
  const message = `one label is no choice: expected two or more, got ${check.quoted(labels)}`
  throw check.valueError('labels', `${message}. A regression head (numLabels: 1) predicts a value`)
}

export function multiLabelHead(options: MultiLabelHeadOptions = {}): MultiLabelHeadConfig {
  return rowHead('multilabel_classification', options)
}

export function imageClassificationHead(options: ImageClassificationHeadOptions = {}): ImageClassificationHeadConfig {
  const { multilabel, ...fields } = check.checkObject(
    'image_classification head',
    options
  ) as ImageClassificationHeadOptions
  if (multilabel !== true) refuseOneLabel(fields)
  return Object.freeze({
    ...rowHead('image_classification', { layers: 1, ...fields }),
    multilabel: check.checkBoolean('multilabel', multilabel ?? false)
  })
}

/** A classification head with one output: the library has no other name for it. */
export function regressionHead(options: RegressionHeadOptions = {}): ClassificationHeadConfig {
  checkHeadKeys('regression', options, headOptions.regression)
  return rowHead('classification', { ...options, numLabels: 1 })
}

export function taggingHead(options: TaggingHeadOptions = {}): TaggingHeadConfig {
  checkHeadKeys('tagging', options, headOptions.tagging)
  return Object.freeze({ headType: 'tagging', ...labelledFields(options, 1) })
}

export function maskedLmHead(options: MaskedLmHeadOptions = {}): MaskedLmHeadConfig {
  checkHeadKeys('masked_lm', options, headOptions.masked_lm)
  return Object.freeze({ headType: 'masked_lm', ...layerFields(options, 2, 'gelu'), tied: tiedField(options) })
}

export function causalLmHead(options: CausalLmHeadOptions = {}): CausalLmHeadConfig {
  checkHeadKeys('causal_lm', options, headOptions.causal_lm)
  return Object.freeze({
    headType: 'causal_lm',
    ...layerFields(options, 2, 'gelu'),
    layerNorm: check.checkBoolean('layerNorm', options.layerNorm ?? true),
    bias: check.checkBoolean('bias', options.bias ?? true),
    tied: tiedField(options)
  })
}

const tiedField = ({ tied }: { readonly tied?: boolean | undefined }) => check.checkBoolean('tied', tied ?? true)

/** Whether the head's last layer is the word embedding itself. */
export function isTied(config: HeadConfig): boolean {
  return predictsWords(config) && config.tied
}

/** What PyTorch's state dict calls the word embedding in a head that is tied to it, after the head's own name; null: it is not. */
export function tiedWeight(config: HeadConfig): string | null {
  // A network's own head has no layers here.
  if (!predictsWords(config) || !config.tied || config.layers === 0) return null
  const hasNorm = config.headType === 'masked_lm' || config.layerNorm
  const modulesOfLayer = 1 + Number(config.activationFunction !== null) + Number(hasNorm)
  return `${(config.layers - 1) * modulesOfLayer}.weight`
}

/** Heads that answer with words of the vocabulary: they have no labels of their own. */
export function predictsWords(config: HeadConfig): config is LanguageHeadConfig {
  return config.headType === 'masked_lm' || config.headType === 'causal_lm'
}

/** Whether any number of labels may apply to a row; the others answer with one, or with a value. */
export function hasManyLabels(config: HeadConfig): boolean {
  if (config.headType === 'image_classification') return config.multilabel && config.numLabels > 1
  return config.headType === 'multilabel_classification'
}

/** Whether transformers' class for such a problem gives several values a row, as no head here does. */
export const isManyValues = (problem: unknown, numLabels: number): boolean => problem === 'regression' && numLabels > 1

/** Whether the head answers each row with one label or value, or with any number of labels. */
export function readsRows(config: HeadConfig): config is RowHeadConfig {
  return config.headType !== 'tagging' && !isChoiceHead(config) && !predictsWords(config)
}

function rowHead<T extends 'classification' | 'multilabel_classification' | 'image_classification'>(
  headType: T,
  options: HeadOptions<RowHead>
): RowHead & { readonly headType: T } {
  checkHeadKeys(headType, options, headOptions[headType])
  return Object.freeze({
    headType,
    ...labelledFields(options, 2),
    usePooler: check.checkBoolean('usePooler', options.usePooler ?? false),
    bias: check.checkBoolean('bias', options.bias ?? true)
  })
}

/** The labels in the order of their ids: LABEL_0, … where the head has none. */
export function labelNames(config: HeadConfig): readonly string[] {
  if (predictsWords(config) || config.headType === 'question_answering') return []
  // Choices without names are called by their numbers.
  const unnamed = config.headType === 'multiple_choice' ? 0 : config.numLabels
  const names = Array.from({ length: unnamed }, (_, id) => `LABEL_${id}`)
  for (const [label, id] of labelEntries(config)) names[id] = label
  return names
}

/** In a model whose words are not tied, the library's head for them has an output layer of its own. */
export function headInModel(config: HeadConfig, { tieWordEmbeddings }: { tieWordEmbeddings: boolean }): HeadConfig {
  return predictsWords(config) && !tieWordEmbeddings ? Object.freeze({ ...config, tied: false }) : config
}

/** The library's dict for `head_config.json`, its key set exactly: it passes every key to the head's constructor. */
export function headConfigToJson(
  config: HeadConfig,
  model: { readonly vocabSize: number; readonly embeddingSize: number; readonly tieWordEmbeddings?: boolean }
): Record<string, unknown> {
  const fields = Object.entries(config).map(([key, value]) => [snakeCase(key), value])
  if (isChoiceHead(config)) return { ...Object.fromEntries(fields), ...choiceHeadExtras(config) }
  if (!predictsWords(config)) {
    // The library gives every head names when it is added, and they go into the file.
    return { ...Object.fromEntries(fields), label2id: config.label2id ?? defaultIds(config.numLabels) }
  }
  // The library knows no such field, as the model's config says it there; it is written only where the two differ.
  const isSaid = config.tied || model.tieWordEmbeddings === false
  return {
    ...Object.fromEntries(fields.filter(([key]) => key !== 'tied' || !isSaid)),
    vocab_size: model.vocabSize,
    embedding_size: model.embeddingSize,
    layer_norm: config.headType === 'causal_lm' ? config.layerNorm : true,
    bias: config.headType === 'causal_lm' ? config.bias : true,
    shift_labels: config.headType === 'causal_lm',
    label2id: null,
    ...(config.headType === 'causal_lm' && { dropout_prob: null })
  }
}

/** A head's config from the library's dict; the fields that old folders lack get their defaults. */
export function headConfigFromJson(json: Readonly<Record<string, unknown>>): HeadConfig {
  const { head_type: headType, id2label, ...rest } = json
  const name = check.checkString('head_type', headType)
  if (!Object.hasOwn(fieldsOf, name)) refuseHead(name)
  const options = Object.fromEntries(Object.entries(rest).map(([key, value]) => [camelCase(key), value])) as Record<
    string,
    unknown
  >
  if (id2label !== undefined && id2label !== null) options['id2label'] = id2label
  const type = name as HeadType
  switch (type) {
    case 'question_answering':
    case 'multiple_choice':
    case 'dependency_parsing':
      return choiceHeadFromFields(type, options)
    case 'image_classification':
      // The library's own default, where it is not the one of the call that adds such a head.
      return imageClassificationHead({ layers: 2, ...options })
    case 'masked_lm':
      return maskedLmHead(languageFields(options, name, { layerNorm: true, bias: true, shiftLabels: false }))
    case 'causal_lm': {
      // The library's own defaults, for the fields that a converted head leaves out.
      const given = { layers: 1, activationFunction: null, layerNorm: false, bias: false, ...options }
      return causalLmHead(languageFields(given, name, { shiftLabels: true, dropoutProb: null }))
    }
    default:
      return makers[type](options)
  }
}

const makers: { readonly [K in HeadType]: (options: object) => HeadConfig } = {
  classification: classificationHead,
  multilabel_classification: multiLabelHead,
  image_classification: imageClassificationHead,
  tagging: taggingHead,
  question_answering: questionAnsweringHead,
  multiple_choice: multipleChoiceHead,
  dependency_parsing: dependencyParsingHead,
  masked_lm: maskedLmHead,
  causal_lm: causalLmHead
}

/**
 * A head's config that somebody wrote, each of its fields checked.
 * @param mayBeOwn whether it may be that of a network's own head, which has no layers here
 */
export function checkedHead(config: unknown, mayBeOwn: boolean): HeadConfig {
  const { headType, ...fields } = check.checkObject('config', config)
  const make = makers[check.checkOneOf('config.headType', headType, Object.keys(makers) as HeadType[])]
  if (!mayBeOwn || fields['layers'] !== 0) return make(fields)
  return Object.freeze({ ...make({ ...fields, layers: 1 }), layers: 0 }) as HeadConfig
}

/** The sizes are the model's; the fields of `fixed` have one value that works. */
function languageFields(
  options: Record<string, unknown>,
  name: string,
  fixed: Readonly<Record<string, unknown>>
): Record<string, unknown> {
  const { vocabSize: _, embeddingSize: __, label2id: ___, id2label: ____, ...rest } = options
  for (const [field, needed] of Object.entries(fixed)) {
    if ((rest[field] ?? needed) !== needed) refuseHead(`${name} with ${snakeCase(field)} ${rest[field]}`)
    delete rest[field]
  }
  return rest
}

function refuseHead(name: string): never {
  throw new AdapterError('ERR_UNSUPPORTED', 'read the head config', `the head '${name}' is not supported`, {
    expected: `one of ${Object.keys(fieldsOf).join(', ')}`,
    hint: 'Load the adapter without its head (withHead: false) and add one of the heads that work.'
  })
}

/**
 * The head as the core takes it.
 * @param dropout of the model's classifiers, for a head without one of its own
 */
export function nativeHeadConfig(config: HeadConfig, dropout: number | null = null): NativeHeadConfig {
  const native = nativeFields(config)
  return predictsWords(config) || native.dropout_prob !== null ? native : { ...native, dropout_prob: dropout }
}

function nativeFields(config: HeadConfig): NativeHeadConfig {
  if (isChoiceHead(config)) return { head_type: config.headType, tied: true, ...nativeChoiceFields(config) }
  const isLm = predictsWords(config)
  const isRow = readsRows(config)
  const isCausal = config.headType === 'causal_lm'
  const rowType = hasManyLabels(config) ? 'multilabel_classification' : 'classification'
  return {
    head_type: isRow ? rowType : config.headType,
    num_labels: isLm ? 0 : config.numLabels,
    layers: config.layers,
    activation_function: config.activationFunction,
    use_pooler: isRow ? config.usePooler : false,
    bias: isRow || isCausal ? config.bias : true,
    layer_norm: isCausal ? config.layerNorm : true,
    tied: isLm ? config.tied : true,
    dropout_prob: isLm ? null : config.dropoutProb
  }
}
