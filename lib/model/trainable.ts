import * as check from '../config/check.js'
import { type HeadConfig, predictsWords } from '../config/head-config.js'
import type { NativeTrainable, ParameterInfo } from '../native/types.js'
import { isAdapterParameter, isBaseParameter, isFusionParameter, isHeadParameter } from './summary.js'

/** What there is beside the base model, by name. */
export interface Parts {
  readonly adapters: readonly string[]
  readonly fusions: readonly string[]
  readonly heads: readonly string[]
}

/**
 * The bias of a decoder that is the word embedding: it stands still with it where an adapter or a fusion trains, as in
 * Python's `adapters`, whose train_adapter freezes the whole layer.
 * @param heads those that train
 */
export function frozenDecoderBiases(heads: readonly string[], known: ReadonlyMap<string, HeadConfig>): string[] {
  return heads.flatMap((name) => {
    const config = known.get(name)
    if (config === undefined || !predictsWords(config) || !config.tied) return []
    const hasNorm = config.headType === 'masked_lm' || config.layerNorm
    const before = (config.layers - 1) * (1 + Number(config.activationFunction !== null) + Number(hasNorm))
    return config.headType === 'masked_lm' || config.bias ? [`heads.${name}.${before}.bias`] : []
  })
}

/** What trains when `isFrozen` names what does not, parameter by parameter. */
export function trainableUnless(
  isFrozen: (name: string) => boolean,
  parameters: readonly ParameterInfo[],
  { adapters, fusions, heads }: Parts
): NativeTrainable {
  const still = new Set(parameters.map(({ name }) => name).filter((name) => isFrozen(name)))
  const trains = ({ name }: ParameterInfo) => !still.has(name)
  const trainsInPart = (owned: (parameter: ParameterInfo) => boolean) => parameters.some((p) => owned(p) && trains(p))
  return {
    adapters: adapters.filter((adapter) => trainsInPart((p) => isAdapterParameter(p, adapter))),
    fusions: fusions.filter((fusion) => trainsInPart((p) => isFusionParameter(p, fusion))),
    heads: heads.filter((head) => trainsInPart((p) => isHeadParameter(p, head))),
    inserted: trainsInPart(({ part }) => part === 'inserted'),
    base: parameters.flatMap((p) => (isBaseParameter(p) && trains(p) ? [p.name] : [])),
    frozen: parameters.flatMap((p) => (isBaseParameter(p) || trains(p) ? [] : [p.name]))
  }
}

/** The same choice under the names that parameters have after surgery. */
export function renamedTrainable(what: NativeTrainable, parameters: readonly ParameterInfo[]): NativeTrainable {
  return {
    ...what,
    base: parameters.flatMap((p) => (isBaseParameter(p) && p.trainable ? [p.name] : [])),
    frozen: parameters.flatMap((p) => (isBaseParameter(p) || p.trainable ? [] : [p.name]))
  }
}

/** What is merged is part of the base model, and cannot run besides: no step could be taken. */
export function checkUnmerged(operation: string, adapters: readonly string[], merged: string | null): void {
  if (merged === null || !adapters.includes(merged)) return
  const expected = `expected an adapter that is not merged, got '${merged}', which mergeAdapter put into the base model`
  throw check.valueError(operation, `${expected}. Call resetAdapter() first to take it out again.`)
}
