import type { TextTokenizer } from './tokenizer.js'

/**
 * What the next token may still change: the first bytes of a character, and a space (with what follows it) that Hugging
 * Face's clean-up of spaces takes out before a mark or in `don 't`.
 */
const unsettled = /(?:\ufffd+| (?:n'?|'(?:re?|ve?|[ms])?)?)$/

/** Text out of tokens that come one by one. All pieces together are what decoding all tokens at once gives. */
export class TextStream {
  readonly #tokenizer: TextTokenizer
  /** From the tokens of the last piece on: a decoder may look at a token's neighbour. */
  #ids: number[] = []
  #told = 0

  constructor(tokenizer: TextTokenizer) {
    this.#tokenizer = tokenizer
  }

  /** What the token adds; '' while that is not settled. With `isLast` all that is left. */
  push(id: number, isLast: boolean): string {
    const before = this.#tokenizer.decode(this.#ids.slice(0, this.#told))
    this.#ids.push(id)
    const text = this.#tokenizer.decode(this.#ids)
    const piece = text.slice(before.length)
    // A special token gives no text, and could not tell the next one that it has a neighbour.
    if (piece === '' || (!isLast && unsettled.test(text))) return ''
    this.#ids = this.#ids.slice(this.#told)
    this.#told = this.#ids.length
    return piece
  }
}
