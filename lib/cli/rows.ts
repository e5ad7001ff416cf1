import type { Row } from '../data/dataset.js'
import { AdapterError } from '../native/errors.js'

/** For --help of what reads rows. */
export const rowsUsage = `
Rows are JSON objects, one a line (.jsonl), CSV or TSV whose first line names the columns, or Parquet. In a cell of CSV or
TSV, "words", "input_ids", "token_type_ids" and, beside them, "labels" are a JSON array, or their values with spaces
between; "label" is one label for the whole row. An image is "pixel_values", one array.
In TSV quotes are text, unless the first line begins with one.`

/** The rows of a file whose rows are all needed. */
export async function readAll(file: string): Promise<readonly Row[]> {
  const { readRows } = await import('../data/read-rows.js')
  const rows: Row[] = []
  for await (const row of readRows(file)) rows.push(row)
  if (rows.length > 0) return rows
  throw new AdapterError('ERR_INVALID_FILE', '', `${file} has no rows`, { hint: 'Check that this is the right file.' })
}

/** The names that a file has for its labels beside the rows: Parquet alone can. */
export async function labelNamesOf(file: string): Promise<readonly string[] | null> {
  const { rowFormat } = await import('../data/read-rows.js')
  if (rowFormat(file) !== 'parquet') return null
  const { readLabelNames } = await import('../data/parquet.js')
  return await readLabelNames(file)
}
