import type { NativePrefixConfig } from '../native/config-types.js'
import { activationParameters, type NonLinearity, nonLinearities } from './activations.js'
import { camelCase } from './case.js'
import * as check from './check.js'
import {
  checkLayers,
  checkSeed,
  type FieldRules,
  type FieldsOf,
  FieldTable,
  type JsonOf,
  type OverridesOf
} from './fields.js'
import type { ModelShape } from './size.js'

/**
 * The adapter library's PrefixTuningConfig, field for field: keys and values in front of every row's own, in each layer
 * (Li and Liang 2021, https://arxiv.org/abs/2101.00190). Frozen.
 */
export class PrefixTuningConfig {
  readonly method = 'prefix_tuning' as const
  /** `encoder_prefix`: in encoders of encoder-decoder models; read for no model here. Default true. */
  declare readonly encoderPrefix: boolean
  /** `cross_prefix`: in cross attention, which no model here has. Default true. */
  declare readonly crossPrefix: boolean
  /** `leave_out`: layers without a prefix, from 0. Default []. */
  declare readonly leaveOut: readonly number[]
  /** `flat`: keys and values train themselves, instead of a small network that makes them. Default false. */
  declare readonly flat: boolean
  /** `prefix_length`: how many keys and values. Default 30. */
  declare readonly prefixLength: number
  /** `bottleneck_size`: of the network that makes them. Default 512. */
  declare readonly bottleneckSize: number
  /** `non_linearity`: inside it. Default 'tanh'. */
  declare readonly nonLinearity: NonLinearity
  /** `dropout`: on keys and values, while training. Default 0. */
  declare readonly dropout: number
  /** `use_gating`: a learned gate in [0, 1] for each row and layer multiplies keys and values. Default false. */
  declare readonly useGating: boolean
  /** `shared_gating`: one gate for keys and values. Default true. */
  declare readonly sharedGating: boolean
  /**
   * `shift_positions`: a row's tokens have the positions behind those of the prefix, as in PEFT's prefix tuning, which is flat.
   * The adapter library has no such field. Default false.
   */
  declare readonly shiftPositions: boolean
  /** `init_weights_seed`: where the first values come from; null: the model's random numbers. Default null. */
  declare readonly initWeightsSeed: number | null

  /**
   * @param fields camelCase or snake_case; undefined leaves the default; null, as in Python, is false of yes or no and
   * an error of a number, else the default
   */
  constructor(fields: PrefixTuningOverrides = {}) {
    Object.assign(this, prefixFields.read(check.checkObject('adapter config', fields)))
    if (this.shiftPositions && !(this.flat && this.leaveOut.length === 0 && !this.useGating)) {
      const message = 'is for prefixes as PEFT keeps them: with flat, in every layer, without a gate'
      throw check.valueError('shiftPositions', message)
    }
    Object.freeze(this)
  }

  /** A new config with some fields changed. */
  replace(changes: PrefixTuningOverrides): PrefixTuningConfig {
    const { method: _, ...fields } = this
    return new PrefixTuningConfig({ ...fields, ...prefixFields.present(changes) })
  }

  /** The adapter library's dict: snake_case, every field, as `adapter_config.json` holds it. */
  toJSON(): Record<string, unknown> {
    const { shift_positions: shifts, ...fields } = prefixFields.toJSON(this)
    return { architecture: this.method, ...fields, ...(shifts === true && { shift_positions: shifts }) }
  }
}

export type PrefixTuningFields = FieldsOf<PrefixTuningConfig>
export type PrefixTuningOverrides = OverridesOf<PrefixTuningFields>
export type PrefixTuningJson = JsonOf<PrefixTuningFields> & { readonly architecture: string }

const rules: FieldRules<PrefixTuningFields> = {
  encoderPrefix: check.checkBoolean,
  crossPrefix: check.checkBoolean,
  leaveOut: checkLayers,
  flat: check.checkBoolean,
  prefixLength: check.checkPositiveInteger,
  bottleneckSize: check.checkPositiveInteger,
  nonLinearity: (name, value) => check.checkOneOf(name, value, nonLinearities),
  dropout: (name, value) => check.checkNumber(name, value, { from: 0, to: 1 }),
  useGating: check.checkBoolean,
  sharedGating: check.checkBoolean,
  shiftPositions: check.checkBoolean,
  initWeightsSeed: checkSeed
}

export const prefixFields = new FieldTable<PrefixTuningFields>(
  [
    ...['encoder_prefix', 'cross_prefix', 'leave_out', 'flat', 'prefix_length', 'bottleneck_size', 'non_linearity'],
    ...['dropout', 'use_gating', 'shared_gating', 'shift_positions', 'init_weights_seed']
  ],
  camelCase,
  rules,
  {
    encoderPrefix: true,
    crossPrefix: true,
    leaveOut: Object.freeze([]),
    flat: false,
    prefixLength: 30,
    bottleneckSize: 512,
    nonLinearity: 'tanh',
    dropout: 0,
    useGating: false,
    sharedGating: true,
    shiftPositions: false,
    initWeightsSeed: null
  }
)

/** The prefix of each layer, 0 where leaveOut leaves the layer without one. */
export function prefixLengths({ prefixLength, leaveOut }: PrefixTuningConfig, layers: number): number[] {
  return Array.from({ length: layers }, (_, layer) => (leaveOut.includes(layer) ? 0 : prefixLength))
}

export function countPrefix(config: PrefixTuningConfig, shape: ModelShape): number {
  const { hiddenSize, numHiddenLayers, exported } = shape
  const { prefixLength, bottleneckSize: inner, flat, useGating, sharedGating, nonLinearity } = config
  const layers = prefixLengths(config, numHiddenLayers).filter((length) => length > 0).length
  if (layers === 0) return 0
  const made = 2 * layers * (exported?.keyFeatures ?? hiddenSize)
  const network =
    prefixLength * hiddenSize + (hiddenSize + 1) * inner + (inner + 1) * made + activationParameters(nonLinearity)
  const gates = useGating ? layers * (sharedGating ? 1 : 2) * (hiddenSize + 1) : 0
  return (flat ? prefixLength * made : network) + gates
}

/** The config as the core takes it. */
export function nativePrefixConfig(config: PrefixTuningConfig, { numHiddenLayers }: ModelShape): NativePrefixConfig {
  return {
    method: 'prefix_tuning',
    lengths: prefixLengths(config, numHiddenLayers),
    flat: config.flat,
    bottleneck_size: config.bottleneckSize,
    non_linearity: config.nonLinearity,
    dropout: config.dropout,
    use_gating: config.useGating,
    shared_gating: config.sharedGating,
    shifts_positions: config.shiftPositions,
    init_weights_seed: config.initWeightsSeed
  }
}
