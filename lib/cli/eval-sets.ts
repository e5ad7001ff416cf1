import { resolve } from 'node:path'
import { isPlainObject } from '../config/check.js'
import { splitName } from './adapters.js'
import { inputFile, usageError } from './arguments.js'
import { type TrainingRows, trainingRows } from './rows.js'

/** What --eval names: a file of rows, or several by their names. */
export type EvalFiles = string | Readonly<Record<string, string>>

/** Their rows. */
export type EvalRows = TrainingRows | Readonly<Record<string, TrainingRows>>

/** Every --eval; undefined where there is none. */
export function evalFiles(given: readonly string[] | undefined): EvalFiles | undefined {
  if (given === undefined) return undefined
  const all = given.map(splitName)
  const [only] = all
  if (all.length === 1 && only !== undefined && only.as === undefined) return only.source
  const sets: Record<string, string> = {}
  for (const { as, source } of all) {
    if (as === undefined) {
      throw usageError(`--eval: of several files each has a name, --eval NAME=FILE, got ${source} without one`)
    }
    if (Object.hasOwn(sets, as)) throw usageError(`--eval: expected each name once, got '${as}' twice`)
    sets[as] = source
  }
  return sets
}

/** The same as options, for a config. */
export const evalOptions = (files: EvalFiles): string[] =>
  typeof files === 'string'
    ? [`--eval=${files}`]
    : Object.entries(files).map(([name, file]) => `--eval=${name}=${file}`)

/** As a config keeps them, with paths that hold from everywhere. */
export const wholeEvalPaths = (files: EvalFiles): EvalFiles =>
  typeof files === 'string'
    ? resolve(files)
    : Object.fromEntries(Object.entries(files).map(([name, file]) => [name, resolve(file)]))

/** Names of the sets; none where it is one file. */
export const evalNames = (files: EvalFiles | undefined): readonly string[] =>
  files === undefined || typeof files === 'string' ? [] : Object.keys(files)

/** By the options that name them. */
export function evalFilesByOption(files: EvalFiles | undefined): Readonly<Record<string, string>> {
  if (files === undefined) return {}
  if (typeof files === 'string') return { eval: files }
  return Object.fromEntries(Object.entries(files).map(([name, file]) => [`eval ${name}`, file]))
}

/** @param place for messages: the option's name, or a task's field */
export function checkEvalFiles(place: string, files: EvalFiles): void {
  if (typeof files === 'string') inputFile(place, files)
  else for (const file of Object.values(files)) inputFile(place, file)
}

export async function readEvalRows(
  files: EvalFiles,
  read: (file: string) => Promise<TrainingRows> = trainingRows
): Promise<EvalRows> {
  if (typeof files === 'string') return await read(files)
  const sets: Record<string, TrainingRows> = {}
  for (const [name, file] of Object.entries(files)) sets[name] = await read(file)
  return sets
}

/** To be closed. */
export function eachEvalRows(rows: EvalRows | undefined): readonly TrainingRows[] {
  if (rows === undefined) return []
  return isPlainObject(rows) ? (Object.values(rows) as TrainingRows[]) : [rows as TrainingRows]
}
