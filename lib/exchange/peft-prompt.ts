import type { ExportedNetwork } from '../config/exported-network.js'
import type { ModelConfig } from '../config/model-config.js'
import type { PrefixTuningConfig } from '../config/prefix-config.js'
import type { PromptTuningConfig } from '../config/prompt-config.js'
import { AdapterError } from '../native/errors.js'
import { headApart } from './peft-class.js'

/** PEFT's config of a prefix or a prompt. Throws ERR_UNSUPPORTED for what PEFT does not compute. */
export function peftPromptJson(
  config: PrefixTuningConfig | PromptTuningConfig,
  model: ModelConfig,
  common: Readonly<Record<string, unknown>>
): Record<string, unknown> {
  const isPrefix = config.method === 'prefix_tuning'
  const problem =
    (isPrefix ? prefixProblem(config, model, common['task_type']) : promptProblem(config)) ?? taskProblem(model, common)
  if (problem !== undefined) {
    throw new AdapterError('ERR_UNSUPPORTED', 'save the PEFT adapter', `PEFT does not compute ${problem.what}`, {
      expected: problem.expected,
      hint: problem.hint ?? "Train one of that form, or save it for the adapters library: library: 'adapters'."
    })
  }
  const { exported } = model
  const sizes = {
    ...common,
    num_layers: model.numHiddenLayers,
    // Where heads share keys, a prefix has as many heads as the keys.
    num_attention_heads: exported?.keyHeads ?? model.numAttentionHeads,
    num_transformer_submodules: 1
  }
  if (config.method === 'prompt_tuning') {
    const start = { prompt_tuning_init: 'RANDOM', prompt_tuning_init_text: null, tokenizer_name_or_path: null }
    const own = { num_virtual_tokens: config.promptLength, token_dim: model.embeddingSize }
    return { ...sizes, ...own, ...start, peft_type: 'PROMPT_TUNING' }
  }
  const made = { prefix_projection: false, encoder_hidden_size: model.hiddenSize }
  const own = { num_virtual_tokens: config.prefixLength, token_dim: exported?.keyFeatures ?? model.hiddenSize }
  return { ...sizes, ...own, ...made, peft_type: 'PREFIX_TUNING' }
}

/** PEFT puts them in front of a row in its classes for tasks alone; its class for all others passes them by. */
function taskProblem({ exported }: ModelConfig, common: Readonly<Record<string, unknown>>): Problem | undefined {
  if (common['task_type'] !== null) return undefined
  const { base_model_class: name = 'a class of your own' } = (common['auto_mapping'] ?? {}) as Record<string, unknown>
  return {
    what: `a prefix or a prompt in ${name}, for whose task it has no name`,
    expected: 'a head for labels of rows or tokens, ends of an answer or the next word, or none',
    hint:
      exported === null
        ? headApart
        : "Export the base model without its head (--class AutoModel), or save it for the adapters library: library: 'adapters'."
  }
}

interface Problem {
  readonly what: string
  readonly expected: string
  readonly hint?: string
}

function prefixProblem(config: PrefixTuningConfig, model: ModelConfig, task: unknown): Problem | undefined {
  const { shiftPositions, dropout } = config
  const { modelType, exported } = model
  if (exported !== null) {
    const problem = exportedPrefixProblem(config, exported)
    if (problem !== undefined) return problem
  } else if (!shiftPositions) {
    const expected = 'shiftPositions: true (with flat: true)'
    return { what: 'a prefix that leaves the positions of the row as they are', expected }
  }
  if (dropout > 0) return { what: `a dropout of ${dropout} on a prefix`, expected: 'dropout 0' }
  const expected = 'a model whose class takes past_key_values'
  if (modelType === 'distilbert') return { what: 'prefix tuning in DistilBERT', expected }
  // It takes what such a class gives second for the pooler's answer.
  if (exported !== null || task !== 'SEQ_CLS' || modelType === 'bert' || modelType === 'gpt2') return undefined
  return { what: `a classifier on a prefix in ${modelType}`, expected: `${expected}, or no head (withHead: false)` }
}

/** What is one of PEFT's there but for the positions, which the core sees to. */
function exportedPrefixProblem(
  { flat, leaveOut, prefixLength }: PrefixTuningConfig,
  { decoder }: ExportedNetwork
): Problem | undefined {
  if (decoder !== null) {
    const what = 'a prefix of an encoder and a decoder as this library does'
    return { what, expected: 'a network with one stream of tokens' }
  }
  if (!flat) {
    const hint = 'ejectPrefixTuning(name) makes one of it, with the same answers.'
    return { what: 'a prefix with the network that makes it', expected: 'flat: true', hint }
  }
  if (leaveOut.length === 0) return undefined
  return { what: `a prefix of ${prefixLength} in some layers and none in others`, expected: 'leaveOut: []' }
}

function promptProblem({ combine }: PromptTuningConfig): Problem | undefined {
  if (combine === 'prefix_words') return undefined
  return { what: 'a prompt without positions', expected: "combine: 'prefix_words'" }
}
