import { checkBoolean, checkInteger, checkPositiveInteger, valueError } from '../config/check.js'
import { Random } from './random.js'

export interface SamplerOptions {
  /** Rows of the dataset. */
  readonly length: number
  /** Rows of a batch. */
  readonly batchSize: number
  /** A new order in each epoch. Default true. */
  readonly shuffle?: boolean
  /** Default 42. */
  readonly seed?: number
  /** Leave out a last batch that is not full. Default false. */
  readonly dropLast?: boolean
  /** Tokens of each row, for the two below. */
  readonly lengths?: Uint32Array | undefined
  /** Rows of a batch, or of the batches of one step, that are to be of one length; needs shuffle. Default: any lengths. */
  readonly groupSize?: number | undefined
  /** Instead of batchSize: tokens of a batch. A row with more is a batch alone. */
  readonly maxTokens?: number | undefined
}

/**
 * Which rows make which batch. An epoch's order follows from the seed and the epoch's number alone, so a run that
 * resumes in the middle of an epoch needs nothing but the two numbers to go on as if it had never stopped.
 */
export class Sampler {
  readonly length: number
  readonly batchSize: number
  readonly #shuffle: boolean
  readonly #seed: number
  readonly #dropLast: boolean
  readonly #lengths: Uint32Array
  readonly #groupSize: number | undefined
  readonly #maxTokens: number | undefined
  /** Of the epoch that was asked for last. */
  #known: { readonly epoch: number; readonly order: Uint32Array } | undefined

  constructor(options: SamplerOptions) {
    this.length = checkPositiveInteger('length', options.length)
    this.batchSize = checkPositiveInteger('batchSize', options.batchSize)
    this.#shuffle = checkBoolean('shuffle', options.shuffle ?? true)
    this.#seed = checkInteger('seed', options.seed ?? 42, 0)
    this.#dropLast = checkBoolean('dropLast', options.dropLast ?? false)
    this.#lengths = options.lengths ?? new Uint32Array()
    this.#groupSize = options.groupSize
    this.#maxTokens = options.maxTokens
    const needsLengths = this.#groupSize !== undefined || this.#maxTokens !== undefined
    if (needsLengths && this.#lengths.length !== this.length) {
      throw valueError('lengths', `expected one for each of ${this.length} rows, got ${this.#lengths.length}`)
    }
  }

  /** Whether batches are filled up to a number of tokens: then epochs have different numbers of them. */
  get hasBudget(): boolean {
    return this.#maxTokens !== undefined
  }

  /** All rows, in the order of this epoch (from 0). Nobody may write to it. */
  order(epoch: number): Uint32Array {
    if (this.#known?.epoch !== epoch) this.#known = { epoch, order: this.#drawn(epoch) }
    return this.#known.order
  }

  #drawn(epoch: number): Uint32Array {
    const rows = new Uint32Array(this.length)
    for (let row = 0; row < rows.length; row++) rows[row] = row
    if (!this.#shuffle) return rows
    const order = Random.fromSeed(this.#seed, checkInteger('epoch', epoch, 0)).shuffle(rows)
    return this.#groupSize === undefined ? order : groupByLength(order, this.#lengths, this.#groupSize)
  }

  /** Batches of an epoch. */
  batchCount(epoch: number): number {
    if (this.#maxTokens !== undefined) return countWithin(this.order(epoch), this.#lengths, this.#maxTokens)
    const full = Math.floor(this.length / this.batchSize)
    return this.#dropLast || this.length % this.batchSize === 0 ? full : full + 1
  }

  /** The row numbers of each batch of an epoch, from batch `start` on. */
  *batches(epoch: number, start = 0): Generator<Uint32Array, void, undefined> {
    const order = this.order(epoch)
    if (this.#maxTokens !== undefined) {
      let batch = 0
      for (const rows of withinBudget(order, this.#lengths, this.#maxTokens)) if (batch++ >= start) yield rows
      return
    }
    const count = this.batchCount(epoch)
    for (let batch = start; batch < count; batch++) {
      yield order.subarray(batch * this.batchSize, (batch + 1) * this.batchSize)
    }
  }
}

/** Where the batch that begins at a place ends. */
function endWithin(start: number, order: Uint32Array, lengths: Uint32Array, maxTokens: number): number {
  let at = start
  let tokens = 0
  while (at < order.length) {
    tokens += lengths[order[at] ?? 0] ?? 0
    if (at > start && tokens > maxTokens) break
    at++
  }
  return at
}

function* withinBudget(order: Uint32Array, lengths: Uint32Array, maxTokens: number): Generator<Uint32Array> {
  for (let start = 0; start < order.length; ) {
    const end = endWithin(start, order, lengths, maxTokens)
    yield order.subarray(start, end)
    start = end
  }
}

function countWithin(order: Uint32Array, lengths: Uint32Array, maxTokens: number): number {
  let count = 0
  for (let start = 0; start < order.length; start = endWithin(start, order, lengths, maxTokens)) count++
  return count
}

/**
 * As transformers' get_length_grouped_indices: the random order is cut into stretches of up to 50 groups, each sorted from
 * the longest row down, and the longest row of all comes first, so that memory that does not suffice shows at once.
 */
function groupByLength(order: Uint32Array, lengths: Uint32Array, groupSize: number): Uint32Array {
  const lengthOf = (row: number) => lengths[row] ?? 0
  const longestOf = lengths.reduce((most, length) => Math.max(most, length), 0)
  const stretch = groupSize * Math.max(1, Math.min(50, Math.floor(order.length / (groupSize * 4))))
  const result = new Uint32Array(order.length)
  let longest = 0
  for (let start = 0; start < order.length; start += stretch) {
    const rows = order.subarray(start, start + stretch)
    // Numbers that sort by length, then by place: without a comparison in JavaScript.
    const keys = new Float64Array(rows.length)
    for (let i = 0; i < rows.length; i++) keys[i] = (longestOf - lengthOf(rows[i] ?? 0)) * rows.length + i
    keys.sort()
    for (let i = 0; i < rows.length; i++) result[start + i] = rows[(keys[i] ?? 0) % rows.length] ?? 0
    if (lengthOf(result[start] ?? 0) > lengthOf(result[longest] ?? 0)) longest = start
  }
  const first = result[0] ?? 0
  result[0] = result[longest] ?? 0
  result[longest] = first
  return result
}
