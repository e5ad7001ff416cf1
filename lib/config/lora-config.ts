import { camelCase } from './case.js'
import * as check from './check.js'
import {
  checkDtype,
  checkLayers,
  checkSeed,
  type Dtype,
  type FieldRules,
  type FieldsOf,
  FieldTable,
  type JsonOf,
  type OverridesOf
} from './fields.js'

/**
 * Which products of self-attention: query, key, value, and the one behind the heads, which only PEFT has beside them. 'qkv':
 * where one product makes the first three (GPT-2), that one as a whole, as PEFT has it.
 */
export type AttnMatrix = 'q' | 'k' | 'v' | 'o' | 'qkv'
/** lora: A as nn.Linear, B = 0. bert: N(0, 0.02). ia3: ones. vera: Kaiming's uniform values. */
export type LoraInitWeights = 'lora' | 'bert' | 'ia3' | 'vera'

/** Names of Linears or their ends; a text is 'all-linear' or a regular expression. */
export type TargetModules = readonly string[] | string

const attnMatrices = ['q', 'k', 'v', 'o', 'qkv'] as const
const compositionModes = ['add', 'scale', 'scale_input'] as const
const initWeights = ['lora', 'bert', 'ia3', 'vera'] as const
const taskMatrices = ['singular_values', 'linear'] as const

/** The adapter library's LoRAConfig, field for field, with those of IA³, VeRA, DoRA and DVoRA. */
abstract class LoraFieldsOf {
  /** `selfattn_lora`: at self-attention, as attnMatrices says. Default true. */
  declare readonly selfattnLora: boolean
  /** `intermediate_lora`: at the first layer of the feed-forward block. Default false. */
  declare readonly intermediateLora: boolean
  /** `output_lora`: at its second layer. Default false. */
  declare readonly outputLora: boolean
  /** `leave_out`: layers without an adapter, from 0. Default []. */
  declare readonly leaveOut: readonly number[]
  /** `r`: the rank of what is added to a weight. Default 8. */
  declare readonly r: number
  /** `alpha`: what is added counts alpha / r; with compositionMode 'scale', alpha. Default 8. */
  declare readonly alpha: number
  /** `use_rslora`, PEFT's: alpha counts alpha / √r (rank-stabilised LoRA, arXiv 2312.03732). Default false. */
  declare readonly useRslora: boolean
  /** `dropout`: on what the adapter reads, while training. Default 0. */
  declare readonly dropout: number
  /** `attn_matrices`. Default ['q', 'v']. */
  declare readonly attnMatrices: readonly AttnMatrix[]
  /**
   * `composition_mode`: 'add' a product to the weight; 'scale' the output with a vector (IA³), or the input ('scale_input',
   * PEFT's IA³ at its feed-forward modules). Default 'add'.
   */
  declare readonly compositionMode: 'add' | 'scale' | 'scale_input'
  /** `init_weights`. Default 'lora'. */
  declare readonly initWeights: LoraInitWeights
  /** `init_weights_seed`: the same start for every module of a shape; null: the model's random numbers. Default null. */
  declare readonly initWeightsSeed: number | null
  /** `use_gating`: a learned gate in [0, 1] for each row stands for alpha / r. Default false. */
  declare readonly useGating: boolean
  /**
   * `use_dora`: a learned length for each row of the weight (DoRA), as the adapter library computes it (true) or as PEFT
   * does ('peft'): the length of W + s B A, without the bias. Default false.
   */
  declare readonly useDora: boolean | 'peft'
  /** `vera_d`: with veraB, VeRA: what the vector between A and B starts with. Default null. */
  declare readonly veraD: number | null
  /** `vera_b`: what the vector after B starts with. Default null. */
  declare readonly veraB: number | null
  /**
   * Linears by name, as PEFT's `target_modules`: whole paths below the model, or their ends (`['q_proj', 'v_proj']`);
   * 'all-linear' for all but the output layer; any other single text is a regular expression for whole paths
   * (`'.*\\.(q|v)_proj'`). It then stands at these instead of what selfattnLora, intermediateLora and outputLora say. A model
   * has the names of these Linears for it. Default null.
   */
  declare readonly targetModules: TargetModules | null
  /** `dtype`: of the parameters in Python; here they are float32. Default null. */
  declare readonly dtype: Dtype | null
}

/** LoRA, IA³, VeRA, DoRA or DVoRA: the presets tell them apart by their fields. Frozen. */
export class LoraConfig extends LoraFieldsOf {
  readonly method = 'lora' as const

  /**
   * @param fields camelCase or snake_case; undefined leaves the default; null, as in Python, is false of yes or no and
   * an error of a number, else the default
   */
  constructor(fields: LoraOverrides = {}) {
    super()
    Object.assign(this, loraFields.read(check.checkObject('adapter config', fields)))
    checkTogether(this)
    Object.freeze(this)
  }

  /** A new config with some fields changed. */
  replace(changes: LoraOverrides): LoraConfig {
    const { method: _, ...fields } = this
    return new LoraConfig({ ...fields, ...loraFields.present(changes) })
  }

  /** The adapter library's dict: snake_case, every field, as `adapter_config.json` holds it. */
  toJSON(): Record<string, unknown> {
    return { architecture: this.method, ...withoutOwn(loraFields.toJSON(this)) }
  }
}

/** The adapter library's MTLLoRAConfig: LoRA with a matrix for the task between A and several B. Frozen. */
export class MtlLoraConfig extends LoraFieldsOf {
  readonly method = 'mtl_lora' as const
  /** `n_up_projection`: how many B there are. Default 1. */
  declare readonly nUpProjection: number
  /** `task_specific_matrix_type`: the task's matrix is a diagonal or a whole one. Default 'singular_values'. */
  declare readonly taskSpecificMatrixType: 'singular_values' | 'linear'
  /** `weights_sharpness`: the temperature of the mean over all B. Default 0.05. */
  declare readonly weightsSharpness: number

  /**
   * @param fields camelCase or snake_case; undefined leaves the default; null, as in Python, is false of yes or no and
   * an error of a number, else the default
   */
  constructor(fields: MtlLoraOverrides = {}) {
    super()
    Object.assign(this, mtlLoraFields.read(check.checkObject('adapter config', fields)))
    checkTogether(this)
    const other = this.compositionMode !== 'add' ? 'compositionMode' : this.veraD !== null ? 'veraD' : undefined
    if (other !== undefined) throw check.valueError(other, 'MTL-LoRA adds products of its own; leave the field out')
    Object.freeze(this)
  }

  /** A new config with some fields changed. */
  replace(changes: MtlLoraOverrides): MtlLoraConfig {
    const { method: _, ...fields } = this
    return new MtlLoraConfig({ ...fields, ...mtlLoraFields.present(changes) })
  }

  /** The adapter library's dict: snake_case, every field, as `adapter_config.json` holds it. */
  toJSON(): Record<string, unknown> {
    return { architecture: this.method, ...withoutOwn(mtlLoraFields.toJSON(this)) }
  }
}

export type LoraFields = FieldsOf<LoraConfig>
export type MtlLoraFields = FieldsOf<MtlLoraConfig>
export type LoraOverrides = OverridesOf<LoraFields>
export type MtlLoraOverrides = OverridesOf<MtlLoraFields>
export type LoraJson = JsonOf<LoraFields> & { readonly architecture: string }
export type MtlLoraJson = JsonOf<MtlLoraFields> & { readonly architecture: string }

const loraDefaults: LoraFields = Object.freeze({
  selfattnLora: true,
  intermediateLora: false,
  outputLora: false,
  leaveOut: Object.freeze([]),
  r: 8,
  alpha: 8,
  useRslora: false,
  dropout: 0,
  attnMatrices: Object.freeze(['q', 'v'] as const),
  compositionMode: 'add',
  initWeights: 'lora',
  initWeightsSeed: null,
  useGating: false,
  useDora: false,
  veraD: null,
  veraB: null,
  targetModules: null,
  dtype: null
})

const loraKeys = [
  ...[
    'selfattn_lora',
    'intermediate_lora',
    'output_lora',
    'leave_out',
    'r',
    'alpha',
    'use_rslora',
    'dropout',
    'attn_matrices'
  ],
  ...['composition_mode', 'init_weights', 'init_weights_seed', 'use_gating', 'use_dora', 'vera_d', 'vera_b'],
  ...['target_modules', 'dtype']
]

/** Numbers that are floats in Python: their JSON needs a decimal point. */
export const loraFloatKeys: ReadonlySet<string> = new Set(['dropout', 'vera_d', 'vera_b', 'weights_sharpness'])

const loraRules: FieldRules<LoraFields> = {
  selfattnLora: check.checkBoolean,
  intermediateLora: check.checkBoolean,
  outputLora: check.checkBoolean,
  leaveOut: checkLayers,
  r: check.checkPositiveInteger,
  alpha: (name, value) => check.checkNumber(name, value),
  useRslora: check.checkBoolean,
  dropout: (name, value) => check.checkNumber(name, value, { from: 0, to: 1 }),
  attnMatrices: checkMatrices,
  compositionMode: (name, value) => check.checkOneOf(name, value, compositionModes),
  initWeights: (name, value) => check.checkOneOf(name, value, initWeights),
  initWeightsSeed: checkSeed,
  useGating: check.checkBoolean,
  useDora: (name, value) => (value === 'peft' ? value : check.checkBoolean(name, value)),
  veraD: (name, value) => (value === null ? null : check.checkNumber(name, value)),
  veraB: (name, value) => (value === null ? null : check.checkNumber(name, value)),
  targetModules: checkTargets,
  dtype: checkDtype
}

export const loraFields = new FieldTable<LoraFields>(loraKeys, camelCase, loraRules, loraDefaults)

export const mtlLoraFields = new FieldTable<MtlLoraFields>(
  [...loraKeys, 'n_up_projection', 'task_specific_matrix_type', 'weights_sharpness'],
  camelCase,
  {
    ...loraRules,
    nUpProjection: check.checkPositiveInteger,
    taskSpecificMatrixType: (name, value) => check.checkOneOf(name, value, taskMatrices),
    weightsSharpness: (name, value) => check.checkNumber(name, value, { above: 0 })
  },
  { ...loraDefaults, nUpProjection: 1, taskSpecificMatrixType: 'singular_values', weightsSharpness: 0.05 }
)

function checkMatrices(name: string, value: unknown): readonly AttnMatrix[] {
  const matrices = check.checkArray(name, value).map((one, i) => check.checkOneOf(`${name}[${i}]`, one, attnMatrices))
  const part = matrices.find((one) => one === 'q' || one === 'k' || one === 'v')
  if (part !== undefined && matrices.includes('qkv')) {
    throw check.valueError(name, `'qkv' is query, key and value as one matrix; leave out '${part}' beside it`)
  }
  return Object.freeze([...new Set(matrices)])
}

function checkTargets(name: string, value: unknown): TargetModules | null {
  if (value === null) return null
  if (typeof value === 'string') return check.checkNonEmptyString(name, value)
  const names = check.checkArray(name, value).map((one, i) => check.checkNonEmptyString(`${name}[${i}]`, one))
  if (names.length === 0) throw check.valueError(name, 'expected the name of a Linear at least, or null')
  return Object.freeze([...new Set(names)])
}

/** The adapter library has no such fields: they are written where they say something. */
function withoutOwn({ target_modules, use_rslora, ...json }: Record<string, unknown>): Record<string, unknown> {
  return { ...json, ...(target_modules !== null && { target_modules }), ...(use_rslora === true && { use_rslora }) }
}

/** The alpha that counts alpha / r: with useRslora another than the config's, of the same sum. */
export function plainAlpha({ alpha, r, useRslora }: Pick<LoraFields, 'alpha' | 'r' | 'useRslora'>): number {
  return useRslora ? alpha * Math.sqrt(r) : alpha
}

/** The Linears of a config as a model has it, by their paths (`resolveTargets`); null: it has places instead. */
export function targetPaths({ targetModules }: Pick<LoraFieldsOf, 'targetModules'>): readonly string[] | null {
  if (typeof targetModules === 'string') throw new TypeError('targetModules: no model has been asked for the Linears')
  return targetModules
}

/** What counts of the product B A. */
export const loraScale = (config: Pick<LoraFields, 'alpha' | 'r' | 'useRslora'>): number =>
  plainAlpha(config) / config.r

/** What single fields do not show. */
function checkTogether(config: LoraFieldsOf): void {
  const { selfattnLora, attnMatrices: matrices, intermediateLora, outputLora } = config
  if (config.targetModules === null && !(selfattnLora && matrices.length > 0) && !intermediateLora && !outputLora) {
    const message =
      'selfattnLora (with attnMatrices), intermediateLora or outputLora must be on, or there is no adapter'
    throw check.valueError('adapter config', message)
  }
  if (config.alpha === 0 && !config.useGating) {
    const effect =
      config.compositionMode === 'add' ? 'nothing would be added, and nothing learned' : 'all would be scaled to 0'
    throw check.rangeError('alpha', `a number other than 0, by which ${effect}`, 0)
  }
  if ((config.veraD === null) !== (config.veraB === null)) {
    throw check.valueError('adapter config', 'VeRA needs both veraD and veraB')
  }
  if (config.useRslora && (config.useGating || config.veraD !== null)) {
    const why = config.useGating ? 'a gate stands for what useRslora scales' : 'VeRA has two vectors, and no scale'
    throw check.valueError('useRslora', `${why}; leave the field out`)
  }
  const { compositionMode: mode } = config
  if (mode === 'add') return
  if (config.r !== 1) throw check.rangeError('r', `1 with compositionMode '${mode}'`, config.r)
  const other =
    config.dropout > 0
      ? 'dropout'
      : config.useRslora
        ? 'useRslora'
        : config.useDora
          ? 'useDora'
          : config.veraD !== null
            ? 'veraD'
            : undefined
  if (other === undefined) return
  throw check.valueError(other, `compositionMode '${mode}' (IA³) has none; leave the field out, or add instead`)
}

/** The Linears of a layer at which LoRA and its kin stand. */
export type LoraPlace = 'query' | 'key' | 'value' | 'query_key_value' | 'attention_output' | 'intermediate' | 'output'

/** The places at which such a config puts something in each layer. */
export function loraPlaces(config: LoraFieldsOf): readonly LoraPlace[] {
  const has = (matrix: AttnMatrix) => config.selfattnLora && config.attnMatrices.includes(matrix)
  const wanted = {
    query: has('q'),
    key: has('k'),
    value: has('v'),
    query_key_value: has('qkv'),
    attention_output: has('o'),
    intermediate: config.intermediateLora,
    output: config.outputLora
  }
  return (Object.keys(wanted) as (keyof typeof wanted)[]).filter((place) => wanted[place])
}
