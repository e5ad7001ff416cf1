import { existsSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as check from '../config/check.js'
import type { ModuleDescription } from '../config/module-description.js'
import { ModuleReader, ModuleWriter } from '../config/module-json.js'
import { inFile, readJsonObject } from '../config/read-json.js'
import { surgeryFile } from '../exchange/folder-files.js'
import { makeFolder } from '../native/make-folder.js'

/** One place of an operation, and what it was given. */
export interface Replaced {
  readonly path: string
  readonly module: ModuleDescription
}

type Operations = readonly { readonly replaced: readonly Replaced[] }[]

/** Operations in their order, so that the same surgery can be done again: what a saved model's `surgery.json` holds. */
export function surgeryToJson(operations: Operations): object[] {
  const writer = new ModuleWriter()
  return operations.map(({ replaced }) => ({
    replace: replaced.map(({ path, module }) => ({ path, with: writer.write(module) }))
  }))
}

export function surgeryFromJson(json: unknown): (readonly Replaced[])[] {
  const reader = new ModuleReader()
  return check.checkArray('operations', json).map((operation) =>
    check.checkArray('replace', check.checkObject('operation', operation)['replace']).map((one) => {
      const { path, with: module } = check.checkObject('replacement', one)
      return { path: check.checkNonEmptyString('path', path), module: reader.read(module) }
    })
  )
}

const format = 'torch-adapters surgery 1'

/** What was replaced in the base model; a head has a folder of its own. */
export const inBase = (operations: Operations): Operations =>
  operations
    .map(({ replaced }) => ({ replaced: replaced.filter(({ path }) => !path.startsWith('heads.')) }))
    .filter(({ replaced }) => replaced.length > 0)

/** Whether modules of a head were replaced: its folder has no names for them. */
export const hasSurgeryInHead = ({ replacements }: { readonly replacements: Operations }, head: string): boolean =>
  replacements.some(({ replaced }) => replaced.some(({ path }) => path.startsWith(`heads.${head}.`)))

/** Writes the record of what was replaced in the base model; no file where nothing was. */
export function writeSurgery(folder: string, operations: Operations): void {
  const file = join(folder, surgeryFile)
  const ofBase = inBase(operations)
  if (ofBase.length === 0) {
    rmSync(file, { force: true })
    return
  }
  makeFolder(folder)
  const json = { format, operations: surgeryToJson(ofBase) }
  writeFileSync(file, `${JSON.stringify(json, null, 2)}\n`)
}

/** The operations of a folder's record; none where it has none. */
export function readSurgery(folder: string): (readonly Replaced[])[] {
  const file = join(folder, surgeryFile)
  if (!existsSync(file)) return []
  const operation = 'read the surgery'
  const json = readJsonObject(file, operation)
  return inFile(file, operation, () => {
    check.checkOneOf('format', json['format'], [format])
    return surgeryFromJson(json['operations'])
  })
}
