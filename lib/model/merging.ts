import { nativeCall } from '../native/errors.js'
import type { Model } from './model.js'
import { ModelPasses } from './passes.js'
import { checkKnown } from './setup.js'

/** Adapters whose change is kept in another form, to the same answers: in the base model's weights, or without a network. */
export abstract class AdapterMerging extends ModelPasses {
  #merged: string | null = null

  /**
   * Puts LoRA, IA³ or one of their kin into the base model's weights: every row passes through it at no cost, and others run
   * on top of it. It is then no longer active, and cannot run besides: of an active Stack or Parallel the others stay, of
   * another block around it nothing does. The base model cannot train meanwhile; savePretrained writes it with the adapter
   * inside.
   */
  mergeAdapter(name: string): void {
    this.rewritable('mergeAdapter')
    const { adapters, native } = this as unknown as Model
    checkKnown('mergeAdapter', name, adapters)
    nativeCall(() => native.mergeAdapter(name))
    this.#merged = name
    this.merged(name)
  }

  /**
   * Takes the merged adapter out again: every bit of the base model is as before, and so is what is active, where nobody chose
   * anew. Nothing where none is merged.
   */
  resetAdapter(): void {
    this.rewritable('resetAdapter')
    nativeCall(() => (this as unknown as Model).native.resetAdapter())
    if (this.#merged !== null) this.takenOut()
    this.#merged = null
  }

  /** The adapter that mergeAdapter put into the base model. */
  get mergedAdapter(): string | null {
    return this.#merged
  }

  /**
   * Prefix tuning without the small network that makes keys and values: they stay the same and cost nothing to make, and
   * the adapter's config is flat from now on.
   */
  ejectPrefixTuning(name: string): void {
    this.configurable('ejectPrefixTuning')
    const { adapters, native } = this as unknown as Model
    checkKnown('ejectPrefixTuning', name, adapters)
    nativeCall(() => native.ejectPrefixTuning(name))
    this.flattened(name)
  }

  /** It is active no more: what is left of its setup is. */
  protected abstract merged(adapter: string): void
  /** What was active before it was merged is so again. */
  protected abstract takenOut(): void
  /** Its prefix is flat, and what trained of its network is gone. */
  protected abstract flattened(adapter: string): void
}
