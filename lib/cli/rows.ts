import { statSync } from 'node:fs'
import type { Row } from '../data/dataset.js'
import type { RowsFile } from '../data/rows-file.js'
import { AdapterError } from '../native/errors.js'

/** For --help of what reads rows. */
export const rowsUsage = `
Rows are JSON objects, one a line (.jsonl), CSV or TSV whose first line names the columns, or Parquet. In a cell of CSV
or TSV, "words", "input_ids", "token_type_ids" and, beside them, "labels" are a JSON array, or their values with spaces
between; "label" is one label for the whole row. An image is "pixel_values", one array.
In TSV quotes are text, unless the first line begins with one.`

/** The rows of a file whose rows are all needed. */
export async function readAll(file: string): Promise<readonly Row[]> {
  const rows = await readAny(file)
  if (rows.length > 0) return rows
  throw new AdapterError('ERR_INVALID_FILE', '', `${file} has no rows`, { hint: 'Check that this is the right file.' })
}

async function readAny(file: string): Promise<readonly Row[]> {
  const { readRows } = await import('../data/read-rows.js')
  const rows: Row[] = []
  for await (const row of readRows(file)) rows.push(row)
  return rows
}

/** Rows to train on: in memory, or of a file too large for that. */
export type TrainingRows = readonly Row[] | RowsFile

/** Bytes of a file that is read into memory, where its rows are tokenized once; those of a larger one stay on disk. */
const largestInMemory = 64 * 1024 * 1024

export async function trainingRows(file: string, mayBeEmpty = false): Promise<TrainingRows> {
  const { size } = statSync(file)
  if (size > largestInMemory) {
    const mebibytes = Math.round(size / 2 ** 20).toLocaleString('en')
    process.stderr.write(
      `${file}: ${mebibytes} MiB stay on disk; every row is read and checked before the first step\n`
    )
    return await openRows(file)
  }
  return mayBeEmpty ? await readAny(file) : await readAll(file)
}

/** The rows of a file that is read a batch at a time, whatever its size. To be closed. */
export async function openRows(file: string): Promise<RowsFile> {
  const { rowsFile } = await import('../data/rows-file.js')
  return await rowsFile(file)
}

export function* eachRow(rows: TrainingRows): Generator<Row, void, undefined> {
  for (let i = 0; i < rows.length; i++) yield rows.at(i) as Row
}

export function closeRows(...all: readonly (TrainingRows | undefined)[]): void {
  for (const rows of all) if (rows !== undefined && 'close' in rows) rows.close()
}

/** The names that a file has for its labels beside the rows: Parquet alone can. */
export async function labelNamesOf(file: string): Promise<readonly string[] | null> {
  const { rowFormat } = await import('../data/read-rows.js')
  if (rowFormat(file) !== 'parquet') return null
  const { readLabelNames } = await import('../data/parquet.js')
  return await readLabelNames(file)
}
