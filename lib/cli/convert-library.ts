import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type HeadConfig, predictsWords } from '../config/head-config.js'
import { readJsonObject } from '../config/read-json.js'
import type { FolderFormat } from '../exchange/folder-files.js'
import { isPeftFolder, readPeftFolder } from '../exchange/peft-folder.js'
import type { KeyDialect } from '../native/types.js'
import { usageError } from './arguments.js'

export interface LibraryJob {
  readonly source: string
  readonly target: string
  readonly library: 'adapters' | 'peft'
  /** The base model's folder, or its config.json. */
  readonly model: string
  readonly format: FolderFormat
  readonly dialect: KeyDialect
  readonly name: string | null
  readonly withHead: boolean
}

/** An adapter of one library's folder in the other's, where both compute it. Of the base model its config is read, no more. */
export async function convertLibrary(job: LibraryJob): Promise<void> {
  const { source, library, format, dialect, name, withHead } = job
  const isPeft = isPeftFolder(source)
  if (isPeft === (library === 'peft')) {
    throw usageError(`--library: ${source} is a folder of ${library} already; leave it out`)
  }
  if (library === 'peft' && format === 'pt') {
    throw usageError("--format: expected safetensors or bin, which PEFT reads, got 'pt'")
  }
  if (library === 'peft' && dialect === 'plain') throw usageError('--dialect: PEFT has names of its own; leave it out')
  const config = readJsonObject(configFile(job.model), 'read the model config')
  const { AutoModel } = await import('../model/auto-model.js')
  // Weights that nobody reads: shapes and names alone decide.
  const model = await AutoModel.fromConfig({ _name_or_path: await baseOf(source, isPeft, job.model), ...config })
  try {
    const words = isPeft || !withHead ? null : await wordHead(source)
    const loaded = await model.loadAdapter(source, {
      withHead: withHead && words === null,
      ...(name !== null && { as: name })
    })
    // Its decoder is the base model's word embedding, which has not been read.
    if (words !== null) model.addHead(loaded, words)
    await model.saveAdapter(job.target, loaded, {
      ...{ library, format, withHead },
      ...(library === 'adapters' && { dialect })
    })
  } finally {
    model.dispose()
  }
}

/** The config of a folder's head where it answers with words. */
async function wordHead(source: string): Promise<HeadConfig | null> {
  const { readAdapterFolder } = await import('../exchange/adapter-folder.js')
  const { head } = readAdapterFolder(source, true)
  return head !== null && predictsWords(head.config) ? head.config : null
}

function configFile(model: string): string {
  const file = existsSync(model) && statSync(model).isDirectory() ? join(model, 'config.json') : model
  if (existsSync(file)) return file
  throw usageError(`--model: expected the base model's folder or its config.json, got ${model}`)
}

/** What the folder says it was trained on; else the model that was named. */
async function baseOf(source: string, isPeft: boolean, model: string): Promise<string> {
  if (isPeft) return (await readPeftFolder(source)).config.baseModel || model
  const { readAdapterFolder } = await import('../exchange/adapter-folder.js')
  return readAdapterFolder(source, false).model.name || model
}
