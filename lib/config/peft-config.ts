import { AdapterError } from '../native/errors.js'
import * as check from './check.js'

/** Names or ends of names, each after a point; or one regular expression for the whole name. */
export type ModulePattern = readonly string[] | string

/** PEFT's adapter_config.json: what this library reads of it, checked. */
export interface PeftConfig {
  readonly method: PeftLora | PeftIa3 | PeftVera | PeftPrefix | PeftPrompt
  /** `task_type`, such as SEQ_CLS. */
  readonly taskType: string | null
  /** `auto_mapping.base_model_class`: written where there is no task type. */
  readonly baseClass: string | null
  /** `auto_mapping.parent_library`: the class's module in Python. */
  readonly baseLibrary: string | null
  /** `base_model_name_or_path`; '' where nobody noted it. */
  readonly baseModel: string
  readonly targetModules: ModulePattern
  readonly excludeModules: ModulePattern
  readonly layersToTransform: readonly number[] | null
  readonly layersPattern: readonly string[]
  /** `modules_to_save`: what is stored whole, such as a classifier. */
  readonly modulesToSave: readonly string[]
  /** `torch_adapters.problem_type`, a field of ours: PEFT's own say nothing of how a classifier's labels count. */
  readonly problemType: ProblemType | null
  /** `torch_adapters.tied`, a field of ours: the output layer that is stored whole is the word embedding as it was. */
  readonly tied: boolean
  /**
   * `torch_adapters.out_proj`, a field of ours: attentions (nn.MultiheadAttention, paths below the model) at whose out_proj alone
   * the adapter stands, and counts.
   */
  readonly outputsAlone: readonly string[]
  readonly version: string | null
}

/** As transformers calls it: one label a row, or any number of them. */
export type ProblemType = (typeof problemTypes)[number]
export const problemTypes = ['single_label_classification', 'multi_label_classification'] as const

export interface PeftLora {
  readonly type: 'LORA'
  readonly r: number
  readonly alpha: number
  readonly dropout: number
  /** `use_rslora`: alpha counts 1 / √r instead of 1 / r. */
  readonly rankStabilised: boolean
  readonly dora: boolean
  /** Ends of modules' names → rank or alpha there; the first that fits counts. */
  readonly rankPattern: ReadonlyMap<string, number>
  readonly alphaPattern: ReadonlyMap<string, number>
}

export interface PeftIa3 {
  readonly type: 'IA3'
  /** Modules whose input is scaled, not their output. Here the ends need no point before them. */
  readonly feedforwardModules: ModulePattern
}

export interface PeftVera {
  readonly type: 'VERA'
  readonly r: number
  readonly dropout: number
  readonly dInitial: number
}

/** Prefix tuning. Whatever network made it while it trained (`prefix_projection`), the folder holds keys and values. */
export interface PeftPrefix {
  readonly type: 'PREFIX_TUNING'
  readonly tokens: number
}

export interface PeftPrompt {
  readonly type: 'PROMPT_TUNING'
  readonly tokens: number
}

/** Fields that say nothing about what is computed, or that start values alone depend on. */
const unread = [
  ...['peft_type', 'peft_version', 'revision', 'inference_mode', 'auto_mapping', 'task_type', 'fan_in_fan_out'],
  ...['base_model_name_or_path', 'target_modules', 'exclude_modules', 'layers_to_transform', 'layers_pattern'],
  ...['modules_to_save', 'bias', 'megatron_core', 'qalora_group_size', 'ensure_weight_tying', 'runtime_config'],
  ...['loftq_config', 'eva_config', 'ephemeral_gpu_offload', 'torch_adapters']
]

const promptFields = [
  ...['num_virtual_tokens', 'token_dim', 'num_transformer_submodules', 'num_attention_heads', 'num_layers']
]

const fieldsOf: Readonly<Record<PeftConfig['method']['type'], readonly string[]>> = {
  LORA: [
    ...['r', 'lora_alpha', 'lora_dropout', 'use_rslora', 'use_dora', 'rank_pattern', 'alpha_pattern'],
    ...['init_lora_weights']
  ],
  IA3: ['feedforward_modules', 'init_ia3_weights'],
  VERA: ['r', 'vera_dropout', 'd_initial', 'save_projection', 'projection_prng_key', 'init_weights'],
  // Sizes are those of the tensors, which must fit the model.
  PREFIX_TUNING: [...promptFields, 'encoder_hidden_size', 'prefix_projection', 'init_weights'],
  PROMPT_TUNING: [
    ...promptFields,
    ...['prompt_tuning_init', 'prompt_tuning_init_text', 'tokenizer_name_or_path', 'tokenizer_kwargs']
  ]
}

/** Starts that change the base model's own weights, which the adapter's file does not hold. */
const changesBase = /^(pissa|olora|corda|loftq|lora_ga)/

const operation = 'read the PEFT config'

export function isPeftConfig(json: Readonly<Record<string, unknown>>): boolean {
  return 'peft_type' in json
}

export function peftConfigFromJson(json: Readonly<Record<string, unknown>>): PeftConfig {
  const type = json['peft_type']
  if (!isKnown(type)) {
    throw new AdapterError('ERR_UNSUPPORTED', operation, `PEFT's method ${check.describe(type)} is not supported`, {
      expected: 'peft_type LORA (with DoRA and rsLoRA), IA3, VERA, PREFIX_TUNING or PROMPT_TUNING',
      hint: 'A relative of LoRA can be merged into its base model in Python (merge_and_unload): load that model.'
    })
  }
  checkFields(json, [...unread, ...fieldsOf[type]])
  const mapping = json['auto_mapping']
  const layers = json['layers_to_transform']
  return {
    method: readMethod[type](json),
    taskType: text(json, 'task_type'),
    baseClass: check.isPlainObject(mapping) ? text(mapping, 'base_model_class') : null,
    baseLibrary: check.isPlainObject(mapping) ? text(mapping, 'parent_library') : null,
    baseModel: text(json, 'base_model_name_or_path') ?? '',
    targetModules: pattern(json, 'target_modules'),
    excludeModules: pattern(json, 'exclude_modules'),
    layersToTransform: layers == null ? null : layerNumbers(layers),
    layersPattern: strings('layers_pattern', json['layers_pattern']),
    modulesToSave: strings('modules_to_save', json['modules_to_save']),
    ...ownFields(json['torch_adapters']),
    version: text(json, 'peft_version')
  }
}

const readMethod: {
  readonly [T in PeftConfig['method']['type']]: (json: Readonly<Record<string, unknown>>) => PeftConfig['method']
} = {
  LORA: loraFields,
  IA3: ia3Fields,
  VERA: veraFields,
  PREFIX_TUNING: (json) => ({ type: 'PREFIX_TUNING', tokens: tokenCount(json) }),
  PROMPT_TUNING: (json) => ({ type: 'PROMPT_TUNING', tokens: tokenCount(json) })
}

function isKnown(type: unknown): type is PeftConfig['method']['type'] {
  return typeof type === 'string' && Object.hasOwn(fieldsOf, type)
}

function tokenCount(json: Readonly<Record<string, unknown>>): number {
  const parts = json['num_transformer_submodules'] ?? 1
  if (parts !== 1) throw check.valueError('num_transformer_submodules', 'is for models of an encoder and a decoder')
  return check.checkPositiveInteger('num_virtual_tokens', json['num_virtual_tokens'])
}

/** A field that is on and that nobody here reads would change the numbers in silence. */
function checkFields(json: Readonly<Record<string, unknown>>, known: readonly string[]): void {
  const bias = json['bias'] ?? 'none'
  if (bias !== 'none') {
    throw new AdapterError(
      'ERR_UNSUPPORTED',
      operation,
      `bias ${check.describe(bias)} trains biases of the base model`,
      {
        expected: "bias 'none'",
        hint: "Train it with bias='none', or merge it in Python (merge_and_unload) and load the merged model."
      }
    )
  }
  const other = Object.keys(json).find((key) => !known.includes(key) && isOn(json[key]))
  if (other === undefined) return
  throw new AdapterError('ERR_UNSUPPORTED', operation, `the field ${other} is not supported`, {
    expected: `${other} off`,
    got: check.describe(json[other]),
    hint: 'Merge the adapter into its base model in Python (merge_and_unload), and load that model.'
  })
}

function isOn(value: unknown): boolean {
  if (value === null || value === undefined || value === false || value === '') return false
  return typeof value !== 'object' || Object.keys(value).length > 0
}

function loraFields(json: Readonly<Record<string, unknown>>): PeftLora {
  const init = json['init_lora_weights']
  if (typeof init === 'string' && changesBase.test(init)) {
    throw new AdapterError(
      'ERR_UNSUPPORTED',
      operation,
      `init_lora_weights '${init}' changed the base model's weights`,
      {
        expected: 'an adapter on the base model as it is',
        hint: 'Convert it while saving (path_initial_model_for_weight_conversion), or merge it in Python.'
      }
    )
  }
  return {
    type: 'LORA',
    r: check.checkPositiveInteger('r', json['r'] ?? 8),
    alpha: check.checkNumber('lora_alpha', json['lora_alpha'] ?? 8),
    dropout: check.checkNumber('lora_dropout', json['lora_dropout'] ?? 0, { from: 0, to: 1 }),
    rankStabilised: check.checkBoolean('use_rslora', json['use_rslora'] ?? false),
    dora: check.checkBoolean('use_dora', json['use_dora'] ?? false),
    rankPattern: numbers('rank_pattern', json['rank_pattern']),
    alphaPattern: numbers('alpha_pattern', json['alpha_pattern'])
  }
}

function ia3Fields(json: Readonly<Record<string, unknown>>): PeftIa3 {
  return { type: 'IA3', feedforwardModules: pattern(json, 'feedforward_modules') }
}

function veraFields(json: Readonly<Record<string, unknown>>): PeftVera {
  if (json['save_projection'] === false) {
    throw new AdapterError('ERR_UNSUPPORTED', operation, "VeRA's frozen matrices are not in the folder", {
      expected: 'save_projection true',
      got: 'save_projection false, where a seed of PyTorch stands for them',
      hint: 'Load it in Python, set save_projection=True in its config and save it again.'
    })
  }
  return {
    type: 'VERA',
    r: check.checkPositiveInteger('r', json['r'] ?? 256),
    dropout: check.checkNumber('vera_dropout', json['vera_dropout'] ?? 0, { from: 0, to: 1 }),
    dInitial: check.checkNumber('d_initial', json['d_initial'] ?? 0.1)
  }
}

function ownFields(own: unknown): Pick<PeftConfig, 'problemType' | 'tied' | 'outputsAlone'> {
  const given = own == null ? {} : check.checkObject('torch_adapters', own)
  const { problem_type: type = null, tied = false, out_proj: outputs } = given
  return {
    problemType: type === null ? null : check.checkOneOf('torch_adapters.problem_type', type, problemTypes),
    tied: check.checkBoolean('torch_adapters.tied', tied),
    outputsAlone: strings('torch_adapters.out_proj', outputs)
  }
}

function text(json: Readonly<Record<string, unknown>>, key: string): string | null {
  return json[key] == null ? null : check.checkString(key, json[key])
}

function pattern(json: Readonly<Record<string, unknown>>, key: string): ModulePattern {
  return typeof json[key] === 'string' ? json[key] : strings(key, json[key])
}

function strings(key: string, value: unknown): readonly string[] {
  if (value == null) return []
  if (typeof value === 'string') return [value]
  return [...new Set(check.checkArray(key, value).map((one, i) => check.checkString(`${key}[${i}]`, one)))]
}

function layerNumbers(value: unknown): readonly number[] {
  const layers = typeof value === 'number' ? [value] : check.checkArray('layers_to_transform', value)
  return layers.map((layer, i) => check.checkInteger(`layers_to_transform[${i}]`, layer, 0))
}

function numbers(key: string, value: unknown): ReadonlyMap<string, number> {
  if (value == null) return new Map()
  const entries = Object.entries(check.checkObject(key, value))
  return new Map(entries.map(([name, number]) => [name, check.checkNumber(`${key}['${name}']`, number)]))
}
