import type { TextTokenizer } from './tokenizer.js'

/** A part of a context that fits into a row together with the question. */
export interface Window {
  readonly inputIds: Int32Array
  readonly tokenTypeIds: Int32Array
  /** Where its part of the context begins in the row. */
  readonly contextAt: number
  /** The first of the context's tokens that it has, and how many. */
  readonly first: number
  readonly count: number
}

/** A context that is read in windows. */
export interface WindowedContext {
  readonly windows: readonly Window[]
  /** Characters of each of the context's tokens, [start, end). */
  readonly spans: Int32Array
}

/** As Hugging Face's question answering has it: rows of 384 tokens, of which two neighbours share 128. */
const longestRow = 384
const shared = 128

/** A question keeps at most half of a row. Windows share tokens, so that no answer of their number is cut through. */
export function windowsOf(
  tokenizer: TextTokenizer,
  question: string,
  context: string,
  maxLength: number
): WindowedContext {
  const room = Math.min(maxLength, longestRow) - tokenizer.specialTokenCount(true)
  const asked = tokenizer.tokens(question).tokens.slice(0, Math.max(1, Math.floor(room / 2)))
  const { tokens, spans } = tokenizer.tokens(context)
  const size = Math.max(1, room - asked.length)
  const step = size - Math.min(shared, Math.floor(size / 2))
  const windows: Window[] = []
  for (let first = 0; ; first += step) {
    const part = tokens.slice(first, first + size)
    const { inputIds, tokenTypeIds, secondAt } = tokenizer.encodePair(asked, part)
    windows.push({ inputIds, tokenTypeIds, contextAt: secondAt, first, count: part.length })
    if (first + size >= tokens.length) return { windows, spans }
  }
}
