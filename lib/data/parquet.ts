import { type FileHandle, open } from 'node:fs/promises'
import * as zlib from 'node:zlib'
import type { AsyncBuffer, Compressors, FileMetaData } from 'hyparquet'
import { isPlainObject } from '../config/check.js'
import { fileError } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'

export interface ParquetRecord {
  readonly value: Readonly<Record<string, unknown>>
  /** From 0. */
  readonly row: number
}

/** Rows in one piece of a row group: what is in memory at once. */
const pieceRows = 4096

/** The rows of a Parquet file under their columns' names, a piece of a row group at a time. */
export async function* parquetRecords(file: string, operation: string): AsyncGenerator<ParquetRecord, void, undefined> {
  await using parquet = await ParquetFile.open(file, operation)
  for await (const record of parquet.records()) yield record
}

/**
 * The label names that Hugging Face's datasets writes into a file's metadata (its ClassLabel, of `label` or `labels`), in
 * the order of their ids; null where there are none.
 */
export async function readLabelNames(file: string): Promise<readonly string[] | null> {
  await using parquet = await ParquetFile.open(file, 'read label names')
  return labelNamesIn(parquet.metadata)
}

function labelNamesIn({ key_value_metadata: entries = [] }: FileMetaData): readonly string[] | null {
  const text = entries.find(({ key }) => key === 'huggingface')?.value
  const features = text === undefined ? undefined : at(parsed(text), 'info', 'features')
  for (const field of ['label', 'labels']) {
    const feature = at(features, field)
    // Lists of labels have theirs one level down, in older files as an array's only item.
    const items = at(feature, 'feature') ?? (Array.isArray(feature) ? feature[0] : feature)
    const names = at(items, '_type') === 'ClassLabel' ? at(items, 'names') : undefined
    if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names
  }
  return null
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

const at = (value: unknown, ...names: readonly string[]): unknown =>
  names.reduce((inner, name) => (isPlainObject(inner) ? inner[name] : undefined), value)

class ParquetFile implements AsyncDisposable {
  private constructor(
    private readonly file: string,
    private readonly operation: string,
    private readonly handle: FileHandle,
    private readonly bytes: AsyncBuffer,
    readonly metadata: FileMetaData
  ) {}

  static async open(file: string, operation: string): Promise<ParquetFile> {
    const { parquetMetadataAsync } = await import('hyparquet')
    const handle = await open(file).catch((error: unknown) => {
      throw fileError(file, operation, error)
    })
    try {
      const { size } = await handle.stat()
      // Its mark stands at both ends, and the length of its metadata before the second.
      if (size < 12) throw new Error(`it has ${size} bytes`)
      const bytes = bytesOf(handle, size)
      return new ParquetFile(file, operation, handle, bytes, await parquetMetadataAsync(bytes))
    } catch (cause) {
      await handle.close()
      throw damaged(file, operation, cause)
    }
  }

  async *records(): AsyncGenerator<ParquetRecord, void, undefined> {
    const { parquetReadObjects } = await import('hyparquet')
    const bytes = new UntilFailed(this.bytes)
    let start = 0
    for (const group of this.metadata.row_groups) {
      const end = start + Number(group.num_rows)
      for (; start < end; start += pieceRows) {
        const rowEnd = Math.min(end, start + pieceRows)
        const options = { file: bytes, metadata: this.metadata, compressors, parsers, rowStart: start, rowEnd }
        const rows = await parquetReadObjects(options).catch((cause: unknown) => {
          bytes.fail()
          throw damaged(this.file, this.operation, cause)
        })
        for (const [i, row] of rows.entries()) yield { value: plain(row) as Record<string, unknown>, row: start + i }
      }
      start = end
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close()
  }
}

/**
 * The reader begins with all columns at once: where it gives one up, nobody hears of another that fails later, which ends the
 * process. Those wait for ever instead.
 */
class UntilFailed implements AsyncBuffer {
  readonly byteLength: number
  #hasFailed = false

  constructor(private readonly bytes: AsyncBuffer) {
    this.byteLength = bytes.byteLength
  }

  fail(): void {
    this.#hasFailed = true
  }

  async slice(start: number, end?: number): Promise<ArrayBuffer> {
    const found = await this.bytes.slice(start, end)
    return this.#hasFailed ? await new Promise(() => {}) : found
  }
}

function bytesOf(handle: FileHandle, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    async slice(start, end = byteLength) {
      const bytes = new Uint8Array(Math.max(0, end - start))
      for (let read = 0; read < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, read, bytes.length - read, start + read)
        if (bytesRead === 0) throw new Error('the file ends early')
        read += bytesRead
      }
      return bytes.buffer
    }
  }
}

/** Snappy is hyparquet's own; the others are Node's, zstd only of newer ones. */
const { zstdDecompressSync } = zlib as { zstdDecompressSync?: typeof zlib.brotliDecompressSync }
/** zlib takes no limit of 0, which a page has whose values are all null. */
const limit = (bytes: number) => ({ maxOutputLength: Math.max(1, bytes) })
const compressors: Compressors = {
  GZIP: (input, bytes) => zlib.gunzipSync(input, limit(bytes)),
  BROTLI: (input, bytes) => zlib.brotliDecompressSync(input, limit(bytes)),
  ...(zstdDecompressSync && { ZSTD: (input: Uint8Array, bytes: number) => zstdDecompressSync(input, limit(bytes)) })
}

/** A mark of byte order is a character of the text: places of answers count it. */
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const parsers = { stringFromBytes: (bytes: Uint8Array | undefined) => bytes && decoder.decode(bytes) }

/** Whole numbers of 64 bits come as bigints, moments as dates; a row has neither. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : String(value)
  }
  if (value instanceof Date) return value.toISOString()
  if (value instanceof BigInt64Array || value instanceof BigUint64Array) return Array.from(value, plain)
  if (Array.isArray(value)) return value.map(plain)
  if (!isPlainObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]))
}

function damaged(file: string, operation: string, cause: unknown): AdapterError {
  const message = (cause as Error).message
  const unknown = /unsupported compression codec: (\w+)/i.exec(message)?.[1]
  const hint =
    unknown === undefined
      ? 'Check that this is a whole Parquet file.'
      : 'Write the file with snappy or gzip; zstd needs Node 22.15 or newer.'
  return new AdapterError('ERR_INVALID_FILE', operation, `${file}: ${message}`, { hint, cause })
}
