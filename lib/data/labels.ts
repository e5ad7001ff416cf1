import * as check from '../config/check.js'
import type { HeadConfig, LabelIds } from '../config/head-config.js'
import { didYouMean } from '../config/nearest.js'
import { type Label, labelOf, type Row } from './dataset.js'

/** Where no label stands, the loss looks away. */
export const ignoredLabel = -100

type LabelledHeadConfig = Exclude<HeadConfig, { headType: 'masked_lm' }>

/** Whether a head wants one label for each token. */
export function labelsTokens(head: HeadConfig): boolean {
  return head.headType === 'tagging' || head.headType === 'masked_lm'
}

/** A row's label as its head wants it: class ids as integers; values and label vectors as floats. */
export function encodeLabel(head: HeadConfig, label: Label, name: string): Float32Array | Int32Array {
  switch (head.headType) {
    case 'classification':
      return head.numLabels === 1 ? Float32Array.of(checkValue(name, label)) : Int32Array.of(classId(head, label, name))
    case 'multilabel_classification':
      return labelVector(head, label, name)
    case 'tagging':
      return tokenIds(label, name, (item, itemName) => classId(head, item, itemName))
    case 'masked_lm':
      return tokenIds(label, name, (item, itemName) => check.checkInteger(itemName, item, 0))
  }
}

function checkValue(name: string, label: Label): number {
  // A CSV file gives text.
  const value = typeof label === 'string' && label.trim() !== '' ? Number(label) : label
  return check.checkNumber(name, value)
}

function classId(head: LabelledHeadConfig, label: unknown, name: string): number {
  if (typeof label === 'string') return namedClass(head.label2id, head.numLabels, label, name)
  return check.checkInteger(name, label, 0, head.numLabels - 1)
}

function namedClass(ids: LabelIds | null, numLabels: number, label: string, name: string): number {
  if (ids !== null && Object.hasOwn(ids, label)) return ids[label] ?? 0
  // Numbers are text in a CSV file, and LABEL_3 is what a head without names answers.
  const number = /^(?:LABEL_)?(\d{1,9})$/.exec(label)?.[1]
  if (number !== undefined) return check.checkInteger(name, Number(number), 0, numLabels - 1)
  if (ids === null) throw check.valueError(name, `the head has no label names, so '${label}' is none of its labels`)
  throw check.valueError(name, `unknown label '${label}'.${didYouMean(label, Object.keys(ids))}`)
}

/** Names that apply, or one number in [0, 1] for each label. */
function labelVector(head: LabelledHeadConfig, label: Label, name: string): Float32Array {
  if (typeof label === 'string' || typeof label === 'number') {
    throw check.typeError(name, `the names that apply, or ${head.numLabels} numbers`, label)
  }
  const items = Array.from(label as ArrayLike<string | number>)
  const vector = new Float32Array(head.numLabels)
  if (items.length > 0 && items.every((item) => typeof item === 'string')) {
    for (const item of items) vector[namedClass(head.label2id, head.numLabels, item, name)] = 1
    return vector
  }
  if (items.length === 0) return vector
  if (items.length !== head.numLabels) {
    throw check.valueError(name, `expected ${head.numLabels} numbers, one for each label, got ${items.length}`)
  }
  items.forEach((item, i) => {
    vector[i] = check.checkNumber(`${name}[${i}]`, item, { from: 0, to: 1 })
  })
  return vector
}

function tokenIds(label: Label, name: string, one: (item: unknown, name: string) => number): Int32Array {
  if (typeof label === 'string' || typeof label === 'number') throw check.typeError(name, 'one label a token', label)
  return Int32Array.from(Array.from(label as ArrayLike<string | number>), (item, i) => {
    return item === ignoredLabel ? ignoredLabel : one(item, `${name}[${i}]`)
  })
}

/** The label of a word goes to its first token; the others are ignored. */
export function spreadWordLabels(labels: Int32Array, wordIds: Int32Array, words: number, name: string): Int32Array {
  if (labels.length !== words) throw check.valueError(name, `${labels.length} labels for ${words} words`)
  return wordIds.map((word, i) => (word < 0 || wordIds[i - 1] === word ? ignoredLabel : (labels[word] ?? ignoredLabel)))
}

/** What a dataset's own labels say about the head that they need. */
export interface LabelSummary {
  readonly kind: 'classification' | 'regression' | 'multilabel_classification' | 'tagging'
  readonly numLabels: number
  /** Sorted names; null where the labels are numbers. */
  readonly labels: readonly string[] | null
}

/** Looks at every row once. Whole numbers are classes, numbers with a fraction are values to predict. */
export function summarizeLabels(rows: readonly Row[], name = 'dataset'): LabelSummary {
  const names = new Set<string>()
  const numbers: number[] = []
  let lists = 0
  let width = 0
  rows.forEach((row, i) => {
    const label = labelOf(row)
    if (label === null) throw check.valueError(`${name}[${i}]`, 'this row has no label')
    const isList = typeof label !== 'string' && typeof label !== 'number'
    const items = isList ? Array.from(label as ArrayLike<string | number>) : [label]
    lists += Number(isList)
    width = Math.max(width, items.length)
    for (const item of items) {
      if (typeof item === 'string') names.add(item)
      else if (item !== ignoredLabel) numbers.push(item)
    }
  })
  if (lists > 0 && lists < rows.length) throw check.valueError(name, 'some rows have one label and some a list')
  if (names.size > 0 && numbers.length > 0) throw check.valueError(name, 'some labels are names and some numbers')
  return summaryOf(
    names,
    numbers,
    lists > 0,
    rows.some((row) => 'words' in row || 'inputIds' in row),
    width
  )
}

function summaryOf(
  names: ReadonlySet<string>,
  numbers: readonly number[],
  areLists: boolean,
  perToken: boolean,
  width: number
): LabelSummary {
  const asNumbers = names.size > 0 && [...names].every((label) => label.trim() !== '' && Number.isFinite(Number(label)))
  const values = asNumbers ? [...names].map(Number) : numbers
  const largest = values.reduce((most, value) => Math.max(most, value), 0)
  const kind = areLists ? (perToken ? 'tagging' : 'multilabel_classification') : 'classification'
  if (names.size > 0 && !asNumbers) {
    return { kind, numLabels: names.size, labels: [...names].sort() }
  }
  if (kind === 'multilabel_classification') return { kind, numLabels: width, labels: null }
  const areClasses = values.every((value) => Number.isInteger(value) && value >= 0)
  if (!areClasses && kind === 'classification') return { kind: 'regression', numLabels: 1, labels: null }
  return { kind, numLabels: Math.max(2, largest + 1), labels: null }
}
