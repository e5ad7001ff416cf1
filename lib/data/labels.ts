import * as check from '../config/check.js'
import {
  type HeadConfig,
  hasManyLabels,
  type LabelledHeadConfig,
  type LanguageHeadConfig,
  predictsWords,
  readsRows
} from '../config/head-config.js'
import { labelEntries, mostClasses, type NamedLabels } from '../config/head-fields.js'
import { didYouMean } from '../config/nearest.js'
import { type Label, labelItems, labelOf, labelPlace, placeOf, type Row } from './dataset.js'
import { didYouMeanLabel } from './row-fields.js'

/** Where no label stands, the loss looks away. */
export const ignoredLabel = -100

/** Heads with label names. */
type NamedHead = NamedLabels & Pick<LabelledHeadConfig, 'numLabels'>

/** Whether a head wants one label for each token. */
export function labelsTokens(head: HeadConfig): boolean {
  return head.headType === 'tagging' || predictsWords(head)
}

/**
 * Token labels as the core reads them: at each token the label of what stands there, but for a causal head that of the
 * next token of the row; the row's last has none.
 */
export function alignedLabels<T extends ArrayLike<number>>(labels: T, head: HeadConfig): T | Int32Array {
  if (head.headType !== 'causal_lm') return labels
  return Int32Array.from(labels, (_, i) => labels[i + 1] ?? ignoredLabel)
}

/** A row's label as its head wants it: class ids as integers; values and label vectors as floats. */
export function encodeLabel(
  head: LabelledHeadConfig | LanguageHeadConfig,
  label: Label,
  name: string
): Float32Array | Int32Array {
  if (readsRows(head) && hasManyLabels(head)) return labelVector(head, label, name)
  switch (head.headType) {
    case 'classification':
    case 'multilabel_classification':
    case 'image_classification':
      return head.numLabels === 1
        ? Float32Array.of(checkValue(name, label))
        : Int32Array.of(singleClass(head, label, name))
    case 'tagging':
      return tokenIds(label, name, (item, itemName) => classId(head, item, itemName))
    case 'masked_lm':
    case 'causal_lm':
      if (typeof label !== 'object')
        throw check.typeError(
          name,
          `no label for a head of kind ${head.headType}, or the id of a word at each token`,
          label
        )
      return tokenIds(label, name, (item, itemName) => tokenId(item, itemName))
  }
}

function singleClass(head: NamedHead & Pick<HeadConfig, 'headType'>, label: Label, name: string): number {
  if (typeof label !== 'object' || label.length === 1) return classId(head, label, name)
  const several = 'one for several labels (multilabel), or for a label a word (tagging), reads lists'
  throw check.typeError(name, `one label for a head of kind ${head.headType}; ${several}`, label)
}

function checkValue(name: string, label: Label): number {
  // A CSV file gives text.
  const value = typeof label === 'string' && label.trim() !== '' ? Number(label) : label
  // A name is no number; NaN would hide it.
  return check.checkNumber(name, Number.isNaN(value) ? label : value)
}

function tokenId(label: unknown, name: string): number {
  return check.checkInteger(name, typeof label === 'string' && /^\d+$/.test(label) ? Number(label) : label, 0)
}

/** pandas writes a column of whole numbers with gaps as 1.0. */
const withoutZeros = (text: string): string => text.replace(/^(-?\d{1,9})\.0+$/, '$1')

/** A whole number as digits, however it is written: spreadsheets have 1E+03, too. */
const asDigits = (text: string): string =>
  isNumber(text) && Number.isSafeInteger(Number(text)) ? String(Number(text)) : text

/**
 * A label's name first, then an id: a number, its text in a CSV file, or LABEL_3, which a head without names answers. Where
 * a name is a number itself (`--labels 1,2,3`), numbers are names and never ids: read as ids they would all be off by one.
 */
export function classId(head: NamedHead, label: unknown, name: string): number {
  const { label2id, numLabels } = head
  const given = String(label)
  const isName = (text: string) => label2id !== null && Object.hasOwn(label2id, text)
  const text = isName(given) ? given : asDigits(given)
  const named = idOfName(head, text, name)
  if (named !== undefined) return named
  const isId =
    typeof label === 'number' || (label2id === null ? /^(LABEL_)?(0|[1-9]\d{0,8})$/ : /^(0|[1-9]\d{0,8})$/).test(text)
  if (label2id === null) {
    if (!isId) {
      const expected = `the head has no label names: expected an id from 0 to ${numLabels - 1}`
      throw check.valueError(name, `${expected}, got '${text}'. A head with \`labels: [...]\` reads names`)
    }
    return check.checkInteger(name, idOf(label, text), 0, numLabels - 1)
  }
  const names = Object.keys(label2id)
  if (isId && !names.some(looksLikeNumber)) return check.checkInteger(name, idOf(label, text), 0, numLabels - 1)
  const shown = `${check.quoted(names.slice(0, 12))}${names.length > 12 ? ', …' : ''}`
  const help = didYouMean(text, names) || ` The head's labels: ${shown}.`
  throw check.valueError(name, `unknown label ${check.describe(label)}.${help}`)
}

/**
 * The id that a head calls so; undefined: none. A name that several ids have tells none of them apart.
 * @param name of the label's place, in errors
 */
export function idOfName(head: NamedLabels, text: string, name: string): number | undefined {
  if (head.label2id === null || !Object.hasOwn(head.label2id, text)) return undefined
  if (head.id2label === undefined) return head.label2id[text]
  const ids = labelEntries(head).flatMap(([label, id]) => (label === text ? [id] : []))
  if (ids.length === 1) return ids[0]
  const ways = looksLikeNumber(text) ? '' : `the id in its place (${ids.join(' or ')}, a number), or `
  const hint = `Give ${ways}a head whose labels differ (config.json's id2label)`
  throw check.valueError(name, `the head calls ${ids.length} ids ${check.describe(text)}: ${ids.join(', ')}. ${hint}`)
}

const idOf = (label: unknown, text: string): unknown =>
  typeof label === 'string' ? Number(text.replace('LABEL_', '')) : label
const looksLikeNumber = (text: string): boolean => text.trim() !== '' && Number.isFinite(Number(text))
/** 01 is a name, as codes and hexadecimal digits are: read as a number it would be the same label as 1. */
const isNumber = (text: string): boolean => looksLikeNumber(text) && !/^\s*[+-]?0[\dbox]/i.test(text)

/** Names that apply, or one number in [0, 1] for each label. */
function labelVector(head: LabelledHeadConfig, label: Label, name: string): Float32Array {
  const expected = `a list of the names that apply (ids as texts: ["0", "2"]), or of ${head.numLabels} numbers from 0 to 1, one for each label`
  if (typeof label === 'string' || typeof label === 'number') throw check.typeError(name, expected, label)
  const items = Array.from(label as ArrayLike<string | number>)
  const vector = new Float32Array(head.numLabels)
  if (items.length > 0 && items.every((item) => typeof item === 'string')) {
    for (const item of items) vector[classId(head, item, name)] = 1
    return vector
  }
  if (items.length === 0) return vector
  if (items.length !== head.numLabels || !items.every(isShare)) {
    throw check.valueError(name, `expected ${expected}, got ${JSON.stringify(items)}`)
  }
  vector.set(items as number[])
  return vector
}

const isShare = (item: unknown): boolean => typeof item === 'number' && item >= 0 && item <= 1

function tokenIds(label: Label, name: string, one: (item: unknown, name: string) => number): Int32Array {
  if (typeof label === 'string' || typeof label === 'number') throw check.typeError(name, 'one label a token', label)
  return Int32Array.from(Array.from(label as ArrayLike<string | number>), (item, i) => {
    return item === ignoredLabel ? ignoredLabel : one(item, `${name}[${i}]`)
  })
}

/** The label of a word goes to its first token; the others are ignored. */
export function spreadWordLabels(labels: Int32Array, wordIds: Int32Array): Int32Array {
  return wordIds.map((word, i) => (word < 0 || wordIds[i - 1] === word ? ignoredLabel : (labels[word] ?? ignoredLabel)))
}

/** What a dataset's own labels say about the head that they need. */
export interface LabelSummary {
  readonly kind: 'classification' | 'regression' | 'multilabel_classification' | 'tagging'
  readonly numLabels: number
  /** Sorted names; null where the labels are numbers. */
  readonly labels: readonly string[] | null
}

/** Which heads learn from rows that have none. */
export const withoutLabels =
  'Heads for words need none: masked_lm, on the command line --head masked-lm, and with GPT-2 causal_lm.'

/** Looks at every row once, in one pass. Whole numbers are classes, numbers with a fraction are values to predict. */
export function summarizeLabels(rows: Iterable<Row>, name = 'dataset'): LabelSummary {
  const names = new Set<string>()
  const numbers = new Tally()
  let lists = 0
  let width = 0
  let perToken = false
  let i = 0
  /** Where they stand. */
  const first: { name?: string; number?: string } = {}
  for (const row of rows) {
    perToken ||= 'words' in row || 'inputIds' in row
    const label = labelOf(row)
    if (label === null) {
      const help = didYouMeanLabel(Object.keys(row), 'label') || ` ${withoutLabels}`
      throw check.valueError(placeOf(row, `${name}[${i}]`), `this row has no label.${help}`)
    }
    const isList = typeof label === 'object'
    const items = labelItems(label)
    lists += Number(isList)
    width = Math.max(width, items.length)
    for (const item of items) {
      if (typeof item !== 'string' && typeof item !== 'number') {
        const place = labelPlace(row, placeOf(row, `${name}[${i}]`))
        throw check.typeError(place, "a name, a number or a list of them ('true' for true)", item)
      }
      if (item === ignoredLabel) continue
      if (typeof item === 'string') names.add(item)
      else numbers.add(item)
      const type = typeof item === 'string' ? 'name' : 'number'
      first[type] ??= `${labelPlace(row, placeOf(row, `${name}[${i}]`))} is ${check.describe(item)}`
    }
    i++
  }
  if (lists > 0 && lists < i) throw check.valueError(name, 'some rows have one label and some a list')
  if (lists > 0 && width === 0) throw check.valueError(name, 'no row has a label: all their lists are empty')
  if (names.size > 0 && numbers.count > 0) {
    const hint = 'Write all as names ("3" is one) or all as numbers.'
    throw check.valueError(name, `some labels are names and some numbers: ${first.name}, ${first.number}. ${hint}`)
  }
  refuseGaps(names, name)
  return summaryOf(names, numbers, lists > 0, perToken, width)
}

/** What programs write where there is no number. */
const gap = /^\s*([+-]?(nan|inf|infinity)|n\/?a|null|none)\s*$/i

/** Among values a gap is no class, nor are then the values. */
function refuseGaps(names: ReadonlySet<string>, name: string): void {
  const [gaps, values] = [[...names].filter((text) => gap.test(text)), [...names].filter((text) => !gap.test(text))]
  if (gaps.length === 0 || !values.every(isNumber) || values.every((text) => Number.isInteger(Number(text)))) return
  const problem = `some labels are values, such as '${values[0]}', and some are ${check.quoted(gaps)}`
  throw check.valueError(name, `${problem}. Leave rows without a value out`)
}

/**
 * Class names of labels that are whole numbers, whatever their signs: in their order, as `classId` finds them.
 * @param name of the rows, in errors
 */
export function wholeNumberNames(rows: Iterable<Row>, name: string): string[] {
  const found = new Set<string>()
  let i = 0
  for (const row of rows) {
    const label = labelOf(row)
    if (!Number.isInteger(Number(label))) {
      const place = placeOf(row, `${name}[${i}]`)
      const hint = 'Values are for --head regression; --labels makes such numbers names.'
      throw check.valueError(
        labelPlace(row, place),
        `expected a name or a whole number for a class, got ${check.describe(label)}. ${hint}`
      )
    }
    found.add(withoutZeros(String(label)))
    i++
  }
  if (found.size === 1) throw oneClass([...found][0])
  return [...found].sort((a, b) => Number(a) - Number(b))
}

/** For a head whose labels are known by their ids alone: the largest says how many there are. */
export function refuseHugeIds(rows: Iterable<Row>, name: string): void {
  let i = 0
  for (const row of rows) {
    const label = labelOf(row)
    const huge = label === null ? undefined : labelItems(label).find((item) => Number(item) >= mostClasses)
    if (huge !== undefined) {
      const hint =
        'Numbers that name classes are given by --labels, or written with a letter; values are for --head regression.'
      throw check.valueError(
        labelPlace(row, placeOf(row, `${name}[${i}]`)),
        `expected the id of a class, from 0 to ${mostClasses - 1}, got ${huge}. ${hint}`
      )
    }
    i++
  }
}

/** What there is to know of labels that are numbers, however many there are. */
class Tally {
  count = 0
  largest = 0
  areClasses = true

  add(value: number): this {
    this.count++
    this.largest = Math.max(this.largest, value)
    this.areClasses &&= Number.isInteger(value) && value >= 0
    return this
  }
}

const oneClass = (name: string | undefined) =>
  check.valueError('labels', `every row has the label '${name}'; a classifier needs two at least`)

function summaryOf(
  names: ReadonlySet<string>,
  numbers: Tally,
  areLists: boolean,
  perToken: boolean,
  width: number
): LabelSummary {
  const asNumbers = names.size > 0 && [...names].every(isNumber)
  const { largest, areClasses } = asNumbers
    ? [...names].reduce((tally, text) => tally.add(Number(text)), new Tally())
    : numbers
  const kind = areLists ? (perToken ? 'tagging' : 'multilabel_classification') : 'classification'
  if (names.size > 0 && !asNumbers) {
    if (kind === 'classification' && names.size === 1) throw oneClass([...names][0])
    return { kind, numLabels: names.size, labels: [...names].sort() }
  }
  if (kind === 'multilabel_classification') return { kind, numLabels: asNumbers ? largest + 1 : width, labels: null }
  if (!areClasses && kind === 'classification') return { kind: 'regression', numLabels: 1, labels: null }
  return { kind, numLabels: Math.max(2, largest + 1), labels: null }
}
