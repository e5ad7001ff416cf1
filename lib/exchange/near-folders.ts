import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { editDistance, nearest } from '../config/nearest.js'

const most = 3

/** What to do about the path of a folder that is not there, in whole sentences. */
export function missingFolderHint(path: string): string {
  // Only shells know it, and only outside of quotes.
  if (path.startsWith('~')) return "'~' is not replaced here: write the home folder's path."
  if (!existsSync(dirname(resolve(path)))) return `There is no folder ${dirname(path)} either.`
  return nearFolders(path) || 'Check the path.'
}

/** The folders beside it whose names are near, as a question; '' where there are none. */
export function nearFolders(path: string): string {
  const parent = dirname(resolve(path))
  const name = basename(resolve(path))
  const near = folderNames(parent)
    .filter((other) => nearest(name, [other]) !== undefined)
    .sort((a, b) => editDistance(name, a) - editDistance(name, b))
    .slice(0, most)
    .map((other) => `'${join(dirname(path), other)}'`)
  return near.length === 0 ? '' : `Did you mean ${near.join(' or ')}?`
}

function folderNames(parent: string): string[] {
  try {
    return readdirSync(parent).filter((name) => statSync(join(parent, name), { throwIfNoEntry: false })?.isDirectory())
  } catch {
    return []
  }
}
