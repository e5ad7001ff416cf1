import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ownerTag, removeLeftovers } from '../native/owner.js'

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

/** Files beside which this process has looked for what one that was killed left. */
const cleared = new Set<string>()

/** The same in the place of a file that is there: whoever reads it has the one or the other whole. */
export function replaceFile(file: string, text: string): void {
  const start = `.${basename(file)}-`
  const stage = join(dirname(file), `${start}${ownerTag}`)
  try {
    writeSynced(stage, text)
    renameSync(stage, file)
    if (cleared.has(file)) return
    cleared.add(file)
    removeLeftovers(dirname(file), start)
  } catch (error) {
    rmSync(stage, { force: true })
    throw error
  }
}
