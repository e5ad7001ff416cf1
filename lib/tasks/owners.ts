import { fuseBlocks, fusionName } from '../config/composition.js'
import type { Model } from '../model/model.js'
import { type AdapterSetup, setupNames } from '../model/setup.js'
import { isAdapterParameter, isFusionParameter, isHeadParameter } from '../model/summary.js'
import { frozenDecoderBiases } from '../model/trainable.js'
import type { ParameterInfo } from '../native/types.js'

/** What of a model trains for one task. */
export interface TaskParts {
  readonly adapters: readonly string[]
  readonly fusions: readonly string[]
  readonly heads: readonly string[]
}

/** Parameters that train for the same tasks, and so move together. */
export interface Share {
  /** Numbers of the tasks; several: what they have in common. */
  readonly tasks: readonly number[]
  readonly names: readonly string[]
}

/** The parts of a setup: what trains, where it is not said, is all adapters of it, or where it fuses them the fusions. */
export function partsOfSetup(model: Model, setup: AdapterSetup): Pick<TaskParts, 'adapters' | 'fusions'> {
  const fusions = fuseBlocks(setup).map(fusionName)
  return { adapters: fusions.length > 0 ? [] : setupNames(setup, model.known), fusions }
}

/** First each task's own, in their order, then what some of them share. */
export function sharesOf(model: Model, tasks: readonly TaskParts[]): Share[] {
  const shares = new Map<string, { tasks: number[]; names: string[] }>(
    tasks.map((_, task) => [`${task}`, { tasks: [task], names: [] }])
  )
  for (const parameter of model.namedParameters()) {
    const owners = tasks.flatMap((parts, task) => (belongsTo(model, parameter, parts) ? [task] : []))
    if (owners.length === 0) continue
    const key = owners.join()
    const share = shares.get(key) ?? { tasks: owners, names: [] }
    shares.set(key, share)
    share.names.push(parameter.name)
  }
  return [...shares.values()].filter(({ names }) => names.length > 0)
}

function belongsTo(model: Model, parameter: ParameterInfo, { adapters, fusions, heads }: TaskParts): boolean {
  return (
    adapters.some((adapter) => groupOf(model, parameter, adapter).some((one) => isAdapterParameter(parameter, one))) ||
    fusions.some((fusion) => isFusionParameter(parameter, fusion)) ||
    heads.some((head) => isHeadParameter(parameter, head))
  )
}

/** Under whose names a parameter of the adapter may stand: what adapters share has the name of one of them. */
function groupOf(model: Model, { name }: ParameterInfo, adapter: string): readonly string[] {
  if (!/\.lora_[AB]$/.test(name)) return [adapter]
  return [...model.sharedParameters.values()].find((names) => names.includes(adapter)) ?? [adapter]
}

/** From now on these train and nothing else, as trainAdapter, trainAdapterFusion and trainHead have it. */
export function trainOnly(model: Model, tasks: readonly TaskParts[]): void {
  const names = new Set(sharesOf(model, tasks).flatMap((share) => share.names))
  const still = tasks.flatMap(({ adapters, fusions, heads }) =>
    adapters.length + fusions.length === 0 ? [] : frozenDecoderBiases(heads, model.heads)
  )
  model.freeze((name) => !names.has(name) || still.includes(name))
}
