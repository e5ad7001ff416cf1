import { checkBoolean, checkInteger, checkPositiveInteger, valueError } from '../config/check.js'
import { batchesWithin, byLength, countWithin, drained, shuffled } from './epoch-order.js'
import { Pauses } from './pauses.js'

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
  /** Of batches that are filled up to a number of tokens, by epoch. */
  readonly #counts = new Map<number, number>()

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
    if (this.#known?.epoch !== epoch) drained(this.#draw(epoch))
    return this.#known?.order as Uint32Array
  }

  /** Draws an epoch's order and counts its batches in pieces, the thread free between them: then all else has it at once. */
  async prepare(epoch: number): Promise<void> {
    if (this.#known?.epoch === epoch) return
    const pauses = new Pauses()
    for (const _ of this.#draw(epoch)) await pauses.take()
  }

  *#draw(epoch: number): Generator<void, void, undefined> {
    const { length } = this
    let order = yield* shuffled(length, this.#shuffle ? [this.#seed, checkInteger('epoch', epoch, 0)] : undefined)
    if (this.#shuffle && this.#groupSize !== undefined) order = yield* byLength(order, this.#lengths, this.#groupSize)
    if (this.#maxTokens !== undefined)
      this.#counts.set(epoch, yield* countWithin(order, this.#lengths, this.#maxTokens))
    this.#known = { epoch, order }
  }

  /** Batches of an epoch. */
  batchCount(epoch: number): number {
    if (this.#maxTokens !== undefined) {
      if (!this.#counts.has(epoch)) drained(this.#draw(epoch))
      return this.#counts.get(epoch) ?? 0
    }
    const full = Math.floor(this.length / this.batchSize)
    return this.#dropLast || this.length % this.batchSize === 0 ? full : full + 1
  }

  /** The row numbers of each batch of an epoch, from batch `start` on. */
  *batches(epoch: number, start = 0): Generator<Uint32Array, void, undefined> {
    const order = this.order(epoch)
    if (this.#maxTokens !== undefined) {
      let batch = 0
      for (const rows of batchesWithin(order, this.#lengths, this.#maxTokens)) if (batch++ >= start) yield rows
      return
    }
    const count = this.batchCount(epoch)
    for (let batch = start; batch < count; batch++) {
      yield order.subarray(batch * this.batchSize, (batch + 1) * this.batchSize)
    }
  }
}
