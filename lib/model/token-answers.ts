import type { EncodedRow } from '../data/collate.js'
import type { Row } from '../data/dataset.js'
import type { TextTokenizer } from '../data/tokenizer.js'

/** The answer for one token or word. */
export interface TokenPrediction {
  /** Rows of words: the word that this is the answer for. */
  readonly word?: string
  /** Other rows, where the model has a tokenizer: the token as its vocabulary has it, such as `##ing`. */
  readonly token?: string
  /** Dependency parsing: the word's head, 0 for the root and 1 for the first word; label is the relation to it. */
  readonly head?: number | null
  /** Null, as all of the answer is, for a word that the row was too long for or that has no token. */
  readonly label: string | null
  readonly labelId: number | null
  readonly score: number | null
}

export interface Best {
  readonly label: string
  readonly labelId: number
  readonly score: number
}

export interface TokenAnswers {
  readonly tokens: readonly TokenPrediction[]
  /** [tokens × labels] row by row, as many rows as there are answers. */
  readonly logits: Float32Array
}

/** One answer for each token, special tokens included. */
export function answersByToken(
  { inputIds, image }: EncodedRow,
  logits: Float32Array,
  best: (logits: Float32Array) => Best,
  tokenizer: TextTokenizer | undefined
): TokenAnswers {
  const count = image?.tokens ?? inputIds.length
  const width = logits.length / count
  const tokens = Array.from({ length: count }, (_, i) => {
    const id = inputIds[i]
    const token = id === undefined ? undefined : tokenizer?.idToToken(id)
    return { ...(token === undefined ? {} : { token }), ...best(logits.subarray(i * width, (i + 1) * width)) }
  })
  return { tokens, logits }
}

/** One answer for each word, that of its first token: what the labels of words are learned with. */
export function answersByWord(
  words: readonly string[],
  wordIds: Int32Array,
  logits: Float32Array,
  best: (logits: Float32Array) => Best
): TokenAnswers {
  const width = logits.length / wordIds.length
  const byWord = new Float32Array(words.length * width).fill(Number.NaN)
  const tokens = words.map((word, index) => {
    const first = wordIds.indexOf(index)
    if (first < 0) return { word, label: null, labelId: null, score: null }
    const own = logits.subarray(first * width, (first + 1) * width)
    byWord.set(own, index * width)
    return { word, ...best(own) }
  })
  return { tokens, logits: byWord }
}

/** The words of a row, where it has any. */
export function wordsOf(row: Row): readonly string[] | null {
  return 'words' in row && row.words != null ? row.words : null
}
