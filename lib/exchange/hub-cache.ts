import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { hashFile } from '../native/hash-file.js'
import { makeFolder } from '../native/make-folder.js'

/**
 * The cache of Hugging Face, shared with Python:
 *
 *   <cache>/models--org--name/refs/main                     the commit that a branch had when it was last asked for
 *                            /blobs/<hash>                  files by content
 *                            /snapshots/<commit>/<file>     links to them
 */
export interface HubCache {
  /** The repository's folder. */
  readonly root: string
}

export function hubCacheFolder(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = process.env
  const home = HF_HOME ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'huggingface')
  return HF_HUB_CACHE ?? HUGGINGFACE_HUB_CACHE ?? join(home, 'hub')
}

export function hubCache(cacheFolder: string, repository: string): HubCache {
  return { root: join(cacheFolder, `models--${repository.replaceAll('/', '--')}`) }
}

export function snapshotFolder(cache: HubCache, commit: string): string {
  return join(cache.root, 'snapshots', commit)
}

export function blobFile(cache: HubCache, hash: string): string {
  return join(cache.root, 'blobs', hash)
}

/** The snapshot that a branch, tag or commit stood for when it was last fetched. */
export function cachedSnapshot(cache: HubCache, revision: string): string | undefined {
  const reference = join(cache.root, 'refs', revision)
  const commit = existsSync(reference) ? readFileSync(reference, 'utf8').trim() : revision
  const folder = snapshotFolder(cache, commit)
  return /^[0-9a-f]{40}$/.test(commit) && existsSync(folder) ? folder : undefined
}

export function rememberCommit(cache: HubCache, revision: string, commit: string): void {
  if (revision === commit) return
  const reference = join(cache.root, 'refs', revision)
  makeFolder(dirname(reference))
  const next = `${reference}.${process.pid}`
  writeFileSync(next, commit)
  renameSync(next, reference)
}

/** Puts a blob into a snapshot under its name; a copy where the system has no links. */
export function linkBlob(blob: string, file: string): void {
  makeFolder(dirname(file))
  rmSync(file, { force: true })
  try {
    symlinkSync(relative(dirname(file), blob), file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return
    copyFileSync(blob, file)
  }
}

/** Whether a file is what its hash says: SHA-256 for large files, git's SHA-1 of a blob for the others. */
export async function matchesHash(file: string, hash: string): Promise<boolean> {
  const isSha256 = hash.length === 64
  const digest = createHash(isSha256 ? 'sha256' : 'sha1')
  if (!isSha256) digest.update(`blob ${statSync(file).size}\0`)
  return (await hashFile(file, digest)) === hash
}
