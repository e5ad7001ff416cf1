// The baseline that knows no order: one weight for each word and label, softmax over the labels, plain JavaScript.
//
//   logits = bias + Σ_w W[w] / sqrt(words)        trained by Adagrad, one row at a time
//
// A pair has three kinds of words: in the first text, in the second, in both.
import { randomSource, shuffle } from './random.mjs'

/** @typedef {{ text: string, textPair?: string | undefined, label: number }} Row */

/** Scripts that are written without spaces between words. */
const unspaced =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u
const segmenter = new Intl.Segmenter(undefined, { granularity: 'word' })

/** Runs of letters and digits of any script. @param {string} text @returns {Set<string>} */
function wordSet(text) {
  const runs = text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? []
  const words = (/** @type {string} */ run) => Array.from(segmenter.segment(run), ({ segment }) => segment)
  return new Set(runs.flatMap((run) => (unspaced.test(run) ? words(run) : run)))
}

/** @param {Row} row @returns {string[]} */
function featuresOf({ text, textPair }) {
  const words = wordSet(text)
  if (textPair === undefined) return [...words]
  const others = wordSet(textPair)
  const both = [...words].filter((word) => others.has(word)).map((word) => `=${word}`)
  return [...words, ...[...others].map((word) => `>${word}`), ...both]
}

export class BagOfWords {
  /** @type {Map<string, number>} */ #ids = new Map()
  /** @type {Float32Array} */ #weights = new Float32Array()
  /** @type {Float32Array} */ #bias
  #labels

  /** @param {number} labels */
  constructor(labels) {
    this.#labels = labels
    this.#bias = new Float32Array(labels)
  }

  /** Weights and biases. */
  get parameters() {
    return this.#weights.length + this.#labels
  }

  /**
   * @param {Row[]} rows
   * @param {{ epochs?: number, learningRate?: number, minCount?: number, seed?: number }} [options] minCount: a
   *   word that occurs in fewer rows is left out
   */
  train(rows, { epochs = 3, learningRate = 1, minCount = 2, seed = 1 } = {}) {
    const texts = rows.map(featuresOf)
    /** @type {Map<string, number>} */
    const counts = new Map()
    for (const features of texts) for (const word of features) counts.set(word, (counts.get(word) ?? 0) + 1)
    for (const [word, count] of counts) if (count >= minCount) this.#ids.set(word, this.#ids.size)

    const labels = this.#labels
    this.#weights = new Float32Array(this.#ids.size * labels)
    const squares = new Float32Array(this.#weights.length).fill(1e-3)
    const biasSquares = new Float32Array(labels).fill(1e-3)
    const known = texts.map((features) => this.#idsOf(features))
    const order = Uint32Array.from(rows, (_, row) => row)
    const random = randomSource(seed)
    for (let epoch = 0; epoch < epochs; epoch++) {
      const rate = learningRate * (1 - epoch / epochs)
      for (const row of shuffle(order, random)) {
        const words = /** @type {Uint32Array} */ (known[row])
        const share = 1 / Math.sqrt(words.length || 1)
        const gradient = softmax(this.#logits(words))
        const label = rows[row]?.label ?? 0
        gradient[label] = (gradient[label] ?? 0) - 1
        adagrad(this.#bias, biasSquares, 0, gradient, 1, rate)
        for (const word of words) adagrad(this.#weights, squares, word * labels, gradient, share, rate)
      }
    }
  }

  /** @param {Row[]} rows @returns {number[]} the likeliest label of each row */
  predict(rows) {
    return rows.map((row) => {
      const logits = this.#logits(this.#idsOf(featuresOf(row)))
      return logits.indexOf(Math.max(...logits))
    })
  }

  /** @param {string[]} features */
  #idsOf(features) {
    return Uint32Array.from(features.flatMap((word) => this.#ids.get(word) ?? []))
  }

  /** @param {Uint32Array} words */
  #logits(words) {
    const labels = this.#labels
    const logits = Float32Array.from(this.#bias)
    const share = 1 / Math.sqrt(words.length || 1)
    for (const word of words) {
      for (let label = 0; label < labels; label++) {
        logits[label] = num(logits, label) + share * num(this.#weights, word * labels + label)
      }
    }
    return logits
  }
}

/** @param {Float32Array} values @param {number} at */
const num = (values, at) => /** @type {number} */ (values[at])

/** @param {Float32Array} logits in place */
function softmax(logits) {
  const largest = Math.max(...logits)
  let sum = 0
  for (let i = 0; i < logits.length; i++) {
    logits[i] = Math.exp(num(logits, i) - largest)
    sum += num(logits, i)
  }
  for (let i = 0; i < logits.length; i++) logits[i] = num(logits, i) / sum
  return logits
}

/**
 * @param {Float32Array} weights
 * @param {Float32Array} squares sum of squared gradients of each weight
 * @param {number} start
 * @param {Float32Array} gradient
 * @param {number} share what the gradient is multiplied by
 * @param {number} rate
 */
function adagrad(weights, squares, start, gradient, share, rate) {
  for (let i = 0; i < gradient.length; i++) {
    const slope = share * num(gradient, i)
    const square = num(squares, start + i) + slope * slope
    squares[start + i] = square
    weights[start + i] = num(weights, start + i) - (rate * slope) / Math.sqrt(square)
  }
}
