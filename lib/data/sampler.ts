import { checkBoolean, checkInteger, checkPositiveInteger } from '../config/check.js'
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
}

/**
 * Which rows make which batch. An epoch's order follows from the seed and the epoch's number alone, so a run that
 * resumes in the middle of an epoch needs nothing but the two numbers to go on as if it had never stopped.
 */
export class Sampler {
  readonly length: number
  readonly batchSize: number
  readonly batchesPerEpoch: number
  readonly #shuffle: boolean
  readonly #seed: number

  constructor(options: SamplerOptions) {
    this.length = checkPositiveInteger('length', options.length)
    this.batchSize = checkPositiveInteger('batchSize', options.batchSize)
    this.#shuffle = checkBoolean('shuffle', options.shuffle ?? true)
    this.#seed = checkInteger('seed', options.seed ?? 42, 0)
    const full = Math.floor(this.length / this.batchSize)
    const rest = this.length % this.batchSize > 0 ? 1 : 0
    this.batchesPerEpoch = checkBoolean('dropLast', options.dropLast ?? false) ? full : full + rest
  }

  /** All rows, in the order of this epoch (from 0). */
  order(epoch: number): Uint32Array {
    const rows = Uint32Array.from({ length: this.length }, (_, row) => row)
    return this.#shuffle ? Random.fromSeed(this.#seed, checkInteger('epoch', epoch, 0)).shuffle(rows) : rows
  }

  /** The row numbers of each batch of an epoch, from batch `start` on. */
  *batches(epoch: number, start = 0): Generator<Uint32Array, void, undefined> {
    const order = this.order(epoch)
    for (let batch = start; batch < this.batchesPerEpoch; batch++) {
      yield order.subarray(batch * this.batchSize, (batch + 1) * this.batchSize)
    }
  }
}
