import { createWriteStream } from 'node:fs'
import { rename, rm, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { ReadableStream } from 'node:stream/web'
import { AdapterError } from './errors.js'
import { sha256Of } from './hash-file.js'
import { makeFolder } from './make-folder.js'
import { Patience } from './patience.js'

export interface DownloadRequest {
  readonly url: string
  readonly sha256: string
  readonly bytes: number
}

/** Seconds without a single byte after which a download is given up. */
const stallSeconds = 30

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch {
    return 0
  }
}

/**
 * Downloads to `file`. An interrupted download leaves `file.part`, which the next call continues; only a file with the
 * right checksum gets the final name.
 */
export async function download(
  { url, sha256, bytes }: DownloadRequest,
  file: string,
  progress: (done: number, total: number) => void = () => {}
): Promise<void> {
  if ((await sizeOf(file)) === bytes && (await sha256Of(file)) === sha256) return
  makeFolder(dirname(file))
  const part = `${file}.part`
  if ((await sizeOf(part)) > bytes) await rm(part)
  if ((await sizeOf(part)) < bytes) await receive(url, part, bytes, progress)
  const got = await sha256Of(part)
  if (got !== sha256) {
    await rm(part)
    throw new AdapterError('ERR_CHECKSUM', `download ${basename(file)}`, 'the checksum is wrong', {
      expected: sha256,
      got,
      hint: `${url} did not give the file that this package was made with; nothing of it was kept`
    })
  }
  await rename(part, file)
}

async function receive(
  url: string,
  part: string,
  bytes: number,
  progress: (done: number, total: number) => void
): Promise<void> {
  const operation = `download ${url}`
  const stall = new AbortController()
  const seconds = Number(process.env['TORCH_ADAPTERS_TIMEOUT'] ?? stallSeconds)
  const patience = new Patience(seconds, () => stall.abort())
  try {
    const have = await sizeOf(part)
    const response = await fetch(url, { signal: stall.signal, headers: have > 0 ? { range: `bytes=${have}-` } : {} })
    if (!response.ok || !response.body) {
      throw new AdapterError('ERR_DOWNLOAD', operation, `the server answered ${response.status} ${response.statusText}`)
    }
    // A server that does not know ranges answers 200 with the whole file.
    let done = response.status === 206 ? have : 0
    // The page of a network that wants a login, say.
    const coming = response.headers.has('content-encoding') ? null : response.headers.get('content-length')
    if (coming !== null && Number(coming) !== bytes - done)
      throw new AdapterError('ERR_DOWNLOAD', operation, `${coming} bytes are offered, not ${bytes - done}`, {
        hint: 'Does a proxy or a login page stand in between?'
      })
    const count = new Transform({
      transform(chunk: Buffer, _encoding, next) {
        patience.progress()
        done += chunk.length
        progress(done, bytes)
        next(done > bytes ? new AdapterError('ERR_DOWNLOAD', operation, `more than ${bytes} bytes came`) : null, chunk)
      }
    })
    const body = Readable.fromWeb(response.body as ReadableStream)
    await pipeline(body, count, createWriteStream(part, { flags: done > 0 ? 'a' : 'w' }))
    if (done < bytes)
      throw new AdapterError('ERR_DOWNLOAD', operation, `the connection closed after ${done} of ${bytes} bytes`)
  } catch (cause) {
    if (cause instanceof AdapterError) throw cause
    const { message } = ((cause as Error).cause as Error | undefined) ?? (cause as Error)
    const problem = stall.signal.aborted ? `nothing came for ${seconds} s` : message
    throw new AdapterError('ERR_DOWNLOAD', operation, problem, { cause })
  } finally {
    patience.end()
  }
}
