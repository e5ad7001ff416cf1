import type { NativeAdapterConfig, NativeBottleneckConfig } from '../native/config-types.js'
import { activationParameters } from './activations.js'
import type { AdapterConfig, MethodConfig } from './adapter-config.js'
import type { BottleneckConfig } from './bottleneck-config.js'
import { checkOneOf, checkPositiveInteger, valueError } from './check.js'
import type { ExportedNetwork } from './exported-network.js'
import { floorDivide } from './floor-divide.js'
import { countInvertible, nativeInvertibleConfig } from './invertible-size.js'
import { countLora, nativeLoraConfig } from './lora-size.js'
import type { OutputAdapterConfig } from './output-adapter-config.js'
import { countPhmProjections, countPhmShared, nativePhmConfig } from './phm-size.js'
import { countPrefix, nativePrefixConfig } from './prefix-config.js'
import { countPrompt, nativePromptConfig, type PromptTuningConfig } from './prompt-config.js'
import { countReft, nativeReftConfig } from './reft-config.js'

/** What of a model decides the sizes of an adapter. */
export interface ModelShape {
  readonly hiddenSize: number
  readonly numHiddenLayers: number
  /** Read for adapters inside the feed-forward block. */
  readonly intermediateSize?: number | undefined
  /** Read for prompts and invertible adapters; the hidden size where it is not given. */
  readonly embeddingSize?: number | undefined
  /** Read for MTL-LoRA: GPT-2 makes query, key and value in one product. */
  readonly modelType?: string | undefined
  /** The Linears of an exported network have sizes of their own, and what comes out may have one. */
  readonly exported?: ExportedNetwork | null | undefined
}

function embeddingSize(shape: ModelShape): number {
  return shape.embeddingSize ?? shape.hiddenSize
}

/** Features of what heads and adapters behind the last layer read. */
export function outputSize({ exported, hiddenSize }: Pick<ModelShape, 'exported' | 'hiddenSize'>): number {
  return exported?.outputSize ?? hiddenSize
}

/** Width of an adapter's inside in one layer: hidden size ÷ reduction factor, rounded down as Python's `//`, at least 1. */
export function bottleneckSize(config: BottleneckConfig, hiddenSize: number, layer: number): number {
  return Math.max(1, floorDivide(hiddenSize, factorOf(config, layer)))
}

function factorOf({ reductionFactor }: BottleneckConfig, layer: number): number {
  if (typeof reductionFactor === 'number') return reductionFactor
  const factor = Object.hasOwn(reductionFactor, `${layer}`) ? reductionFactor[`${layer}`] : reductionFactor['default']
  if (factor === undefined) {
    const given = Object.keys(reductionFactor).join(', ')
    throw valueError('reductionFactor', `no value for layer ${layer} and no 'default'; given: ${given}`)
  }
  return factor
}

/** The bottleneck of each layer, 0 where leaveOut leaves the layer without an adapter. */
export function bottleneckSizes(config: BottleneckConfig, { hiddenSize, numHiddenLayers }: ModelShape): number[] {
  return Array.from({ length: numHiddenLayers }, (_, layer) =>
    config.leaveOut.includes(layer) ? 0 : bottleneckSize(config, hiddenSize, layer)
  )
}

/** Numbers that an adapter adds to a model. All of them train, but for VeRA's frozen A and B. */
export function countAdapterParameters(config: AdapterConfig, shape: ModelShape): number {
  if (config.method === 'output') return countOutputAdapter(config, outputSize(shape))
  const configs = config.method === 'union' ? config.configs : [config]
  return configs.reduce((total, part) => {
    return total + countPart(part, shape)
  }, 0)
}

function countPart(config: MethodConfig, shape: ModelShape): number {
  if (config.method === 'bottleneck') return countBottleneck(config, shape)
  if (config.method === 'prompt_tuning') return countPrompt(config, shape)
  if (config.method === 'reft') return countReft(config, shape)
  return config.method === 'prefix_tuning' ? countPrefix(config, shape) : countLora(config, shape)
}

function countOutputAdapter({ adapterSize, activation }: OutputAdapterConfig, hidden: number): number {
  return 2 * hidden * adapterSize + adapterSize + hidden + activationParameters(activation)
}

function countBottleneck(config: BottleneckConfig, shape: ModelShape): number {
  const places = Number(config.mhAdapter) + Number(config.outputAdapter)
  const sizes = bottleneckSizes(config, shape).filter((size) => size > 0)
  const each = sizes.reduce((total, size) => total + places * countOne(config, shape.hiddenSize, size), 0)
  const shared = countPhmShared(config, shape.hiddenSize, sizes)
  return each + shared + countInvertible(config, embeddingSize(shape))
}

function countOne(config: BottleneckConfig, hidden: number, size: number): number {
  const projections = config.phmLayer ? countPhmProjections(config, hidden, size) : 2 * hidden * size + size + hidden
  const norms = (Number(config.lnBefore) + Number(config.lnAfter)) * 2 * hidden
  const gate = config.useGating ? hidden + 1 : 0
  const scaling = config.scaling === 'learned' ? 1 : config.scaling === 'channel' ? hidden : 0
  return projections + norms + gate + scaling + activationParameters(config.nonLinearity)
}

const shares = { simple: 1 / 16, medium: 1 / 8, complex: 1 / 4 } as const

export type TaskComplexity = keyof typeof shares

/** A bottleneck size to begin with: a 16th, an 8th or a quarter of the hidden size, at least 8. */
export function chooseAdapterSize(hiddenSize: number, complexity: TaskComplexity = 'medium'): number {
  checkPositiveInteger('hiddenSize', hiddenSize)
  checkOneOf('complexity', complexity, Object.keys(shares) as TaskComplexity[])
  return Math.max(8, Math.floor(hiddenSize * shares[complexity]))
}

/** The config as the core takes it: the sizes worked out for each layer of this model. */
export function nativeBottleneckConfig(config: BottleneckConfig, shape: ModelShape): NativeBottleneckConfig {
  return {
    method: 'bottleneck',
    mh_adapter: config.mhAdapter,
    output_adapter: config.outputAdapter,
    bottleneck_sizes: bottleneckSizes(config, shape),
    non_linearity: config.nonLinearity,
    original_ln_before: config.originalLnBefore,
    original_ln_after: config.originalLnAfter,
    ln_before: config.lnBefore,
    ln_after: config.lnAfter,
    init_weights: config.initWeights,
    init_weights_seed: config.initWeightsSeed,
    is_parallel: config.isParallel,
    scaling: config.scaling,
    use_gating: config.useGating,
    residual_before_ln: config.residualBeforeLn,
    adapter_residual_before_ln: config.adapterResidualBeforeLn,
    dropout: config.dropout,
    stochastic_depth: config.stochasticDepth,
    invertible: nativeInvertibleConfig(config, embeddingSize(shape)),
    phm: nativePhmConfig(config)
  }
}

/** Every part of an adapter as the core takes it. `words`: a text's ids, for a prompt that starts with them. */
export function nativeAdapterConfigs(
  config: AdapterConfig,
  shape: ModelShape,
  words: (text: string) => readonly number[] = () => []
): NativeAdapterConfig[] {
  if (config.method === 'output') {
    return [{ method: 'output', adapter_size: config.adapterSize, activation: config.activation }]
  }
  const parts = config.method === 'union' ? config.configs : [config]
  return parts.map((part) =>
    part.method === 'prompt_tuning' ? nativePromptConfig(part, words) : nativePart(part, shape)
  )
}

function nativePart(part: Exclude<MethodConfig, PromptTuningConfig>, shape: ModelShape): NativeAdapterConfig {
  if (part.method === 'bottleneck') return nativeBottleneckConfig(part, shape)
  if (part.method === 'prefix_tuning') return nativePrefixConfig(part, shape)
  return part.method === 'reft' ? nativeReftConfig(part, shape) : nativeLoraConfig(part, shape)
}
