import type { NativeTrainable, ParameterInfo } from '../native/types.js'
import { isAdapterParameter, isBaseParameter, isFusionParameter, isHeadParameter } from './summary.js'

/** What there is beside the base model, by name. */
export interface Parts {
  readonly adapters: readonly string[]
  readonly fusions: readonly string[]
  readonly heads: readonly string[]
}

/** What trains when `isFrozen` names what does not, parameter by parameter. */
export function trainableUnless(
  isFrozen: (name: string) => boolean,
  parameters: readonly ParameterInfo[],
  { adapters, fusions, heads }: Parts
): NativeTrainable {
  const names = parameters.map(({ name }) => name)
  const still = new Set(names.filter((name) => isFrozen(name)))
  const trains = (name: string) => !still.has(name)
  const trainsInPart = (owned: (name: string) => boolean) => names.some((name) => owned(name) && trains(name))
  return {
    adapters: adapters.filter((adapter) => trainsInPart((name) => isAdapterParameter(name, adapter))),
    fusions: fusions.filter((fusion) => trainsInPart((name) => isFusionParameter(name, fusion))),
    heads: heads.filter((head) => trainsInPart((name) => isHeadParameter(name, head))),
    base: names.filter((name) => isBaseParameter(name) && trains(name)),
    frozen: names.filter((name) => !isBaseParameter(name) && still.has(name))
  }
}
