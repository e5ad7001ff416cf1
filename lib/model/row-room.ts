import type { AdapterConfig } from '../config/adapter-config.js'
import type { Composition } from '../config/composition.js'
import { type ModelConfig, type RowLimits, rowLimits } from '../config/model-config.js'
import type { NativeSetup } from '../native/pass-types.js'
import type { Model } from './model.js'

/** Positions that an adapter takes away from each row: those of prompts and prefixes in PEFT's form. */
function takenBy(config: AdapterConfig | undefined): number {
  if (config === undefined) return 0
  const parts = config.method === 'union' ? config.configs : [config]
  return parts.reduce((sum, part) => {
    if (part.method === 'prompt_tuning' && part.combine === 'prefix_words') return sum + part.promptLength
    return part.method === 'prefix_tuning' && part.shiftPositions ? sum + part.prefixLength : sum
  }, 0)
}

/** Of blocks that share rows out the child that takes most, of others all children together. */
function taken(setup: Composition | NativeSetup, adapters: ReadonlyMap<string, AdapterConfig>): number {
  if (setup === null) return 0
  if (typeof setup === 'string') return takenBy(adapters.get(setup))
  const each = setup.children.map((child: Composition | NativeSetup) => taken(child, adapters))
  const sharesOut = ['Parallel', 'BatchSplit', 'MultiTask'].includes(setup.type)
  return sharesOut ? Math.max(...each) : each.reduce((sum, one) => sum + one, 0)
}

/** What a row that passes through these setups is checked against, and cut to. */
export function limitsUnder(
  model: Model,
  setups: readonly (Composition | NativeSetup)[],
  config: ModelConfig = model.config
): RowLimits {
  const limits = rowLimits(config)
  const most = Math.max(0, ...setups.map((setup) => taken(setup, model.adapters)))
  return most === 0 ? limits : { ...limits, maxLength: Math.max(1, limits.maxLength - most) }
}
