import { AdapterError } from '../native/errors.js'
import { type AdapterConfig, ConfigUnion, type MethodConfig } from './adapter-config.js'
import { valueError } from './check.js'
import { linearPathsOf, pathOfPlace } from './linear-paths.js'
import type { AttnMatrix, LoraConfig, LoraOverrides, LoraPlace } from './lora-config.js'
import type { ModelConfig } from './model-config.js'
import { matching } from './peft-modules.js'

/** A Linear of a model that an adapter may stand at. */
export interface ModelLinear {
  readonly path: string
  /** -1: it stands in no layer. */
  readonly layer: number
  /** Null: nothing that a config without `targetModules` names. */
  readonly place: LoraPlace | null
}

/** All of them, layer by layer. */
export function modelLinears(model: ModelConfig): readonly ModelLinear[] {
  if (model.exported !== null) return model.exported.linears
  const paths = linearPathsOf(model)
  const places = Object.keys(paths.places) as LoraPlace[]
  return Array.from({ length: model.numHiddenLayers }, (_, layer) =>
    places.map((place) => ({ path: pathOfPlace(paths, layer, place), layer, place }))
  ).flat()
}

/**
 * The config as this model has it: names of modules become places where they are the same Linears in every layer, so that
 * the adapter library knows them, too; else the paths of just these Linears.
 */
export function resolveTargets(config: AdapterConfig, model: ModelConfig): AdapterConfig {
  if (config.method === 'union') {
    const parts = config.configs.map((part) => resolvePart(part, model))
    return parts.every((part, i) => part === config.configs[i]) ? config : new ConfigUnion(parts)
  }
  return config.method === 'output' ? config : resolvePart(config, model)
}

/** Refuses what belongs to our own families, by name. */
export function checkExported(config: AdapterConfig, { exported }: ModelConfig): void {
  if (exported === null) return
  const parts = config.method === 'union' ? config.configs : [config]
  const other = parts.find(({ method }) => method === 'prefix_tuning' || method === 'prompt_tuning')
  if (other === undefined) return
  const what = other.method === 'prefix_tuning' ? 'prefix' : 'prompt'
  throw new AdapterError('ERR_UNSUPPORTED', 'addAdapter', `${exported.className} of an archive takes no ${what}`, {
    expected: 'bottlenecks, ReFT, LoRA and its kin',
    got: other.method
  })
}

function resolvePart(config: MethodConfig, model: ModelConfig): MethodConfig {
  if (config.method !== 'lora' || config.targetModules === null) return config
  const { targetModules, leaveOut } = config
  const linears = modelLinears(model)
  const names = linears.map(({ path }) => path)
  const unknown = targetModules.find((one) => matching([one], names, '.').size === 0)
  if (unknown !== undefined) {
    const ends = [...new Set(linears.map(({ path }) => path.split('.').at(-1)))].slice(0, 12)
    throw valueError(
      'targetModules',
      `no Linear of ${model.modelType} is called '${unknown}'; there are ${ends.join(', ')}`
    )
  }
  const wanted = matching(targetModules, names, '.')
  const chosen = linears.filter(({ path, layer }) => wanted.has(path) && !leaveOut.includes(layer))
  const places = [...new Set(chosen.map(({ place }) => place))]
  const same = linears.filter(({ place, layer }) => places.includes(place) && !leaveOut.includes(layer))
  if (!places.includes(null) && same.length === chosen.length) {
    return config.replace({ ...placeFields(places as LoraPlace[]), targetModules: null })
  }
  const apart = chosen.find(({ place }) => place === null)
  throw valueError(
    'targetModules',
    apart === undefined
      ? 'expected the same Linears in every layer; leaveOut names layers without any'
      : `expected Linears of attention or feed-forward; '${apart.path}' is neither`
  )
}

const matrixOf: { readonly [P in LoraPlace]?: AttnMatrix } = {
  query: 'q',
  key: 'k',
  value: 'v',
  query_key_value: 'qkv',
  attention_output: 'o'
}

/** The fields that name these places and no others. */
export function placeFields(places: readonly LoraPlace[]): LoraOverrides {
  const attnMatrices = (Object.keys(matrixOf) as LoraPlace[]).flatMap((place) => {
    const matrix = matrixOf[place]
    return matrix !== undefined && places.includes(place) ? [matrix] : []
  })
  return {
    selfattnLora: attnMatrices.length > 0,
    attnMatrices,
    intermediateLora: places.includes('intermediate'),
    outputLora: places.includes('output')
  }
}

/** The Linears at which a config of this model puts something. */
export function linearsOf(
  config: LoraConfig,
  places: readonly LoraPlace[],
  model: ModelConfig
): readonly ModelLinear[] {
  const { targetModules, leaveOut } = config
  return modelLinears(model).filter(({ path, layer, place }) => {
    if (leaveOut.includes(layer)) return false
    return targetModules === null ? place !== null && places.includes(place) : targetModules.includes(path)
  })
}
