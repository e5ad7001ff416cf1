import type { HeadConfig } from '../config/head-config.js'
import { isOwnHead } from '../config/own-head.js'
import { defaultHead } from '../exchange/static-heads.js'
import type { Model } from '../model/model.js'
import { loadModel, type ModelValues } from './model-options.js'
import { checkpointFolder } from './train-what.js'
import { typedModel } from './typed-model.js'

type Values = ModelValues & { readonly output?: string | undefined; readonly resume: boolean }

/** The model of a command that trains, loaded once: for what an archive says of its head, or else when training begins. */
export class TrainingModel implements Disposable {
  /** --model. */
  readonly source: string | undefined
  readonly #values: Values
  #model: Model | undefined

  constructor(values: Values) {
    this.source = values.model
    this.#values = values
  }

  /** @param seed the training's; that of the first call counts */
  async load(seed: number | undefined, signal?: AbortSignal): Promise<Model> {
    const { model, output, resume } = this.#values
    const named = resume && output !== undefined ? typedModel(model, checkpointFolder(output)) : model
    this.#model ??= await loadModel({ ...this.#values, model: named }, seed, signal)
    return this.#model
  }

  /** The head of an archive's class; undefined: it has none, or --model is no archive. */
  async ownHead(seed: number | undefined): Promise<HeadConfig | undefined> {
    const { isArchive } = await import('./archive-model.js')
    if (this.source === undefined || !isArchive(this.source)) return undefined
    const head = (await this.load(seed)).heads.get(defaultHead)
    return isOwnHead(head) ? head : undefined
  }

  [Symbol.dispose](): void {
    this.#model?.dispose()
  }
}
