import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type HeadConfig, predictsWords } from '../config/head-config.js'
import type { ProblemType } from '../config/peft-config.js'
import { readJsonObject } from '../config/read-json.js'
import { readAdapterFolder } from '../exchange/adapter-folder.js'
import type { FolderFormat } from '../exchange/folder-files.js'
import { isPeftFolder, readPeftFolder } from '../exchange/peft-folder.js'
import { peftPooler } from '../exchange/peft-targets.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import type { KeyDialect } from '../native/types.js'
import { loadArchive } from './archive-model.js'
import { usageError } from './arguments.js'

export interface LibraryJob {
  readonly source: string
  readonly target: string
  readonly library: 'adapters' | 'peft'
  /** The base model's folder, its config.json, or an archive. */
  readonly model: string
  readonly placement: string | undefined
  readonly format: FolderFormat
  readonly dialect: KeyDialect
  readonly name: string | null
  readonly withHead: boolean
  /** What a PEFT folder of others does not say of its head. */
  readonly problemType: ProblemType | undefined
}

/** An adapter of one library's folder in the other's, where both compute it. Of a base model its config is read, no more. */
export async function convertLibrary(job: LibraryJob): Promise<void> {
  const { source, library, format, dialect, name, withHead, problemType } = job
  const isPeft = isPeftFolder(source)
  if (isPeft === (library === 'peft')) {
    throw usageError(`--library: ${source} is a folder of ${library} already; leave it out`)
  }
  if (library === 'peft' && format === 'pt') {
    throw usageError("--format: expected safetensors or bin, which PEFT reads, got 'pt'")
  }
  if (library === 'peft' && dialect === 'plain') throw usageError('--dialect: PEFT has names of its own; leave it out')
  const { head, trainedOn } = isPeft
    ? { head: null, trainedOn: (await readPeftFolder(source)).config.baseModel }
    : hubFacts(source, withHead)
  const archive = await loadArchive(job.model, { placement: job.placement }, { device: 'cpu', seed: undefined })
  const model = archive ?? (await unreadModel(job.model, trainedOn))
  try {
    // The decoder of a head that answers with words is the base model's word embedding, which has not been read.
    if (isPeft && withHead && peftPooler(await readPeftFolder(source), model.config) !== undefined) {
      throw new AdapterError(
        'ERR_UNSUPPORTED',
        'convert',
        "LoRA at the pooler becomes the head's first layer with it",
        {
          expected: 'a folder without one, as the base weights are not read here',
          hint: 'Load it into its model with loadAdapter and save it, or convert the adapter alone: --no-head.'
        }
      )
    }
    const words = archive === undefined && head !== null && predictsWords(head) ? head : null
    const loaded = await model.loadAdapter(source, {
      ...((!withHead || words !== null) && { withHead: false }),
      ...(name !== null && { as: name }),
      problemType
    })
    if (words !== null) model.addHead(loaded, words)
    await model.saveAdapter(job.target, loaded, {
      ...{ library, format, withHead },
      ...(library === 'adapters' && { dialect })
    })
  } finally {
    model.dispose()
  }
}

/** Weights that nobody reads: shapes and names alone decide. */
async function unreadModel(source: string, trainedOn: string | null): Promise<Model> {
  const config = readJsonObject(configFile(source), 'read the model config')
  const { AutoModel } = await import('../model/auto-model.js')
  return await AutoModel.fromConfig({ _name_or_path: trainedOn || source, ...config }, { device: 'cpu' })
}

/** What a folder of AdapterHub's says of its head and of the model that it was trained on. */
function hubFacts(source: string, withHead: boolean): { head: HeadConfig | null; trainedOn: string | null } {
  const { head, model } = readAdapterFolder(source, withHead)
  return { head: head?.config ?? null, trainedOn: model.name }
}

function configFile(model: string): string {
  const file = existsSync(model) && statSync(model).isDirectory() ? join(model, 'config.json') : model
  if (existsSync(file)) return file
  throw usageError(
    `--model: expected the base model's folder, its config.json or an archive of torch.export, got ${model}`
  )
}
