import { existsSync, statSync } from 'node:fs'
import { listFiles, modelInfo } from '@huggingface/hub'
import * as check from '../config/check.js'
import { AdapterError } from '../native/errors.js'
import { isExportArchive } from './export-archive.js'
import { cachedSnapshot, type HubCache, hubCache, hubCacheFolder, rememberCommit, snapshotFolder } from './hub-cache.js'
import { type Connection, type DownloadProgress, fetchIntoCache, type HubFile } from './hub-download.js'
import { type HubPlace, hubError, isPassing, OfCaller, shortReason, strangeAnswer } from './hub-errors.js'
import { type FolderKind, isComplete, selectFiles } from './hub-files.js'
import { patientFetch } from './hub-patience.js'
import { hubToken, isOffline } from './hub-settings.js'
import { findFolder, missingFolderHint, nearFolders } from './near-folders.js'

/** Of every call that takes a hub id. */
export interface DownloadOptions {
  /** Branch, tag or commit on the hub. Default 'main'. */
  readonly revision?: string | undefined
  /** Folder for downloads. Default: Hugging Face's own cache. */
  readonly cacheDir?: string | undefined
  /** Never ask the network. Default: what HF_HUB_OFFLINE says. */
  readonly offline?: boolean | undefined
  /** Ends a download. */
  readonly signal?: AbortSignal | undefined
  /** Told of every piece of a download. */
  readonly onProgress?: ((progress: DownloadProgress) => void) | undefined
}

export const downloadKeys = ['revision', 'cacheDir', 'offline', 'signal', 'onProgress'] as const

export interface HubOptions extends DownloadOptions {
  /**
   * For what is private. Default: HF_TOKEN, or the file that `hf auth login` wrote, unless HF_HUB_DISABLE_IMPLICIT_TOKEN is
   * set. An empty one is none.
   */
  readonly token?: string | undefined
  /** Default: HF_ENDPOINT, else https://huggingface.co. */
  readonly endpoint?: string | undefined
}

/** A local folder for a folder's path or a hub id; what is not here yet is fetched, but only the files of this kind. */
export async function resolveFolder(source: string, kind: FolderKind, options: HubOptions = {}): Promise<string> {
  check.checkNonEmptyString('source', source)
  if (existsSync(source) && statSync(source).isDirectory()) return source
  if (existsSync(source) || !isHubId(source)) throw noFolder(source)
  const revision = check.checkNonEmptyString('revision', options.revision ?? 'main')
  // It becomes a part of a path in the cache.
  if (!/^[\w.\-/]+$/.test(revision) || revision.split('/').includes('..')) {
    throw check.rangeError('revision', 'a branch, a tag or a commit', revision)
  }
  const cache = hubCache(options.cacheDir ?? hubCacheFolder(), source)
  if (options.offline ?? isOffline()) return fromCache(cache, source, revision, kind)
  return fetchFolder(source, kind, revision, cache, options)
}

/** `name` or `organisation/name`, as the hub allows them. */
function isHubId(source: string): boolean {
  return /^[A-Za-z0-9][\w.-]{0,95}(\/[A-Za-z0-9][\w.-]{0,95})?$/.test(source) && !source.includes('..')
}

function noFolder(source: string): AdapterError {
  if (existsSync(source) && isExportArchive(source)) return noArchive(source)
  const what = existsSync(source) ? 'is a file, not a folder' : 'does not exist'
  return new AdapterError('ERR_FILE_NOT_FOUND', findFolder, `${source} ${what}`, {
    expected: "a folder's path or a hub id such as 'organisation/name'",
    hint: missingFolderHint(source)
  })
}

function noArchive(source: string): AdapterError {
  return new AdapterError('ERR_UNSUPPORTED', findFolder, `${source} is an archive of torch.export, not a folder`, {
    expected: "a folder's path or a hub id such as 'organisation/name'",
    hint:
      `AutoModel.fromExported('${source}') reads it, and the command line where it is the --model of train, evaluate, ` +
      'predict, sweep and fuse'
  })
}

function fromCache(cache: HubCache, source: string, revision: string, kind: FolderKind): string {
  const folder = cachedSnapshot(cache, revision)
  if (folder !== undefined && isComplete(folder, kind)) return folder
  throw new AdapterError('ERR_OFFLINE', findFolder, `'${source}' is neither a folder nor complete in the cache`, {
    expected: `revision '${revision}' below ${cache.root}`,
    hint:
      nearFolders(source) || 'Fetch it once without HF_HUB_OFFLINE or offline: true, or copy it here and give its path.'
  })
}

async function fetchFolder(
  repository: string,
  kind: FolderKind,
  revision: string,
  cache: HubCache,
  options: HubOptions
): Promise<string> {
  const endpoint = (options.endpoint ?? process.env['HF_ENDPOINT'] ?? 'https://huggingface.co').replace(/\/+$/, '')
  const token = (options.token ?? hubToken()) || undefined
  const place: HubPlace = { repository, revision, endpoint, hasToken: token !== undefined, isListed: false }
  const { signal } = options
  const onProgress = (progress: DownloadProgress) => {
    try {
      options.onProgress?.(progress)
    } catch (error) {
      throw new OfCaller(error)
    }
  }
  const patient = patientFetch(signal)
  try {
    const access = {
      ...{ hubUrl: endpoint, fetch: patient },
      ...(token === undefined ? {} : { accessToken: token })
    }
    const { sha: commit } = await modelInfo({ ...access, name: repository, revision, additionalFields: ['sha'] })
    if (!/^[0-9a-f]{40}$/.test(commit)) throw strangeAnswer(endpoint, 'no commit')
    const listed: HubFile[] = []
    for await (const entry of listFiles({ ...access, repo: repository, revision: commit })) {
      const hash = entry.lfs?.oid ?? entry.oid ?? ''
      if (entry.type === 'file') listed.push({ path: entry.path, size: entry.size, hash })
    }
    place.isListed = true
    const files = selectFiles(listed, kind)
    const connection: Connection = { repository, commit, endpoint, token, fetch: patient, signal, onProgress }
    for (const file of files) {
      if (!/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(file.hash)) throw strangeAnswer(endpoint, `no hash of ${file.path}`)
      await fetchIntoCache(cache, file, connection)
    }
    // A config alone is no copy to fall back on.
    if (kind !== 'config') rememberCommit(cache, revision, commit)
    return snapshotFolder(cache, commit)
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    if (error instanceof OfCaller) throw error.cause
    return fallBack(error, place, { cache, kind })
  }
}

interface Cached {
  readonly cache: HubCache
  readonly kind: FolderKind
}

/** Where the network or the hub fails, what was fetched before is better than nothing, as in Python. */
function fallBack(error: unknown, place: HubPlace, { cache, kind }: Cached): string {
  const folder = isPassing(error) ? cachedSnapshot(cache, place.revision) : undefined
  if (folder === undefined || !isComplete(folder, kind)) throw hubError(error, place)
  const text = `fetch from the hub: ${shortReason(error, place)}. Using the copy in ${folder}.`
  process.emitWarning(text, { code: 'TORCH_ADAPTERS_CACHED' })
  return folder
}
