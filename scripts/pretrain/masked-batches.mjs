// Batches for masked-language modelling: rows of about one length together, a fixed number of hidden tokens in each.
//
// Every batch is a function of (seed, epoch, index) alone, so a run that was stopped goes on where it was.
import { randomSource, shuffle } from '../quickstart/random.mjs'
import { special } from './token-store.mjs'

/** @typedef {import('./token-store.mjs').TokenStore} TokenStore */
/**
 * @typedef {object} MaskedBatch
 * @property {Int32Array} ids the rows one after the other, no padding
 * @property {Int32Array} tokenTypes
 * @property {Int32Array} rowLengths
 * @property {Int32Array} labels the hidden id where the model has to find it, -100 elsewhere
 */
/**
 * @typedef {object} MaskingOptions
 * @property {number} batchTokens
 * @property {number} maskShare of the tokens
 * @property {number} seed
 * @property {number} vocabularySize
 * @property {boolean} [nameAtCls] [CLS] has to find a piece of the name that the row defines
 */

/** So many batches' rows are drawn together and sorted by length: sorted enough, and still well mixed. */
const sortedTogether = 64

/**
 * The rows of each batch of an epoch, in the order of training.
 * @param {TokenStore} store
 * @param {MaskingOptions} options
 * @param {number} epoch
 * @returns {Uint32Array[]}
 */
export function planEpoch(store, { batchTokens, seed }, epoch) {
  const random = randomSource(seed * 1_000_003 + epoch)
  const order = shuffle(
    Uint32Array.from({ length: store.train }, (_, row) => row),
    random
  )
  /** @type {Uint32Array[]} */
  const batches = []
  for (let start = 0, end = 0; start < order.length; start = end) {
    let tokens = 0
    while (end < order.length && tokens < sortedTogether * batchTokens) tokens += store.lengthOf(order[end++] ?? 0)
    const block = order.slice(start, end).sort((a, b) => store.lengthOf(a) - store.lengthOf(b))
    batches.push(...cut(block, store, batchTokens))
  }
  return shuffle(batches, random)
}

/** @param {Uint32Array} rows @param {TokenStore} store @param {number} batchTokens */
function* cut(rows, store, batchTokens) {
  let start = 0
  let tokens = 0
  for (let end = 0; end < rows.length; end++) {
    const length = store.lengthOf(rows[end] ?? 0)
    if (tokens + length > batchTokens && end > start) {
      yield rows.subarray(start, end)
      start = end
      tokens = 0
    }
    tokens += length
  }
  if (start < rows.length) yield rows.subarray(start)
}

/**
 * Of the hidden tokens 80 % become [MASK], 10 % any piece, 10 % stay as they are.
 * @param {TokenStore} store
 * @param {Uint32Array} rows
 * @param {MaskingOptions} options
 * @param {() => number} random
 * @returns {MaskedBatch}
 */
export function maskRows(store, rows, { maskShare, vocabularySize, nameAtCls }, random) {
  const content = Array.from(rows, (row) => store.row(row))
  const total = content.reduce((sum, { ids }) => sum + ids.length, 0)
  const ids = new Int32Array(total)
  const tokenTypes = new Int32Array(total)
  const labels = new Int32Array(total).fill(-100)
  let at = 0
  for (const row of content) {
    ids.set(row.ids, at)
    tokenTypes.fill(1, Math.min(at + row.secondAt, at + row.ids.length), at + row.ids.length)
    if (nameAtCls && row.name.length > 0) {
      labels[at] = /** @type {number} */ (row.name[Math.floor(random() * row.name.length)])
    }
    at += row.ids.length
  }
  const candidates = Uint32Array.from(ids.keys()).filter((place) => (ids[place] ?? 0) >= special.count)
  const hidden = Math.min(candidates.length, Math.max(1, Math.round(maskShare * total)))
  for (const place of shuffle(candidates, random).subarray(0, hidden)) {
    labels[place] = /** @type {number} */ (ids[place])
    const fate = random()
    if (fate < 0.8) ids[place] = special.mask
    else if (fate < 0.9) ids[place] = special.count + Math.floor(random() * (vocabularySize - special.count))
  }
  return { ids, tokenTypes, rowLengths: Int32Array.from(content, (row) => row.ids.length), labels }
}

/**
 * @param {TokenStore} store
 * @param {MaskingOptions} options
 * @param {{ epoch: number, index: number }} [from] the first batch
 * @returns {Generator<MaskedBatch & { epoch: number, index: number }>} without end
 */
export function* maskedBatches(store, options, from = { epoch: 0, index: 0 }) {
  for (let epoch = from.epoch; ; epoch++) {
    const plan = planEpoch(store, options, epoch)
    for (let index = epoch === from.epoch ? from.index : 0; index < plan.length; index++) {
      const random = randomSource((options.seed * 1_000_003 + epoch) * 100_003 + index)
      yield { ...maskRows(store, /** @type {Uint32Array} */ (plan[index]), options, random), epoch, index }
    }
  }
}

/**
 * The dev rows, hidden the same way every time.
 * @param {TokenStore} store
 * @param {MaskingOptions} options
 * @returns {MaskedBatch[]}
 */
export function devBatches(store, options) {
  const rows = Uint32Array.from({ length: store.dev }, (_, row) => store.train + row)
  rows.sort((a, b) => store.lengthOf(a) - store.lengthOf(b))
  const random = randomSource(0)
  const plain = { ...options, nameAtCls: false }
  return [...cut(rows, store, options.batchTokens)].map((batch) => maskRows(store, batch, plain, random))
}
