import type { NativeLoraConfig } from '../native/config-types.js'
import { valueError } from './check.js'
import type { ExportedNetwork } from './exported-network.js'
import { hasMergedProduct } from './linear-paths.js'
import {
  type LoraConfig,
  type LoraPlace,
  loraPlaces,
  type MtlLoraConfig,
  plainAlpha,
  targetPaths
} from './lora-config.js'
import type { ModelShape } from './size.js'

/** Columns and rows of the matrix at a place. */
interface MatrixSize {
  readonly in: number
  readonly out: number
}

function sizesAt(place: LoraPlace, { hiddenSize, intermediateSize }: ModelShape): MatrixSize {
  if (place === 'query_key_value') return { in: hiddenSize, out: 3 * hiddenSize }
  if (place !== 'intermediate' && place !== 'output') return { in: hiddenSize, out: hiddenSize }
  if (intermediateSize === undefined) throw valueError('model', 'intermediateSize is needed for LoRA at feed-forward')
  return place === 'intermediate'
    ? { in: hiddenSize, out: intermediateSize }
    : { in: intermediateSize, out: hiddenSize }
}

/** All numbers of one adapter, VeRA's frozen A and B among them. */
export function countLora(config: LoraConfig | MtlLoraConfig, shape: ModelShape): number {
  if (shape.exported) return countNamed(config, shape.exported)
  const layers = shape.numHiddenLayers - new Set(config.leaveOut).size
  const places = loraPlaces(config)
  const sizes = places.map((place) => sizesAt(place, shape))
  const each = sizes.reduce((total, size) => total + countOne(config, size), 0)
  const tasks = taskCount(places, shape) * countTask(config)
  return layers === 0 ? 0 : layers * (each + tasks) + countShared(config, sizes)
}

/** At the Linears of an exported network. */
function countNamed(config: LoraConfig | MtlLoraConfig, network: ExportedNetwork): number {
  const sizes = sizesIn(config, network)
  const each = sizes.reduce((total, size) => total + countOne(config, size) + countTask(config), 0)
  return sizes.length === 0 ? 0 : each + countShared(config, sizes)
}

function sizesIn(config: LoraConfig | MtlLoraConfig, { linears }: ExportedNetwork): readonly MatrixSize[] {
  const { leaveOut } = config
  const targetModules = targetPaths(config)
  const places = loraPlaces(config)
  return linears.filter(({ path, layer, place }) => {
    if (leaveOut.includes(layer)) return false
    return targetModules === null ? place !== null && places.includes(place) : targetModules.includes(path)
  })
}

/** Query, key and value in one product have one task matrix and one set of weights. */
function taskCount(places: readonly LoraPlace[], { modelType }: ModelShape): number {
  const isMerged = modelType !== undefined && hasMergedProduct({ modelType, exported: null })
  const parts = places.filter((place) => place === 'query' || place === 'key' || place === 'value').length
  return isMerged && parts > 0 ? places.length - parts + 1 : places.length
}

function countTask(config: LoraConfig | MtlLoraConfig): number {
  if (config.method === 'lora') return 0
  return config.nUpProjection + (config.taskSpecificMatrixType === 'linear' ? config.r ** 2 : config.r)
}

function countOne(config: LoraConfig | MtlLoraConfig, size: MatrixSize): number {
  const gate = config.useGating ? size.in + 1 : 0
  const magnitude = config.useDora === false ? 0 : size.out
  return countFactors(config, size) + gate + magnitude
}

function countFactors(config: LoraConfig | MtlLoraConfig, size: MatrixSize): number {
  const { r } = config
  if (config.method === 'mtl_lora') return r * size.in + config.nUpProjection * size.out * r
  if (config.compositionMode === 'scale') return size.out
  if (config.compositionMode === 'scale_input') return size.in
  return config.veraD !== null ? r + size.out : r * (size.in + size.out)
}

function countShared({ veraD, r }: LoraConfig | MtlLoraConfig, sizes: readonly MatrixSize[]): number {
  if (veraD === null) return 0
  return r * (Math.max(...sizes.map((size) => size.in)) + Math.max(...sizes.map((size) => size.out)))
}

/** Of the Linears at which it stands, in a model of our own families of those in one layer. */
export function sizesOf(config: LoraConfig | MtlLoraConfig, shape: ModelShape): readonly MatrixSize[] {
  return shape.exported ? sizesIn(config, shape.exported) : loraPlaces(config).map((place) => sizesAt(place, shape))
}

/** What no product of two factors can exceed at any of the places: the shorter side of the smallest matrix. */
export function highestRank(config: LoraConfig, shape: ModelShape): number {
  return Math.min(...sizesOf(config, shape).flatMap((size) => [size.in, size.out]))
}

/** The config as the core takes it: in an exported network Linears by their paths, elsewhere places of each layer. */
export function nativeLoraConfig(config: LoraConfig | MtlLoraConfig, { exported }: ModelShape): NativeLoraConfig {
  const linears = exported ? (targetPaths(config) ?? []) : []
  const places = linears.length === 0 ? loraPlaces(config) : []
  return {
    method: 'lora',
    query: places.includes('query'),
    key: places.includes('key'),
    value: places.includes('value'),
    query_key_value: places.includes('query_key_value'),
    attention_output: places.includes('attention_output'),
    intermediate: places.includes('intermediate'),
    output: places.includes('output'),
    linears,
    rank: config.r,
    leave_out: config.leaveOut,
    alpha: plainAlpha(config),
    dropout: config.dropout,
    scales: ({ add: 'none', scale: 'output', scale_input: 'input' } as const)[config.compositionMode],
    init_weights: config.initWeights,
    init_weights_seed: config.initWeightsSeed,
    use_gating: config.useGating,
    dora: config.useDora === 'peft' ? 'peft' : config.useDora ? 'adapters' : 'none',
    vera_d: config.veraD,
    vera_b: config.veraB,
    mtl:
      config.method === 'lora'
        ? null
        : {
            up_projections: config.nUpProjection,
            linear: config.taskSpecificMatrixType === 'linear',
            weights_sharpness: config.weightsSharpness
          }
  }
}
