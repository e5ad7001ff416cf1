import type { AdapterConfig, MethodConfig } from '../config/adapter-config.js'
import type { BottleneckConfig } from '../config/bottleneck-config.js'
import type { LoraConfig, MtlLoraConfig } from '../config/lora-config.js'
import type { ModelConfig } from '../config/model-config.js'

/**
 * What the adapter library has a config for and then fails on, in `add_adapter`, `load_adapter` or its first pass, or computes
 * otherwise (version 1.3); undefined: nothing.
 */
export function libraryFails(config: AdapterConfig, model: ModelConfig): string | undefined {
  if (config.method === 'output') return 'has no adapters on the last hidden state'
  const parts = config.method === 'union' ? config.configs : [config]
  if (parts.filter(({ method }) => method === 'reft').length > 1) return 'refuses two ReFTs in one adapter'
  // It looks for the first one of an adapter, whatever the layer: two that leave out each other's layers conflict, too.
  if (parts.filter(({ method }) => method === 'lora' || method === 'mtl_lora').length > 1)
    return 'refuses two of the LoRA family in one adapter'
  for (const part of parts) {
    const problem =
      undescribed(part, model) ??
      (part.method === 'prefix_tuning' ? prefixFails(model) : partFails(part, model.modelType))
    if (problem !== undefined) return problem
  }
  return undefined
}

/** Families for which it has code of its own. Others it knows by a description, which has no word for prefixes and prompts. */
const ownCode = new Set([
  ...['albert', 'bart', 'beit', 'bert', 'bert-generation', 'clip', 'clip_text_model', 'clip_vision_model', 'deberta'],
  ...['deberta-v2', 'distilbert', 'electra', 'encoder-decoder', 'gpt2', 'gptj', 'llama', 'mbart', 'mistral', 'mt5'],
  ...['plbart', 'roberta', 't5', 'vit', 'whisper', 'xlm-roberta', 'xmod']
])

function undescribed({ method }: MethodConfig, { exported, modelType }: ModelConfig): string | undefined {
  if (exported?.ofHuggingFace !== true || ownCode.has(modelType)) return undefined
  if (method !== 'prefix_tuning' && method !== 'prompt_tuning') return undefined
  return `has no ${method === 'prefix_tuning' ? 'prefixes' : 'prompts'} for ${exported.className}, or for any family of whose code it has no copy`
}

/** It takes the hidden size in as many parts as there are heads for what a head's keys have; of T5 it reads d_kv. */
function prefixFails({ exported, modelType, hiddenSize, numAttentionHeads }: ModelConfig): string | undefined {
  if (exported === null || exported.keyHeads === 0 || ['t5', 'mt5', 'umt5'].includes(modelType)) return undefined
  const [own, theirs] = [exported.keyFeatures / exported.keyHeads, Math.floor(hiddenSize / numAttentionHeads)]
  if (own === theirs) return undefined
  return `makes prefixes of ${theirs} features a head (hidden_size / num_attention_heads), and keys of ${exported.className} have ${own} (head_dim)`
}

function partFails(part: MethodConfig, modelType: string): string | undefined {
  if (part.method === 'bottleneck') return bottleneckFails(part, modelType)
  if (part.method === 'prompt_tuning' && modelType === 'gpt2') return 'has no prompts for GPT-2'
  if (part.method !== 'lora' && part.method !== 'mtl_lora') return undefined
  if (part.method === 'mtl_lora' && part.taskSpecificMatrixType === 'linear')
    return "fails on MTL-LoRA with taskSpecificMatrixType 'linear'"
  if (part.method === 'mtl_lora' && part.useDora !== false) return 'fails on MTL-LoRA with DoRA'
  return modelType === 'gpt2' ? failsInGpt2(part) : undefined
}

/** Where layers normalise what comes in, no LayerNorm of theirs stands before an adapter, and no residual is taken there. */
function bottleneckFails(part: BottleneckConfig, modelType: string): string | undefined {
  const takesNone = !part.originalLnBefore || modelType === 'gpt2' || modelType === 'vit'
  if (part.residualBeforeLn === 'post_add' && takesNone && !part.isParallel)
    return "fails on residualBeforeLn 'post_add' where no LayerNorm stands before the adapter"
  if (part.invAdapter === 'glow') return 'fails on GLOW'
  if (part.phmLayer && part.sharedWPhm && !part.factorizedPhmW) return 'fails on one whole W for all PHM layers'
  return undefined
}

function failsInGpt2(part: LoraConfig | MtlLoraConfig): string | undefined {
  if (part.useDora !== false) return 'fails on DoRA in GPT-2'
  const merged = part.attnMatrices.filter((matrix) => matrix !== 'o')
  if (!part.selfattnLora || merged.length === 0) return undefined
  if (part.method === 'mtl_lora') return "fails on MTL-LoRA at GPT-2's query, key and value"
  if (part.veraD !== null) return "fails on VeRA at GPT-2's query, key and value"
  const isPart = merged.length < 3 && !merged.includes('qkv')
  if (part.compositionMode === 'add' || part.alpha === 1 || !isPart) return undefined
  return `multiplies what (IA)³ does not name of GPT-2's query, key and value by alpha (${part.alpha}), too`
}
