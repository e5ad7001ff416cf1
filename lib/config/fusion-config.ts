import type { NativeFusionConfig } from '../native/config-types.js'
import { camelCase, isSnakeCase, type SnakeCase, snakeCase } from './case.js'
import * as check from './check.js'
import { didYouMean } from './nearest.js'
import { parseShorthand } from './shorthand.js'

/** AdapterHub's AdapterFusionConfig, field for field (Pfeiffer et al. 2021, https://arxiv.org/abs/2005.00247). Frozen. */
export interface FusionConfig {
  /** `key`: project what the adapters give before it is compared with the query. */
  readonly key: boolean
  /** `query`: project the query. */
  readonly query: boolean
  /** `value`: project the weighted sum. */
  readonly value: boolean
  /** `query_before_ln`: the query is the sub-layer's output, not what the adapters read. */
  readonly queryBeforeLn: boolean
  /** `regularization`: training also lowers 0.01 ‖I - value‖². Read where the value projection trains. */
  readonly regularization: boolean
  /** `residual_before`: the residual is added to what is fused, not to the result. */
  readonly residualBefore: boolean
  /** `temperature`: scores are divided by T, which falls from 50 to 1 in the first 980 steps of training. */
  readonly temperature: boolean
  /** `value_before_softmax`: kept for the file; the order changes no number. */
  readonly valueBeforeSoftmax: boolean
  /** `value_initialized`: the value projection starts as the identity. */
  readonly valueInitialized: boolean
  /** `dropout_prob`: on the scores while training. null: the model's attention dropout. */
  readonly dropoutProb: number | null
}

export type FusionPreset = 'static' | 'dynamic'
export type FusionOverrides = { readonly [K in keyof FusionConfig]?: FusionConfig[K] | undefined }
export type FusionJson = { readonly [K in keyof FusionConfig as SnakeCase<K>]?: FusionConfig[K] | undefined }
/**
 * A preset, one with fields ('static[temperature=True]'), or fields over 'dynamic' in camelCase, or in snake_case as in JSON.
 * Default 'dynamic'.
 */
export type FusionConfigSource = FusionPreset | `${FusionPreset}[${string}]` | FusionOverrides | FusionJson

const fixed: FusionConfig = Object.freeze({
  key: true,
  query: true,
  value: false,
  queryBeforeLn: false,
  regularization: false,
  residualBefore: false,
  temperature: false,
  valueBeforeSoftmax: true,
  valueInitialized: false,
  dropoutProb: null
})

/** By name: without a value projection, and with one that starts as the identity. */
export const fusionPresets: Readonly<Record<FusionPreset, FusionConfig>> = Object.freeze({
  static: fixed,
  dynamic: Object.freeze({ ...fixed, value: true, regularization: true, valueInitialized: true })
})

const fields = Object.keys(fixed) as (keyof FusionConfig)[]

export function fusionConfig(source: FusionConfigSource | object = 'dynamic'): FusionConfig {
  if (typeof source !== 'string') return withFields(fusionPresets.dynamic, check.checkObject('fusion config', source))
  const [part, ...others] = source.includes('[') ? parseShorthand(source) : [{ name: source, values: {} }]
  const name = others.length === 0 ? part?.name : source
  return withFields(fusionPresets[check.checkOneOf('fusion config', name, ['static', 'dynamic'])], part?.values ?? {})
}

function withFields(preset: FusionConfig, given: Readonly<Record<string, unknown>>): FusionConfig {
  const changes = Object.entries(given).flatMap(([key, value]) => {
    const field = fields.find((name) => name === camelCase(key))
    if (field === undefined) {
      const known = isSnakeCase(Object.keys(given)) ? fields.map(snakeCase) : fields
      throw check.valueError(
        'fusion config',
        `unknown field '${key}'.${didYouMean(key, known) || ` It has: ${known.join(', ')}.`}`
      )
    }
    return value === undefined ? [] : [[field, checkField(field, key, value)]]
  })
  return Object.freeze({ ...preset, ...Object.fromEntries(changes) })
}

function checkField(field: keyof FusionConfig, name: string, value: unknown): boolean | number | null {
  if (field !== 'dropoutProb') return check.checkBoolean(name, value)
  return value === null ? null : check.checkNumber(name, value, { from: 0, below: 1 })
}

/** The library's dict, for `adapter_fusion_config.json`. */
export function fusionConfigToJson(config: FusionConfig): Record<string, unknown> {
  return Object.fromEntries(fields.map((field) => [snakeCase(field), config[field]]))
}

/** The config as the core takes it. */
export function nativeFusionConfig(config: FusionConfig, attentionDropout: number): NativeFusionConfig {
  return {
    key: config.key,
    query: config.query,
    value: config.value,
    query_before_ln: config.queryBeforeLn,
    regularization: config.regularization,
    residual_before: config.residualBefore,
    temperature: config.temperature,
    value_initialized: config.valueInitialized,
    dropout_prob: config.dropoutProb ?? attentionDropout
  }
}
