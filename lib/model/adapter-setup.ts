import { AsyncLocalStorage } from 'node:async_hooks'
import * as check from '../config/check.js'
import type { HeadSetup } from '../config/head-setup.js'
import { checkOptions } from './options.js'
import { type AdapterSetup, unchanging } from './setup.js'

export interface AdapterSetupOptions {
  /**
   * The head that answers, or those of the setup's children in a block of its form; null: none. Default: each row's own, that
   * of its last adapter, else the model's.
   */
  readonly head?: HeadSetup | undefined
  /** Layers, from 0, in which the setup does not run. Default: none. */
  readonly skipLayers?: readonly number[] | undefined
}

interface Scope extends AdapterSetupOptions {
  readonly setup: AdapterSetup
}

const scopes = new AsyncLocalStorage<Scope>()

/**
 * Runs `work` with these adapters active instead of those that a model has: in every call inside that names none itself,
 * of any model, also after an await. Work that runs at the same time outside, or in a scope of its own, does not see it.
 * The adapters library's AdapterSetup.
 * @returns what `work` returns
 */
export function adapterSetup<T>(setup: AdapterSetup, work: () => T, options: AdapterSetupOptions = {}): T {
  checkOptions(options, ['head', 'skipLayers'])
  const kept = unchanging(setup)
  if (typeof work !== 'function') throw check.typeError('adapterSetup', 'a function to run', work)
  return scopes.run({ ...options, setup: kept }, work)
}

/** For what changes a model for good: inside a scope it would do so unseen, and show only afterwards. */
export function outsideScope(operation: string): void {
  if (scopes.getStore() === undefined) return
  throw check.valueError(operation, 'inside adapterSetup the scope says what runs; call it outside')
}

/** The setup of the scope that runs, with its layers and the heads that it names; undefined outside of one. */
export function scopedSetup():
  | {
      readonly setup: AdapterSetup
      readonly skipLayers: readonly number[]
      readonly head: HeadSetup | undefined
    }
  | undefined {
  const scope = scopes.getStore()
  return scope && { setup: scope.setup, skipLayers: scope.skipLayers ?? [], head: scope.head }
}
