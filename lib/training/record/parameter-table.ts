import type { Model } from '../../model/model.js'
import { countParameters, isAdapterParameter, isFusionParameter, isHeadParameter } from '../../model/summary.js'
import type { ParameterInfo } from '../../native/types.js'

/** How much of a part of the model trains. */
export interface ParameterLine {
  /** `base model`, `adapter 'x'`, … and last `all`. */
  readonly part: string
  readonly total: number
  readonly trained: number
}

/** The model's parameters, part by part. */
export function parameterTable(model: Model): ParameterLine[] {
  const all = model.namedParameters()
  const line = (part: string, isOf: (parameter: ParameterInfo) => boolean): ParameterLine => {
    const own = all.filter(isOf)
    return { part, total: countParameters(own), trained: countParameters(own.filter(({ trainable }) => trainable)) }
  }
  return [
    line('base model', ({ part }) => part === 'base'),
    ...[...model.adapters.keys()].map((name) => line(`adapter '${name}'`, (one) => isAdapterParameter(one, name))),
    ...[...model.adapterFusions.keys()].map((name) => line(`fusion '${name}'`, (one) => isFusionParameter(one, name))),
    ...[...model.heads.keys()].map((name) => line(`head '${name}'`, (one) => isHeadParameter(one, name))),
    line('inserted modules', ({ part }) => part === 'inserted'),
    line('all', () => true)
  ].filter(({ part, total }) => total > 0 || part === 'all')
}
