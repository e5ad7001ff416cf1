import { type NonLinearity, nonLinearities } from './activations.js'
import { camelCase, type SnakeCase } from './case.js'
import * as check from './check.js'
import { checkLayers, FieldTable, type MaybeNull } from './fields.js'
import { didYouMean } from './nearest.js'

/** One factor for all layers, or one a layer: `{ '0': 8, '11': 32, default: 16 }`. Above 0; below 1 it widens. */
export type ReductionFactor = number | { readonly [layer: string]: number }
/** Fixed, one learned number, or one learned number a channel; learned ones start at 1. */
export type Scaling = number | 'learned' | 'channel'
/** bert: N(0, 0.02), zero biases. mam_adapter: identity at the start. houlsby: truncated N(0, 0.01). zeros: zero up-projection. */
export type InitWeights = 'bert' | 'mam_adapter' | 'houlsby' | 'zeros'
export type ResidualBeforeLn = boolean | 'post_add'

export type PhmWeightInit = 'phm' | 'glorot-normal' | 'glorot-uniform' | 'normal'

const phmWeightInits = ['phm', 'glorot-normal', 'glorot-uniform', 'normal'] as const
const initWeights = ['bert', 'mam_adapter', 'houlsby', 'zeros'] as const

/** The adapter library's BnConfig, field for field, in the order of its documentation. Frozen. */
export class BottleneckConfig {
  readonly method = 'bottleneck' as const
  /** `mh_adapter`: an adapter after the attention block of each layer. Required. */
  declare readonly mhAdapter: boolean
  /** `output_adapter`: an adapter after the feed-forward block of each layer. Required. */
  declare readonly outputAdapter: boolean
  /** `reduction_factor`: hidden size ÷ bottleneck size. Required. */
  declare readonly reductionFactor: ReductionFactor
  /** `non_linearity`: the activation inside the bottleneck. Required. */
  declare readonly nonLinearity: NonLinearity
  /** `original_ln_before`: residual and the model's own LayerNorm before the adapter. Default false. */
  declare readonly originalLnBefore: boolean
  /** `original_ln_after`: residual and the model's own LayerNorm after the adapter. Default true. */
  declare readonly originalLnAfter: boolean
  /** `ln_before`: a new LayerNorm before the down-projection. Default false. */
  declare readonly lnBefore: boolean
  /** `ln_after`: a new LayerNorm after the up-projection. Default false. */
  declare readonly lnAfter: boolean
  /** `init_weights`. Default 'bert'. */
  declare readonly initWeights: InitWeights
  /** `init_weights_seed`: the same start for every module of a shape; null: the model's random numbers. Default null. */
  declare readonly initWeightsSeed: number | null
  /** `is_parallel`: beside the block instead of after it. Default false. */
  declare readonly isParallel: boolean
  /** `scaling`: factor on the up-projection's output. Default 1. */
  declare readonly scaling: Scaling
  /** `use_gating`: a learned gate in [0, 1], one for each row. Default false. */
  declare readonly useGating: boolean
  /** `residual_before_ln`: where the adapter's residual is taken when originalLnBefore is on. Default true. */
  declare readonly residualBeforeLn: ResidualBeforeLn
  /** `adapter_residual_before_ln`: add the residual before the new LayerNorm of lnAfter. Default false. */
  declare readonly adapterResidualBeforeLn: boolean
  /** `inv_adapter`: an invertible adapter behind the embeddings, undone before a head's words. Default null. */
  declare readonly invAdapter: 'nice' | 'glow' | null
  /** `inv_adapter_reduction_factor`: half an embedding ÷ inner width of its networks. Required with invAdapter. */
  declare readonly invAdapterReductionFactor: number | null
  /** `cross_adapter`: after cross attention; encoders have none, so it changes nothing there. Default false. */
  declare readonly crossAdapter: boolean
  /** `leave_out`: layers without an adapter, from 0. Default []. */
  declare readonly leaveOut: readonly number[]
  /** `dropout`: probability on the adapter's output while training. Default 0. */
  declare readonly dropout: number
  /** `phm_layer`: sums of Kronecker products Σ C ⊗ W for the two projections (Compacter). Default false. */
  declare readonly phmLayer: boolean
  /** `phm_dim`: products in a sum. It divides hidden size and bottleneck. This and the next are read with phmLayer alone. Default 4. */
  declare readonly phmDim: number
  /** `factorized_phm_W`: each W is a product of two matrices of phmRank. Default true. */
  declare readonly factorizedPhmW: boolean
  /** `shared_W_phm`: one W for all layers. Default false. */
  declare readonly sharedWPhm: boolean
  /** `shared_phm_rule`: one C for all layers. Default true. */
  declare readonly sharedPhmRule: boolean
  /** `factorized_phm_rule`: each C is a column times a row. Default false. */
  declare readonly factorizedPhmRule: boolean
  /** `phm_c_init`: where C starts, with phmInitRange or in ±1 (a C of its own layer: 0.01, ±0.01). Default 'normal'. */
  declare readonly phmCInit: 'normal' | 'uniform'
  /** `phm_init_range`: standard deviation of a shared C, and of W with 'normal'. Default 1e-4. */
  declare readonly phmInitRange: number
  /** `learn_phm`: C trains. Default true. */
  declare readonly learnPhm: boolean
  /** `hypercomplex_nonlinearity`: where W starts; 'phm' is 'glorot-normal'. Default 'glorot-uniform'. */
  declare readonly hypercomplexNonlinearity: PhmWeightInit
  /** `phm_rank`: of W's two factors. Default 1. */
  declare readonly phmRank: number
  /** `phm_bias`: both projections have a bias. Default true. */
  declare readonly phmBias: boolean
  /** `stochastic_depth`: probability that a row skips the adapter while training. Default 0. */
  declare readonly stochasticDepth: number

  /**
   * @param fields camelCase or snake_case; undefined leaves the default; null, as in Python, is false of yes or no and
   * an error of a number and of what has no default, else the default
   */
  constructor(fields: BottleneckOptions) {
    Object.assign(this, checkFields(check.checkObject('adapter config', fields)))
    checkTogether(this)
    Object.freeze(this)
  }

  /** A new config with some fields changed. */
  replace(changes: BottleneckOverrides): BottleneckConfig {
    return new BottleneckConfig({ ...this.fields(), ...bottleneckFields.present(changes) } as BottleneckOptions)
  }

  /** The adapter library's dict: snake_case, every field, as `adapter_config.json` holds it. */
  toJSON(): Record<string, unknown> {
    return bottleneckFields.toJSON(this)
  }

  private fields(): BottleneckFields {
    const { method: _, ...fields } = this
    return fields as BottleneckFields
  }
}

export type BottleneckFields = Omit<BottleneckConfig, 'method' | 'replace' | 'toJSON'>
export type BottleneckField = keyof BottleneckFields
type RequiredField = 'mhAdapter' | 'outputAdapter' | 'reductionFactor' | 'nonLinearity'
export type BottleneckOverrides = { readonly [K in BottleneckField]?: BottleneckFields[K] | undefined }
export type BottleneckOptions = BottleneckOverrides & Pick<BottleneckFields, RequiredField>
/** The same fields in snake_case, as `adapter_config.json` holds them. An imported JSON file has no literal types. */
export type BottleneckJson = {
  readonly [K in keyof BottleneckOptions as JsonKey<K>]:
    | (BottleneckOptions[K] extends infer T ? Widen<T> : never)
    | (K extends RequiredField ? never : MaybeNull<BottleneckOptions[K]>)
}
type Widen<T> = T extends string ? string : T
/** Two of the library's keys keep a capital letter. */
type JsonKey<K extends string> = K extends 'factorizedPhmW'
  ? 'factorized_phm_W'
  : K extends 'sharedWPhm'
    ? 'shared_W_phm'
    : SnakeCase<K>

const defaults: Readonly<Omit<BottleneckFields, RequiredField>> = Object.freeze({
  originalLnBefore: false,
  originalLnAfter: true,
  lnBefore: false,
  lnAfter: false,
  initWeights: 'bert',
  initWeightsSeed: null,
  isParallel: false,
  scaling: 1,
  useGating: false,
  residualBeforeLn: true,
  adapterResidualBeforeLn: false,
  invAdapter: null,
  invAdapterReductionFactor: null,
  crossAdapter: false,
  leaveOut: Object.freeze([]),
  dropout: 0,
  phmLayer: false,
  phmDim: 4,
  factorizedPhmW: true,
  sharedWPhm: false,
  sharedPhmRule: true,
  factorizedPhmRule: false,
  phmCInit: 'normal',
  phmInitRange: 1e-4,
  learnPhm: true,
  hypercomplexNonlinearity: 'glorot-uniform',
  phmRank: 1,
  phmBias: true,
  stochasticDepth: 0
})

/** The library's keys. Two of them keep a capital letter, so they are listed and not derived. */
const bottleneckKeys: readonly string[] = Object.freeze([
  ...['mh_adapter', 'output_adapter', 'reduction_factor', 'non_linearity', 'original_ln_before', 'original_ln_after'],
  ...['ln_before', 'ln_after', 'init_weights', 'init_weights_seed', 'is_parallel', 'scaling', 'use_gating'],
  ...['residual_before_ln', 'adapter_residual_before_ln', 'inv_adapter', 'inv_adapter_reduction_factor'],
  ...['cross_adapter', 'leave_out', 'dropout', 'phm_layer', 'phm_dim', 'factorized_phm_W', 'shared_W_phm'],
  ...['shared_phm_rule', 'factorized_phm_rule', 'phm_c_init', 'phm_init_range', 'learn_phm'],
  ...['hypercomplex_nonlinearity', 'phm_rank', 'phm_bias', 'stochastic_depth']
])

/** Numbers that are floats in Python: their JSON needs a decimal point. */
export const bottleneckFloatKeys: ReadonlySet<string> = new Set([
  'scaling',
  'dropout',
  'phm_init_range',
  'stochastic_depth'
])

export const bottleneckFields = new FieldTable<BottleneckFields>(
  bottleneckKeys,
  camelCase,
  {
    mhAdapter: check.checkBoolean,
    outputAdapter: check.checkBoolean,
    reductionFactor: checkReductionFactor,
    // The library lower-cases it, so `ReLU` in an old folder is `relu`.
    nonLinearity: (name, value) => check.checkOneOf(name, check.checkString(name, value).toLowerCase(), nonLinearities),
    originalLnBefore: check.checkBoolean,
    originalLnAfter: check.checkBoolean,
    lnBefore: check.checkBoolean,
    lnAfter: check.checkBoolean,
    initWeights: (name, value) => check.checkOneOf(name, value, initWeights),
    initWeightsSeed: (name, value) => (value === null ? null : check.checkInteger(name, value, 0)),
    isParallel: check.checkBoolean,
    scaling: checkScaling,
    useGating: check.checkBoolean,
    residualBeforeLn: checkResidual,
    adapterResidualBeforeLn: check.checkBoolean,
    invAdapter: (name, value) => (value === null ? null : check.checkOneOf(name, value, ['nice', 'glow'])),
    invAdapterReductionFactor: (name, value) => (value === null ? null : check.checkNumber(name, value, { above: 0 })),
    crossAdapter: check.checkBoolean,
    leaveOut: checkLayers,
    dropout: (name, value) => check.checkNumber(name, value, { from: 0, to: 1 }),
    phmLayer: check.checkBoolean,
    phmDim: check.checkPositiveInteger,
    factorizedPhmW: check.checkBoolean,
    sharedWPhm: check.checkBoolean,
    sharedPhmRule: check.checkBoolean,
    factorizedPhmRule: check.checkBoolean,
    phmCInit: (name, value) => check.checkOneOf(name, value, ['normal', 'uniform']),
    phmInitRange: (name, value) => check.checkNumber(name, value, { from: 0 }),
    learnPhm: check.checkBoolean,
    hypercomplexNonlinearity: (name, value) => check.checkOneOf(name, value, phmWeightInits),
    phmRank: check.checkPositiveInteger,
    phmBias: check.checkBoolean,
    stochasticDepth: (name, value) => check.checkNumber(name, value, { from: 0, below: 1 })
  },
  defaults
)

function checkFields(given: Record<string, unknown>): BottleneckFields {
  const fields = bottleneckFields.read(given)
  const missing = (['mhAdapter', 'outputAdapter', 'reductionFactor', 'nonLinearity'] as const).filter(
    (field) => fields[field] === undefined
  )
  if (missing.length > 0) {
    const message = `${missing.join(', ')} must be given; a preset gives them all: AdapterConfig.load('seq_bn', { … })`
    throw check.valueError('adapter config', message)
  }
  if (!fields.mhAdapter && !fields.outputAdapter) {
    throw check.valueError('adapter config', 'mhAdapter or outputAdapter must be true, or there is no adapter')
  }
  return fields as BottleneckFields
}

function checkReductionFactor(name: string, value: unknown): ReductionFactor {
  if (typeof value === 'number') return check.checkNumber(name, value, { above: 0 })
  if (!check.isPlainObject(value)) throw check.typeError(name, "a number above 0 or { '0': 8, default: 16 }", value)
  const entries = Object.entries(value).map(([layer, factor]): [string, number] => {
    if (layer !== 'default' && !/^(0|[1-9]\d{0,5})$/.test(layer)) {
      throw check.valueError(name, `expected layer numbers and 'default' as keys, got '${layer}'`)
    }
    return [layer, check.checkNumber(`${name}['${layer}']`, factor, { above: 0 })]
  })
  if (entries.length === 0) throw check.valueError(name, 'the map of layers is empty')
  return Object.freeze(Object.fromEntries(entries))
}

function checkScaling(name: string, value: unknown): Scaling {
  if (value === 'learned' || value === 'channel') return value
  if (typeof value === 'number') return check.checkNumber(name, value)
  const expected = "a number, 'learned' or 'channel'"
  if (typeof value !== 'string') throw check.typeError(name, expected, value)
  throw check.valueError(
    name,
    `expected ${expected}, got ${check.describe(value)}.${didYouMean(value, ['learned', 'channel'])}`
  )
}

function checkResidual(name: string, value: unknown): ResidualBeforeLn {
  if (typeof value === 'boolean') return value
  if (typeof value !== 'string') throw check.typeError(name, "true, false or 'post_add'", value)
  if (value === 'post_add') return value
  throw check.valueError(name, `expected true, false or 'post_add', got ${check.describe(value)}`)
}

function checkTogether(config: BottleneckConfig): void {
  if (config.invAdapter === null || config.invAdapterReductionFactor !== null) return
  throw check.valueError('invAdapterReductionFactor', 'must be given with invAdapter: 2 is usual')
}
