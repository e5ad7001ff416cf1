import { compositionFromJson } from '../../../lib/config/composition.js'
import type { AdapterSetup } from '../../../lib/index.js'
import type { JsonObject } from './fixtures.js'

/** The fixture's own form: children are names, null or blocks. */
export type Setup = string | null | JsonObject

export function setupFrom(setup: Setup): AdapterSetup {
  if (setup === null || typeof setup === 'string') return setup
  const dict = (node: JsonObject): JsonObject => {
    const { type, children, ...kwargs } = node
    const list = (children as Setup[]).map((child) =>
      typeof child === 'object' && child !== null ? dict(child) : { type: 'single', children: [child] }
    )
    return { type, children: list, kwargs }
  }
  return compositionFromJson(dict(setup))
}

/** Every adapter once, of one setup or of many. */
export function setupNames(setup: Setup | readonly Setup[]): string[] {
  if (setup === null) return []
  if (typeof setup === 'string') return [setup]
  const children = Array.isArray(setup) ? setup : (setup as JsonObject)['children']
  return [...new Set((children as Setup[]).flatMap(setupNames))]
}
