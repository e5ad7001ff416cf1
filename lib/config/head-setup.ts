import * as check from './check.js'
import {
  type Composition,
  type CompositionBlock,
  compositionFromJson,
  compositionToJson,
  fusionName,
  lastAdapter,
  lastAdapters,
  Parallel,
  sameComposition
} from './composition.js'

/**
 * The heads of a setup, as Python's `head_setup` has them: a name; a block whose children answer the rows of the adapters'
 * block, child by child; null: none is named.
 */
export type HeadSetup = Composition

/** `head_setup` of adapter_setup.json. A list is Python's form of Parallel; true is the one head of a class. */
export function headSetupFromJson(json: unknown): HeadSetup | true {
  if (json === true) return true
  if (json == null || json === false || json === '') return null
  if (typeof json === 'string') return json
  if (!Array.isArray(json)) return compositionFromJson(json)
  const names = json.map((name, i) => check.checkNonEmptyString(`head_setup[${i}]`, name))
  const [first = null] = names
  return names.length > 1 ? Parallel(...names) : first
}

export function headSetupToJson(heads: HeadSetup): unknown {
  return heads === null || typeof heads === 'string' ? heads : compositionToJson(heads)
}

/** The heads that answer under a setup, by the head of each last adapter; null where some rows have none. */
export function headsUnder(setup: Composition, headOf: (last: string | null) => string | null): HeadSetup {
  const names = new Set(lastAdapters(setup).map(headOf))
  if (names.has(null)) return null
  const [only = null] = names
  if (names.size === 1) return only
  const block = rowsApart(setup)
  if (block === null) return null
  const children = block.children.map((child) => headsUnder(child, headOf))
  return children.includes(null) ? null : { ...block, children }
}

/** Whether these heads are those of each row's own last adapter, which answer unasked. */
export function followAdapters(heads: HeadSetup, setup: Composition): boolean {
  const own = headsUnder(setup, (last) => last)
  return sameComposition(own, heads)
}

/** The block that tells rows apart, which may stand last in Stacks. */
function rowsApart(setup: Composition): CompositionBlock | null {
  const block = finalBlock(setup)
  return block !== null && ['BatchSplit', 'Parallel', 'MultiTask'].includes(block.type) ? block : null
}

/** The fusion through which rows leave a setup, whose head answers where Python names none. */
export function finalFusion(setup: Composition): string | null {
  const block = finalBlock(setup)
  return block?.type === 'Fuse' ? fusionName(block) : null
}

function finalBlock(setup: Composition): CompositionBlock | null {
  if (setup === null || typeof setup === 'string') return null
  if (setup.type !== 'Stack') return setup
  return finalBlock(setup.children.findLast((child) => lastAdapter(child) !== null) ?? null)
}
