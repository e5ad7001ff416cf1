import { existsSync, readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { adapterConfigFile, setupConfigFile } from '../exchange/folder-files.js'
import type { Model } from '../model/model.js'
import { fromOptions, usageError } from './arguments.js'

/** For --help. */
export const adapterUsage = `  --adapter [NAME=]ADAPTER
                          folder or hub id of an adapter with its head, or of one for the head of MODEL's class, where
                          that is an archive; with NAME= it gets that name here. More than one: a row's "adapter", or
                          its "task_id", names the one that answers it; rows without one get the first, null is none.
                          "adapter" may be one of MODEL's folder, too, as Model.save writes it`

/** An adapter of the command line, found but not loaded. */
export interface AdapterSource {
  readonly folder: string
  /** Its name here. */
  readonly name: string
}

/** Every --adapter in its order. Two of one name, or one twice, is a mistake that shows before the model is loaded. */
export async function findAdapters(
  given: readonly string[],
  offline: boolean | undefined,
  option = '--adapter'
): Promise<AdapterSource[]> {
  const { readAdapterFolder } = await import('../exchange/adapter-folder.js')
  const { isPeftFolder, peftName } = await import('../exchange/peft-folder.js')
  const { checkAdapterName } = await import('../exchange/write-folder.js')
  const { refuseUnfinished } = await import('./run-folder.js')
  const { folderOf } = await import('./download-progress.js')
  const found: (AdapterSource & { readonly source: string })[] = []
  for (const text of given) {
    const { as, source } = splitName(text)
    if (as !== undefined) fromOptions(() => checkAdapterName(as))
    const folder = await folderOf(source, 'adapter', offline)
    refuseUnfinished(option, folder)
    refuseSetup(option, folder)
    const name = as ?? (isPeftFolder(folder) ? peftName(source) : readAdapterFolder(folder, false).name)
    const other = found.find((one) => one.name === name)
    if (other !== undefined) throw sameName(option, name, other, { source, folder })
    found.push({ source, folder, name })
  }
  return found.map(({ folder, name }) => ({ folder, name }))
}

/** What fuse and saveAdapterSetup write is several adapters, used by another option. */
function refuseSetup(option: string, folder: string): void {
  if (!existsSync(join(folder, setupConfigFile)) || existsSync(join(folder, adapterConfigFile))) return
  const inside = readdirSync(folder)
    .map((name) => join(folder, name))
    .filter((one) => existsSync(join(one, adapterConfigFile)))
  throw usageError(
    `${option}: expected an adapter, got ${folder}, a whole setup: evaluate and predict take it as --setup ${folder}; ` +
      `its adapters are in ${inside.join(', ')}`
  )
}

/** Before an adapter is loaded: a folder that Model.save wrote may come with one of that name. */
export function refuseLoaded(model: Model, { name, folder }: AdapterSource, option = '--adapter'): void {
  if (!model.adapters.has(name) && !model.heads.has(name)) return
  const kind = model.adapters.has(name) ? 'an adapter' : 'a head'
  throw usageError(
    `${option}: the model's folder holds ${kind} called '${name}', too. Give this one another name: ` +
      `${option} ${name}-2=${folder}`
  )
}

/** A folder may have `=` in its path; what is there as it stands is no renaming. */
export function splitName(text: string): { readonly as?: string; readonly source: string } {
  const [, as, source] = /^([^=/\\]+)=(.+)$/s.exec(text) ?? []
  return as === undefined || source === undefined || existsSync(text) ? { source: text } : { as, source }
}

interface Place {
  readonly source: string
  readonly folder: string
}

function sameName(option: string, name: string, first: Place, second: Place): Error {
  if (realpathSync(first.folder) === realpathSync(second.folder)) {
    return usageError(`${option}: expected each adapter once, got ${second.source} twice`)
  }
  return usageError(
    `${option}: ${first.source} and ${second.source} both hold an adapter named '${name}'. ` +
      `Give one of them another name: ${option} ${name}-2=${second.source}`
  )
}
