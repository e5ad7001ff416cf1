import { existsSync, readdirSync, statSync } from 'node:fs'
import { join, resolve, sep } from 'node:path'
import { editDistance, nearest } from '../config/nearest.js'

const most = 3

/** The operation of errors about a folder that is not there. */
export const findFolder = 'find the folder'

/** What to do about the path of a folder that is not there, in whole sentences. */
export function missingFolderHint(path: string): string {
  // Only shells know it, and only outside of quotes.
  if (path.startsWith('~')) return "'~' is not replaced here: write the home folder's path."
  const near = nearFolders(path)
  if (near !== '') return near
  const missing = firstMissing(path)
  if (missing === undefined || missing.rest.length === 0) return 'Check the path.'
  return `There is no folder ${join(missing.parent, missing.name)} either.`
}

/** The folders that are there and whose paths differ in one near name, as a question; '' where there are none. */
export function nearFolders(path: string): string {
  const missing = firstMissing(path)
  if (missing === undefined) return ''
  const { parent, name, rest } = missing
  const near = folderNames(resolve(parent))
    .filter((other) => nearest(name, [other]) !== undefined)
    .sort((a, b) => editDistance(name, a) - editDistance(name, b))
    .map((other) => join(parent, other, ...rest))
    .filter(isFolder)
    .slice(0, most)
    .map((other) => `'${other}'`)
  return near.length === 0 ? '' : `Did you mean ${near.join(' or ')}?`
}

/** The first part of a path that is not there: no system goes back (`..`) out of a folder that it cannot go into. */
function firstMissing(path: string) {
  const [first = '', ...others] = path.split(sep === '/' ? sep : /[\\/]/)
  const parts = [first, ...others.filter((part) => part !== '')]
  const until = (count: number) => parts.slice(0, count).join(sep) || (first === '' ? sep : '.')
  const at = parts.findIndex((_, i) => !existsSync(until(i + 1)))
  const name = parts[at]
  return name === undefined ? undefined : { parent: until(at), name, rest: parts.slice(at + 1) }
}

const isFolder = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true

function folderNames(parent: string): string[] {
  try {
    return readdirSync(parent).filter((name) => isFolder(join(parent, name)))
  } catch {
    return []
  }
}
