import { createWriteStream, existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import { setTimeout as delay } from 'node:timers/promises'
import { downloadFile } from '@huggingface/hub'
import { AdapterError } from '../native/errors.js'
import { withLock } from '../native/lock.js'
import { makeFolder } from '../native/make-folder.js'
import { Patience } from '../native/patience.js'
import { blobFile, type HubCache, linkBlob, matchesHash, snapshotFolder } from './hub-cache.js'
import { isPassing } from './hub-errors.js'
import { restSeconds } from './hub-patience.js'

/** A file of a repository at one commit. */
export interface HubFile {
  readonly path: string
  readonly size: number
  /** SHA-256 of a large file, git's SHA-1 of a small one: its name in the cache. */
  readonly hash: string
}

export interface DownloadProgress {
  readonly file: string
  /** Bytes that are here, those of an earlier attempt included. */
  readonly received: number
  readonly total: number
}

export interface Connection {
  readonly repository: string
  readonly commit: string
  readonly endpoint: string
  readonly token: string | undefined
  readonly fetch: typeof fetch
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: DownloadProgress) => void) | undefined
}

/** Waits between attempts; a download goes on where the last one stopped. */
const pauses = [500, 1000, 2000]

/** Brings one file into the cache, unless its content is there already, and links it into the snapshot. */
export async function fetchIntoCache(cache: HubCache, file: HubFile, connection: Connection): Promise<void> {
  const target = join(snapshotFolder(cache, connection.commit), file.path)
  const blob = blobFile(cache, file.hash)
  if (existsSync(target)) return
  if (!existsSync(blob)) {
    await withLock(`${blob}.lock`, async () => {
      if (!existsSync(blob)) await downloadBlob(blob, file, connection)
    })
  }
  linkBlob(blob, target)
}

async function downloadBlob(blob: string, file: HubFile, connection: Connection): Promise<void> {
  const incomplete = `${blob}.incomplete`
  makeFolder(dirname(blob))
  for (let attempt = 0; ; attempt++) {
    try {
      await downloadRest(incomplete, file, connection)
      break
    } catch (error) {
      const pause = pauses[attempt]
      if (pause === undefined || !isPassing(error) || connection.signal?.aborted) throw error
      await delay(pause, undefined, connection.signal === undefined ? {} : { signal: connection.signal })
    }
  }
  if (!(await matchesHash(incomplete, file.hash))) {
    rmSync(incomplete, { force: true })
    throw new AdapterError('ERR_DOWNLOAD', 'fetch from the hub', `${file.path} arrived damaged`, {
      expected: `content with the hash ${file.hash}`,
      hint: 'Nothing of it was kept. Run the same command again.'
    })
  }
  renameSync(incomplete, blob)
}

async function downloadRest(incomplete: string, file: HubFile, connection: Connection): Promise<void> {
  const { repository, commit, endpoint, token, signal, onProgress } = connection
  let received = existsSync(incomplete) ? statSync(incomplete).size : 0
  if (received > file.size) {
    rmSync(incomplete)
    received = 0
  }
  if (file.size === 0) writeFileSync(incomplete, '')
  if (received === file.size) return
  const whole = await downloadFile({
    ...{ repo: repository, path: file.path, revision: commit, hubUrl: endpoint, fetch: connection.fetch },
    // By Xet nothing would come before a range of up to 64 MB is whole, which is silence on a slow link.
    xet: false,
    ...(token === undefined ? {} : { accessToken: token })
  })
  if (whole === null || whole.size !== file.size) throw changed(file, whole?.size)
  const rest = received > 0 ? whole.slice(received) : whole
  const output = createWriteStream(incomplete, { flags: 'a' })
  const input = Readable.fromWeb(rest.stream() as ReadableStream)
  const patience = new Patience(restSeconds(), (error) => input.destroy(error))
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      patience.progress()
      received += chunk.length
      onProgress?.({ file: file.path, received, total: file.size })
      yield chunk
    }
  }
  await pipeline(input, counted, output, signal === undefined ? {} : { signal }).finally(() => patience.end())
  if (received < file.size) {
    const ended = new Error(`the connection ended after ${received} of ${file.size} bytes`)
    throw Object.assign(ended, { code: 'ERR_CONNECTION_ENDED' })
  }
}

function changed(file: HubFile, size: number | undefined): AdapterError {
  return new AdapterError('ERR_DOWNLOAD', 'fetch from the hub', `${file.path} is not what the hub listed`, {
    expected: `${file.size} bytes`,
    got: size === undefined ? 'no such file' : `${size} bytes`,
    hint: 'Run the same command again.'
  })
}
