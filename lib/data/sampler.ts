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

  /** All rows, in the order of this epoch (from 0). */
  order(epoch: number): Uint32Array {
    const rows = Uint32Array.from({ length: this.length }, (_, row) => row)
    if (!this.#shuffle) return rows
    const order = Random.fromSeed(this.#seed, checkInteger('epoch', epoch, 0)).shuffle(rows)
    return this.#groupSize === undefined ? order : groupByLength(order, this.#lengths, this.#groupSize)
  }

  /** Batches of an epoch. */
  batchCount(epoch: number): number {
    if (this.#maxTokens !== undefined) return [...this.batches(epoch)].length
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

function* withinBudget(order: Uint32Array, lengths: Uint32Array, maxTokens: number): Generator<Uint32Array> {
  let [start, tokens] = [0, 0]
  for (const [at, row] of order.entries()) {
    const length = lengths[row] ?? 0
    if (at > start && tokens + length > maxTokens) {
      yield order.subarray(start, at)
      start = at
      tokens = 0
    }
    tokens += length
  }
  yield order.subarray(start)
}

/**
 * As transformers' get_length_grouped_indices: the random order is cut into stretches of up to 50 groups, each sorted from
 * the longest row down, and the longest row of all comes first, so that memory that does not suffice shows at once.
 */
function groupByLength(order: Uint32Array, lengths: Uint32Array, groupSize: number): Uint32Array {
  const lengthOf = (row: number) => lengths[row] ?? 0
  const stretch = groupSize * Math.max(1, Math.min(50, Math.floor(order.length / (groupSize * 4))))
  const result = new Uint32Array(order.length)
  let longest = 0
  for (let start = 0; start < order.length; start += stretch) {
    const sorted = Array.from(order.subarray(start, start + stretch)).sort((a, b) => lengthOf(b) - lengthOf(a))
    result.set(sorted, start)
    if (lengthOf(sorted[0] ?? 0) > lengthOf(result[longest] ?? 0)) longest = start
  }
  const first = result[0] ?? 0
  result[0] = result[longest] ?? 0
  result[longest] = first
  return result
}
