import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'

/**
 * Makes a folder and those above it. Node's own recursive mkdir never comes back where a file system has no such place,
 * as `/proc/x`; this one fails with the system's error.
 */
export function makeFolder(path: string): void {
  const missing: string[] = []
  for (let folder = resolve(path); !existsSync(folder); folder = dirname(folder)) missing.push(folder)
  if (missing.length === 0) {
    // A file: says so.
    if (!statSync(path).isDirectory()) mkdirSync(path)
    return
  }
  for (const folder of missing.reverse()) makeOne(folder)
}

/** Another process may have made it in between. */
function makeOne(folder: string): void {
  try {
    mkdirSync(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'EEXIST' || statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) throw error
  }
}
