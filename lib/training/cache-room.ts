import { existsSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import { folderBytes } from '../exchange/folder-files.js'

/** Of the disk on which a folder lies, or will lie. */
function freeBytes(folder: string): number {
  let there = folder
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there)
  const { bavail, bsize } = statfsSync(there)
  return bavail * bsize
}

/**
 * How many bytes a cache's folder may hold: what was asked for, but of what its disk has free at most half, so that what
 * has to be written still finds room. Of a folder that cannot be read: what was asked for; who opens it says why.
 */
export function cacheRoom(folder: string, wanted: number, free: (folder: string) => number = freeBytes): number {
  try {
    return Math.min(wanted, folderBytes(folder) + Math.floor(free(folder) / 2))
  } catch {
    return wanted
  }
}
