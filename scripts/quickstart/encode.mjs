// Rows of a task as the ids of one tokenizer: made once, shared by everything that is trained on them.

/** @typedef {import('./tasks.mjs').Row} Row */
/** @typedef {import('./tasks.mjs').TaggedRow} TaggedRow */
/** @typedef {{ inputIds: Int32Array, tokenTypeIds: Int32Array }} Encoded */
/** @typedef {{ encode(text: string, textPair?: string): Encoded, encodeWords(words: string[]): Encoded & { wordIds: Int32Array } }} Tokenizer */
/** @typedef {Encoded & { label: number }} LabelledRow */
/** @typedef {Encoded & { label: Int32Array, wordAt: Int32Array, tags: number[] }} LabelledTokens wordAt: each word's first token */

/** What the loss and the answers look away from. */
const ignored = -100

/** @param {Tokenizer} tokenizer @param {Row} row @returns {LabelledRow} */
export function encodeRow(tokenizer, { text, textPair, label }) {
  return { ...tokenizer.encode(text, textPair), label }
}

/**
 * Definition and example as a pair; the tag of a word stands on its first token.
 * @param {Tokenizer} tokenizer
 * @param {TaggedRow} row
 * @returns {LabelledTokens}
 */
export function encodeTagged(tokenizer, { text, words, tags }) {
  const first = tokenizer.encode(text)
  const second = tokenizer.encodeWords(words)
  const start = first.inputIds.length
  // Of the second text's own special tokens only the last one belongs into a pair.
  const inputIds = Int32Array.from([...first.inputIds, ...second.inputIds.subarray(1)])
  const tokenTypeIds = new Int32Array(inputIds.length).fill(1, start)
  const label = new Int32Array(inputIds.length).fill(ignored)
  const wordAt = new Int32Array(words.length)
  second.wordIds.forEach((word, i) => {
    if (word < 0 || second.wordIds[i - 1] === word) return
    const at = start + i - 1
    wordAt[word] = at
    label[at] = tags[word] ?? 0
  })
  return { inputIds, tokenTypeIds, label, wordAt, tags }
}
