import * as check from './check.js'

/**
 * Where adapters stand in an exported network: patterns of module paths as `namedModules` lists them (`*` is any text of one
 * name, `**` any number of names). Each match is one layer's, in the order in which they run.
 */
export interface PlacementPatterns {
  /** The modules that are the layers' attention. 'auto', the default: as the graph shows it; null: nowhere. */
  readonly attention?: string | null | undefined
  /** The modules that are the layers' feed-forward block, where most presets put their one adapter. */
  readonly feedForward?: string | null | undefined
}

/** 'auto': at the residual sub-layers that the graph shows. */
export type Placement = 'auto' | PlacementPatterns

export const placementKinds = ['attention', 'feedForward'] as const

/** The rule that checks one, and says what it may be. */
export function checkPlacement(name: string, value: unknown): Placement {
  if (value === 'auto') return value
  const pattern = { type: ['string', 'null'], minLength: 1 }
  const properties = Object.fromEntries(placementKinds.map((kind) => [kind, pattern]))
  const schema = { anyOf: [{ const: 'auto' }, { type: 'object', properties, additionalProperties: false }] }
  const expected = "'auto', or patterns such as { attention: 'layers.*.attention', feedForward: 'layers.*.mlp' }"
  if (!check.isPlainObject(value)) throw check.typeError(name, expected, value, schema)
  check.checkKeys(name, value, placementKinds)
  for (const kind of placementKinds)
    if (value[kind] !== undefined && value[kind] !== null) check.checkNonEmptyString(`${name}.${kind}`, value[kind])
  if (placementKinds.every((kind) => value[kind] === null))
    throw check.valueError(name, `null for both kinds leaves adapters no place; expected ${expected}`)
  return value
}

/** A pattern; '' for nowhere, undefined for what the graph shows. */
export interface NativePlacement {
  readonly attention: string | undefined
  readonly feedForward: string | undefined
}

export function nativePlacement(placement: unknown): NativePlacement {
  const given = checkPlacement('placement', placement)
  const pattern = (kind: keyof PlacementPatterns) => {
    const one = given === 'auto' ? undefined : given[kind]
    return one === 'auto' ? undefined : one === null ? '' : one
  }
  return { attention: pattern('attention'), feedForward: pattern('feedForward') }
}
