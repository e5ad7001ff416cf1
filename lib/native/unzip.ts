import { createReadStream, createWriteStream, readSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { crc32, createInflateRaw, inflateRawSync } from 'node:zlib'
import { AdapterError } from './errors.js'
import { makeFolder } from './make-folder.js'

interface Entry {
  readonly name: string
  readonly method: number
  readonly crc: number
  readonly packed: number
  readonly size: number
  readonly offset: number
}

const operation = 'unpack archive'

/** Up to this size a file is unpacked in memory and at once: libtorch has ten thousand headers, and waiting for each costs seconds. */
const smallEntry = 4 << 20

function corrupt(file: string, problem: string): AdapterError {
  return new AdapterError('ERR_ARCHIVE', operation, `${file}: ${problem}`, { hint: 'Delete it and fetch it again' })
}

/**
 * Unpacks the files of a zip (a wheel is one too) that `place` gives a relative path for. Sizes and checksums are
 * verified; a name that leaves the folder is refused. No zip64: libtorch's archives stay below 4 GB.
 */
export async function unzip(
  file: string,
  folder: string,
  place: (name: string) => string | undefined,
  progress: (done: number, total: number) => void = () => {}
): Promise<number> {
  const handle = await open(file)
  try {
    const wanted = (await readDirectory(handle, file)).flatMap((entry) => {
      const target = entry.name.endsWith('/') ? undefined : place(entry.name)
      if (target === undefined) return []
      if (target.split(/[/\\]/).includes('..') || /^([/\\]|[a-zA-Z]:)/.test(target)) {
        throw corrupt(file, `entry '${entry.name}' leaves the folder`)
      }
      return [{ entry, target }]
    })
    const total = wanted.reduce((sum, { entry }) => sum + entry.size, 0)
    const folders = new Set(wanted.map(({ target }) => dirname(join(folder, target))))
    for (const name of folders) makeFolder(name)
    let done = 0
    let untilPause = 100
    for (const { entry, target } of wanted) {
      if (--untilPause === 0) {
        untilPause = 100
        await new Promise(setImmediate) // timers and signals get their turn
      }
      await extract(handle, file, entry, join(folder, target), (bytes) => {
        done += bytes
        progress(done, total)
      })
    }
    return wanted.length
  } finally {
    await handle.close()
  }
}

function read(handle: FileHandle, file: string, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length)
  const bytesRead = readSync(handle.fd, buffer, 0, length, position)
  if (bytesRead !== length) throw corrupt(file, `ends before byte ${position + length}`)
  return buffer
}

// The end record stands in the last 22 bytes, or before a comment of at most 64 KiB.
async function readDirectory(handle: FileHandle, file: string): Promise<Entry[]> {
  const { size } = await handle.stat()
  const tailSize = Math.min(size, 22 + 0xffff)
  const tail = read(handle, file, size - tailSize, tailSize)
  const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'))
  if (end < 0 || end + 22 > tail.length) throw corrupt(file, 'no end record: not a zip, or cut off')
  const count = tail.readUInt16LE(end + 10)
  const length = tail.readUInt32LE(end + 12)
  const start = tail.readUInt32LE(end + 16)
  if (start + length > size) throw corrupt(file, 'its directory lies outside the file')
  const directory = read(handle, file, start, length)
  const entries: Entry[] = []
  for (let at = 0; at < directory.length; ) {
    if (at + 46 > directory.length || directory.readUInt32LE(at) !== 0x02014b50)
      throw corrupt(file, 'its directory is damaged')
    const nameLength = directory.readUInt16LE(at + 28)
    entries.push({
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      packed: directory.readUInt32LE(at + 20),
      size: directory.readUInt32LE(at + 24),
      offset: directory.readUInt32LE(at + 42),
      name: directory.toString('utf8', at + 46, at + 46 + nameLength)
    })
    at += 46 + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32)
  }
  if (entries.length !== count) throw corrupt(file, `${entries.length} entries where ${count} are announced`)
  return entries
}

async function extract(
  handle: FileHandle,
  file: string,
  entry: Entry,
  target: string,
  onBytes: (bytes: number) => void
): Promise<void> {
  if (entry.method !== 0 && entry.method !== 8)
    throw corrupt(file, `entry '${entry.name}' uses compression ${entry.method}`)
  const local = read(handle, file, entry.offset, 30)
  if (local.readUInt32LE(0) !== 0x04034b50) throw corrupt(file, `entry '${entry.name}' has no header`)
  const start = entry.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28)
  if (entry.size <= smallEntry && entry.packed <= smallEntry) {
    const data = inflate(file, entry, read(handle, file, start, entry.packed))
    writeFileSync(target, data)
    onBytes(data.length)
    return
  }
  let size = 0
  let crc = 0
  const check = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      size += chunk.length
      crc = crc32(chunk, crc)
      onBytes(chunk.length)
      if (size > entry.size) done(corrupt(file, `entry '${entry.name}' is larger than announced`))
      else done(null, chunk)
    }
  })
  const source = createReadStream(file, { start, end: start + entry.packed - 1, highWaterMark: 1 << 20 })
  const output = createWriteStream(target)
  if (entry.method === 8) await pipeline(source, createInflateRaw({ chunkSize: 1 << 18 }), check, output)
  else await pipeline(source, check, output)
  if (size !== entry.size || crc !== entry.crc) throw corrupt(file, `entry '${entry.name}' is damaged`)
}

function inflate(file: string, entry: Entry, packed: Buffer): Buffer {
  let data = packed
  if (entry.method === 8) {
    try {
      data = inflateRawSync(packed, { maxOutputLength: entry.size + 1 })
    } catch (cause) {
      throw corrupt(file, `entry '${entry.name}' is damaged: ${(cause as Error).message}`)
    }
  }
  if (data.length !== entry.size || crc32(data) !== entry.crc) throw corrupt(file, `entry '${entry.name}' is damaged`)
  return data
}
