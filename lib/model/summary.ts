import type { AdapterConfig } from '../config/adapter-config.js'
import type { ParameterInfo } from '../native/types.js'

/** One line of adapterSummary(). */
export interface AdapterSummary {
  readonly name: string
  readonly architecture: 'bottleneck' | 'union'
  readonly parameters: number
  /** Share of the base model's parameters, in percent. */
  readonly percent: number
  readonly active: boolean
  readonly trains: boolean
}

export interface ModelSummary {
  readonly adapters: readonly AdapterSummary[]
  /** Parameters of the base model. */
  readonly baseParameters: number
  /** Parameters that gradients reach, heads included. */
  readonly trainableParameters: number
}

export function countParameters(parameters: readonly ParameterInfo[]): number {
  return parameters.reduce((total, { shape }) => total + shape.reduce((size, n) => size * n, 1), 0)
}

const standsIn = (container: string, name: string, owner: string | undefined): boolean =>
  name.includes(owner === undefined ? `.${container}.` : `.${container}.${owner}.`)

export const isAdapterParameter = (name: string, adapter?: string): boolean => standsIn('adapters', name, adapter)

export const isFusionParameter = (name: string, fusion?: string): boolean =>
  standsIn('adapter_fusion_layer', name, fusion)

export const isHeadParameter = (name: string, head?: string): boolean =>
  name.startsWith(head === undefined ? 'heads.' : `heads.${head}.`)

export const isBaseParameter = (name: string): boolean =>
  !isAdapterParameter(name) && !isFusionParameter(name) && !isHeadParameter(name)

export function summarize(
  parameters: readonly ParameterInfo[],
  adapters: ReadonlyMap<string, AdapterConfig>,
  active: ReadonlySet<string>,
  trains: ReadonlySet<string>
): ModelSummary {
  const base = countParameters(parameters.filter(({ name }) => isBaseParameter(name)))
  return {
    adapters: [...adapters].map(([name, config]) => {
      const count = countParameters(parameters.filter((p) => isAdapterParameter(p.name, name)))
      return {
        name,
        architecture: config.method,
        parameters: count,
        percent: (100 * count) / base,
        active: active.has(name),
        trains: trains.has(name)
      }
    }),
    baseParameters: base,
    trainableParameters: countParameters(parameters.filter(({ trainable }) => trainable))
  }
}
