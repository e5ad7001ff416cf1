import * as check from '../config/check.js'
import { adapterNames, type Composition, type Fuse, fusionName, parseComposition } from '../config/composition.js'
import { type FusionConfig, type FusionConfigSource, fusionConfig } from '../config/fusion-config.js'
import { checkKnown, type Known } from './setup.js'

/** An AdapterFusion of a model. */
export interface AdapterFusion {
  readonly config: FusionConfig
  /** Every adapter that it reads. */
  readonly adapters: readonly string[]
}

/** The fusion that is asked for, and its name. */
export function fusionOf(
  adapters: readonly string[] | Fuse,
  config: FusionConfigSource,
  name: string | undefined,
  known: Known
): { readonly name: string; readonly fusion: AdapterFusion } {
  const block = asFuse(adapters)
  const names = adapterNames(block)
  for (const adapter of names) checkKnown('addAdapterFusion', adapter, known.adapters)
  return {
    name: name === undefined ? fusionName(block) : check.checkNonEmptyString('name', name),
    fusion: Object.freeze({ config: fusionConfig(config), adapters: Object.freeze([...names]) })
  }
}

function asFuse(adapters: readonly string[] | Fuse): Fuse {
  const given: unknown = Array.isArray(adapters) ? { type: 'Fuse', children: adapters } : adapters
  const block = parseComposition(given as Composition)
  if (block.type === 'Fuse') return block
  throw check.typeError('addAdapterFusion', "names of adapters, or a block such as Fuse('a', 'b')", adapters)
}

/** An adapter that a fusion reads cannot go before it. */
export function checkUnread(adapter: string, fusions: ReadonlyMap<string, AdapterFusion>): void {
  const readers = [...fusions].flatMap(([name, { adapters }]) => (adapters.includes(adapter) ? [`'${name}'`] : []))
  if (readers.length === 0) return
  throw check.valueError('deleteAdapter', `the fusion ${readers.join(', ')} reads '${adapter}'; delete it first`)
}
