import type { HeadConfig } from '../config/head-config.js'
import type { Model } from './model.js'
import { isStandIn } from './stand-in.js'

// Checkpoints of masked language models have no pooler: a model that is read from one has a random one, which no adapter's
// and no head's folder holds.

const withRandomPooler = new WeakSet<Model>()

export const isOfPooler = (name: string): boolean => /(^|\.)pooler\./.test(name)

/** @param missing what the model's folder lacked */
export function notePooler(model: Model, missing: readonly string[]): void {
  if (missing.some(isOfPooler)) withRandomPooler.add(model)
}

/** For a head that is made or read. */
export function warnOfRandomPooler(model: Model, name: string, config: HeadConfig): void {
  if (isStandIn(name) || !withRandomPooler.has(model) || !('usePooler' in config) || !config.usePooler) return
  process.emitWarning(
    `the head '${name}' reads the pooler, which ${model.source ?? "the model's folder"} has no weights for: it is random, ` +
      "another one under another seed, and no adapter's or head's folder holds it. Take usePooler: false, or train all " +
      'parameters and save the whole model.',
    { code: 'TORCH_ADAPTERS_RANDOM_POOLER' }
  )
}
