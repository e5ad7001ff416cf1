import * as check from '../config/check.js'
import {
  type Composition,
  type CompositionBlock,
  formatComposition,
  parseComposition,
  type Stack
} from '../config/composition.js'
import { didYouMean } from '../config/nearest.js'
import { AdapterError } from '../native/errors.js'
import type { NativeForwardOptions } from '../native/types.js'

/** A name, a Stack of names, or null: the base model alone. */
export type AdapterSetup = string | Stack | null
/** One setup for all rows, or one for each. */
export type RowAdapters = AdapterSetup | readonly AdapterSetup[]

/** The adapters of a setup in the order they run. */
export function setupNames(
  setup: Composition | null,
  known: ReadonlySet<string>,
  argument = 'adapters'
): readonly string[] {
  if (setup === null) return []
  const block: CompositionBlock = parseComposition(setup)
  const names = block.children.flatMap((child) =>
    typeof child === 'string' ? [child] : setupNames(child, known, argument)
  )
  if (block.type !== 'Stack') {
    throw new AdapterError('ERR_UNSUPPORTED', argument, `${block.type} does not run yet`, {
      expected: 'a name, a Stack of names, or null',
      got: formatComposition(block)
    })
  }
  for (const name of names) checkKnown(argument, name, known)
  return names
}

export function checkKnown(argument: string, name: unknown, known: ReadonlySet<string>): string {
  check.checkString(argument, name)
  if (known.has(name as string)) return name as string
  const there = known.size === 0 ? 'there is none yet' : `there are ${[...known].join(', ')}`
  throw check.valueError(argument, `no '${name}' here; ${there}.${didYouMean(name as string, known)}`)
}

/** Setups as the core takes them: one for the batch, or the different ones and each row's index. */
export function nativeSetups(
  adapters: RowAdapters,
  rows: number,
  known: ReadonlySet<string>
): Pick<NativeForwardOptions, 'adapters' | 'setups' | 'rowSetups'> {
  if (!Array.isArray(adapters)) return { adapters: setupNames(adapters as AdapterSetup, known) }
  if (adapters.length !== rows) {
    throw check.valueError('adapters', `expected one entry for each of ${rows} rows, got ${adapters.length}`)
  }
  const setups: (readonly string[])[] = []
  const indices = new Map<string, number>()
  const rowSetups = Int32Array.from(adapters as readonly AdapterSetup[], (setup, row) => {
    const names = setupNames(setup, known, `adapters[${row}]`)
    if (names.length === 0) return -1
    const key = JSON.stringify(names)
    const index = indices.get(key) ?? setups.push(names) - 1
    indices.set(key, index)
    return index
  })
  return { adapters: [], setups, rowSetups }
}
