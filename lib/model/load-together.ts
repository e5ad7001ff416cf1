import type { LoadAdapterOptions, LoadHeadOptions } from './exchange.js'
import type { LoadFusionOptions } from './fusion-files.js'
import type { Model } from './model.js'

/** Parts of a model that are loaded one after the other, all or none: `undo` takes out again what came. */
export class LoadedTogether {
  readonly #model: Model
  readonly #undo: (() => void)[]

  constructor(model: Model) {
    this.#model = model
    this.#undo = [model.keepHeadChoice()]
  }

  /** Under a name that the model does not have: what was replaced could not come back. */
  async adapter(source: string, options: LoadAdapterOptions & { readonly as: string }): Promise<void> {
    const model = this.#model
    const { as: name } = options
    const had = { adapter: model.adapters.has(name), head: model.heads.has(name) }
    const groups = new Set(model.sharedParameters.keys())
    await model.loadAdapter(source, options)
    this.#undo.push(() => {
      for (const [group, names] of [...model.sharedParameters]) {
        if (!groups.has(group) && names.includes(name)) model.unshareParameters(group)
      }
      if (!had.head && model.heads.has(name)) model.deleteHead(name)
      if (!had.adapter && model.adapters.has(name)) model.deleteAdapter(name)
    })
  }

  async fusion(source: string, options: LoadFusionOptions & { readonly as: string }): Promise<void> {
    const model = this.#model
    const load = () => model.loadAdapterFusion(source, options)
    await this.#load(load, model.adapterFusions, options.as, (name) => model.deleteAdapterFusion(name))
  }

  async head(source: string, options: LoadHeadOptions & { readonly as: string }): Promise<void> {
    const model = this.#model
    const load = () => model.loadHead(source, options)
    await this.#load(load, model.heads, options.as, (name) => model.deleteHead(name))
  }

  /** @param there parts of its kind that the model has, now and later */
  async #load(
    load: () => Promise<unknown>,
    there: ReadonlyMap<string, unknown>,
    name: string,
    remove: (name: string) => void
  ): Promise<void> {
    const had = there.has(name)
    await load()
    this.#undo.push(() => {
      if (!had && there.has(name)) remove(name)
    })
  }

  undo(): void {
    for (const step of this.#undo.splice(0).reverse()) step()
  }
}
