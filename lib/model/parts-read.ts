import { adapterNames, fuseBlocks, fusionName, parseComposition } from '../config/composition.js'
import type { NativeSetup } from '../native/pass-types.js'
import type { AdapterSetup } from './setup.js'

/** The adapters, fusions and heads of a call, as ModelLife.reads takes them. */
export function partsRead(setups: Iterable<NativeSetup>, heads: Iterable<string | null>): Set<string> {
  const parts = new Set<string>()
  for (const setup of setups) addSetup(parts, setup)
  for (const head of heads) if (head !== null) parts.add(`head '${head}'`)
  return parts
}

/** The same of a setup for all rows. */
export function partsOfSetup(setup: AdapterSetup, heads: Iterable<string>): Set<string> {
  const block = setup === null ? null : parseComposition(setup)
  return new Set([
    ...(block === null ? [] : adapterNames(block).map((name) => `adapter '${name}'`)),
    ...(block === null ? [] : fuseBlocks(block).map((fuse) => `fusion '${fusionName(fuse)}'`)),
    ...Array.from(heads, (head) => `head '${head}'`)
  ])
}

function addSetup(parts: Set<string>, setup: NativeSetup): void {
  if (setup === null) return
  if (typeof setup === 'string') {
    parts.add(`adapter '${setup}'`)
    return
  }
  if (setup.type === 'fuse') parts.add(`fusion '${setup.fusion}'`)
  for (const child of setup.children) addSetup(parts, child)
}
