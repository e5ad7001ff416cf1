import * as check from '../config/check.js'
import type { Row } from '../data/dataset.js'
import { checkModel } from '../model/check-model.js'
import { loadTogether } from '../model/load-together.js'
import type { Model } from '../model/model.js'
import type { Prediction } from '../model/predict.js'
import { checkKnown } from '../model/setup.js'
import { AdapterError } from '../native/errors.js'

/** Where an adapter of a switcher comes from: a folder or hub id. One that the model has already needs no path. */
export interface SwitcherSource {
  readonly path?: string | undefined
}

/**
 * Adapters that stay loaded side by side, each under a name of its own: switching changes which of them runs, and copies
 * nothing. `new AdapterSwitcher(model, { a: { path: 'out/a' }, b: { path: 'organisation/b' } })`.
 */
export class AdapterSwitcher {
  readonly model: Model
  /** Fulfilled when all adapters are loaded; rejected when one cannot be, and then the model has none of them. */
  readonly ready: Promise<void>
  readonly #names: ReadonlySet<string>
  #state: 'loading' | 'ready' | { readonly error: unknown } = 'loading'

  constructor(model: Model, adapters: Readonly<Record<string, SwitcherSource>>) {
    checkModel(model)
    const entries = Object.entries(check.checkObject('adapters', adapters)).map(([name, source]) => {
      const given = check.checkObject(`adapters.${name}`, source)
      check.checkKeys(`adapters.${name}`, given, ['path'])
      return [name, given['path']] as const
    })
    if (entries.length === 0) throw check.rangeError('adapters', 'at least one adapter', adapters)
    for (const [name, path] of entries) {
      if (path === undefined) checkKnown('adapters', name, model.adapters)
      else check.checkNonEmptyString(`adapters.${name}.path`, path)
    }
    this.model = model
    this.#names = new Set(entries.map(([name]) => name))
    this.ready = this.#load(entries as readonly (readonly [string, string | undefined])[])
    // Whoever never waits learns of it from the next call.
    this.ready.catch(() => {})
  }

  async #load(entries: readonly (readonly [string, string | undefined])[]): Promise<void> {
    try {
      await loadTogether(this.model, async (loaded) => {
        for (const [name, path] of entries) if (path !== undefined) await loaded.adapter(path, { as: name })
      })
      this.#state = 'ready'
    } catch (error) {
      this.#state = { error }
      throw error
    }
  }

  /** The names that switchAdapter takes. */
  get names(): readonly string[] {
    return [...this.#names]
  }

  /**
   * Makes this adapter, and its head where it has one, the model's active one. Throws ERR_BUSY before `ready`, and what
   * `ready` was rejected with.
   */
  switchAdapter(name: string): void {
    if (!this.#names.has(name)) checkKnown('switchAdapter', name, this.#names)
    if (typeof this.#state === 'object') throw this.#state.error
    if (this.#state === 'loading') {
      throw new AdapterError('ERR_BUSY', 'switchAdapter', 'the adapters are still being loaded', {
        hint: 'Wait for them first: await switcher.ready'
      })
    }
    this.model.setActiveAdapters(name)
  }

  /**
   * The answer of one adapter, whichever is active, and its head. One that has none is answered by the head that is active,
   * as everywhere.
   */
  async inference(input: string | Row, name: string): Promise<Prediction> {
    checkKnown('inference', name, this.#names)
    await this.ready
    const [answer] = await this.model.predict([input], { adapters: name })
    return answer as Prediction
  }
}
