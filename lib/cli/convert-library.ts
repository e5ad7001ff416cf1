import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type HeadConfig, headInModel, isTied } from '../config/head-config.js'
import type { ProblemType } from '../config/peft-config.js'
import { readJsonObject } from '../config/read-json.js'
import { readAdapterFolder } from '../exchange/adapter-folder.js'
import type { FolderFormat } from '../exchange/folder-files.js'
import { isPeftFolder, readPeftFolder } from '../exchange/peft-folder.js'
import { peftPooler } from '../exchange/peft-targets.js'
import { isOwnWords } from '../exchange/peft-write.js'
import { AutoModel, readWeights } from '../model/auto-model.js'
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

/**
 * An adapter of one library's folder in the other's, where both compute it. Of a base model its config is read, and its weights
 * where a head is made of them: a tied output layer, or what stands at a pooler.
 */
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
    const inModel = head === null ? null : headInModel(head, model.config)
    // PEFT stores nothing of a head that is the base model's own words.
    const words = archive === undefined && inModel !== null && isOwnWords(inModel) ? inModel : null
    const ofBase = isPeft ? await peftReadsBase(source, model) : inModel !== null && isTied(inModel)
    if (archive === undefined && withHead && words === null && ofBase) await readBase(model, job.model)
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

/** Whether a folder's head has a tied output layer, or the pooler's adapter in it. */
async function peftReadsBase(source: string, model: Model): Promise<boolean> {
  const folder = await readPeftFolder(source)
  return folder.config.tied || peftPooler(folder, model.config) !== undefined
}

async function readBase(model: Model, source: string): Promise<void> {
  try {
    await readWeights(model, dirname(configFile(source)))
  } catch (error) {
    throw new AdapterError('ERR_UNSUPPORTED', 'convert', "the head is made of the base model's own weights", {
      expected: "the base model's folder, with its weights",
      got: `${source}: ${error instanceof Error ? error.message : error}`,
      hint: 'Name that folder with --model, or convert the adapter alone: --no-head.'
    })
  }
}

/** Without its weights: shapes and names decide. */
async function unreadModel(source: string, trainedOn: string | null): Promise<Model> {
  const config = readJsonObject(configFile(source), 'read the model config')
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
