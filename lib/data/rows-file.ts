import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs'
import * as check from '../config/check.js'
import { fileError } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'
import { cellValues } from './cells.js'
import { type CsvForm, csvRecords, recordIn } from './csv-records.js'
import { type IndexedRows, nonEmpty, type Row } from './dataset.js'
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

const operation = 'read rows'

/**
 * The rows of a JSONL, CSV or TSV file that stay there: one pass finds where each begins (12 bytes a row), and each is
 * read when it is asked for. A dataset like any other, for files that are larger than the memory; to be closed at the end.
 */
export async function rowsFile(file: string, format: RowFormat = rowFormat(file)): Promise<RowsFile> {
  if (format === 'parquet') {
    throw new AdapterError('ERR_UNSUPPORTED', operation, `${file}: Parquet has its rows in groups of columns`, {
      hint: 'Train on a stream, () => readRows(file), or write the rows as JSONL.'
    })
  }
  const places = new RowPlaces()
  try {
    const form = format === 'jsonl' ? await findLines(file, places) : await findRecords(file, format, places)
    return new RowsFile(file, nonEmpty(places, file), form)
  } catch (error) {
    throw isSystemError(error) ? fileError(file, operation, error) : error
  }
}

export class RowsFile implements IndexedRows, Disposable {
  readonly #fd: number
  readonly #size: number
  readonly #changed: number
  #open = true

  constructor(
    readonly file: string,
    private readonly places: RowPlaces,
    /** CSV and TSV; undefined: JSONL. */
    private readonly form: CsvForm | undefined
  ) {
    this.#fd = openSync(file, 'r')
    const { size, mtimeMs } = fstatSync(this.#fd)
    this.#size = size
    this.#changed = mtimeMs
  }

  get length(): number {
    return this.places.length
  }

  /** Read at once, not later: what trains asks for rows while the engine's own thread computes. */
  at(index: number): Row {
    check.checkInteger('index', index, 0, this.length - 1)
    const { start, end, line } = this.places.at(index)
    const bytes = this.#read(start, end)
    const where = `${this.file}:${line}`
    if (this.form === undefined) return toRow(parseLine(textOf(bytes), where), where)
    return toRow(cellValues(recordIn(bytes, this.form, index === 0)), where)
  }

  close(): void {
    if (this.#open) closeSync(this.#fd)
    this.#open = false
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #read(start: number, end: number): Buffer {
    if (!this.#open) throw new AdapterError('ERR_DISPOSED', operation, `${this.file} was closed`)
    const { size, mtimeMs } = fstatSync(this.#fd)
    const bytes = Buffer.allocUnsafe(end - start)
    if (
      size !== this.#size ||
      mtimeMs !== this.#changed ||
      readSync(this.#fd, bytes, 0, end - start, start) < end - start
    ) {
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
