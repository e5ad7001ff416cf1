import { AdapterError } from '../native/errors.js'
import { AdapterMerging } from './merging.js'

/** How long a model can be used, and that nothing about it changes while a run holds it, nor what a call under way reads. */
export abstract class ModelLife extends AdapterMerging {
  #holder: string | null = null
  #disposed = false
  /** How many calls under way read the model, and each part of it. */
  #reading = 0
  readonly #read = new Map<string, number>()
  readonly #loading = new Set<string>()

  get disposed(): boolean {
    return this.#disposed
  }

  /**
   * Gives the model's memory back. Calls under way still end well, and later ones throw ERR_DISPOSED; so does a run, before its
   * next step.
   */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.release()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /** @internal A run holds the model: nothing about it may change until the returned function is called. */
  hold(who: string): () => void {
    this.configurable(who)
    this.#holder = who
    return () => {
      this.#holder = null
    }
  }

  /**
   * @internal A call reads these parts, such as `head 'a'`, in several passes: none of them goes, and no weights change, until
   * the returned function is called.
   */
  reads(parts: Iterable<string>): () => void {
    const own = new Set(parts)
    this.#reading++
    for (const part of own) this.#read.set(part, (this.#read.get(part) ?? 0) + 1)
    return () => {
      this.#reading--
      for (const part of own) {
        const others = (this.#read.get(part) ?? 0) - 1
        if (others > 0) this.#read.set(part, others)
        else this.#read.delete(part)
      }
    }
  }

  /** @internal A call that loads this part goes on: it stays until the returned function is called. */
  loads(part: string): () => void {
    this.#loading.add(part)
    return () => {
      this.#loading.delete(part)
    }
  }

  /** For a part that is deleted or replaced. */
  protected unused(operation: string, part: string): void {
    const calls = this.#loading.has(part)
      ? { use: 'loads', wait: 'the call that loads it' }
      : { use: 'reads', wait: 'predict, evaluate or gradients' }
    if (calls.use === 'reads' && !this.#read.has(part)) return
    throw new AdapterError('ERR_BUSY', operation, `a call under way ${calls.use} the ${part}`, {
      hint: `Wait for ${calls.wait} to end; another one may be added under another name meanwhile`
    })
  }

  /** The core's part goes. */
  protected abstract release(): void

  /** @internal Throws where the model was disposed of. */
  override usable(operation: string): void {
    if (!this.#disposed) return
    throw new AdapterError('ERR_DISPOSED', operation, 'the model was disposed of', { hint: 'Load it again to go on' })
  }

  protected override configurable(operation: string): void {
    this.usable(operation)
    if (this.#holder === null) return
    throw new AdapterError('ERR_BUSY', operation, `${this.#holder} holds the model`, {
      hint: 'Wait until the run ends, or abort it'
    })
  }

  protected override rewritable(operation: string): void {
    this.configurable(operation)
    if (this.#reading === 0) return
    throw new AdapterError('ERR_BUSY', operation, 'rows are being answered, and all of them by the same weights', {
      hint: 'Wait until predict or evaluate ends, or abort it'
    })
  }
}
