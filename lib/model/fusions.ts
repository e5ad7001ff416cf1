import type { AdapterConfig } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { adapterNames, type Composition, type Fuse, fusionName, parseComposition } from '../config/composition.js'
import { whyNotFused } from '../config/fusible.js'
import { type FusionConfig, type FusionConfigSource, fusionConfig } from '../config/fusion-config.js'
import { AdapterError } from '../native/errors.js'
import { checkKnown } from './setup.js'

/** An AdapterFusion of a model. */
export interface AdapterFusion {
  readonly config: FusionConfig
  /** Every adapter that it reads. */
  readonly adapters: readonly string[]
}

/** The fusion that is asked for, and its name. */
export function fusionOf(
  adapters: string | readonly string[] | Fuse,
  config: FusionConfigSource,
  name: string | undefined,
  known: ReadonlyMap<string, AdapterConfig>
): { readonly name: string; readonly fusion: AdapterFusion } {
  const block = asFuse('addAdapterFusion', adapters)
  const names = adapterNames(block)
  for (const adapter of names) {
    checkKnown('addAdapterFusion', adapter, known)
    checkFusible(adapter, known.get(adapter))
  }
  return {
    name: name === undefined ? fusionName(block) : check.checkNonEmptyString('name', name),
    fusion: Object.freeze({ config: fusionConfig(config), adapters: Object.freeze([...names]) })
  }
}

function checkFusible(name: string, config: AdapterConfig | undefined): void {
  const other = config === undefined ? null : whyNotFused(name, config)
  if (other === null) return
  const problem = `AdapterFusion has no meaning for '${name}', which ${other.why}`
  throw new AdapterError('ERR_UNSUPPORTED', 'addAdapterFusion', problem, {
    expected: 'bottleneck adapters without an invertible part',
    hint: other.hint
  })
}

/** Names of adapters as a block over them. */
export function asFuse(call: string, adapters: string | readonly string[] | Fuse): Fuse {
  const names = typeof adapters === 'string' ? adapters.split(',') : adapters
  const given: unknown = Array.isArray(names) ? { type: 'Fuse', children: names } : names
  const block = parseComposition(given as Composition)
  if (block.type === 'Fuse') return block
  throw check.typeError(call, "names of adapters, or a block such as Fuse('a', 'b')", adapters)
}

/** Which fusion is meant: its name, or what addAdapterFusion was given. */
export const fusionNamed = (call: string, given: string | readonly string[] | Fuse): string =>
  typeof given === 'string' ? given : fusionName(asFuse(call, given))

/** What takes the place of an adapter that a fusion reads must be such a one, too. */
export function checkStillFusible(
  adapter: string,
  config: AdapterConfig,
  fusions: ReadonlyMap<string, AdapterFusion>
): void {
  const other = whyNotFused(adapter, config)
  const reader = [...fusions].find(([, { adapters }]) => adapters.includes(adapter))?.[0]
  if (other === null || reader === undefined) return
  const problem = `the fusion '${reader}' reads '${adapter}', and has no meaning for one which ${other.why}`
  throw new AdapterError('ERR_UNSUPPORTED', 'addAdapter', problem, {
    hint: `Delete the fusion first, or take another name`
  })
}

/** An adapter that a fusion reads cannot go before it. */
export function checkUnread(adapter: string, fusions: ReadonlyMap<string, AdapterFusion>): void {
  const readers = [...fusions].flatMap(([name, { adapters }]) => (adapters.includes(adapter) ? [`'${name}'`] : []))
  if (readers.length === 0) return
  const read =
    readers.length > 1
      ? `the fusions ${readers.join(', ')} read '${adapter}'; delete them`
      : `the fusion ${readers[0]} reads '${adapter}'; delete it`
  throw check.valueError('deleteAdapter', `${read} first`)
}
