import { isDeepStrictEqual } from 'node:util'
import { AdapterConfig, adapterFloatKeys } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import {
  adapterNames,
  type Composition,
  compositionFromJson,
  compositionToJson,
  parseComposition
} from '../config/composition.js'
import { adapterConfigHash } from '../config/config-hash.js'
import { type FusionConfig, type FusionPreset, fusionConfig, fusionPresets } from '../config/fusion-config.js'
import { type HeadConfig, headConfigFromJson, headConfigToJson, headInModel } from '../config/head-config.js'
import { type HeadSetup, headOfEach, headSetupFromJson, headSetupToJson } from '../config/head-setup.js'
import { type ModelConfig, modelConfigToJson } from '../config/model-config.js'
import { familyOf } from '../config/model-families.js'
import { pythonJson } from '../config/python-json.js'
import { adaptersForm } from './adapters-form.js'
import { knownConfig, ownFields, withOwnFieldsIfSame } from './own-fields.js'
import { type SharedGroup, sharedGroupFromJson, sharedGroupToJson } from './shared-group.js'
import { folderVersion, headFloatKeys } from './write-folder.js'

/** What config.json says of the adapters, fusions and heads whose tensors lie among the model's own. */
export interface BuiltIn {
  readonly adapters: ReadonlyMap<string, AdapterConfig>
  readonly fusions: ReadonlyMap<string, { readonly config: FusionConfig; readonly adapters: readonly string[] }>
  readonly heads: ReadonlyMap<string, HeadConfig>
  /** Python's library does not keep it; ours does. */
  readonly active: Composition
  readonly activeHead: HeadSetup
  /** Layers in which the active adapters do not run. */
  readonly skipLayers: readonly number[]
  /** Adapters that have parameters in common. */
  readonly sharings: readonly SharedGroup[]
}

type Json = Readonly<Record<string, unknown>>

const objectAt = (json: Json, key: string): Record<string, unknown> =>
  json[key] == null ? {} : check.checkObject(key, json[key])

/** Null where the model holds nothing of its own. */
export function builtIn(json: Json): BuiltIn | null {
  const { adapters: given, prediction_heads: heads } = json
  if (!check.isPlainObject(given) && !check.isPlainObject(heads)) return null
  const adapters = objectAt(json, 'adapters')
  const own = check.isPlainObject(json['torch_adapters']) ? json['torch_adapters'] : {}
  const names = new Set(Object.keys(objectAt(adapters, 'adapters')))
  const headNames = Object.keys(objectAt(json, 'prediction_heads'))
  const active = activeSetup(own['adapter_setup'], names)
  return {
    adapters: new Map(
      Object.entries(objectAt(adapters, 'adapters')).map(([name, key]) => [
        name,
        AdapterConfig.load(withOwn(configAt(adapters, 'config_map', key), objectAt(own, 'adapters')[name]) as string)
      ])
    ),
    fusions: new Map(
      Object.entries(objectAt(adapters, 'fusions')).map(([name, key]) => [
        name,
        {
          config: fusionConfig(configAt(adapters, 'fusion_config_map', key) as object),
          adapters: fusedBy(adapters, name)
        }
      ])
    ),
    heads: new Map(
      Object.entries(objectAt(json, 'prediction_heads')).map(([name, head]) => [
        name,
        headInModel(headAt(name, head), { tieWordEmbeddings: json['tie_word_embeddings'] !== false })
      ])
    ),
    active,
    activeHead: activeHead(own['active_head'], headNames, active),
    skipLayers: own['skip_layers'] == null ? [] : layersAt(own['skip_layers']),
    sharings: own['shared_parameters'] == null ? [] : sharingsAt(own['shared_parameters'])
  }
}

const layersAt = (json: unknown) =>
  check.checkArray('skip_layers', json).map((layer, i) => check.checkInteger(`skip_layers[${i}]`, layer, 0))

const sharingsAt = (json: unknown) => check.checkArray('shared_parameters', json).map(sharedGroupFromJson)

/** A config under its hash, or the name of a preset. */
function configAt(adapters: Json, map: string, key: unknown): unknown {
  const name = check.checkNonEmptyString('adapters', key)
  return objectAt(adapters, map)[name] ?? name
}

const withOwn = (config: unknown, own: unknown): unknown =>
  check.isPlainObject(config) ? withOwnFieldsIfSame(config, own) : config

function fusedBy(adapters: Json, fusion: string): readonly string[] {
  const names = objectAt(adapters, 'fusion_name_map')[fusion] ?? fusion.split(',')
  return check.checkArray(`fusion_name_map['${fusion}']`, names).map((name) => check.checkString('adapter', name))
}

function headAt(name: string, head: unknown): HeadConfig {
  return headConfigFromJson(check.checkObject(`prediction_heads['${name}']`, head))
}

function activeHead(json: unknown, names: readonly string[], active: Composition): HeadSetup {
  const heads = headSetupFromJson(json)
  if (heads === true || !adapterNames(heads).every((name) => names.includes(name))) return null
  return typeof heads === 'string' || headOfEach(heads, active) !== null ? heads : null
}

/** Python may since have taken an adapter away, and kept a field that it does not know. */
function activeSetup(json: unknown, names: ReadonlySet<string>): Composition {
  const setup = json == null ? null : compositionFromJson(json)
  return setup !== null && adapterNames(setup).every((name) => names.has(name)) ? setup : null
}

/** Python's library reads a fusion's own fields from such a file and then fails on them; presets it knows by name. */
export function fusionPreset(config: FusionConfig): FusionPreset | undefined {
  return (Object.keys(fusionPresets) as FusionPreset[]).find((name) =>
    isDeepStrictEqual({ ...fusionPresets[name] }, { ...config })
  )
}

/** The content of config.json: the model's own fields and what stands in it. */
export function wholeModelJson(model: ModelConfig, parts: BuiltIn): string {
  const configs = [...parts.adapters].map(([name, config]) => [name, adaptersForm(config, model)] as const)
  const own = configs.map(([name, config]) => [name, ownFields(config.toJSON())] as const)
  const hashes = configs.map(([name, config]) => [name, adapterConfigHash(config)] as const)
  const json = {
    ...modelConfigToJson(model, familyOf(model).adapterClass),
    adapters: {
      adapters: Object.fromEntries(hashes),
      config_map: Object.fromEntries(
        configs.map(([, config]) => [adapterConfigHash(config), knownConfig(config.toJSON())])
      ),
      fusions: Object.fromEntries([...parts.fusions].map(([name, { config }]) => [name, fusionPreset(config)])),
      fusion_config_map: {},
      fusion_name_map: Object.fromEntries([...parts.fusions].map(([name, { adapters }]) => [name, adapters]))
    },
    prediction_heads: Object.fromEntries(
      [...parts.heads].map(([name, config]) => [name, headConfigToJson(config, model)])
    ),
    torch_adapters: {
      adapter_setup: parts.active === null ? null : compositionToJson(parseComposition(parts.active)),
      active_head: headSetupToJson(parts.activeHead),
      ...(parts.skipLayers.length > 0 && { skip_layers: parts.skipLayers }),
      adapters: Object.fromEntries(own.filter(([, fields]) => Object.keys(fields).length > 0)),
      ...(parts.sharings.length > 0 && { shared_parameters: parts.sharings.map(sharedGroupToJson) }),
      version: folderVersion
    }
  }
  const floatKeys = new Set([...adapterFloatKeys, ...headFloatKeys])
  return `${pythonJson(json, { indent: 2, floatKeys })}\n`
}
