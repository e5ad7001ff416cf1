import type { Model } from '../model/model.js'

/*
 * A process takes more than its tensors: buffers of the mathematics library, code that oneDNN compiles for each number of
 * tokens, holes between small tensors in the C library's heap, blocks that are larger than what lies in them (nn/large_blocks.h).
 * That is some 10 MiB for the smallest model, and no formula has it. So batches of several sizes go through. With 8 of them,
 * rows of all lengths took up to 19 % more than was planned at hidden 256; with 24, up to 2 %. A small model passes more of
 * them: each takes some 40 KiB, and it is done soon. Evaluations have what they need of that from training's: with 24 of their
 * own or none, rows of all lengths took 4 to 12 % more than was planned.
 */
const [fewestSizes, mostSizes] = [24, 64]
/** Multiply-adds of the sizes beyond the fewest, forward: some seconds. What a size takes is much for a small model alone. */
const sizesWork = 5e10

/** The largest of a run's batches, and some of other sizes. */
export class Samples<T> {
  largest: { readonly tokens: number; readonly batch: T } | undefined
  readonly #others = new Map<number, T>()

  add(tokens: number, batch: T): void {
    if (this.#others.size < mostSizes && !this.#others.has(tokens)) this.#others.set(tokens, batch)
    if (this.largest === undefined || tokens > this.largest.tokens) this.largest = { tokens, batch }
  }

  /** As many as a model of this size is soon done with, and no fewer than `fewest`. */
  others({ config }: Model, fewest = fewestSizes): T[] {
    const { largest } = this
    if (largest === undefined) return []
    const work = 12 * config.hiddenSize ** 2 * config.numHiddenLayers * largest.tokens
    const count = Math.max(fewest, Math.floor(sizesWork / work))
    const others = [...this.#others].slice(0, count)
    return others.flatMap(([tokens, one]) => (tokens === largest.tokens ? [] : [one]))
  }

  /** The largest comes last: it meets the holes that the others have left. */
  of(model: Model): T[] {
    return this.largest === undefined ? [] : [...this.others(model), this.largest.batch]
  }
}
