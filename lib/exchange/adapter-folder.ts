import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { activationParameters } from '../config/activations.js'
import { type AdapterConfig, adapterConfigFromObject } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { type HeadConfig, headConfigFromJson, headInModel } from '../config/head-config.js'
import type { ModelConfig } from '../config/model-config.js'
import { isPeftConfig } from '../config/peft-config.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'
import type { FoldedLinear } from '../native/types.js'
import { type BaseModelNote, modelNote, optionalString } from './base-model.js'
import {
  adapterConfigFile,
  adapterWeightFiles,
  type FolderFormat,
  findWeights,
  halfHead,
  headConfigFile,
  headWeightFiles,
  noAdapterHere
} from './folder-files.js'
import { withOwnFields } from './own-fields.js'
import { type SharedGroup, sharedGroupFromJson } from './shared-group.js'
import { convertStaticHead } from './static-heads.js'

/** What a folder says about its adapter; the weights are still on the disk. */
export interface AdapterFolder {
  readonly folder: string
  /** Name inside the file's keys. */
  readonly name: string
  readonly config: AdapterConfig
  readonly weightsFile: string
  readonly format: FolderFormat
  readonly model: BaseModelNote
  /** 'adapters.1.2.0'; null in folders of adapter-transformers 1. */
  readonly version: string | null
  /** The group with which it had parameters in common when it was saved. */
  readonly sharing: SharedGroup | null
  readonly head: HeadFolder | null
}

export interface HeadFolder {
  readonly folder: string
  /** Name inside the file's keys; null for the head of a class such as BertForSequenceClassification. */
  readonly name: string | null
  readonly config: HeadConfig
  readonly weightsFile: string
  readonly format: FolderFormat
  /** Only where name is null: prefix of the file's keys → index of the layer. */
  readonly layers: Readonly<Record<string, number>> | null
  /** Of these, what is the base model's Linear with an adapter at it. */
  readonly folded?: readonly FoldedLinear[]
  /** Of a class whose activation is the model's `hidden_act`: headOfModel() puts it in. */
  readonly takesHiddenAct?: boolean
  readonly model: BaseModelNote
}

const operation = 'read the adapter folder'

/** @param withHead false: leave the head alone, also one that this version does not know. */
export function readAdapterFolder(folder: string, withHead = true): AdapterFolder {
  const file = join(folder, adapterConfigFile)
  if (!existsSync(file)) throw noAdapterHere(folder)
  const json = withModernNames(readJsonObject(file, operation))
  const fields = inFile(file, operation, () => adapterFields(json))
  const weights = findWeights(folder, adapterWeightFiles)
  if (weights === undefined) throw noAdapterHere(folder)
  return {
    folder,
    ...fields,
    weightsFile: weights.file,
    format: weights.format,
    head: withHead ? readHeadFolder(folder) : null
  }
}

function adapterFields(json: Readonly<Record<string, unknown>>) {
  if (isPeftConfig(json)) adapterConfigFromObject(json)
  const name = check.checkNonEmptyString('name', json['name'])
  const config = adapterConfigFromObject(withTrainedAlpha(withoutUnusedInvertible(json), json['version']))
  const own = check.isPlainObject(json['torch_adapters']) ? json['torch_adapters'] : {}
  const sharing = own['shared_parameters'] == null ? null : sharedGroupFromJson(own['shared_parameters'])
  return { name, config, model: modelNote(json), version: optionalString('version', json['version']), sharing }
}

/** The folder's head; null if there is none. One of its two files alone is an error: the other was lost. */
export function readHeadFolder(folder: string): HeadFolder | null {
  const file = join(folder, headConfigFile)
  const weights = findWeights(folder, headWeightFiles)
  if (!existsSync(file) && weights === undefined) return null
  if (!existsSync(file) || weights === undefined) throw halfHead(folder, weights?.file)
  const json = readJsonObject(file, operation)
  return inFile(file, operation, () => {
    const part = { folder, weightsFile: weights.file, format: weights.format, model: modelNote(json) }
    const { name = null, config } = json
    if (config === null || config === undefined) return { name: null, ...staticHead(json), ...part }
    const head = headConfigFromJson(check.checkObject('config', config))
    return { name: check.checkNonEmptyString('name', name), config: head, layers: null, ...part }
  })
}

/** With what follows from the model that it is for: its output layer, and its activation where its class has none of its own. */
export function headOfModel<T extends HeadFolder | null>(head: T, model: ModelConfig): T {
  if (head === null) return head
  const { hiddenAct } = model
  if (head.takesHiddenAct !== true) return { ...head, config: headInModel(head.config, model) }
  if (activationParameters(hiddenAct) > 0) {
    throw new AdapterError('ERR_UNSUPPORTED', operation, `the head in ${head.folder} has an activation that learns`, {
      expected: 'a head whose activation has no parameters',
      got: `${hiddenAct}, the model's hidden_act`,
      hint: 'Load the adapter without its head (withHead: false) and add one of the heads that work.'
    })
  }
  const config = Object.freeze({ ...head.config, activationFunction: hiddenAct })
  return { ...head, config: headInModel(config, model) }
}

function staticHead(json: Readonly<Record<string, unknown>>) {
  const modelClass = check.checkString('model_class', json['model_class'])
  const { label2id, num_labels } = json
  const converted = convertStaticHead(modelClass, { label2id, num_labels })
  if (converted !== undefined) return converted
  throw new AdapterError('ERR_UNSUPPORTED', operation, `the head of ${modelClass} is not supported`, {
    hint: 'Load the adapter without its head (withHead: false) and add one of the heads that work.'
  })
}

/** Before there was a version, `gelu` meant the tanh form and `gelu_orig` the exact one. */
function withModernNames(json: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { config } = json
  if ('version' in json || !check.isPlainObject(config)) return json
  const renamed: Readonly<Record<string, string>> = { gelu: 'gelu_new', gelu_orig: 'gelu' }
  const old = config['non_linearity']
  if (typeof old !== 'string' || !Object.hasOwn(renamed, old)) return json
  return { ...json, config: { ...config, non_linearity: renamed[old] } }
}

/**
 * Task adapters of old releases name an invertible adapter that they never had: the config was shared with the language
 * adapters. One that has the weights after all fails when they are loaded, as keys that nobody expects.
 */
function withoutUnusedInvertible(json: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const config = check.checkObject('config', json['config'])
  const restored = withOwnFields(config, json['torch_adapters'])
  if (json['type'] !== 'text_task') return restored
  const { invertible_adapter: _, ...rest } = restored
  return { ...rest, inv_adapter: null, inv_adapter_reduction_factor: null }
}

/**
 * Releases of the library before 1.1.0 left alpha out of LoRA's sum: what they trained is what alpha = r computes
 * (adapter-hub/adapters, pull request 770).
 */
function withTrainedAlpha(config: Readonly<Record<string, unknown>>, version: unknown): object {
  const [, major = '1', minor = '1'] = /^adapters\.(\d+)\.(\d+)/.exec(String(version ?? '')) ?? []
  if (Number(major) > 1 || (Number(major) === 1 && Number(minor) > 0)) return config
  return config['architecture'] === 'lora' ? { ...config, alpha: config['r'] } : config
}
