import { createHash } from 'node:crypto'
import type { MethodConfig } from './adapter-config.js'
import * as check from './check.js'
import { type Placement, type PlacementPatterns, placementKinds } from './exported-placement.js'
import { loraPlaces } from './lora-config.js'

/** Where adapters stand in an exported network, as folders and runs record it. */
export interface PlacementRecord {
  readonly placement: Placement
  /** Of the sites that it has in this graph: other patterns may name the same ones. */
  readonly sites: string
}

type Kind = keyof PlacementPatterns

/** @param sites as the graph's reader describes them */
export function placementRecord(placement: Placement, sites: readonly string[]): PlacementRecord {
  return Object.freeze({
    placement: plainPlacement(placement),
    sites: createHash('sha256').update(sites.join('\n')).digest('hex').slice(0, 16)
  })
}

/** Two that say the same are the same. */
function plainPlacement(placement: Placement): Placement {
  if (placement === 'auto') return placement
  const given = placementKinds.filter((kind) => (placement[kind] ?? 'auto') !== 'auto' || placement[kind] === null)
  if (given.length === 0) return 'auto'
  return Object.freeze(Object.fromEntries(given.map((kind) => [kind, placement[kind]])))
}

export function placementRecordFromJson(json: unknown): PlacementRecord | null {
  if (json === undefined || json === null) return null
  const { placement, sites } = check.checkObject('placement', json)
  return { placement: placement as Placement, sites: check.checkString('sites', sites) }
}

export const placementText = ({ placement }: PlacementRecord): string =>
  placement === 'auto' ? "'auto'" : JSON.stringify(placement)

export function isSamePlacement(one: PlacementRecord, other: PlacementRecord): boolean {
  return one.sites === other.sites || placementText(one) === placementText(other)
}

const titles: Readonly<Record<Kind, string>> = {
  attention: "the layers' attention",
  feedForward: "the layers' feed-forward block"
}

/** Refuses what would stand at nothing but kinds of sub-layers that the placement leaves out. */
export function checkPlaced(config: MethodConfig, { placement }: PlacementRecord): void {
  if (placement === 'auto') return
  const wanted = kindsOf(config)
  const [kind] = wanted
  if (kind === undefined || wanted.some((one) => placement[one] !== null)) return
  throw check.valueError(
    'adapter config',
    `it stands at ${wanted.map((one) => titles[one]).join(' and ')}, where the model's placement leaves no place ` +
      `(${kind}: null); name those modules in the placement of fromExported, or choose a config for the others`
  )
}

/** At which sub-layers it stands; empty: at what no placement decides. */
function kindsOf(config: MethodConfig): readonly Kind[] {
  const kinds = (attention: boolean, feedForward: boolean) =>
    placementKinds.filter((kind) => (kind === 'attention' ? attention : feedForward))
  switch (config.method) {
    case 'bottleneck':
      return config.invAdapter === null ? kinds(config.mhAdapter, config.outputAdapter) : []
    case 'reft':
      return kinds(false, true)
    case 'prefix_tuning':
      return kinds(true, false)
    case 'lora':
    case 'mtl_lora': {
      if (config.targetModules !== null) return []
      const places = loraPlaces(config)
      const isFeedForward = (place: string) => place === 'intermediate' || place === 'output'
      return kinds(!places.every(isFeedForward), places.some(isFeedForward))
    }
    default:
      return []
  }
}
