import type { LoadAdapterOptions, LoadHeadOptions } from './exchange.js'
import type { LoadFusionOptions } from './fusion-files.js'
import type { Model } from './model.js'

/** Parts of a model that are loaded one after the other, all or none: where `load` fails, what came goes again. */
export async function loadTogether(model: Model, load: (loaded: LoadedTogether) => Promise<void>): Promise<void> {
  const loaded = new LoadedTogether(model)
  try {
    await load(loaded)
  } catch (error) {
    loaded.undo()
    throw error
  } finally {
    loaded.end()
  }
}

export class LoadedTogether {
  readonly #model: Model
  readonly #undo: (() => void)[]
  /** Part → lets it go. */
  readonly #holds = new Map<string, () => void>()

  constructor(model: Model) {
    this.#model = model
    this.#undo = [model.keepHeadChoice()]
  }

  /** A part that is there from now on, such as `head 'a'`: nobody else deletes or replaces it before the end. */
  came(part: string, remove: () => void): void {
    this.#undo.push(remove)
    this.#holds.set(part, this.#model.loads(part))
  }

  /** Under a name that the model does not have: what was replaced could not come back. */
  async adapter(source: string, options: LoadAdapterOptions & { readonly as: string }): Promise<void> {
    const model = this.#model
    const { as: name } = options
    const had = { adapter: model.adapters.has(name), head: model.heads.has(name) }
    const groups = new Set(model.sharedParameters.keys())
    await model.loadAdapter(source, options)
    if (model.heads.has(name)) {
      this.came(`head '${name}'`, () => {
        if (!had.head) model.deleteHead(name)
      })
    }
    this.came(`adapter '${name}'`, () => {
      for (const [group, names] of [...model.sharedParameters]) {
        if (!groups.has(group) && names.includes(name)) model.unshareParameters(group)
      }
      if (!had.adapter) model.deleteAdapter(name)
    })
  }

  async fusion(source: string, options: LoadFusionOptions & { readonly as: string }): Promise<void> {
    const model = this.#model
    const { as: name } = options
    const had = model.adapterFusions.has(name)
    await model.loadAdapterFusion(source, options)
    this.came(`fusion '${name}'`, () => {
      if (!had) model.deleteAdapterFusion(name)
    })
  }

  async head(source: string, options: LoadHeadOptions & { readonly as: string }): Promise<void> {
    const model = this.#model
    const { as: name } = options
    const had = model.heads.has(name)
    // One that came with an adapter before may be replaced.
    this.#holds.get(`head '${name}'`)?.()
    await model.loadHead(source, options)
    this.came(`head '${name}'`, () => {
      if (!had) model.deleteHead(name)
    })
  }

  /** All of it is there. */
  end(): void {
    for (const letGo of this.#holds.values()) letGo()
    this.#holds.clear()
  }

  /** Takes out again what came; what was replaced stays. */
  undo(): void {
    this.end()
    for (const step of this.#undo.splice(0).reverse()) step()
  }
}
