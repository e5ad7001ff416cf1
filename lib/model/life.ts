import { AdapterError } from '../native/errors.js'
import { AdapterMerging } from './merging.js'

/** How long a model can be used, and while a run holds it, that nothing about it changes. */
export abstract class ModelLife extends AdapterMerging {
  #holder: string | null = null
  #answering = 0
  #disposed = false

  get disposed(): boolean {
    return this.#disposed
  }

  /** Gives the model's memory back. Work under way still ends well; later calls throw ERR_DISPOSED. */
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

  /** @internal Rows are answered in several passes, which all must find one model, until the returned function is called. */
  answering(): () => void {
    this.#answering++
    return () => {
      this.#answering--
    }
  }

  /** The core's part goes. */
  protected abstract release(): void

  protected override usable(operation: string): void {
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
    if (this.#answering === 0) return
    throw new AdapterError('ERR_BUSY', operation, 'rows are being answered, and all of them by the same weights', {
      hint: 'Wait until predict or evaluate ends, or abort it'
    })
  }
}
