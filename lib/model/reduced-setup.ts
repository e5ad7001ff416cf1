import { adapterNames, type CompositionBlock, Parallel, Stack } from '../config/composition.js'
import type { AdapterSetup } from './setup.js'

/**
 * What is left of a setup without one adapter. Null where nothing is, and where a block around it would be another one:
 * weights and sizes are for all of its children, a fusion has learned them, and task ids may count them.
 */
export function withoutAdapter(setup: AdapterSetup, name: string): AdapterSetup {
  return (isApart(setup, name) ? reduced(setup, name) : undefined) ?? null
}

/** Whether only Stack and Parallel stand around the adapter. */
function isApart(setup: AdapterSetup, name: string): boolean {
  if (setup === null || typeof setup === 'string' || !adapterNames(setup).includes(name)) return true
  return (setup.type === 'Stack' || setup.type === 'Parallel') && setup.children.every((child) => isApart(child, name))
}

/** Undefined: nothing is left. */
function reduced(setup: AdapterSetup, name: string): AdapterSetup | undefined {
  if (setup === name) return undefined
  if (setup === null || typeof setup === 'string' || !adapterNames(setup).includes(name)) return setup
  const children = setup.children.flatMap((child) => {
    const left = reduced(child, name)
    return left === undefined ? [] : [left]
  })
  if (children.length === 0 || children.every((child) => child === null)) return undefined
  return children.length === 1 ? children[0] : sameKind(setup, children)
}

const sameKind = (setup: CompositionBlock, children: readonly AdapterSetup[]): CompositionBlock =>
  setup.type === 'Parallel' ? Parallel(...children) : Stack(...children)
