// Rows of a task as a model's ids: made once, shared by everything that is trained on them.
import { rowLimits } from '../../dist/lib/config/model-config.js'
import { longestFirst } from '../../dist/lib/data/truncate.js'

/** @typedef {import('../../dist/lib/index.js').Model} Model */
/** @typedef {import('./tasks.mjs').Row} Row */
/** @typedef {import('./tasks.mjs').TaggedRow} TaggedRow */
/** @typedef {{ inputIds: Int32Array, tokenTypeIds: Int32Array }} Encoded */
/** @typedef {{ tokenizer: NonNullable<Model['tokenizer']>, maxLength: number, hasTypes: boolean }} Reader maxLength: longer rows are cut */
/** @typedef {Encoded & { label: string }} LabelledRow */
/** @typedef {Encoded & { label: Int32Array, wordAt: Int32Array, tags: number[] }} LabelledTokens wordAt: each word's first token, -1: cut off */

/** What the loss and the answers look away from. */
const ignored = -100

/** @param {Model} model @returns {Reader} */
export function readerOf({ tokenizer, config }) {
  if (tokenizer === undefined) throw new Error('the encoder has no tokenizer')
  const { maxLength, typeVocabSize } = rowLimits(config)
  return { tokenizer, maxLength: Math.min(maxLength, tokenizer.modelMaxLength), hasTypes: typeVocabSize > 1 }
}

/** A tokenizer may write types for a model that has none. @param {Reader} reader @param {Int32Array} types */
const typesFor = ({ hasTypes }, types) => (hasTypes ? types : new Int32Array(types.length))

/**
 * The label goes by its name: a number would be read as one where names are numbers themselves.
 * @param {Reader} reader
 * @param {Row} row
 * @param {string[]} labels
 * @returns {LabelledRow}
 */
export function encodeRow(reader, { text, textPair, label }, labels) {
  const { inputIds, tokenTypeIds } = reader.tokenizer.encode(text, textPair, { maxLength: reader.maxLength })
  return { inputIds, tokenTypeIds: typesFor(reader, tokenTypeIds), label: /** @type {string} */ (labels[label]) }
}

/**
 * Definition and example as a pair; the tag of a word stands on its first token.
 * @param {Reader} reader
 * @param {TaggedRow} row
 * @returns {LabelledTokens}
 */
export function encodeTagged(reader, { text, words, tags }) {
  const { tokenizer, maxLength } = reader
  const { tokens } = tokenizer.tokens(text)
  const whole = tokenizer.encodeWords(words, { maxLength: Number.POSITIVE_INFINITY })
  const places = [...whole.wordIds.keys()].filter((i) => Number(whole.wordIds[i]) >= 0)
  const room = maxLength - tokenizer.specialTokenCount(true)
  const [first, second] = longestFirst(tokens.length, places.length, room)
  const kept = places.slice(0, second)
  const { inputIds, tokenTypeIds, secondAt } = tokenizer.encodePair(
    tokens.slice(0, first),
    kept.map((i) => tokenizer.idToToken(Number(whole.inputIds[i])) ?? '')
  )
  const label = new Int32Array(inputIds.length).fill(ignored)
  const wordAt = new Int32Array(words.length).fill(-1)
  kept.forEach((place, i) => {
    const word = Number(whole.wordIds[place])
    if (wordAt[word] !== -1) return
    wordAt[word] = secondAt + i
    label[secondAt + i] = tags[word] ?? 0
  })
  return { inputIds, tokenTypeIds: typesFor(reader, tokenTypeIds), label, wordAt, tags }
}
