import { existsSync, readdirSync, statfsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Of the disk on which a folder lies, or will lie. */
function freeBytes(folder: string): number {
  let there = folder
  while (!existsSync(there) && dirname(there) !== there) there = dirname(there)
  const { bavail, bsize } = statfsSync(there)
  return bavail * bsize
}

function usedBytes(folder: string): number {
  if (!existsSync(folder)) return 0
  return readdirSync(folder).reduce(
    (sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0),
    0
  )
}

/**
 * How many bytes a cache's folder may hold: what was asked for, but of what its disk has free at most half, so that what
 * has to be written still finds room. Of a folder that cannot be read: what was asked for; who opens it says why.
 */
export function cacheRoom(folder: string, wanted: number, free: (folder: string) => number = freeBytes): number {
  try {
    return Math.min(wanted, usedBytes(folder) + Math.floor(free(folder) / 2))
  } catch {
    return wanted
  }
}
