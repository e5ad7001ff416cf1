import { type AdapterConfig, ConfigUnion, type MethodConfig } from '../config/adapter-config.js'
import { type LoraConfig, type MtlLoraConfig, targetPaths } from '../config/lora-config.js'
import { sizesOf } from '../config/lora-size.js'
import type { ModelConfig } from '../config/model-config.js'
import { inLibraryPlaces } from './gated-places.js'

const partsOf = (config: AdapterConfig) => (config.method === 'union' ? config.configs : [config])

/** What the adapter library does not compute of a model's config; undefined where it has all of it. */
export function adaptersProblem(config: AdapterConfig, model: ModelConfig): string | undefined {
  for (const part of partsOf(config)) {
    if (part.method === 'prefix_tuning' && part.shiftPositions) return 'shiftPositions'
    if (part.method === 'prompt_tuning' && part.combine === 'prefix_words') return "combine: 'prefix_words'"
  }
  const ours = partsOf(config).filter(isLora)
  const theirs = ours.map((part) => inLibraryPlaces(part, model))
  const placeless = theirs.find((one) => typeof one === 'string')
  if (placeless !== undefined) return placeless as string
  const parts = theirs as readonly (LoraConfig | MtlLoraConfig)[]
  if (ours.some((part) => isOfManySizes(part, model))) return 'VeRA at Linears of different sizes'
  return parts.map(loraProblem).find((one) => one !== undefined)
}

const isLora = (part: AdapterConfig): part is LoraConfig | MtlLoraConfig =>
  part.method === 'lora' || part.method === 'mtl_lora'

/**
 * One pair of matrices serves all Linears of a VeRA there. Feed-forward's are of other sizes than attention's, and where heads
 * share keys, those of keys and values are smaller.
 */
function isOfManySizes(part: LoraConfig | MtlLoraConfig, model: ModelConfig): boolean {
  if (part.veraD === null) return false
  return new Set(sizesOf(part, model).map((one) => `${one.in} ${one.out}`)).size > 1
}

function loraProblem(part: LoraConfig | MtlLoraConfig): string | undefined {
  const targets = targetPaths(part)
  if (targets !== null) {
    const [first, ...others] = targets
    return `targetModules that are no place of every layer (${first}${others.length > 0 ? ', …' : ''})`
  }
  if (part.useDora === 'peft') return "useDora: 'peft'"
  if (part.compositionMode === 'scale_input') return "compositionMode: 'scale_input'"
  if (!part.selfattnLora) return undefined
  if (part.attnMatrices.includes('o')) return "attnMatrices with 'o'"
  const isPlain = part.method === 'lora' && part.useDora === false && part.veraD === null && !part.useGating
  return part.attnMatrices.includes('qkv') && !isPlain ? "attnMatrices with 'qkv' but for LoRA and (IA)³" : undefined
}

/**
 * The config of what the adapter library is given: of a part that it has no place for, as it is. One LoRA over query, key and
 * value is there one for each of them, whose A are alike: the answers are the same.
 */
export function adaptersForm(config: AdapterConfig, model: ModelConfig): AdapterConfig {
  if (config.method === 'output') return config
  const inParts = (part: MethodConfig): MethodConfig => {
    if (isWhole(part)) return part.replace({ attnMatrices: ['q', 'k', 'v'] })
    const theirs = isLora(part) ? inLibraryPlaces(part, model) : part
    return typeof theirs === 'string' ? part : theirs
  }
  if (config.method !== 'union') return inParts(config)
  const parts = config.configs.map(inParts)
  return parts.every((part, i) => part === config.configs[i]) ? config : new ConfigUnion(parts)
}

/** Whether the adapter library has a config in several parts that is one here: it does not go on learning as it did. */
export const isSplit = (config: AdapterConfig): boolean => partsOf(config).some(isWhole)

const isWhole = (part: AdapterConfig): part is LoraConfig =>
  part.method === 'lora' && part.selfattnLora && part.attnMatrices.includes('qkv')
