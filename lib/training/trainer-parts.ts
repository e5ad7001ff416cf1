import * as check from '../config/check.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { checkCallback, checkCallbacks, type TrainerCallback } from './callbacks.js'
import { saveModel } from './save-model.js'

type ClassOf<T> = abstract new (...given: never[]) => T

/** What a trainer of one task and one of several have in common. */
export abstract class TrainerParts<E extends { readonly type: string }> {
  abstract readonly model: Model
  abstract readonly args: ResolvedTrainingArguments
  /** Those of the next run. */
  protected readonly callbacks: TrainerCallback<E>[]

  constructor(callbacks: readonly TrainerCallback<E>[] | undefined) {
    checkCallbacks(callbacks)
    this.callbacks = [...(callbacks ?? [])]
  }

  /**
   * Called in the runs to come, behind those that are there: Hugging Face's `add_callback`.
   * @throws {AdapterError} ERR_BUSY while a run goes on, here and in removeCallback: its checkpoints keep what each remembers
   */
  addCallback(callback: TrainerCallback<E>): void {
    checkCallback('addCallback', callback)
    this.model.hold('addCallback')()
    this.callbacks.push(callback)
  }

  /**
   * Takes out a callback, or the first of a class, and gives it; undefined where there is none. Hugging Face's
   * `remove_callback` and `pop_callback`.
   */
  removeCallback(callback: TrainerCallback<E> | ClassOf<TrainerCallback<E>>): TrainerCallback<E> | undefined {
    this.model.hold('removeCallback')()
    const isIt = (one: TrainerCallback<E>) =>
      typeof callback === 'function' ? one instanceof callback : one === callback
    const at = this.callbacks.findIndex(isIt)
    return at < 0 ? undefined : this.callbacks.splice(at, 1)[0]
  }

  /**
   * Writes what may have learned, as Hugging Face's `save_model`: each adapter with its head, other heads and fusions into
   * folders of their names, for loadAdapter, loadHead and loadAdapterFusion; where the base model trains, the whole model, for
   * AutoModel.fromPretrained. Callbacks may call it, too.
   * @param folder default: args.outputDir
   */
  async saveModel(folder: string = this.args.outputDir): Promise<void> {
    await saveModel(this.model, check.checkNonEmptyString('folder', folder))
  }
}
