import { AdapterError } from '../native/errors.js'
import { type AdapterConfig, ConfigUnion, type MethodConfig } from './adapter-config.js'
import { quoted, valueError } from './check.js'
import type { ExportedNetwork } from './exported-network.js'
import { linearPathsOf, pathOfPlace } from './linear-paths.js'
import {
  type AttnMatrix,
  type LoraConfig,
  type LoraOverrides,
  type LoraPlace,
  loraPlaces,
  type MtlLoraConfig,
  targetPaths
} from './lora-config.js'
import type { ModelConfig } from './model-config.js'
import { checkPlaced, type PlacementRecord, placementRecord } from './placement-record.js'
import { type ModelLinear, targetedLinears } from './target-modules.js'
import { warnOnce } from './warn-once.js'

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
export function checkExported(config: AdapterConfig, { exported, embeddingSize, hiddenSize }: ModelConfig): void {
  if (exported === null) return
  const parts = config.method === 'union' ? config.configs : [config]
  for (const part of parts) {
    if (part.method !== 'output') checkPlaced(part, exported.placed)
    if (part.method === 'lora' || part.method === 'mtl_lora') checkPlaces(part, exported)
    if (part.method === 'bottleneck' && part.invAdapter !== null && embeddingSize !== hiddenSize) {
      const why = `has embeddings of ${embeddingSize} and layers of ${hiddenSize} features: an invertible adapter has no place there`
      refuse(exported, why, 'invAdapter')
    }
    if (part.method === 'prompt_tuning') refuse(exported, 'takes no prompt', part.method)
    if (part.method !== 'prefix_tuning') continue
    if (exported.keyFeatures === 0) {
      refuse(
        exported,
        'takes no prefix: not every layer has attention of a form that takes one (scaled_dot_product_attention, or a softmax ' +
          'between two products); explainPlacement() tells which has not, and placement names the attention that it does not find',
        part.method
      )
    }
    if (part.shiftPositions) {
      const why =
        "counts positions itself, from 0; leave shiftPositions off: PEFT's folders are read and written without it"
      refuse(exported, why, 'shiftPositions: true')
    }
  }
}

/** Its graph may show layers in which a config without names finds no Linear. */
function checkPlaces(part: LoraConfig | MtlLoraConfig, network: ExportedNetwork): void {
  const { className, linears } = network
  const places = loraPlaces(part)
  // One product of all three has what is asked of each.
  const inMerged: readonly LoraPlace[] = ['query', 'key', 'value']
  const wanted = places.some((place) => inMerged.includes(place)) ? [...places, 'query_key_value'] : places
  const inLayers = linears.filter(({ layer }) => layer >= 0)
  if (part.targetModules !== null || inLayers.length === 0) return
  const isMerged = part.method === 'lora' && atMerged(part, network) !== part
  if (isMerged || inLayers.some(({ place }) => place !== null && wanted.includes(place))) {
    const has = (place: LoraPlace) => inLayers.some((linear) => linear.place === place)
    const isThere = (place: LoraPlace) =>
      has(place) || (inMerged.includes(place) && (isMerged || has('query_key_value')))
    warnOfMissing(places, isThere, network)
    return
  }
  const byName = inLayers.toSorted((a, b) => Number(a.place !== null) - Number(b.place !== null))
  const ends = [...new Set(byName.map(({ path }) => path.split('.').at(-1)))].slice(0, 8)
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    'addAdapter',
    `${className} of an archive shows no Linear at these places`,
    {
      expected: 'Linears by name',
      got: places.join(', '),
      hint: `Name some of them${part.method === 'lora' ? '' : ', for LoRA'}: { architecture: 'lora', targetModules: [${ends.map((end) => `'${end}'`).join(', ')}] }`
    }
  )
}

/** What a config asks for beside places that are there: without a word it would stand at these alone. */
function warnOfMissing(
  places: readonly LoraPlace[],
  isThere: (place: LoraPlace) => boolean,
  network: ExportedNetwork
): void {
  const missing = places.filter((place) => !isThere(place))
  if (missing.length === 0) return
  const text =
    `addAdapter: ${network.className} of an archive shows no Linear at ${missing.join(', ')}; the adapter stands at ` +
    `${places.filter(isThere).join(', ')} alone. Name the Linears to have others: targetModules.`
  warnOnce(network, text, 'TORCH_ADAPTERS_MISSING_PLACES')
}

function refuse({ className }: ExportedNetwork, why: string, got: string): never {
  throw new AdapterError('ERR_UNSUPPORTED', 'addAdapter', `${className} of an archive ${why}`, {
    expected: 'bottlenecks, ReFT, LoRA and its kin, prefixes where attention takes them',
    got
  })
}

/** Where one Linear makes query, key and value in an order of its own, all of it is what the config gets, as in PEFT. */
function atMerged(config: LoraConfig, { linears }: ExportedNetwork): LoraConfig {
  const places = loraPlaces(config)
  const ofAttention: readonly LoraPlace[] = ['query', 'key', 'value', 'query_key_value']
  const isApart = linears.some(({ place }) => place !== null && ofAttention.includes(place))
  if (isApart || !places.some((place) => ofAttention.includes(place))) return config
  const chosen = linears.filter(({ layer, place, merged }) => {
    return layer >= 0 && !config.leaveOut.includes(layer) && (merged || (place !== null && places.includes(place)))
  })
  const merged = chosen.find((linear) => linear.merged)
  if (merged === undefined) return config
  checkWhole(config, merged.path)
  return config.replace({ targetModules: chosen.map(({ path }) => path) })
}

/** Of its own, a config means query and value (IA³: key and value), which says no more than that attention has it. */
function checkWhole({ attnMatrices, compositionMode }: LoraConfig, path: string): void {
  const own: readonly AttnMatrix[] = compositionMode === 'add' ? ['q', 'v'] : ['k', 'v']
  const named = (wanted: readonly AttnMatrix[]) => wanted.every((one) => attnMatrices.includes(one))
  const parts = attnMatrices.filter((one) => one === 'q' || one === 'k' || one === 'v')
  if (parts.length === 0 || named(['q', 'k', 'v']) || (parts.length === own.length && named(own))) return
  throw valueError(
    'attnMatrices',
    `'${path}' makes query, key and value in an order of its own, and ${quoted(parts)} alone cannot be told there; ` +
      `name the whole of it: attnMatrices ['qkv'], or targetModules`
  )
}

function resolvePart(config: MethodConfig, model: ModelConfig): MethodConfig {
  if (config.method !== 'lora' && config.method !== 'mtl_lora') return config
  if (config.targetModules === null)
    return model.exported === null || config.method !== 'lora' ? config : atMerged(config, model.exported)
  const { leaveOut } = config
  const linears = modelLinears(model)
  const wanted = targetedLinears(config.targetModules, model, linears)
  const chosen = linears.filter(({ path, layer }) => wanted.has(path) && !leaveOut.includes(layer))
  if (chosen.length === 0) throw valueError('targetModules', 'leaveOut leaves out every layer that they name')
  const places = [...new Set(chosen.map(({ place }) => place))]
  const same = linears.filter(({ place, layer }) => places.includes(place) && !leaveOut.includes(layer))
  if (!places.includes(null) && same.length === chosen.length) {
    return config.replace({ ...placeFields(places as LoraPlace[]), targetModules: null })
  }
  // No folder of either Python library holds the others.
  if (config.method === 'mtl_lora') {
    const expected = 'the same Linears in every layer, which attnMatrices, intermediateLora and outputLora name'
    throw valueError('targetModules', `MTL-LoRA takes ${expected}; others are LoRA's: architecture: 'lora'`)
  }
  if (model.exported !== null) return config.replace({ targetModules: chosen.map(({ path }) => path) })
  throw valueError('targetModules', 'expected the same Linears in every layer; leaveOut names layers without any')
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
  config: LoraConfig | MtlLoraConfig,
  places: readonly LoraPlace[],
  model: ModelConfig
): readonly ModelLinear[] {
  const { leaveOut } = config
  const targetModules = targetPaths(config)
  return modelLinears(model).filter(({ path, layer, place }) => {
    if (leaveOut.includes(layer)) return false
    return targetModules === null ? place !== null && places.includes(place) : targetModules.includes(path)
  })
}

/**
 * What of the model's placement this config depends on; null: the model has none. LoRA depends on which Linears its places
 * are, and on no site.
 */
export function dependsOnPlacement(config: AdapterConfig, model: ModelConfig): PlacementRecord | null {
  if (model.exported === null) return null
  const { placed } = model.exported
  const parts = config.method === 'union' ? config.configs : [config]
  const ofLinears = parts.filter((part) => part.method === 'lora' || part.method === 'mtl_lora')
  if (ofLinears.length < parts.length) return placed
  const paths = ofLinears.flatMap((part) => linearsOf(part, loraPlaces(part), model).map(({ path }) => path))
  return placementRecord(placed.placement, paths)
}
