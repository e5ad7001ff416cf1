import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { AdapterConfig, AdapterConfigSource } from '../config/adapter-config.js'
import { quoted } from '../config/check.js'
import { adapterNames, type Composition } from '../config/composition.js'
import { counted } from '../config/counted.js'
import { type HeadConfig, hasManyLabels, readsRows } from '../config/head-config.js'
import { labelEntries } from '../config/head-fields.js'
import { isOwnHead } from '../config/own-head.js'
import { adapterConfigFile, type FolderFormat, folderFormats, headConfigFile } from '../exchange/folder-files.js'
import { saveAnyAdapter } from '../model/exchange.js'
import type { Model } from '../model/model.js'
import { listCheckpoints } from '../training/checkpoint-folder.js'
import { choiceOption, fromOptions, usageError } from './arguments.js'
import { addNewHead } from './new-head.js'

/** What `train --tune` offers: adapter and head on the frozen base model, the head alone, or everything. */
export const tunings = ['adapter', 'head', 'full'] as const

export type Tuning = (typeof tunings)[number]

/** What trains and what is then written; settled before anything is loaded. */
export interface TuningPlan {
  readonly tuning: Tuning
  /** Of the adapter and its head. */
  readonly name: string
  /** Null unless an adapter trains. */
  readonly config: AdapterConfig | null
  readonly format: FolderFormat
  readonly folder: string
}

interface Values {
  readonly tune: string
  readonly config?: string | undefined
  readonly format?: string | undefined
  readonly overwrite: boolean
  readonly plan: boolean
  readonly resume: boolean
  readonly 'resume-from'?: string | undefined
}

export async function tuningPlan(values: Values, folder: string, name: string): Promise<TuningPlan> {
  const tuning = choiceOption('tune', values.tune, tunings)
  const { config: source } = values
  if (source !== undefined && tuning !== 'adapter') {
    throw usageError(`--config: expected only with --tune adapter, got '${source}' with --tune ${tuning}`)
  }
  const format = choiceOption('format', values.format ?? 'safetensors', folderFormats)
  if (tuning === 'full' && format !== 'safetensors') {
    throw usageError(`--format: expected safetensors with --tune full, got '${format}'`)
  }
  checkFolder(folder, tuning, values)
  const { AdapterConfig } = await import('../config/adapter-config.js')
  const config = tuning === 'adapter' ? fromOptions(() => AdapterConfig.load(sourceOf(source ?? 'seq_bn'))) : null
  return { tuning, name, config, format, folder }
}

/** A preset, a shorthand, or a config as JSON. */
function sourceOf(text: string): AdapterConfigSource {
  if (!text.startsWith('{')) return text
  try {
    return JSON.parse(text) as AdapterConfigSource
  } catch (error) {
    throw usageError(`--config: expected JSON after '{', got '${text}': ${(error as Error).message}`)
  }
}

const describe: Readonly<Record<Tuning, string>> = { adapter: 'an adapter', head: 'a head', full: 'a model' }

/**
 * A head beside an adapter or a model that it was not trained with would be loaded with it; and what another run left is
 * replaced only where that was asked for.
 */
function checkFolder(folder: string, tuning: Tuning, { overwrite, plan, resume, 'resume-from': from }: Values): void {
  if (overwrite && (resume || from !== undefined)) {
    throw usageError('--overwrite: expected either a new start or a resumed run, got both')
  }
  if (plan) return
  const has = (file: string) => existsSync(join(folder, file))
  const there: Tuning | null = has('config.json')
    ? 'full'
    : has(adapterConfigFile)
      ? 'adapter'
      : has(headConfigFile)
        ? 'head'
        : null
  if (there !== null && there !== tuning) {
    const expected = `a folder that is new or holds ${describe[tuning]}, for --tune ${tuning}`
    throw usageError(
      `--output: expected ${expected}, got ${folder}, which holds ${describe[there]}: give another folder`
    )
  }
  if (overwrite || resume || from !== undefined) return
  const checkpoints = listCheckpoints(checkpointFolder(folder)).length
  if (there === null && checkpoints === 0) return
  const holds = [there !== null && describe[there], checkpoints > 0 && counted(checkpoints, 'checkpoint')].filter(
    Boolean
  )
  const instead = `--overwrite replaces what is there${checkpoints > 0 ? ', --resume goes on from the newest checkpoint' : ''}`
  throw usageError(`--output: expected a new folder, got ${folder}, which holds ${holds.join(' and ')}; ${instead}`)
}

/** Where the checkpoints of a run lie whose result goes to `folder`. */
export const checkpointFolder = (folder: string): string => join(folder, 'checkpoints')

/** Before training, for people: the head that the labels of the rows, or the options, led to. */
export function describeHead(head: HeadConfig): string {
  if (isOwnHead(head)) return `head: the model's own, ${head.headType}, which stays as it is\n`
  if (!('numLabels' in head)) return `head: ${head.headType}\n`
  if (readsRows(head) && head.numLabels === 1 && !hasManyLabels(head)) return 'head: regression, labels are numbers\n'
  const names = labelEntries(head).map(([name]) => name)
  const shown = names.slice(0, 5).join(', ') + (names.length > 5 ? ', …' : '')
  const forWords = head.headType === 'dependency_parsing' ? 'dependency parsing' : 'tagging'
  const kind = hasManyLabels(head) ? 'multilabel' : readsRows(head) ? 'classification' : forWords
  return `head: ${kind}, ${head.numLabels} labels${shown === '' ? '' : ` (${shown})`}\n`
}

/** Adds what is new and says what trains: over the base model alone, as the result is used, whatever else its folder holds. */
export function prepareTuning(model: Model, { tuning, name, config }: TuningPlan, head: HeadConfig): void {
  if (tuning === 'full' && model.config.exported !== null)
    throw usageError('--tune full: an archive of torch.export is not written anew; train an adapter or a head')
  if (tuning === 'head' && isOwnHead(head))
    throw usageError("--tune head: the model's own head stays as it is; train an adapter, or name a new --head")
  if (model.activeAdapters !== null) process.stderr.write(describeIdle(model.activeAdapters, tuning))
  model.setActiveAdapters(null)
  refuseKnown(model, name)
  if (config !== null) fromOptions(() => model.addAdapter(name, config))
  addNewHead(model, name, head)
  // Whatever head came with the model.
  model.activeHead = name
  if (tuning === 'adapter') model.trainAdapter(name)
  else if (tuning === 'head') model.trainHead(name)
  else model.trainAll()
}

/** A folder of model.save() comes with an adapter that is active; the result here is not above it. */
function describeIdle(active: Composition, tuning: Tuning): string {
  const what =
    tuning === 'full'
      ? 'what trains is the base model with a new head'
      : `${describe[tuning]} trains over the base model`
  const below = tuning === 'adapter' ? '; --below FOLDER trains it above another' : ''
  return `the model's folder has ${quoted(adapterNames(active))} active, which takes no part: ${what}${below}\n`
}

/** Before what trains is added: the model's folder may have adapters and heads of its own. */
export function refuseKnown(model: Model, name: string, option = '--name'): void {
  const kind = model.adapters.has(name) ? 'an adapter' : model.heads.has(name) ? 'a head' : undefined
  if (kind === undefined) return
  throw usageError(`${option}: the model's folder holds ${kind} called '${name}', too; give what trains another name`)
}

export async function saveTuned(model: Model, { tuning, name, format, folder }: TuningPlan): Promise<void> {
  if (tuning === 'adapter') return await saveAnyAdapter(model, folder, name, { format })
  await model.saveHead(folder, name, { format })
  if (tuning === 'full') await model.savePretrained(folder)
}

/** For people: what was trained and how large it is. */
export function describeTuned(model: Model, { tuning, name, folder }: TuningPlan): string {
  const { adapters, trainableParameters } = model.adapterSummary()
  const adapter = adapters.find((entry) => entry.name === name)
  const count = (parameters: number) => `${parameters.toLocaleString('en')} parameters`
  if (adapter !== undefined) {
    return `adapter '${name}' (${count(adapter.parameters)}, ${adapter.percent.toFixed(2)} % of the base model) is in ${folder}\n`
  }
  const what = tuning === 'head' ? `head '${name}'` : `the model with its head '${name}'`
  return `${what} (${count(trainableParameters)}) is in ${folder}\n`
}
