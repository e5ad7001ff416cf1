import * as check from '../config/check.js'
import type { DependencyParsingHeadConfig } from '../config/choice-heads.js'
import type { EncodedRow } from './collate.js'
import type { Row, WordsRow } from './dataset.js'
import { classId, ignoredLabel } from './labels.js'
import { neededTokenizer, type Tokenized } from './needed-tokenizer.js'

/** The words of a row that have tokens, and which of them each token is a part of. */
export interface EncodedWordsOf {
  /** For each token, -1: none. */
  readonly wordIds: Int32Array
  /** For each word that has tokens its number in the row. */
  readonly words: Int32Array
}

/** Heads (0: the root, 1: the first word) and relations, as CoNLL-U has them; undefined where the row has none. */
export function parseLabel(row: Row, head: DependencyParsingHeadConfig, name: string): Int32Array | undefined {
  const { heads, relations } = row as WordsRow
  const count = (row as WordsRow).words.length
  if (heads == null && relations == null) return undefined
  const list = (field: string, value: unknown): ArrayLike<unknown> => {
    const items = ArrayBuffer.isView(value) ? (value as Int32Array) : check.checkArray(`${name}.${field}`, value)
    if (items.length !== count)
      throw check.valueError(`${name}.${field}`, `${items.length} ${field} for ${count} words`)
    return items
  }
  const all = { heads: list('heads', heads), relations: list('relations', relations) }
  const label = Int32Array.from({ length: 2 * count }, (_, i) => {
    const word = i >> 1
    if (Number(all.heads[word]) === ignoredLabel) return ignoredLabel
    if (i % 2 === 1) return classId(head, all.relations[word], `${name}.relations[${word}]`)
    return check.checkInteger(`${name}.heads[${word}]`, Number(all.heads[word]), 0, count)
  })
  checkTree(label, count, name)
  return label
}

/** An answer is always a tree, so a cycle could not be learned. Several words may have the root for a head. */
function checkTree(label: Int32Array, count: number, name: string): void {
  for (let word = 1; word <= count; word++) {
    let at = word
    for (let steps = 0; at > 0 && steps <= count; steps++) at = label[2 * (at - 1)] ?? 0
    if (at <= 0) continue
    throw check.valueError(`${name}.heads`, `expected a tree, but the heads of word ${word} go in a circle`)
  }
}

export function encodeParse(
  row: Row,
  head: DependencyParsingHeadConfig,
  tokenized: Tokenized,
  maxLength: number,
  name: string
): EncodedRow {
  const label = parseLabel(row, head, name)
  const tokenizer = neededTokenizer(tokenized, name, 'which rows of words need')
  const { inputIds, tokenTypeIds, wordIds } = tokenizer.encodeWords((row as WordsRow).words, {
    maxLength
  })
  const words = Int32Array.from(new Set(wordIds.filter((word) => word >= 0)))
  const renumbered = new Map(Array.from(words, (word, i) => [word, i]))
  const parse = { wordIds: wordIds.map((word) => renumbered.get(word) ?? -1), words }
  return { inputIds, tokenTypeIds, label: label && labelsAtFirstTokens(label, parse), parse }
}

/** Two labels a token, at the first of each word. A word whose head was cut off has none. */
function labelsAtFirstTokens(label: Int32Array, { wordIds, words }: EncodedWordsOf): Int32Array {
  const labels = new Int32Array(2 * wordIds.length).fill(ignoredLabel)
  words.forEach((word, i) => {
    const head = label[2 * word] ?? ignoredLabel
    const place = head <= 0 ? head : words.indexOf(head - 1) + 1
    if (head === ignoredLabel || (head > 0 && place === 0)) return
    labels.set([place, label[2 * word + 1] ?? ignoredLabel], 2 * wordIds.indexOf(i))
  })
  return labels
}
