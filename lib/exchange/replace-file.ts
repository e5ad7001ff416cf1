import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ownerTag } from '../native/owner.js'

/** Writes a file that is on disk when this returns. */
export function writeSynced(file: string, text: string): void {
  const handle = openSync(file, 'w')
  try {
    writeFileSync(handle, text)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}

/** The same in the place of a file that is there: whoever reads it has the one or the other whole. */
export function replaceFile(file: string, text: string): void {
  const stage = join(dirname(file), `.${basename(file)}-${ownerTag}`)
  try {
    writeSynced(stage, text)
    renameSync(stage, file)
  } catch (error) {
    rmSync(stage, { force: true })
    throw error
  }
}
