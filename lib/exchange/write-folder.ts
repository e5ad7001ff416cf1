import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync
} from 'node:fs'
import { join } from 'node:path'
import { type AdapterConfig, adapterFloatKeys } from '../config/adapter-config.js'
import { checkNonEmptyString, valueError } from '../config/check.js'
import { type HeadConfig, headConfigToJson } from '../config/head-config.js'
import { dependsOnPlacement } from '../config/lora-targets.js'
import type { ModelConfig } from '../config/model-config.js'
import { familyOf } from '../config/model-families.js'
import { pythonJson } from '../config/python-json.js'
import { fileError } from '../config/read-json.js'
import { makeFolder } from '../native/make-folder.js'
import { ownerTag, removeLeftovers } from '../native/owner.js'
import { adaptersForm } from './adapters-form.js'
import {
  adapterConfigFile,
  adapterWeightFiles,
  type FolderFormat,
  fusionConfigFile,
  fusionWeightFiles,
  headConfigFile,
  headWeightFiles,
  modelWeightFiles,
  peftWeightFiles
} from './folder-files.js'
import { fusionFloatKeys, fusionJson, type SavedFusion } from './fusion-folder.js'
import { fromLibraryPlaces } from './gated-places.js'
import { knownConfig, ownFields } from './own-fields.js'
import { writeSynced } from './replace-file.js'
import { type SharedGroup, sharedGroupToJson } from './shared-group.js'

/** The release of the adapter library whose files these are: Python compares the part after the first point. */
export const folderVersion = 'adapters.1.2.0'

const temporary = '.saving-'

/** Numbers of a head's config that are floats in Python. */
export const headFloatKeys: ReadonlySet<string> = new Set(['dropout_prob'])

/** The name is a part of every key, and a point would split it. */
export function checkAdapterName(name: unknown, option = 'name'): string {
  const text = checkNonEmptyString(option, name)
  if (text.includes('.')) throw valueError(option, `a name cannot hold a point, got '${text}'`)
  return text
}

export interface SavedPart<C> {
  readonly name: string
  readonly config: C
  /** Writes the tensors into the file it is given. */
  readonly writeWeights: (file: string) => Promise<void>
}

export interface SavedAdapter extends SavedPart<AdapterConfig> {
  /** The group with which it has parameters in common. */
  readonly sharing?: SharedGroup | undefined
}

export interface SaveOptions {
  readonly model: ModelConfig
  readonly format: FolderFormat
  readonly adapter?: SavedAdapter | undefined
  readonly head?: SavedPart<HeadConfig> | undefined
  readonly fusion?: SavedPart<SavedFusion> | undefined
}

/** A file of weights and the config that tells what it holds. */
export interface FolderPart {
  /** Its name. */
  readonly weights: string
  readonly config: string
  readonly json: string
  readonly writeWeights: (file: string) => Promise<void>
}

function partsOf({ model, format, adapter, head, fusion }: SaveOptions): FolderPart[] {
  for (const part of [adapter, head, fusion]) if (part !== undefined) checkAdapterName(part.name)
  const part = (
    weights: Readonly<Record<FolderFormat, string>>,
    config: string,
    json: string,
    { writeWeights }: SavedPart<unknown>
  ): FolderPart => ({ weights: weights[format], config, json, writeWeights })
  return [
    ...(adapter === undefined
      ? []
      : [part(adapterWeightFiles, adapterConfigFile, adapterJson(adapter, model), adapter)]),
    ...(head === undefined
      ? []
      : [part(headWeightFiles, headConfigFile, headJson(head.name, head.config, model), head)]),
    ...(fusion === undefined
      ? []
      : [
          part(
            fusionWeightFiles,
            fusionConfigFile,
            pythonJson(
              { ...fusionJson(fusion.name, fusion.config, model), ...modelFields(model) },
              { indent: 2, floatKeys: fusionFloatKeys }
            ),
            fusion
          )
        ])
  ]
}

/** Writes an adapter folder, or the folder of a head or a fusion alone. */
export async function saveFolder(folder: string, options: SaveOptions): Promise<void> {
  const { adapter, fusion } = options
  const operation = `save the ${adapter !== undefined ? 'adapter' : fusion !== undefined ? 'fusion' : 'head'}`
  await saveParts(folder, operation, partsOf(options))
}

/** Makes the folder that a call writes into. */
export function makeOutput(folder: string, operation: string): void {
  try {
    makeFolder(folder)
  } catch (error) {
    throw fileError(folder, operation, error)
  }
}

/**
 * All files are written beside the old ones first and then renamed, the weights before their config: whoever is interrupted
 * keeps the old adapter or has the new one, never half a file.
 */
export async function saveParts(folder: string, operation: string, parts: readonly FolderPart[]): Promise<void> {
  let stage: string
  const isNew = !existsSync(folder)
  makeOutput(folder, operation)
  try {
    removeLeftovers(folder, temporary)
    stage = mkdtempSync(join(folder, `${temporary}${ownerTag}-`))
  } catch (error) {
    throw fileError(folder, operation, error)
  }
  try {
    const files: string[] = []
    for (const { weights, config, json, writeWeights } of parts) {
      files.push(weights, config)
      await writeWeights(join(stage, weights))
      writeSynced(join(stage, config), json)
    }
    const replacesAdapter = files.includes(adapterConfigFile) && existsSync(join(folder, adapterConfigFile))
    for (const file of files) renameSync(join(stage, file), join(folder, file))
    removeStale(folder, files)
    if (replacesAdapter && !files.includes(headConfigFile)) removeHead(folder)
    syncFolder(folder)
  } catch (error) {
    throw error instanceof Error && 'syscall' in error ? fileError(folder, operation, error) : error
  } finally {
    rmSync(stage, { recursive: true, force: true })
    if (isNew && readdirSync(folder).length === 0) rmdirSync(folder)
  }
}

/** The content of adapter_config.json, as `json.dump(indent=2, sort_keys=True)` writes it. */
export function adapterJson(
  { name, config, sharing }: Pick<SavedAdapter, 'name' | 'config' | 'sharing'>,
  model: ModelConfig
): string {
  const theirs = adaptersForm(config, model)
  const json = theirs.toJSON()
  const fields = { config: knownConfig(json), name, ...modelFields(model) }
  const placement = dependsOnPlacement(fromLibraryPlaces(theirs, model), model)
  const own = {
    ...ownFields(json),
    ...(sharing !== undefined && { shared_parameters: sharedGroupToJson(sharing) }),
    ...(placement !== null && { placement })
  }
  const ours = Object.keys(own).length === 0 ? {} : { torch_adapters: own }
  return pythonJson({ ...fields, ...ours }, { indent: 2, floatKeys: adapterFloatKeys })
}

/** The content of head_config.json. */
export function headJson(name: string, config: HeadConfig, model: ModelConfig): string {
  const fields = { config: headConfigToJson(config, model), name, ...modelFields(model) }
  return pythonJson(fields, { indent: 2, floatKeys: headFloatKeys })
}

function modelFields(model: ModelConfig): Record<string, unknown> {
  return {
    hidden_size: model.hiddenSize,
    model_class: familyOf(model).adapterClass,
    model_name: model.nameOrPath,
    model_type: model.modelType,
    version: folderVersion
  }
}

/** The same part in another format, or of the other library, would be read instead of the new one, or beside it by Python. */
function removeStale(folder: string, written: readonly string[]): void {
  const models = Object.values(modelWeightFiles)
  const kinds: readonly (readonly string[])[] = [
    [...Object.values(adapterWeightFiles), ...Object.values(peftWeightFiles)],
    Object.values(headWeightFiles),
    Object.values(fusionWeightFiles),
    [...models, ...models.map((name) => `${name}.index.json`)]
  ]
  for (const names of kinds) {
    if (!names.some((name) => written.includes(name))) continue
    for (const name of names) {
      if (!written.includes(name)) rmSync(join(folder, name), { force: true })
    }
  }
}

/** The head of the adapter that was replaced would be loaded as the new one's. */
function removeHead(folder: string): void {
  for (const name of [headConfigFile, ...Object.values(headWeightFiles)]) rmSync(join(folder, name), { force: true })
}

/** Makes the renames last through a loss of power; Windows has no such call and does not need it. */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return
  const handle = openSync(folder, 'r')
  try {
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
