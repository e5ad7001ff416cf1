import * as check from '../config/check.js'

/**
 * A model's adapters, fusions or heads by name, which everybody may read and the model alone changes: what is in such a map
 * is in the core, too.
 */
export class PartMap<T> extends Map<string, T> {
  readonly #calls: string

  /** @param calls what changes it, for the message */
  constructor(calls: string) {
    super()
    this.#calls = calls
  }

  /** @internal */
  put(name: string, part: T): void {
    super.set(name, part)
  }

  /** @internal */
  drop(name: string): void {
    super.delete(name)
  }

  override set(): never {
    return this.#refuse()
  }
  override delete(): never {
    return this.#refuse()
  }
  override clear(): never {
    return this.#refuse()
  }

  #refuse(): never {
    throw check.valueError('model', `this map is there to be read; ${this.#calls} change what the model has`)
  }
}
