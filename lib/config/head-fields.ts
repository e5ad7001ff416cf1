import { type NonLinearity, nonLinearities } from './activations.js'
import * as check from './check.js'

/** Ids from 0 under their labels, as `label2id` in the head's file. */
export type LabelIds = { readonly [label: string]: number }
export type LabelsById = { readonly [id: number]: string }

/** What ids are called. */
export interface NamedLabels {
  /**
   * `label2id`. Default null: labels are LABEL_0, LABEL_1, … A name that several ids have stands here under the last of them,
   * as in Python.
   */
  readonly label2id: LabelIds | null
  /** `id2label`: the names by id. It is there only where several ids have one name, which `label2id` cannot say. */
  readonly id2label?: LabelsById | undefined
}

export interface LabelledHead extends NamedLabels {
  /** `num_labels`: labels, from 1 to 1,000,000. Default 2, or as many as are named. */
  readonly numLabels: number
  /** `layers`: linear layers, from 1 to 16; all but the last are as wide as the model's states. Default 2. */
  readonly layers: number
  /** `activation_function`: between two layers. Default 'tanh'; null: none. */
  readonly activationFunction: NonLinearity | null
  /** `dropout_prob`: before each layer, from 0 to 1. Default null: the model's own (`classifier_dropout`, `hidden_dropout_prob`). */
  readonly dropoutProb: number | null
}

/** Labels three ways (`labels`, `id2label`, `label2id`); the first that is given counts, and numLabels must agree with it. */
export interface LabelOptions {
  /** Labels in the order of their ids; each has a name of its own. */
  readonly labels?: readonly string[] | undefined
  /** Names by id. Several ids may have one name: rows are then labelled with the id, and a label of that name is an error. */
  readonly id2label?: LabelsById | undefined
}

type Fields<T> = Omit<T, 'headType'>

/** What a call that adds a head takes: the fields of its config, all of them optional. (`keyof` keeps what editors show of each.) */
export type HeadOptions<T> = { readonly [K in keyof Fields<T>]?: Fields<T>[K] | undefined } & LabelOptions

export const labelled = ['numLabels', 'layers', 'activationFunction', 'label2id', 'dropoutProb'] as const

export function checkHeadKeys(head: string, options: object, allowed: readonly string[]): void {
  const given = check.checkObject(`${head} head`, options)
  check.checkKeys(`${head} head`, given, allowed, (key) =>
    head === 'classification' && key === 'multilabel'
      ? 'is a head of its own: addMultiLabelClassificationHead'
      : undefined
  )
}

/** Far above any task's, far below what no memory would do for. */
export const mostClasses = 1_000_000

/** @param count the option that numLabels is called by, in errors */
export function labelledFields(options: HeadOptions<LabelledHead>, layers: number, count = 'numLabels'): LabelledHead {
  const names = namesOf(options, count)
  const numLabels = check.checkInteger(count, options.numLabels ?? names?.length ?? 2, 1, mostClasses)
  if (names !== null) checkIds(names, numLabels)
  return {
    numLabels,
    ...layerFields(options, layers, 'tanh'),
    ...namedLabels(names),
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

type Name = readonly [label: string, id: number]

function namesOf(options: HeadOptions<LabelledHead>, count: string): readonly Name[] | null {
  if (options.labels !== undefined) {
    const labels = check.checkArray('labels', options.labels)
    if (labels.length === 0)
      throw check.valueError('labels', 'expected the names of the labels, in the order of their ids')
    if (options.numLabels !== undefined && options.numLabels !== labels.length) {
      throw check.rangeError(count, `${labels.length}, as there are labels, or none`, options.numLabels)
    }
    const twice = labels.find((label, id) => labels.indexOf(label) !== id)
    if (twice !== undefined) throw check.valueError('labels', `the same label is there twice: ${check.describe(twice)}`)
    return labels.map((label, id) => [check.checkString(`labels[${id}]`, label), id])
  }
  if (options.id2label !== undefined && options.id2label !== null) {
    const entries = Object.entries(check.checkObject('id2label', options.id2label))
    return entries.map(([id, label]) => [check.checkString(`id2label[${id}]`, label), Number(id)])
  }
  if (options.label2id === undefined || options.label2id === null) return null
  const entries = Object.entries(check.checkObject('label2id', options.label2id))
  return entries.map(([label, id]) => [label, check.checkInteger(`label2id['${label}']`, asNumber(id), 0)])
}

/** Python turns an id2label from JSON, whose keys are texts, into such ids. */
const asNumber = (id: unknown): unknown => (typeof id === 'string' && /^\d+$/.test(id) ? Number(id) : id)

/** Names that say nothing are no names. */
function namedLabels(names: readonly Name[] | null): NamedLabels {
  if (names === null || names.every(([label, id]) => label === `LABEL_${id}`)) return { label2id: null }
  const label2id = Object.freeze(Object.fromEntries(names))
  if (Object.keys(label2id).length === names.length) return { label2id }
  return { label2id, id2label: Object.freeze(Object.fromEntries(names.map(([label, id]) => [id, label]))) }
}

/** Each name with its id, several of a name that several ids have, in the order of the ids. */
export function labelEntries({ label2id, id2label }: NamedLabels): [label: string, id: number][] {
  if (id2label !== undefined) return Object.entries(id2label).map(([id, label]) => [label, Number(id)])
  return Object.entries(label2id ?? {}).sort(([, a], [, b]) => a - b)
}

/** LABEL_0, LABEL_1, …: what a head without names answers. */
export function defaultIds(numLabels: number): LabelIds {
  return Object.fromEntries(Array.from({ length: numLabels }, (_, id) => [`LABEL_${id}`, id]))
}

function checkIds(names: readonly Name[], numLabels: number): void {
  const used = new Set<number>()
  for (const [label, id] of names) {
    check.checkInteger(`the id of label '${label}'`, id, 0, numLabels - 1)
    if (used.has(id)) throw check.valueError('labels', `two labels have the id ${id}`)
    used.add(id)
  }
}
