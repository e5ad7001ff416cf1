import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs'
import * as check from '../config/check.js'
import { fileError } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'
import { cellValues } from './cells.js'
import { type CsvForm, csvRecords, recordIn } from './csv-records.js'
import type { IndexedRows, Row } from './dataset.js'
import {
  isSystemError,
  longestLine,
  parseLine,
  type RowFormat,
  recordError,
  rowFormat,
  tooLong,
  toRow
} from './read-rows.js'
import { RowPlaces } from './row-places.js'
import { spooledValue, spoolParquet } from './spooled-rows.js'

const operation = 'read rows'

/**
 * The rows of a file that stay on disk: one pass finds where each begins (12 bytes a row), and each is read when it is asked
 * for. A dataset like any other, for files that are larger than the memory; to be closed at the end. Parquet is unpacked for
 * that, once, into a nameless file in the system's folder for such (TMPDIR).
 */
export async function rowsFile(file: string, format: RowFormat = rowFormat(file)): Promise<RowsFile> {
  const places = new RowPlaces()
  try {
    if (format === 'parquet') {
      const fd = await spoolParquet(file, operation, places)
      const decode: Decode = (bytes, row) => toRow(spooledValue(bytes), `${file}[${row}]`)
      return new RowsFile(file, { fd, places, decode })
    }
    const form = format === 'jsonl' ? await findLines(file, places) : await findRecords(file, format, places)
    const decode: Decode = (bytes, line, index) => {
      const where = `${file}:${line}`
      if (form === undefined) return toRow(parseLine(textOf(bytes), where), where)
      return toRow(cellValues(recordIn(bytes, form, index === 0)), where)
    }
    return new RowsFile(file, { fd: openSync(file, 'r'), places, decode })
  } catch (error) {
    throw isSystemError(error) ? fileError(file, operation, error) : error
  }
}

/** @param line the row's, or where rows have none its number */
type Decode = (bytes: Buffer, line: number, index: number) => Row

/** Where rows lie, and how their bytes are read. */
interface RowSource {
  readonly fd: number
  readonly places: RowPlaces
  readonly decode: Decode
}

export class RowsFile implements IndexedRows, Disposable {
  readonly #size: number
  readonly #changed: number
  #open = true

  constructor(
    readonly file: string,
    private readonly source: RowSource
  ) {
    try {
      if (source.places.length === 0) {
        const hint = 'Check that this is the right file.'
        throw new AdapterError('ERR_INVALID_FILE', operation, `${file} has no rows`, { hint })
      }
      const { size, mtimeMs } = fstatSync(source.fd)
      this.#size = size
      this.#changed = mtimeMs
    } catch (error) {
      closeSync(source.fd)
      throw error
    }
  }

  get length(): number {
    return this.source.places.length
  }

  /** Read at once, not later: what trains asks for rows while the engine's own thread computes. */
  at(index: number): Row {
    check.checkInteger('index', index, 0, this.length - 1)
    const { start, end, line } = this.source.places.at(index)
    return this.source.decode(this.#read(start, end), line, index)
  }

  close(): void {
    if (this.#open) closeSync(this.source.fd)
    this.#open = false
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #read(start: number, end: number): Buffer {
    if (!this.#open) throw new AdapterError('ERR_DISPOSED', operation, `${this.file} was closed`)
    const { fd } = this.source
    const { size, mtimeMs } = fstatSync(fd)
    const bytes = Buffer.allocUnsafe(end - start)
    if (size !== this.#size || mtimeMs !== this.#changed || readSync(fd, bytes, 0, end - start, start) < end - start) {
      const hint = 'Open it again when nobody writes to it any more.'
      throw new AdapterError('ERR_INVALID_FILE', operation, `${this.file} has changed since it was opened`, { hint })
    }
    return bytes
  }
}

const decoder = new TextDecoder()
const textOf = (bytes: Buffer): string => decoder.decode(bytes)

const lineEnd = 0x0a
const byteOrderMark = Buffer.from('\ufeff')

/** Lines with more than spaces are rows. */
async function findLines(file: string, places: RowPlaces): Promise<undefined> {
  let [line, start, offset] = [1, 0, 0]
  let isBlank = true
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
    const bytes = chunk as Buffer
    for (let at = 0; at < bytes.length; ) {
      const found = bytes.indexOf(lineEnd, at)
      const end = found < 0 ? bytes.length : found
      const content = offset + at === 0 && bytes.subarray(0, 3).equals(byteOrderMark) ? 3 : at
      isBlank &&= hasSpacesAlone(bytes, content, end)
      if (offset + end - start > longestLine) throw tooLong(file)
      if (found >= 0) {
        if (!isBlank) places.add(start, line)
        line++
        start = offset + found + 1
        isBlank = true
      }
      at = end + 1
    }
    offset += bytes.length
  }
  if (!isBlank) places.add(start, line)
  places.finish(offset)
}

function hasSpacesAlone(bytes: Buffer, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const byte = bytes[i] ?? 0
    if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) return false
  }
  return true
}

async function findRecords(file: string, format: 'csv' | 'tsv', places: RowPlaces): Promise<CsvForm | undefined> {
  let start = 0
  let form: CsvForm | undefined
  try {
    for await (const record of csvRecords(file, format, longestLine)) {
      places.add(start, record.line)
      start = record.end
      form = record.form
    }
  } catch (cause) {
    throw recordError(file, cause)
  }
  places.finish(start)
  return form
}
