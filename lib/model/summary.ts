import type { AdapterConfig } from '../config/adapter-config.js'
import type { ParameterInfo } from '../native/types.js'

/** One line of adapterSummary(). */
export interface AdapterSummary {
  readonly name: string
  readonly architecture: AdapterConfig['method']
  /** All of its numbers; of VeRA the frozen ones, too. */
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
  /** Parameters of the modules that surgery inserted. */
  readonly insertedParameters: number
  /** Parameters that gradients reach, heads included. */
  readonly trainableParameters: number
}

export function countParameters(parameters: readonly ParameterInfo[]): number {
  return parameters.reduce((total, { shape }) => total + shape.reduce((size, n) => size * n, 1), 0)
}

type Named = Pick<ParameterInfo, 'name' | 'part'>

/** PyTorch's names for what holds adapters by their names. */
const adapterContainers = [
  'adapters',
  'loras',
  'invertible_adapters',
  'prefix_tunings',
  'prefix_gates',
  'prompt_tunings',
  'refts',
  'shared_parameters'
] as const

export const isAdapterParameter = ({ name, part }: Named, adapter: string): boolean =>
  part === 'adapter' && adapterContainers.some((container) => `.${name}`.includes(`.${container}.${adapter}.`))

export const isFusionParameter = ({ name, part }: Named, fusion: string): boolean =>
  part === 'fusion' && name.includes(`.adapter_fusion_layer.${fusion}.`)

export const isHeadParameter = ({ name, part }: Named, head: string): boolean =>
  part === 'head' && name.startsWith(`heads.${head}.`)

export const isBaseParameter = ({ part }: Pick<ParameterInfo, 'part'>): boolean => part === 'base'

export function summarize(
  parameters: readonly ParameterInfo[],
  adapters: ReadonlyMap<string, AdapterConfig>,
  active: ReadonlySet<string>,
  trains: ReadonlySet<string>
): ModelSummary {
  const base = countParameters(parameters.filter(isBaseParameter))
  return {
    adapters: [...adapters].map(([name, config]) => {
      const count = countParameters(parameters.filter((p) => isAdapterParameter(p, name)))
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
    insertedParameters: countParameters(parameters.filter(({ part }) => part === 'inserted')),
    trainableParameters: countParameters(parameters.filter(({ trainable }) => trainable))
  }
}
