import { existsSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { isPeftConfig, type PeftConfig, peftConfigFromJson } from '../config/peft-config.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { loadAddon } from '../native/addon.js'
import { nativeCall } from '../native/errors.js'
import type { TensorInfo } from '../native/types.js'
import { adapterConfigFile, type FolderFormat, findWeights, noAdapterHere, peftWeightFiles } from './folder-files.js'

/** What a folder of Hugging Face's PEFT says about its adapter; the weights are still on the disk. */
export interface PeftFolder {
  readonly folder: string
  /** PEFT gives none: the folder's. */
  readonly name: string
  readonly config: PeftConfig
  readonly weightsFile: string
  readonly format: FolderFormat
  /** Names and shapes in the file of weights. */
  readonly tensors: readonly TensorInfo[]
}

const operation = 'read the PEFT folder'

/** Whether the folder's adapter_config.json is PEFT's; false where there is none. */
export function isPeftFolder(folder: string): boolean {
  const file = join(folder, adapterConfigFile)
  return existsSync(file) && isPeftConfig(readJsonObject(file, 'read the adapter folder'))
}

/** @param source what the user called it, which it is named after where it has no name of its own. */
export function peftName(source: string): string {
  return basename(resolve(source)).replaceAll('.', '_')
}

export async function readPeftFolder(folder: string, source = folder): Promise<PeftFolder> {
  const file = join(folder, adapterConfigFile)
  const json = readJsonObject(file, operation)
  const config = inFile(file, operation, () => peftConfigFromJson(json))
  const weights = findWeights(folder, peftWeightFiles)
  if (weights === undefined) throw noAdapterHere(folder, peftWeightFiles)
  const addon = loadAddon()
  const tensors = await nativeCall(() => addon.readWeights(weights.file))
  return { folder, name: peftName(source), config, weightsFile: weights.file, format: weights.format, tensors }
}
