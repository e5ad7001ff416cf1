import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs'
import * as check from '../config/check.js'
import { fileError } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'
import { cellValues } from './cells.js'
import { type CsvForm, csvRecords, recordOf } from './csv-records.js'
import type { IndexedRows, Row } from './dataset.js'
import { carriageReturn, fileRecords, lineFeed } from './file-records.js'
import { isSystemError, lineForm, parseLine, type RowFormat, rowFormat, toRow } from './read-rows.js'
import { RowPlaces } from './row-places.js'
import { spooledValue, spoolParquet } from './spooled-rows.js'
import { utf8Text } from './utf8.js'

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
    const decode: Decode = (bytes, line) => {
      const where = `${file}:${line}`
      if (form === undefined) return toRow(parseLine(utf8Text(bytes, where, operation), where), where)
      return toRow(cellValues(recordOf({ bytes: withoutEnd(bytes), line }, form), where), where)
    }
    return new RowsFile(file, { fd: openSync(file, 'r'), places, decode })
  } catch (error) {
    throw isSystemError(error) ? fileError(file, operation, error) : error
  }
}

/** @param line the row's, or where rows have none its number */
type Decode = (bytes: Buffer, line: number) => Row

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
    return this.source.decode(this.#read(start, end), line)
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

/** Lines with more than spaces are rows. */
async function findLines(file: string, places: RowPlaces): Promise<undefined> {
  const pieces = createReadStream(file, { highWaterMark: 1 << 20 })
  let end = 0
  for await (const records of fileRecords(pieces, file, () => lineForm)) {
    for (const { bytes, start, line } of records) {
      if (bytes.every(isSpace)) continue
      places.add(start, line)
      end = start + bytes.length
    }
  }
  places.finish(end)
}

const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)

async function findRecords(file: string, format: 'csv' | 'tsv', places: RowPlaces): Promise<CsvForm | undefined> {
  let form: CsvForm | undefined
  let end = 0
  for await (const found of csvRecords(file, format)) {
    form = found.form
    for (const record of found.records) {
      places.add(record.start, record.line)
      end = record.start + record.bytes.length
      // A mistake is told before training, not in the midst of it.
      recordOf(record, form)
    }
  }
  places.finish(end)
  return form
}

/** A record reaches to where the next one begins. */
function withoutEnd(bytes: Buffer): Buffer {
  let end = bytes.length
  while (end > 0 && (bytes[end - 1] === lineFeed || bytes[end - 1] === carriageReturn)) end--
  return bytes.subarray(0, end)
}
