import type { NativeReftConfig } from '../native/config-types.js'
import { activationParameters, type NonLinearity, nonLinearities } from './activations.js'
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
import type { ModelShape } from './size.js'

/**
 * The adapter library's ReftConfig, field for field: after each layer, the states of the first and last tokens of a row are
 * changed in a subspace of r dimensions (Wu et al. 2024, https://arxiv.org/abs/2404.03592). Frozen.
 */
export class ReftConfig {
  readonly method = 'reft' as const
  /** `layers`: after which layers, from 0. Default 'all'. */
  declare readonly layers: 'all' | readonly number[]
  /** `prefix_positions`: how many of a row's first tokens. Default 3. */
  declare readonly prefixPositions: number
  /** `suffix_positions`: how many of its last tokens. Default 0. */
  declare readonly suffixPositions: number
  /**
   * `r`: dimensions of the subspace. Default 1. More than a hidden state has are not refused, because Python trains and saves
   * such adapters: the columns of the projection are then orthonormal, and the whole state is changed.
   */
  declare readonly r: number
  /** `orthogonality`: the rows of the projection stay orthonormal (LoReFT). Default true. */
  declare readonly orthogonality: boolean
  /** `tied_weights`: the same weights for first and last tokens. Default false. */
  declare readonly tiedWeights: boolean
  /** `subtract_projection`: what is learned stands for the state's own projection; false: beside it (DiReFT). Default true. */
  declare readonly subtractProjection: boolean
  /** `dropout`: on the changed states, while training. Default 0.05. */
  declare readonly dropout: number
  /** `non_linearity`: on what is learned; null: none. Default null. */
  declare readonly nonLinearity: NonLinearity | null
  /** `dtype`: of the parameters in Python; here they are float32. Default null. */
  declare readonly dtype: Dtype | null
  /** `output_reft`: the only place that there is. Default true. */
  declare readonly outputReft: boolean
  /** `init_weights_seed`: the same start for every module of a shape; null: the model's random numbers. Default null. */
  declare readonly initWeightsSeed: number | null

  /**
   * @param fields camelCase or snake_case; undefined leaves the default; null, as in Python, is false of yes or no and
   * an error of a number, else the default
   */
  constructor(fields: ReftOverrides = {}) {
    Object.assign(this, reftFields.read(check.checkObject('adapter config', fields)))
    if (!this.outputReft) throw check.valueError('outputReft', 'ReFT stands nowhere else; leave the field out')
    if (this.prefixPositions + this.suffixPositions === 0) {
      throw check.valueError(
        'adapter config',
        'prefixPositions or suffixPositions must be above 0, or there is no adapter'
      )
    }
    Object.freeze(this)
  }

  /** A new config with some fields changed. */
  replace(changes: ReftOverrides): ReftConfig {
    const { method: _, ...fields } = this
    return new ReftConfig({ ...fields, ...reftFields.present(changes) })
  }

  /**
   * The adapter library's dict: snake_case, as `adapter_config.json` holds it. subtract_projection is there only where it is
   * false: the library has no such field in its files (and so loses it).
   */
  toJSON(): Record<string, unknown> {
    const { subtract_projection: subtracts, ...fields } = reftFields.toJSON(this)
    return { architecture: this.method, ...fields, ...(subtracts === false && { subtract_projection: false }) }
  }
}

export type ReftFields = FieldsOf<ReftConfig>
export type ReftOverrides = OverridesOf<ReftFields>
export type ReftJson = JsonOf<ReftFields> & { readonly architecture: string }

const rules: FieldRules<ReftFields> = {
  layers: checkPlaces,
  prefixPositions: (name, value) => check.checkInteger(name, value, 0),
  suffixPositions: (name, value) => check.checkInteger(name, value, 0),
  r: check.checkPositiveInteger,
  orthogonality: check.checkBoolean,
  tiedWeights: check.checkBoolean,
  subtractProjection: check.checkBoolean,
  dropout: (name, value) => check.checkNumber(name, value, { from: 0, to: 1 }),
  nonLinearity: (name, value) => (value === null ? null : check.checkOneOf(name, value, nonLinearities)),
  dtype: checkDtype,
  outputReft: check.checkBoolean,
  initWeightsSeed: checkSeed
}

function checkPlaces(name: string, value: unknown): 'all' | readonly number[] {
  if (value === 'all') return 'all'
  if (typeof value === 'string')
    throw check.valueError(name, `expected 'all' or a list of layers, got ${check.describe(value)}`)
  const layers = checkLayers(name, value)
  if (layers.length === 0) throw check.valueError(name, "the list is empty; write 'all' for all layers")
  return layers
}

export const reftFields = new FieldTable<ReftFields>(
  [
    ...['layers', 'prefix_positions', 'suffix_positions', 'r', 'orthogonality', 'tied_weights', 'subtract_projection'],
    ...['dropout', 'non_linearity', 'dtype', 'output_reft', 'init_weights_seed']
  ],
  camelCase,
  rules,
  {
    layers: 'all',
    prefixPositions: 3,
    suffixPositions: 0,
    r: 1,
    orthogonality: true,
    tiedWeights: false,
    subtractProjection: true,
    dropout: 0.05,
    nonLinearity: null,
    dtype: null,
    outputReft: true,
    initWeightsSeed: null
  }
)

/** The rank in each layer, 0 where the config leaves the layer out. */
export function reftRanks({ layers, r }: ReftConfig, count: number): number[] {
  return Array.from({ length: count }, (_, layer) => (layers === 'all' || layers.includes(layer) ? r : 0))
}

/** Parameters alone: the fixed base of an orthogonal projection is none. */
export function countReft(config: ReftConfig, { hiddenSize, numHiddenLayers }: ModelShape): number {
  const { r, tiedWeights, nonLinearity } = config
  const layers = reftRanks(config, numHiddenLayers).filter((rank) => rank > 0).length
  const unit = (2 * hiddenSize + 1) * r + (nonLinearity === null ? 0 : activationParameters(nonLinearity))
  return layers * (tiedWeights ? 1 : 2) * unit
}

/** The config as the core takes it. */
export function nativeReftConfig(config: ReftConfig, { numHiddenLayers }: ModelShape): NativeReftConfig {
  return {
    method: 'reft',
    ranks: reftRanks(config, numHiddenLayers),
    prefix_positions: config.prefixPositions,
    suffix_positions: config.suffixPositions,
    orthogonality: config.orthogonality,
    tied_weights: config.tiedWeights,
    subtract_projection: config.subtractProjection,
    dropout: config.dropout,
    non_linearity: config.nonLinearity,
    init_weights_seed: config.initWeightsSeed
  }
}
