import * as check from '../config/check.js'
import type { ChoiceHeadConfig } from '../config/choice-heads.js'
import { ignoredLabel } from '../data/labels.js'
import type { NativeBatch } from '../native/pass-types.js'

/** What heads that choose get beside ids. */
export interface ChoiceInputs {
  readonly choices?: ArrayLike<number> | undefined
  /** For each kept token of each row. */
  readonly wordIds?: readonly Int32Array[] | undefined
  /** For each row, or question, its numbers. */
  readonly labels?: readonly ArrayLike<number>[] | undefined
}

type ChoiceBatch = Pick<NativeBatch, 'choices' | 'wordIds' | 'labels'>

/**
 * @param kept for each row the columns of the tokens that it has
 * @param name what errors call the labels
 */
export function choiceBatch(
  { choices, wordIds, labels }: ChoiceInputs,
  head: ChoiceHeadConfig,
  kept: readonly (readonly number[])[],
  name: string
): ChoiceBatch {
  if (head.headType === 'question_answering') return { labels: labels && positions(labels, kept, name) }
  if (head.headType === 'multiple_choice') {
    if (choices !== undefined && typeof choices.length !== 'number')
      throw check.typeError(
        'choices',
        'for each question how many of the rows are its choices, such as [2, 3]',
        choices
      )
    const counts = choices === undefined ? equalCounts(kept.length, head.numChoices) : Int32Array.from(choices)
    const rows = counts.reduce((sum, count) => sum + count, 0)
    if (rows !== kept.length) {
      throw check.valueError('choices', `expected counts that add up to ${kept.length} rows, got ${rows}`)
    }
    return { choices: counts, labels: labels && oneEach(labels, counts, name) }
  }
  if (wordIds === undefined) {
    const expected = 'rows of numbers: for each token which word it is a part of, -1 for none'
    throw check.typeError('inputs.wordIds', expected, wordIds)
  }
  const flat = Int32Array.from(wordIds.flatMap((row) => Array.from(row)))
  return { wordIds: flat, labels: labels && wordLabels(labels, wordIds, name) }
}

function equalCounts(rows: number, count: number): Int32Array {
  if (rows % count === 0) return new Int32Array(rows / count).fill(count)
  const message = `${rows} rows are no questions of ${count} choices; say with choices how many each question has`
  throw check.valueError('inputIds', message)
}

function counted(name: string, labels: readonly ArrayLike<number>[], count: number, each: string): void {
  if (labels.length !== count) throw check.valueError(name, `expected ${count}, ${each}, got ${labels.length}`)
}

/** Columns as the caller counts them, as places among the tokens that are left. */
function positions(
  labels: readonly ArrayLike<number>[],
  kept: readonly (readonly number[])[],
  name: string
): Int32Array {
  counted(name, labels, kept.length, 'the first and the last token of each row’s answer')
  return Int32Array.from(
    labels.flatMap((pair, row) => {
      if (pair.length !== 2) throw check.valueError(`${name}[${row}]`, `expected 2 tokens, got ${pair.length}`)
      return Array.from(pair, (column, side) => {
        const place = column === ignoredLabel ? column : (kept[row]?.indexOf(column) ?? -1)
        if (place !== -1) return place
        throw check.rangeError(`${name}[${row}][${side}]`, `a token of the row, or ${ignoredLabel} for none`, column)
      })
    })
  )
}

function oneEach(labels: readonly ArrayLike<number>[], counts: Int32Array, name: string): Int32Array {
  counted(name, labels, counts.length, 'one for each question')
  return Int32Array.from(labels, (label, question) => {
    const choice = label[0] ?? Number.NaN
    const count = counts[question] ?? 0
    if (choice === ignoredLabel || (Number.isInteger(choice) && choice >= 0 && choice < count)) return choice
    throw check.rangeError(`${name}[${question}]`, `a choice from 0 to ${count - 1}`, choice)
  })
}

/** A head and a relation for each word, at its first token. */
function wordLabels(labels: readonly ArrayLike<number>[], wordIds: readonly Int32Array[], name: string): Int32Array {
  counted(name, labels, wordIds.length, 'a head and a relation for each word of each row')
  return Int32Array.from(
    wordIds.flatMap((words, row) => {
      const own = Array.from(labels[row] ?? []).flat() as number[]
      const count = words.reduce((most, word) => Math.max(most, word + 1), 0)
      if (own.length !== 2 * count) {
        throw check.valueError(`${name}[${row}]`, `expected ${2 * count} numbers, two for each word, got ${own.length}`)
      }
      return Array.from(words).flatMap((word, token) => {
        const isFirst = word >= 0 && words[token - 1] !== word
        return isFirst
          ? [own[2 * word] ?? ignoredLabel, own[2 * word + 1] ?? ignoredLabel]
          : [ignoredLabel, ignoredLabel]
      })
    })
  )
}
