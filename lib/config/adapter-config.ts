import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { AdapterError } from '../native/errors.js'
import {
  BottleneckConfig,
  type BottleneckJson,
  type BottleneckOptions,
  type BottleneckOverrides,
  bottleneckFields,
  bottleneckFloatKeys
} from './bottleneck-config.js'
import * as check from './check.js'
import { checkSpelling, peftHere, unknownArchitecture } from './config-hints.js'
import {
  LoraConfig,
  type LoraJson,
  type LoraOverrides,
  loraFields,
  loraFloatKeys,
  loraPlaces,
  MtlLoraConfig,
  type MtlLoraJson,
  type MtlLoraOverrides,
  mtlLoraFields
} from './lora-config.js'
import { nearest } from './nearest.js'
import { OutputAdapterConfig, type OutputAdapterOptions } from './output-adapter-config.js'
import { PrefixTuningConfig, type PrefixTuningJson, type PrefixTuningOverrides, prefixFields } from './prefix-config.js'
import {
  type AdapterPreset,
  adapterPresets,
  isAdapterPreset,
  isUnionPreset,
  presetNames,
  unionPresets
} from './presets.js'
import {
  PromptTuningConfig,
  type PromptTuningJson,
  type PromptTuningOverrides,
  promptFields,
  promptFloatKeys
} from './prompt-config.js'
import { inFile, readJsonObject } from './read-json.js'
import { ReftConfig, type ReftJson, type ReftOverrides, reftFields } from './reft-config.js'
import { parseShorthand, type ShorthandPart } from './shorthand.js'

/** One method. */
export type MethodConfig =
  | BottleneckConfig
  | LoraConfig
  | MtlLoraConfig
  | PrefixTuningConfig
  | PromptTuningConfig
  | ReftConfig

/** A union in a union is its parts. */
function checkedParts(place: string, given: unknown): readonly MethodConfig[] {
  const expected = "the config of a method, such as new LoraConfig({ r: 4 }) or AdapterConfig.load('lora[r=4]')"
  if (typeof given !== 'object' || given === null) throw check.typeError(place, expected, given)
  const config = adapterConfigFromObject(given)
  if (config.method === 'output') throw check.typeError(place, expected, config)
  return config.method === 'union' ? config.configs : [config]
}

/** Several methods under one name at different places of a layer: `lora[r=4]|seq_bn`. Frozen. */
export class ConfigUnion {
  readonly method = 'union' as const
  readonly configs: readonly MethodConfig[]

  /** The configs one by one, or a list of them. */
  constructor(...given: readonly AdapterConfig[] | readonly [configs: readonly AdapterConfig[]]) {
    const [first] = given
    const configs = (Array.isArray(first) ? first : given) as readonly AdapterConfig[]
    if (configs.length === 0) throw check.rangeError('union', 'at least one config', configs)
    this.configs = Object.freeze(configs.flatMap((config, i) => checkedParts(`union[${i}]`, config)))
    checkUnion(this.configs)
    Object.freeze(this)
  }

  /** The adapter library's dict. */
  toJSON(): Record<string, unknown> {
    return { architecture: 'union', configs: this.configs.map((config) => config.toJSON()) }
  }
}

/** Told apart by `method`. */
export type AdapterConfig = MethodConfig | ConfigUnion | OutputAdapterConfig

/** Fields that replace those of a config. */
export type AdapterOverrides =
  | BottleneckOverrides
  | LoraOverrides
  | MtlLoraOverrides
  | PrefixTuningOverrides
  | PromptTuningOverrides
  | ReftOverrides

/** Numbers that are floats in Python, of any method. */
export const adapterFloatKeys: ReadonlySet<string> = new Set([
  ...bottleneckFloatKeys,
  ...loraFloatKeys,
  ...promptFloatKeys
])

/** A method's fields in snake_case, as JSON files hold them. */
type ConfigJson =
  | (BottleneckJson & { readonly architecture?: string | null })
  | LoraJson
  | MtlLoraJson
  | PrefixTuningJson
  | PromptTuningJson
  | ReftJson
interface UnionJson {
  readonly architecture: string
  readonly configs: readonly ConfigJson[]
}

/** A preset or shorthand string, a JSON file's path, a config, or its fields (camelCase, or snake_case as in JSON). */
export type AdapterConfigSource =
  | AdapterPreset
  // Any other string, without hiding the presets from an editor's completion.
  | (string & {})
  | AdapterConfig
  | BottleneckOptions
  | ConfigJson
  | UnionJson

export const AdapterConfig = Object.freeze({
  /**
   * @param source a preset ('seq_bn', 'pfeiffer', …), a JSON file, a shorthand ('seq_bn[reduction_factor=8]'), or fields
   * @param overrides fields that replace the source's; undefined leaves them
   */
  load: loadAdapterConfig
})

const operation = 'read the adapter config'

function loadAdapterConfig(source: AdapterConfigSource, overrides: AdapterOverrides = {}): AdapterConfig {
  check.checkObject('overrides', overrides)
  if (typeof source !== 'string' && (typeof source !== 'object' || source === null)) {
    throw check.typeError(
      'adapter config',
      "a preset's name, such as 'seq_bn', a JSON file, or an object of fields",
      source
    )
  }
  const config = typeof source === 'string' ? fromString(source) : adapterConfigFromObject(source)
  if (Object.values(overrides).every((value) => value === undefined)) return config
  if (config.method === 'union') {
    throw check.valueError('overrides', 'a union has several configs; write the fields in the brackets of each part')
  }
  if (config.method === 'output') return config.replace(overrides as Partial<OutputAdapterOptions>)
  return replaced(config, overrides)
}

/** Each config checks by itself that the fields are its own. */
function replaced(config: MethodConfig, changes: object): MethodConfig {
  checkSpelling(changes, config.method, fieldTables)
  return (config.replace as (changes: object) => MethodConfig).call(config, changes)
}

const fieldTables = {
  bottleneck: bottleneckFields,
  lora: loraFields,
  mtl_lora: mtlLoraFields,
  prefix_tuning: prefixFields,
  prompt_tuning: promptFields,
  reft: reftFields
} as const

/** Same order as the library's: a preset's name, a file that exists, a shorthand. */
function fromString(text: string): AdapterConfig {
  if (text.trim() === '') throw check.rangeError('adapter config', 'a name, a file or a shorthand', text)
  if (isAdapterPreset(text)) return adapterPresets[text]
  if (isUnionPreset(text)) return fromString(unionPresets[text])
  if (isFile(text)) return inFile(text, operation, () => adapterConfigFromObject(readJsonObject(text, operation)))
  const inFolder = join(text, 'adapter_config.json')
  if (isFile(inFolder)) {
    throw new AdapterError('ERR_FILE', operation, `${text} is a folder`, {
      expected: 'a name, a file or a shorthand',
      hint: `Give the config's file, ${inFolder}, or load the adapter with its weights: model.loadAdapter('${text}').`
    })
  }
  if (text.endsWith('.json')) {
    throw new AdapterError('ERR_FILE_NOT_FOUND', operation, `the file ${text} does not exist`, {
      hint: `Check the path, or name a preset: ${presetNames.join(', ')}.`
    })
  }
  const parts = parseShorthand(text).flatMap((part) => partsFrom(part, text))
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : new ConfigUnion(parts)
}

function isFile(path: string): boolean {
  // A shorthand may hold any character; a path cannot hold a zero byte.
  return !path.includes('\0') && existsSync(path) && statSync(path).isFile()
}

/** A union among others is its parts. */
function partsFrom(part: ShorthandPart, text: string): readonly MethodConfig[] {
  if (!isUnionPreset(part.name)) return [fromPart(part, text)]
  const parts = unionPresets[part.name]
  if (Object.keys(part.values).length === 0) return (fromString(parts) as ConfigUnion).configs
  throw check.valueError('adapter config', `'${part.name}' is a union and takes no fields; write its parts: ${parts}`)
}

function fromPart(part: ShorthandPart, text: string): MethodConfig {
  if (isAdapterPreset(part.name)) {
    const preset = adapterPresets[part.name]
    checkSpelling(part.values, preset.method, fieldTables)
    fieldTables[preset.method].checkShorthand(part.values)
    return replaced(preset, part.values)
  }
  const guess = nearest(part.name, presetNames)
  const help = guess === undefined ? `Known: ${presetNames.join(', ')}.` : `Did you mean '${guess}'?`
  const where = text === part.name ? '' : ` at position ${part.position + 1} of "${text}"`
  throw check.valueError('adapter config', `unknown name '${part.name}'${where}. ${help}`)
}

/** From an object that came from a file, so that nothing is known of it yet. */
export function adapterConfigFromObject(source: unknown): AdapterConfig {
  for (const known of [
    BottleneckConfig,
    LoraConfig,
    MtlLoraConfig,
    PrefixTuningConfig,
    PromptTuningConfig,
    ReftConfig,
    ConfigUnion,
    OutputAdapterConfig
  ]) {
    if (source instanceof known) return source
  }
  const object = check.checkObject('adapter config', source)
  // An adapter folder's file holds the config beside the model's name and version.
  if (typeof object['config'] === 'object' && object['config'] !== null)
    return adapterConfigFromObject(object['config'])
  if ('peft_type' in object) refusePeft(object['peft_type'])
  const { architecture, fields } = architectureOf(object)
  checkSpelling(withoutLegacy(fields), architecture, fieldTables)
  if (architecture === null || architecture === 'bottleneck') return new BottleneckConfig(withoutLegacy(fields))
  if (architecture === 'lora') return new LoraConfig(fields as LoraOverrides)
  if (architecture === 'mtl_lora') return new MtlLoraConfig(fields as MtlLoraOverrides)
  if (architecture === 'prefix_tuning') return new PrefixTuningConfig(fields as PrefixTuningOverrides)
  if (architecture === 'prompt_tuning') return new PromptTuningConfig(fields as PromptTuningOverrides)
  if (architecture === 'reft') return new ReftConfig(fields as ReftOverrides)
  if (architecture === 'union') return unionFromObject(fields)
  if (architecture === 'output_adapter') return OutputAdapterConfig.fromJSON(fields)
  const known = [...Object.keys(fieldTables), 'union']
  throw check.valueError(
    'adapter config',
    `unknown architecture ${check.describe(architecture)}.${unknownArchitecture(architecture, known, presetNames)}`
  )
}

/** A config's copy with other fields, `{ ...config, reductionFactor: 8 }`, says its method as the config does. */
function architectureOf(object: Record<string, unknown>): { architecture: unknown; fields: Record<string, unknown> } {
  const { architecture, method, ...fields } = object
  if (method === undefined) return { architecture: architecture ?? null, fields }
  const ofMethod = method === 'output' ? 'output_adapter' : method
  if ((architecture ?? ofMethod) === ofMethod) return { architecture: ofMethod, fields }
  const both = `architecture ${check.describe(architecture)} and method ${check.describe(method)}`
  throw check.valueError('adapter config', `expected one method, got ${both}; leave out one of the two`)
}

function unionFromObject(fields: Record<string, unknown>): ConfigUnion {
  check.checkKeys('union', fields, ['configs'])
  return new ConfigUnion(check.checkArray('union.configs', fields['configs']) as readonly AdapterConfig[])
}

/**
 * Fields of old folders: `invertible_adapter` is today's inv_adapter pair; attention_type and new_attention_norm were
 * written by the first releases and never read.
 */
function withoutLegacy(fields: Record<string, unknown>): BottleneckOptions {
  const { invertible_adapter: invertible, attention_type: _, new_attention_norm: __, ...rest } = fields
  if (invertible === undefined || invertible === null) return rest as unknown as BottleneckOptions
  const pair = check.checkObject('invertible_adapter', invertible)
  return {
    ...rest,
    inv_adapter: pair['block_type'],
    inv_adapter_reduction_factor: pair['reduction_factor']
  } as unknown as BottleneckOptions
}

/** The config of an adapter whose prefix has been ejected. */
export function withFlatPrefix(config: AdapterConfig): AdapterConfig {
  if (config.method === 'prefix_tuning') return config.replace({ flat: true })
  if (config.method !== 'union') return config
  const flat = (part: MethodConfig) => (part.method === 'prefix_tuning' ? part.replace({ flat: true }) : part)
  return new ConfigUnion(config.configs.map(flat))
}

function refusePeft(type: unknown): never {
  throw new AdapterError('ERR_UNSUPPORTED', operation, 'this is a PEFT config, not an AdapterHub one', {
    expected: 'an AdapterHub config (mh_adapter, output_adapter, …)',
    got: `peft_type ${check.describe(type)}`,
    hint: `Give the whole folder, with its weights, to model.loadAdapter. ${peftHere}.`
  })
}

/** The same config without these layers, besides those that it leaves out already. */
export function leftOut(config: AdapterConfig, layers: readonly number[], layerCount: number): AdapterConfig {
  if (config.method === 'output') throw check.valueError('leaveOut', 'an output adapter stands behind all layers')
  if (config.method !== 'union') return leftOutOf(config, layers, layerCount)
  return new ConfigUnion(config.configs.map((part) => leftOutOf(part, layers, layerCount)))
}

function leftOutOf(config: MethodConfig, layers: readonly number[], layerCount: number): MethodConfig {
  if (config.method === 'prompt_tuning') return config // it stands in no layer
  if (config.method === 'prefix_tuning') {
    throw check.valueError('leaveOut', 'a prefix is made for all of its layers at once; run it with skipLayers instead')
  }
  if (config.method === 'reft') {
    const all = Array.from({ length: layerCount }, (_, layer) => layer)
    const had = config.layers === 'all' ? all : config.layers
    return replaced(config, { layers: had.filter((layer) => !layers.includes(layer)) })
  }
  return replaced(config, { leaveOut: [...config.leaveOut, ...layers].sort((a, b) => a - b) })
}

/**
 * With leave_out only the model's depth can tell whether two parts meet in a layer, and with targetModules only its Linears,
 * so the check waits for them.
 */
function checkUnion(configs: readonly MethodConfig[]): void {
  configs.forEach((config, i) => {
    for (const [j, other] of configs.slice(0, i).entries()) {
      const at: PartPair = [
        [j, other],
        [i, config]
      ]
      if (leavesOut(config) || leavesOut(other) || namesModules(config) || namesModules(other)) continue
      if (config.method === 'bottleneck' && other.method === 'bottleneck') checkApart(config, other, at)
      else if (isLora(config) && isLora(other)) checkLinears(config, other, at)
      else if (config.method === other.method) {
        const message = `parts ${j + 1} and ${i + 1}: two parts are both '${config.method}'; an adapter has one of a kind, so write one with all places`
        throw check.valueError('union', message)
      }
    }
  })
}

function isLora(config: MethodConfig): config is LoraConfig | MtlLoraConfig {
  return config.method === 'lora' || config.method === 'mtl_lora'
}

/** `part 1 ('lora') and part 3 ('dora')`: by their presets, or their methods. */
function partsAt(parts: readonly (readonly [number, MethodConfig])[]): string {
  const named = parts.map(([index, config]) => {
    const preset = Object.entries(adapterPresets).find(([, other]) => isDeepStrictEqual(other, config))
    return `part ${index + 1} ('${preset?.[0] ?? config.method}')`
  })
  return named.join(' and ')
}

type PartPair = readonly [readonly [number, MethodConfig], readonly [number, MethodConfig]]

function checkLinears(config: LoraConfig | MtlLoraConfig, other: LoraConfig | MtlLoraConfig, at: PartPair): void {
  const both = loraPlaces(config).find((place) => loraPlaces(other).includes(place))
  if (both === undefined) return
  const message = `${partsAt(at)} put something at the same place of a layer: ${both}`
  const remedy = 'other places (attnMatrices, intermediateLora, outputLora) or other layers (leaveOut)'
  throw check.valueError('union', `${message}; give one of them ${remedy}`)
}

function leavesOut(config: MethodConfig): boolean {
  if (config.method === 'prompt_tuning') return false
  return config.method === 'reft' ? config.layers !== 'all' : config.leaveOut.length > 0
}

const namesModules = (config: MethodConfig): boolean => isLora(config) && config.targetModules !== null

function checkApart(config: BottleneckConfig, other: BottleneckConfig, at: PartPair): void {
  if (config.invAdapter !== null && other.invAdapter !== null) {
    const message = `${partsAt(at)} both put an invertible adapter behind the embeddings; give one of them invAdapter: null`
    throw check.valueError('union', message)
  }
  if (config.mhAdapter !== other.mhAdapter && config.outputAdapter !== other.outputAdapter) return
  const message = `${partsAt(at)} put an adapter at the same place of a layer; their mhAdapter and outputAdapter must differ`
  throw check.valueError('union', message)
}
