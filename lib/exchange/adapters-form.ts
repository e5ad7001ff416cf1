import { type AdapterConfig, ConfigUnion, type MethodConfig } from '../config/adapter-config.js'
import { type LoraConfig, type MtlLoraConfig, targetPaths } from '../config/lora-config.js'

const partsOf = (config: AdapterConfig) => (config.method === 'union' ? config.configs : [config])

/** What the adapter library does not compute of a config; undefined where it has all of it. */
export function adaptersProblem(config: AdapterConfig): string | undefined {
  for (const part of partsOf(config)) {
    if (part.method === 'prefix_tuning' && part.shiftPositions) return 'shiftPositions'
    if (part.method === 'prompt_tuning' && part.combine === 'prefix_words') return "combine: 'prefix_words'"
  }
  const parts = partsOf(config).filter(isLora)
  const problem = parts.map(loraProblem).find((one) => one !== undefined)
  if (problem !== undefined) return problem
  const apart = parts.every((part, i) => parts.slice(0, i).every((other) => !shareLayers(part, other)))
  return apart ? undefined : 'two of the LoRA family in one layer'
}

/** Without the model's depth: two that leave out nothing share every layer. */
function shareLayers(one: { leaveOut: readonly number[] }, other: { leaveOut: readonly number[] }): boolean {
  return one.leaveOut.length === 0 || other.leaveOut.length === 0
}

const isLora = (part: AdapterConfig): part is LoraConfig | MtlLoraConfig =>
  part.method === 'lora' || part.method === 'mtl_lora'

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
 * The config of what the adapter library is given. One LoRA over query, key and value is there one for each of them, whose A
 * are alike: the answers are the same.
 */
export function adaptersForm(config: AdapterConfig): AdapterConfig {
  if (!partsOf(config).some(isWhole)) return config
  const inParts = (part: MethodConfig) => (isWhole(part) ? part.replace({ attnMatrices: ['q', 'k', 'v'] }) : part)
  if (config.method === 'union') return new ConfigUnion(config.configs.map(inParts))
  return config.method === 'output' ? config : inParts(config)
}

const isWhole = (part: AdapterConfig): part is LoraConfig =>
  part.method === 'lora' && part.selfattnLora && part.attnMatrices.includes('qkv')
