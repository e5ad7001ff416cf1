import type { NativeTrainable, ParameterInfo } from '../native/types.js'
import { isAdapterParameter, isBaseParameter, isHeadParameter } from './summary.js'

/** What trains when `isFrozen` names what does not, parameter by parameter. */
export function trainableUnless(
  isFrozen: (name: string) => boolean,
  parameters: readonly ParameterInfo[],
  adapters: readonly string[],
  heads: readonly string[]
): NativeTrainable {
  const names = parameters.map(({ name }) => name)
  const still = new Set(names.filter((name) => isFrozen(name)))
  const trains = (name: string) => !still.has(name)
  const trainsInPart = (owned: (name: string) => boolean) => names.some((name) => owned(name) && trains(name))
  return {
    adapters: adapters.filter((adapter) => trainsInPart((name) => isAdapterParameter(name, adapter))),
    heads: heads.filter((head) => trainsInPart((name) => isHeadParameter(name, head))),
    base: names.filter((name) => isBaseParameter(name) && trains(name)),
    frozen: names.filter((name) => !isBaseParameter(name) && still.has(name))
  }
}
