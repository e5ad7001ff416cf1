import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { repository } from '../native/support.js'

/** A module of scripts/, which is plain JavaScript outside the compiled tree; `T` is what the test uses of it. */
export async function script<T>(path: string): Promise<T> {
  return (await import(pathToFileURL(join(repository, 'scripts', path)).href)) as T
}

/** The file of a script. */
export const scriptFile = (path: string): string => join(repository, 'scripts', path)
