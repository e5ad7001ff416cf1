import { type NonLinearity, nonLinearities } from './activations.js'
import * as check from './check.js'

/** Ids from 0 under their labels, as `label2id` in the head's file. */
export type LabelIds = { readonly [label: string]: number }

export interface LabelledHead {
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

/** Labels three ways; the first that is given counts, and numLabels must agree with it. */
export interface LabelOptions {
  /** Labels in the order of their ids. */
  readonly labels?: readonly string[] | undefined
  readonly id2label?: { readonly [id: number]: string } | undefined
}

/** What a call that adds a head takes. */
export type HeadOptions<T> = { readonly [K in Exclude<keyof T, 'headType'>]?: T[K] | undefined } & LabelOptions

export const labelled = ['numLabels', 'layers', 'activationFunction', 'label2id', 'dropoutProb'] as const

export function checkHeadKeys(head: string, options: object, allowed: readonly string[]): void {
  check.checkKeys(`${head} head`, check.checkObject(`${head} head`, options), allowed)
}

/** Far above any task's, far below what no memory would do for. */
export const mostClasses = 1_000_000

/** @param count the option that numLabels is called by, in errors */
export function labelledFields(options: HeadOptions<LabelledHead>, layers: number, count = 'numLabels'): LabelledHead {
  const label2id = labelIds(options, count)
  const given = options.numLabels ?? (label2id === null ? 2 : Object.keys(label2id).length)
  const numLabels = check.checkInteger(count, given, 1, mostClasses)
  if (label2id !== null) checkIds(label2id, numLabels)
  return {
    numLabels,
    ...layerFields(options, layers, 'tanh'),
    label2id: withoutDefaultNames(label2id),
    dropoutProb: dropoutField(options)
  }
}

export function dropoutField({
  dropoutProb = null
}: {
  readonly dropoutProb?: number | null | undefined
}): number | null {
  return dropoutProb === null ? null : check.checkNumber('dropoutProb', dropoutProb, { from: 0, to: 1 })
}

export function layerFields(
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

function labelIds(options: HeadOptions<LabelledHead>, count: string): LabelIds | null {
  if (options.labels !== undefined) {
    const labels = check.checkArray('labels', options.labels)
    if (labels.length === 0)
      throw check.valueError('labels', 'expected the names of the labels, in the order of their ids')
    if (options.numLabels !== undefined && options.numLabels !== labels.length) {
      throw check.rangeError(count, `${labels.length}, as there are labels, or none`, options.numLabels)
    }
    return idsOf(labels.map((label, id): [string, number] => [check.checkString(`labels[${id}]`, label), id]))
  }
  if (options.id2label !== undefined && options.id2label !== null) {
    const entries = Object.entries(check.checkObject('id2label', options.id2label))
    return idsOf(entries.map(([id, label]) => [check.checkString(`id2label[${id}]`, label), Number(id)]))
  }
  if (options.label2id === undefined || options.label2id === null) return null
  const entries = Object.entries(check.checkObject('label2id', options.label2id))
  return idsOf(entries.map(([label, id]) => [label, check.checkInteger(`label2id['${label}']`, asNumber(id), 0)]))
}

/** Python turns an id2label from JSON, whose keys are texts, into such ids. */
const asNumber = (id: unknown): unknown => (typeof id === 'string' && /^\d+$/.test(id) ? Number(id) : id)

function idsOf(entries: readonly (readonly [string, number])[]): LabelIds {
  const seen = new Set<string>()
  for (const [label] of entries) {
    if (seen.has(label)) throw check.valueError('labels', `the same label is there twice: '${label}'`)
    seen.add(label)
  }
  return Object.freeze(Object.fromEntries(entries))
}

/** LABEL_0, LABEL_1, …: what a head without names answers. */
export function defaultIds(numLabels: number): LabelIds {
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
