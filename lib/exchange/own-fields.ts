import { isDeepStrictEqual } from 'node:util'
import * as check from '../config/check.js'
import { plainAlpha } from '../config/lora-config.js'

type Json = Readonly<Record<string, unknown>>

/**
 * A config as Python knows it. It has no 'zeros', no use_rslora, which another alpha stands for, and for PHM layers no start but
 * 'bert'; what an adapter started from no longer matters once it is trained.
 */
export function knownConfig(json: Json): Record<string, unknown> {
  const { configs } = json
  if (Array.isArray(configs)) return { ...json, configs: configs.map(knownConfig) }
  if (json['phm_layer'] === true) return { ...json, init_weights: 'bert' }
  const { use_rslora: useRslora, ...rest } = json
  if (useRslora === true) {
    const [alpha, r] = [Number(rest['alpha']), Number(rest['r'])]
    return { ...rest, alpha: plainAlpha({ alpha, r, useRslora }) }
  }
  return json['init_weights'] === 'zeros' ? { ...json, init_weights: 'mam_adapter' } : { ...json }
}

/** What `knownConfig` says otherwise, for a field `torch_adapters` that Python passes over; empty where it is nothing. */
export function ownFields(json: Json): Record<string, unknown> {
  const init = initWeights(json)
  const alpha = rsloraAlpha(json)
  return {
    ...(String(init) !== String(initWeights(knownConfig(json))) && { init_weights: init }),
    ...(isOn(alpha) && { rslora_alpha: alpha })
  }
}

/** Of a union: one for each of its configs. */
function initWeights({ init_weights, configs }: Json): unknown {
  return Array.isArray(configs) ? configs.map(initWeights) : init_weights
}

/** Of LoRA with use_rslora; null for what has none. */
function rsloraAlpha({ use_rslora, alpha, configs }: Json): unknown {
  return Array.isArray(configs) ? configs.map(rsloraAlpha) : use_rslora === true ? alpha : null
}

const isOn = (own: unknown): boolean => (Array.isArray(own) ? own.some((one) => one !== null) : own !== null)

/** The config as it was. */
export function withOwnFields(config: Json, own: unknown): Json {
  if (!check.isPlainObject(own)) return config
  const { init_weights: init, rslora_alpha: alpha } = own
  const { configs } = config
  if (!Array.isArray(configs)) return { ...config, ...ownOf(init, alpha) }
  const at = (values: unknown, i: number) => (Array.isArray(values) ? values[i] : undefined)
  return {
    ...config,
    configs: configs.map((part, i) => ({ ...check.checkObject('config', part), ...ownOf(at(init, i), at(alpha, i)) }))
  }
}

/** The same, unless Python has since put another config in its place, and kept a field that it does not know. */
export function withOwnFieldsIfSame(config: Json, own: unknown): Json {
  const restored = withOwnFields(config, own)
  return isDeepStrictEqual(knownConfig(restored), { ...config }) ? restored : config
}

const ownOf = (init: unknown, alpha: unknown) => ({
  ...(init != null && { init_weights: init }),
  ...(alpha != null && { alpha, use_rslora: true })
})
