import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as check from '../config/check.js'
import { type FusionConfig, fusionConfig, fusionConfigToJson } from '../config/fusion-config.js'
import type { ModelConfig } from '../config/model-config.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { type BaseModelNote, modelNote } from './base-model.js'
import { type FolderFormat, findWeights, fusionConfigFile, fusionWeightFiles, noFusionHere } from './folder-files.js'

/** What a fusion's file holds beside its weights. */
export interface SavedFusion {
  readonly config: FusionConfig
  /** The adapters that it reads. */
  readonly adapters: readonly string[]
  /** What scores were divided by when it was saved. The library keeps no such number; Python passes it over. */
  readonly temperature: number
}

/** Numbers that are floats in Python. */
export const fusionFloatKeys: ReadonlySet<string> = new Set(['dropout_prob'])

/** The content of adapter_fusion_config.json but for what it says of the model. */
export function fusionJson(
  name: string,
  { config, adapters, temperature }: SavedFusion,
  { exported }: ModelConfig
): Record<string, unknown> {
  const own = {
    ...(config.temperature && { temperature }),
    ...(exported !== null && { placement: exported.placed })
  }
  const ours = Object.keys(own).length === 0 ? {} : { torch_adapters: own }
  return { adapter_names: [...adapters], config: fusionConfigToJson(config), name, ...ours }
}

export interface FusionFolder extends SavedFusion {
  readonly folder: string
  /** Name inside the file's keys. */
  readonly name: string
  readonly weightsFile: string
  readonly format: FolderFormat
  readonly model: BaseModelNote
}

const operation = 'read the fusion folder'

export function readFusionFolder(folder: string): FusionFolder {
  const file = join(folder, fusionConfigFile)
  const weights = findWeights(folder, fusionWeightFiles)
  if (!existsSync(file) || weights === undefined) throw noFusionHere(folder)
  const json = readJsonObject(file, operation)
  return inFile(file, operation, () => {
    const config = fusionConfig(check.checkObject('config', json['config']))
    const adapters = check
      .checkArray('adapter_names', json['adapter_names'])
      .map((name, i) => check.checkNonEmptyString(`adapter_names[${i}]`, name))
    const own = check.isPlainObject(json['torch_adapters']) ? json['torch_adapters']['temperature'] : undefined
    // Python's own has cooled down by the time that it is trained.
    const temperature = check.checkNumber('temperature', own ?? 1, { from: 1, to: 50 })
    // Old folders have no name: it was the adapters' with commas.
    const name = check.checkNonEmptyString('name', json['name'] ?? adapters.join(','))
    const part = { folder, weightsFile: weights.file, format: weights.format, model: modelNote(json) }
    return { name, config, adapters, temperature, ...part }
  })
}
