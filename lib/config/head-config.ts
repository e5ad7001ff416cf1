import { AdapterError } from '../native/errors.js'
import type { NativeHeadConfig } from '../native/types.js'
import { type NonLinearity, nonLinearities } from './activations.js'
import { camelCase, snakeCase } from './case.js'
import * as check from './check.js'

/** Ids from 0 under their labels, as `label2id` in the head's file. */
export type LabelIds = { readonly [label: string]: number }

interface LabelledHead {
  /** `num_labels`: outputs a row or token. */
  readonly numLabels: number
  /** `layers`: linear layers; between two of them stands the activation. */
  readonly layers: number
  /** `activation_function`. Default 'tanh'; null: none. */
  readonly activationFunction: NonLinearity | null
  /** `label2id`. Default null: labels are LABEL_0, LABEL_1, … */
  readonly label2id: LabelIds | null
  /** `dropout_prob`: before each linear layer. Default null: the model's own. */
  readonly dropoutProb: number | null
}

interface RowHead extends LabelledHead {
  /** `use_pooler`: read the model's pooler instead of the first token. Default false. */
  readonly usePooler: boolean
  /** `bias`: of the last layer. Default true. */
  readonly bias: boolean
}

/** One label a row; with one output it is regression (mean squared error). */
export interface ClassificationHeadConfig extends RowHead {
  readonly headType: 'classification'
}

/** Any number of labels a row. */
export interface MultiLabelHeadConfig extends RowHead {
  readonly headType: 'multilabel_classification'
}

/** One label an image, or any number of them; with one output it is regression. */
export interface ImageClassificationHeadConfig extends RowHead {
  readonly headType: 'image_classification'
  /** `multilabel`. Default false. */
  readonly multilabel: boolean
}

/** One label a token. */
export interface TaggingHeadConfig extends LabelledHead {
  readonly headType: 'tagging'
}

/** Masked language modelling; its last layer is the word embedding. */
export interface MaskedLmHeadConfig {
  readonly headType: 'masked_lm'
  /** `layers`. Default 2. */
  readonly layers: number
  /** `activation_function`. Default 'gelu'. */
  readonly activationFunction: NonLinearity | null
}

/** Predicting the next token; its last layer is the word embedding. For models whose tokens see only those before them. */
export interface CausalLmHeadConfig {
  readonly headType: 'causal_lm'
  /** `layers`. Default 2; 1: the word embedding alone, as in pretrained models. */
  readonly layers: number
  /** `activation_function`. Default 'gelu'. */
  readonly activationFunction: NonLinearity | null
  /** `layer_norm`: after each layer but the last. Default true. */
  readonly layerNorm: boolean
  /** `bias`: of the last layer. Default true. */
  readonly bias: boolean
}

export type LanguageHeadConfig = MaskedLmHeadConfig | CausalLmHeadConfig

/** Told apart by `headType`. Frozen. */
export type HeadConfig =
  | ClassificationHeadConfig
  | MultiLabelHeadConfig
  | ImageClassificationHeadConfig
  | TaggingHeadConfig
  | LanguageHeadConfig
export type HeadType = HeadConfig['headType']

/** Labels three ways; the first that is given counts, and numLabels must agree with it. */
interface LabelOptions {
  /** Labels in the order of their ids. */
  readonly labels?: readonly string[] | undefined
  readonly id2label?: { readonly [id: number]: string } | undefined
}

type HeadOptions<T> = { readonly [K in Exclude<keyof T, 'headType'>]?: T[K] | undefined } & LabelOptions
export type ClassificationHeadOptions = HeadOptions<ClassificationHeadConfig>
export type RegressionHeadOptions = Omit<ClassificationHeadOptions, 'numLabels' | 'labels' | 'id2label' | 'label2id'>
export type MultiLabelHeadOptions = HeadOptions<MultiLabelHeadConfig>
export type ImageClassificationHeadOptions = HeadOptions<ImageClassificationHeadConfig>
export type TaggingHeadOptions = HeadOptions<TaggingHeadConfig>
export type MaskedLmHeadOptions = Omit<HeadOptions<MaskedLmHeadConfig>, 'labels' | 'id2label'>
export type CausalLmHeadOptions = Omit<HeadOptions<CausalLmHeadConfig>, 'labels' | 'id2label'>

const labelled = ['numLabels', 'layers', 'activationFunction', 'label2id', 'dropoutProb'] as const
const row = [...labelled, 'usePooler', 'bias'] as const

const fieldsOf: Readonly<Record<HeadType, readonly string[]>> = {
  classification: row,
  multilabel_classification: row,
  image_classification: [...row, 'multilabel'],
  tagging: labelled,
  masked_lm: ['layers', 'activationFunction'],
  causal_lm: ['layers', 'activationFunction', 'layerNorm', 'bias']
}

export function classificationHead(options: ClassificationHeadOptions = {}): ClassificationHeadConfig {
  return rowHead('classification', options)
}

export function multiLabelHead(options: MultiLabelHeadOptions = {}): MultiLabelHeadConfig {
  return rowHead('multilabel_classification', options)
}

export function imageClassificationHead(options: ImageClassificationHeadOptions = {}): ImageClassificationHeadConfig {
  const { multilabel, ...fields } = check.checkObject(
    'image_classification head',
    options
  ) as ImageClassificationHeadOptions
  return Object.freeze({
    ...rowHead('image_classification', { layers: 1, ...fields }),
    multilabel: check.checkBoolean('multilabel', multilabel ?? false)
  })
}

/** A classification head with one output: the library has no other name for it. */
export function regressionHead(options: RegressionHeadOptions = {}): ClassificationHeadConfig {
  checkHeadKeys(
    'regression',
    options,
    row.filter((field) => field !== 'numLabels' && field !== 'label2id')
  )
  return rowHead('classification', { ...options, numLabels: 1 })
}

export function taggingHead(options: TaggingHeadOptions = {}): TaggingHeadConfig {
  checkHeadKeys('tagging', options, [...labelled, 'labels', 'id2label'])
  return Object.freeze({ headType: 'tagging', ...labelledFields(options, 1) })
}

export function maskedLmHead(options: MaskedLmHeadOptions = {}): MaskedLmHeadConfig {
  checkHeadKeys('masked_lm', options, fieldsOf.masked_lm)
  return Object.freeze({ headType: 'masked_lm', ...layerFields(options, 2, 'gelu') })
}

export function causalLmHead(options: CausalLmHeadOptions = {}): CausalLmHeadConfig {
  checkHeadKeys('causal_lm', options, fieldsOf.causal_lm)
  return Object.freeze({
    headType: 'causal_lm',
    ...layerFields(options, 2, 'gelu'),
    layerNorm: check.checkBoolean('layerNorm', options.layerNorm ?? true),
    bias: check.checkBoolean('bias', options.bias ?? true)
  })
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

/** Whether the head answers each row with one label or value, or with any number of labels. */
export function readsRows(
  config: HeadConfig
): config is ClassificationHeadConfig | MultiLabelHeadConfig | ImageClassificationHeadConfig {
  return config.headType !== 'tagging' && !predictsWords(config)
}

function rowHead<T extends 'classification' | 'multilabel_classification' | 'image_classification'>(
  headType: T,
  options: HeadOptions<RowHead>
): RowHead & { readonly headType: T } {
  checkHeadKeys(headType, options, [...row, 'labels', 'id2label'])
  return Object.freeze({
    headType,
    ...labelledFields(options, 2),
    usePooler: check.checkBoolean('usePooler', options.usePooler ?? false),
    bias: check.checkBoolean('bias', options.bias ?? true)
  })
}

function checkHeadKeys(head: string, options: object, allowed: readonly string[]): void {
  check.checkKeys(`${head} head`, check.checkObject(`${head} head`, options), allowed)
}

function labelledFields(options: HeadOptions<LabelledHead>, layers: number): LabelledHead {
  const label2id = labelIds(options)
  const numLabels = check.checkPositiveInteger(
    'numLabels',
    options.numLabels ?? (label2id === null ? 2 : Object.keys(label2id).length)
  )
  if (label2id !== null) checkIds(label2id, numLabels)
  const { dropoutProb = null } = options
  return {
    numLabels,
    ...layerFields(options, layers, 'tanh'),
    label2id: withoutDefaultNames(label2id),
    dropoutProb: dropoutProb === null ? null : check.checkNumber('dropoutProb', dropoutProb, { from: 0, to: 1 })
  }
}

function layerFields(
  options: { readonly layers?: unknown; readonly activationFunction?: unknown },
  layers: number,
  activation: NonLinearity
): { readonly layers: number; readonly activationFunction: NonLinearity | null } {
  const { activationFunction = activation } = options
  const name = typeof activationFunction === 'string' ? activationFunction.toLowerCase() : activationFunction
  return {
    layers: check.checkInteger('layers', options.layers ?? layers, 1, 16),
    activationFunction: name === null ? null : check.checkOneOf('activationFunction', name, nonLinearities)
  }
}

function labelIds(options: HeadOptions<LabelledHead>): LabelIds | null {
  if (options.labels !== undefined) {
    const labels = check.checkArray('labels', options.labels)
    if (options.numLabels !== undefined && options.numLabels !== labels.length) {
      throw check.rangeError('numLabels', `${labels.length}, as there are labels, or none`, options.numLabels)
    }
    return idsOf(labels.map((label, id): [string, number] => [check.checkString(`labels[${id}]`, label), id]))
  }
  if (options.id2label !== undefined && options.id2label !== null) {
    const entries = Object.entries(check.checkObject('id2label', options.id2label))
    return idsOf(entries.map(([id, label]) => [check.checkString(`id2label[${id}]`, label), Number(id)]))
  }
  if (options.label2id === undefined || options.label2id === null) return null
  const entries = Object.entries(check.checkObject('label2id', options.label2id))
  return idsOf(entries.map(([label, id]) => [label, check.checkInteger(`label2id['${label}']`, id, 0)]))
}

function idsOf(entries: readonly (readonly [string, number])[]): LabelIds {
  const ids = Object.fromEntries(entries)
  if (Object.keys(ids).length < entries.length) throw check.valueError('labels', 'the same label is there twice')
  return Object.freeze(ids)
}

/** LABEL_0, LABEL_1, …: what a head without names answers. */
function defaultIds(numLabels: number): LabelIds {
  return Object.fromEntries(Array.from({ length: numLabels }, (_, id) => [`LABEL_${id}`, id]))
}

/** Names that say nothing are no names. */
function withoutDefaultNames(label2id: LabelIds | null): LabelIds | null {
  const entries = Object.entries(label2id ?? {})
  return entries.every(([label, id]) => label === `LABEL_${id}`) ? null : label2id
}

function checkIds(label2id: LabelIds, numLabels: number): void {
  const used = new Set<number>()
  for (const [label, id] of Object.entries(label2id)) {
    check.checkInteger(`the id of label '${label}'`, id, 0, numLabels - 1)
    if (used.has(id)) throw check.valueError('labels', `two labels have the id ${id}`)
    used.add(id)
  }
}

/** The labels in the order of their ids: LABEL_0, … where the head has none. */
export function labelNames(config: HeadConfig): readonly string[] {
  if (predictsWords(config)) return []
  const names = Array.from({ length: config.numLabels }, (_, id) => `LABEL_${id}`)
  for (const [label, id] of Object.entries(config.label2id ?? {})) names[id] = label
  return names
}

/** The library's dict for `head_config.json`, its key set exactly: it passes every key to the head's constructor. */
export function headConfigToJson(
  config: HeadConfig,
  model: { readonly vocabSize: number; readonly embeddingSize: number }
): Record<string, unknown> {
  const fields = Object.entries(config).map(([key, value]) => [key === 'label2id' ? key : snakeCase(key), value])
  if (!predictsWords(config)) {
    // The library gives every head names when it is added, and they go into the file.
    return { ...Object.fromEntries(fields), label2id: config.label2id ?? defaultIds(config.numLabels) }
  }
  return {
    ...Object.fromEntries(fields),
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
  const options = Object.fromEntries(
    Object.entries(rest).map(([key, value]) => [key === 'label2id' ? key : camelCase(key), value])
  ) as Record<string, unknown>
  if (id2label !== undefined && id2label !== null) options['id2label'] = id2label
  switch (name as HeadType) {
    case 'classification':
      return classificationHead(options)
    case 'multilabel_classification':
      return multiLabelHead(options)
    case 'image_classification':
      // The library's own default, where it is not the one of the call that adds such a head.
      return imageClassificationHead({ layers: 2, ...options })
    case 'tagging':
      return taggingHead(options)
    case 'masked_lm':
      return maskedLmHead(languageFields(options, name, { layerNorm: true, bias: true, shiftLabels: false }))
    case 'causal_lm': {
      // The library's own defaults, for the fields that a converted head leaves out.
      const given = { layers: 1, activationFunction: null, layerNorm: false, bias: false, ...options }
      return causalLmHead(languageFields(given, name, { shiftLabels: true, dropoutProb: null }))
    }
  }
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

/** The head as the core takes it. */
export function nativeHeadConfig(config: HeadConfig): NativeHeadConfig {
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
    dropout_prob: isLm ? null : config.dropoutProb
  }
}
