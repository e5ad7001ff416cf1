import type { AdapterConfig, MethodConfig } from '../config/adapter-config.js'
import { BottleneckConfig } from '../config/bottleneck-config.js'
import { type HeadConfig, headConfigToJson, labelNames } from '../config/head-config.js'
import { LoraConfig, loraPlaces, MtlLoraConfig } from '../config/lora-config.js'
import { PrefixTuningConfig } from '../config/prefix-config.js'
import { PromptTuningConfig } from '../config/prompt-config.js'
import { ReftConfig } from '../config/reft-config.js'

/** In the words of its file, without the model's sizes. */
export function headFields(head: HeadConfig): Record<string, unknown> {
  const { vocab_size: _, embedding_size: __, ...config } = headConfigToJson(head, { vocabSize: 0, embeddingSize: 0 })
  return config
}

export function describeHead(head: HeadConfig): string[] {
  const names = labelNames(head)
  const shown = names.length > 12 ? `${names.slice(0, 12).join(', ')}, …` : names.join(', ')
  const layers = 'layers' in head ? `, ${head.layers} layer${head.layers > 1 ? 's' : ''}` : ''
  const labels = names.length > 0 ? [`  labels        ${names.length}: ${shown}`] : []
  return [`  type          ${head.headType}${layers}`, ...labels]
}

/** @param fields in the words of its file */
export function describeFusion(fields: object): string {
  const all = Object.entries(fields).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  return `  config        ${all.join(', ')}`
}

/** The fields that differ from the library's defaults say all about a config. */
export function describeAdapter(config: AdapterConfig, hash: string): string[] {
  if (config.method === 'output') {
    const { adapterSize, activation } = config
    const line = `  config        ${activation} adapter of size ${adapterSize} on the last hidden state`
    return [line, `  config hash   ${hash}`]
  }
  const parts = config.method === 'union' ? config.configs : [config]
  return [...parts.map((part) => `  config        ${describePart(part)}`), `  config hash   ${hash}`]
}

function describePart(part: MethodConfig): string {
  if (part.method === 'bottleneck') {
    const places = [part.mhAdapter && 'attention', part.outputAdapter && 'feed-forward'].filter(Boolean).join(' and ')
    const bare = { mhAdapter: true, outputAdapter: true, reductionFactor: 1, nonLinearity: 'linear' } as const
    const fields = otherFields(part, new BottleneckConfig(bare), ['mh_adapter', 'output_adapter'])
    return `bottleneck after ${places}: ${fields}`
  }
  if (part.method === 'prefix_tuning') {
    const fields = [
      `prefix_length=${part.prefixLength}`,
      otherFields(part, new PrefixTuningConfig(), ['prefix_length'])
    ]
    return `prefix_tuning at attention: ${fields.filter(Boolean).join(', ')}`
  }
  if (part.method === 'prompt_tuning') {
    const fields = [
      `prompt_length=${part.promptLength}`,
      otherFields(part, new PromptTuningConfig(), ['prompt_length'])
    ]
    return `prompt_tuning at the embeddings: ${fields.filter(Boolean).join(', ')}`
  }
  if (part.method === 'reft') {
    const layers = part.layers === 'all' ? 'all layers' : `layers ${part.layers.join(', ')}`
    const fields = [`r=${part.r}`, otherFields(part, new ReftConfig(), ['layers', 'r'])]
    return `reft after ${layers}: ${fields.filter(Boolean).join(', ')}`
  }
  const told = ['selfattn_lora', 'attn_matrices', 'intermediate_lora', 'output_lora', 'r', 'alpha']
  const bare = part.method === 'lora' ? new LoraConfig() : new MtlLoraConfig()
  const fields = [`r=${part.r}`, `alpha=${part.alpha}`, otherFields(part, bare, told)].filter(Boolean).join(', ')
  return `${part.method} at ${loraPlaces(part).join(', ')}: ${fields}`
}

function otherFields(part: MethodConfig, bare: MethodConfig, told: readonly string[]): string {
  const plain = bare.toJSON()
  const fields = Object.entries(part.toJSON()).filter(
    ([key, value]) => !told.includes(key) && JSON.stringify(value) !== JSON.stringify(plain[key])
  )
  return fields.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(', ')
}
