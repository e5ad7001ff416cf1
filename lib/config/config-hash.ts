import { createHash } from 'node:crypto'
import { type AdapterConfig, adapterFloatKeys } from './adapter-config.js'
import { isPlainObject } from './check.js'
import { pythonJson } from './python-json.js'

/** Fields younger than the hash: at these values they are left out, so that old hashes stay. */
const ignoredDefaults: Readonly<Record<string, unknown>> = {
  // True, although the default is False: the library's own table says so.
  phm_layer: true,
  phm_dim: 4,
  factorized_phm_W: true,
  shared_W_phm: false,
  shared_phm_rule: true,
  factorized_phm_rule: false,
  phm_c_init: 'normal',
  phm_init_range: 1e-4,
  learn_phm: true,
  hypercomplex_nonlinearity: 'glorot-uniform',
  phm_rank: 1,
  phm_bias: true,
  init_weights: 'bert',
  scaling: 1
}

/** The adapter library's `get_adapter_config_hash`: SHA-1 over the fields that are set, first 16 digits. */
export function adapterConfigHash(config: AdapterConfig, length = 16): string {
  const fields = config.method === 'union' ? unionFields(config.configs.map((part) => part.toJSON())) : config.toJSON()
  const kept = Object.entries(withoutFalsy(fields)).filter(([key, value]) => ignoredDefaults[key] !== value)
  // A union's fields are named '0.scaling', '1.dropout', …: floats there as well.
  const floatKeys = new Set(Object.keys(fields).filter((key) => adapterFloatKeys.has(key.replace(/^\d+\./, ''))))
  const text = pythonJson(Object.fromEntries(kept), { floatKeys })
  return createHash('sha1').update(text).digest('hex').slice(0, length)
}

function unionFields(parts: readonly Record<string, unknown>[]): Record<string, unknown> {
  return Object.fromEntries(
    parts.flatMap((part, i) => Object.entries(part).map(([key, value]) => [`${i}.${key}`, value]))
  )
}

function withoutFalsy(object: Record<string, unknown>): Record<string, unknown> {
  const kept = Object.entries(object).filter(([, value]) => {
    return Array.isArray(value)
      ? value.length > 0
      : isPlainObject(value)
        ? Object.keys(value).length > 0
        : Boolean(value)
  })
  return Object.fromEntries(kept.map(([key, value]) => [key, isPlainObject(value) ? withoutFalsy(value) : value]))
}
