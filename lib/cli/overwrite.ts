import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isPlainObject, quoted } from '../config/check.js'
import {
  adapterConfigFile,
  adapterWeightFiles,
  fusionConfigFile,
  fusionWeightFiles,
  headConfigFile,
  headWeightFiles,
  peftWeightFiles,
  setupConfigFile
} from '../exchange/folder-files.js'
import { eventsFile } from '../training/record/lines.js'
import { pageFile } from '../training/record/run-page.js'
import { refuseRunning } from '../training/run-lock.js'
import { usageError } from './arguments.js'
import { removeIfEmpty } from './output.js'
import { readRecord } from './run-folder.js'
import { checkpointFolder } from './train-what.js'

type Record = Readonly<{ [name: string]: unknown }>

const resultFiles: readonly string[] = [
  ...[adapterConfigFile, ...Object.values(adapterWeightFiles), ...Object.values(peftWeightFiles)],
  ...[headConfigFile, ...Object.values(headWeightFiles), fusionConfigFile, ...Object.values(fusionWeightFiles)]
]

/**
 * With --overwrite, before training: what an earlier run left in the folder. A result that the new one takes the place of
 * stays until that is there.
 * @param record what train.json will keep of the new run
 * @throws {AdapterError} ERR_BUSY where the earlier run has not ended
 */
export function removeEarlier(folder: string, record: Record): void {
  for (const held of [folder, checkpointFolder(folder)]) refuseRunning(held)
  removeCheckpoints(checkpointFolder(folder))
  const kept = new Set(placesOf(record))
  // The new run may stand on what the earlier one made.
  const used = JSON.stringify({ ...record, output: undefined })
  const isUsed = (path: string) => used.includes(JSON.stringify(resolve(path)).slice(1))
  for (const place of placesOf(readRecord(folder))) {
    const path = join(folder, place)
    if (kept.has(place) || isUsed(path)) continue
    for (const file of resultFiles) rmSync(join(path, file), { force: true })
    if (place !== '') removeIfEmpty(path)
  }
  if (!('adapters' in record)) rmSync(join(folder, setupConfigFile), { force: true })
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (name === eventsFile || name === pageFile || name.startsWith('events.out.tfevents.')) {
      rmSync(join(folder, name), { force: true })
    }
  }
}

/**
 * Without --overwrite, where nothing goes on either: a run of tasks or of a fusion left its results in folders of their own,
 * beside which those of another run would lie as if they belonged together.
 */
export function refuseEarlier(folder: string): void {
  const record = readRecord(folder)
  const holds = (place: string) => resultFiles.some((file) => existsSync(join(folder, place, file)))
  const there = placesOf(record).filter((place) => place !== '' && holds(place))
  if (there.length === 0) return
  const what = 'tasks' in record ? 'tasks' : 'a fusion'
  throw usageError(
    `--output: expected a new folder, got ${folder}, which holds ${quoted(new Set(there))} of an earlier run of ${what}; ` +
      '--overwrite replaces what is there'
  )
}

/** What runs write there; whatever else lies in the folder stays, and the folder with it. */
const written = /^\.?checkpoint-\d+(-|$)|^frozen-layers$|^\.run\.lock/

function removeCheckpoints(folder: string): void {
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (written.test(name)) rmSync(join(folder, name), { recursive: true, force: true })
  }
  removeIfEmpty(folder)
}

/** The folders in a run's folder that hold what it trained; '': that one itself. */
function placesOf(record: Record): readonly string[] {
  const { tasks, adapters, below, name } = record
  if (isPlainObject(tasks)) {
    const each = Object.entries(tasks).map(([task, own]) => [task, isPlainObject(own) ? own['adapter'] : undefined])
    return inside(each.flat())
  }
  if (Array.isArray(adapters)) {
    const others = Array.isArray(below) ? below : []
    return inside([name, ...[...adapters, ...others].map((one) => String(one).split('=')[0])])
  }
  return Object.keys(record).length === 0 ? [] : ['']
}

/** Names of adapters have no points, and those of files here no parts. */
const inside = (names: readonly unknown[]): string[] =>
  names.filter((name): name is string => typeof name === 'string' && /^[^./\\]+$/.test(name))
