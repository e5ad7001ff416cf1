import type { NativeBatch } from '../native/pass-types.js'
import type { TensorData } from '../native/types.js'
import type { Tensor } from './outputs.js'

/** What the answers of heads that choose are laid out by. */
export type RowFacts = Pick<NativeBatch, 'rowLengths' | 'choices' | 'wordIds'>

/** Of some rows of a batch; of a question all choices or none. */
export function rowFacts({ rowLengths, choices, wordIds }: RowFacts, rows: readonly number[]): RowFacts {
  const kept = new Set(rows)
  const starts = startsOf(rowLengths)
  const questions = choices && startsOf(choices)
  return {
    rowLengths: Int32Array.from(rows, (row) => rowLengths[row] ?? 0),
    choices: choices?.filter((_, question) => kept.has(questions?.[question] ?? -1)),
    wordIds:
      wordIds && Int32Array.from(rows.flatMap((row) => Array.from(wordIds.subarray(starts[row], starts[row + 1]))))
  }
}

/** Of all rows several times, one copy after the other. */
export function repeatedFacts({ rowLengths, choices, wordIds }: RowFacts, times: number): RowFacts {
  const repeat = (values: Int32Array) =>
    Int32Array.from({ length: values.length * times }, (_, i) => values[i % values.length] ?? 0)
  return { rowLengths: repeat(rowLengths), choices: choices && repeat(choices), wordIds: wordIds && repeat(wordIds) }
}

function startsOf(lengths: Int32Array): number[] {
  const starts = [0]
  lengths.forEach((length, i) => {
    starts.push((starts[i] ?? 0) + length)
  })
  return starts
}

/** [rows, 1] → [questions, choices]. */
export function byQuestion({ data, dtype }: TensorData, { rowLengths, choices }: RowFacts): Tensor {
  const counts = Array.from(choices ?? rowLengths.map(() => 1))
  const width = Math.max(...counts)
  const all = new Float32Array(counts.length * width).fill(Number.NEGATIVE_INFINITY)
  let at = 0
  counts.forEach((count, question) => {
    all.set(data.subarray(at, at + count), question * width)
    at += count
  })
  return { data: all, shape: [counts.length, width], dtype }
}

/** [pairs, 1 + relations] → heads and relations apart. */
export function byWord(
  { data, shape, dtype }: TensorData,
  { rowLengths, wordIds = new Int32Array() }: RowFacts
): { readonly logits: Tensor; readonly relationLogits: Tensor } {
  const starts = startsOf(rowLengths)
  const counts = Array.from(rowLengths, (_, row) =>
    wordIds.subarray(starts[row], starts[row + 1]).reduce((most, word) => Math.max(most, word + 1), 0)
  )
  const words = Math.max(...counts)
  const relations = (shape[1] ?? 1) - 1
  const places = counts.length * words * (words + 1)
  const heads = new Float32Array(places).fill(Number.NEGATIVE_INFINITY)
  const kinds = new Float32Array(places * relations)
  let pair = 0
  counts.forEach((count, row) => {
    for (let i = 0; i < count * (count + 1); i++, pair++) {
      const place = (row * words + Math.floor(i / (count + 1))) * (words + 1) + (i % (count + 1))
      const from = pair * (relations + 1)
      heads[place] = data[from] ?? Number.NaN
      kinds.set(data.subarray(from + 1, from + 1 + relations), place * relations)
    }
  })
  return {
    logits: { data: heads, shape: [counts.length, words, words + 1], dtype },
    relationLogits: { data: kinds, shape: [counts.length, words, words + 1, relations], dtype }
  }
}
