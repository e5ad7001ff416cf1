import { createReadStream } from 'node:fs'
import { extname } from 'node:path'
import { camelCase, isSnakeCase, snakeCase } from '../config/case.js'
import { checkNonEmptyString, describe, isPlainObject } from '../config/check.js'
import { fileError } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'
import { cellValues } from './cells.js'
import { csvRecords, recordOf } from './csv-records.js'
import { checkRow, type Row, withPlace } from './dataset.js'
import { fileRecords, lineFeed } from './file-records.js'
import { parquetRecords } from './parquet.js'
import { Pauses } from './pauses.js'
import { headFields, rowFields } from './row-fields.js'
import { utf8Text } from './utf8.js'

export type RowFormat = 'jsonl' | 'csv' | 'tsv' | 'parquet'

const operation = 'read rows'
const formats: Readonly<Record<string, RowFormat>> = {
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.json': 'jsonl',
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.parquet': 'parquet'
}

function otherFormat(file: string): string {
  const name = file.toLowerCase()
  if (/\.(gz|zst|bz2|xz|zip)$/.test(name)) return 'Unpack the file first; Parquet is read compressed as it is.'
  if (name.endsWith('.txt'))
    return 'Give each text a row: a line of JSON such as {"text": "…"}, in a file named .jsonl.'
  return 'Write the rows as JSONL, an object on each line, or name the file by the format that it has.'
}

export function rowFormat(file: string): RowFormat {
  checkNonEmptyString('file', file)
  const format = formats[extname(file).toLowerCase()]
  if (format !== undefined) return format
  throw new AdapterError('ERR_INVALID_FILE', operation, `the format of ${file} is not known`, {
    expected: `a name that ends in ${Object.keys(formats).join(', ')}`,
    got: `'${extname(file)}'`,
    hint: otherFormat(file)
  })
}

/**
 * Rows from a file: JSONL with an object a line, CSV or TSV with a header, or Parquet. Names are those of a row in camelCase
 * or snake_case (`text`, `text_pair`, `input_ids`, `label`); other columns are left alone. In a cell of CSV or TSV, words
 * and ids are a JSON array or have spaces between, and so have the `labels` beside them. The file is read each time that
 * somebody goes through the rows.
 */
export function readRows(file: string, format = rowFormat(file)): AsyncIterable<Row> {
  return { [Symbol.asyncIterator]: () => rowsIn(file, format) }
}

async function* rowsIn(file: string, format: RowFormat): AsyncGenerator<Row, void, undefined> {
  if (format === 'parquet') {
    for await (const { value, row } of parquetRecords(file, operation)) yield toRow(value, `${file}[${row}]`)
    return
  }
  try {
    const records = format === 'jsonl' ? jsonLines(createReadStream(file), file) : cellRecords(file, format)
    const pauses = new Pauses()
    for await (const { value, line } of records) {
      yield toRow(value, `${file}:${line}`)
      const pause = pauses.take()
      if (pause !== undefined) await pause
    }
  } catch (error) {
    throw isSystemError(error) ? fileError(file, operation, error) : error
  }
}

/** Rows from JSONL that comes in pieces, such as standard input. `name`: what errors call it. */
export async function* readRowsOf(
  chunks: AsyncIterable<Uint8Array>,
  name: string
): AsyncGenerator<Row, void, undefined> {
  for await (const { value, line } of jsonLines(chunks, name)) yield toRow(value, `${name}:${line}`)
}

interface Located {
  readonly value: unknown
  readonly line: number
}

/** A line of JSONL is a record that no quotes keep together. */
export const lineForm = { quotes: false, lineEnd: lineFeed }

async function* jsonLines(pieces: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Located, void, undefined> {
  for await (const records of fileRecords(pieces, name, () => lineForm)) {
    for (const { bytes, line } of records) {
      const where = `${name}:${line}`
      const text = utf8Text(bytes, where, operation)
      if (text.trim() !== '') yield { value: parseLine(text, where), line }
    }
  }
}

const oneALine = 'Write a list of objects one a line, without the brackets and commas around them (jq -c ".[]").'

export function parseLine(text: string, where: string): unknown {
  try {
    return JSON.parse(withWholeNumbers(text))
  } catch (cause) {
    throw new AdapterError('ERR_INVALID_FILE', operation, `${where}: ${(cause as Error).message}`, {
      expected: 'one JSON object on each line',
      hint: /^\s*(\[|\{\s*$)/.test(text) ? oneALine : '',
      cause
    })
  }
}

/** Whole numbers that JavaScript would round, such as ids of 64 bits, become texts, as those of Parquet files do. */
function withWholeNumbers(text: string): string {
  if (!/\d{16}/.test(text)) return text
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (part) =>
    /^-?\d{16,}$/.test(part) && !Number.isSafeInteger(Number(part)) ? `"${part}"` : part
  )
}

async function* cellRecords(file: string, format: 'csv' | 'tsv'): AsyncGenerator<Located, void, undefined> {
  for await (const { records, form } of csvRecords(file, format)) {
    for (const found of records) {
      yield { value: cellValues(recordOf(found, form), `${file}:${found.line}`), line: found.line }
    }
  }
}

/** An empty one of these is an empty text. */
const texts = ['text', 'context']
const known = [...rowFields, ...headFields, 'taskId']

export function toRow(value: unknown, where: string): Row {
  if (!isPlainObject(value)) {
    const isList = Array.isArray(value)
    throw new AdapterError('ERR_INVALID_FILE', operation, `${where}: a row is an object with "text" or "input_ids"`, {
      expected: 'one JSON object on each line',
      got: isList ? 'a list' : describe(value),
      hint: isList ? oneALine : ''
    })
  }
  const names = Object.keys(value)
  // An empty cell of a CSV file is no label and no second text, and names no adapter; null would say that there is none.
  const fields = names.map((name) => {
    const field = known.includes(camelCase(name)) ? camelCase(name) : name
    const empty = field === 'adapter' ? undefined : null
    const given = value[name]
    // As a cell of a CSV file has them.
    if (field === 'label' && typeof given === 'boolean') return [field, String(given)]
    return [field, given === '' && !texts.includes(field) ? empty : given]
  })
  try {
    const row = checkRow(Object.fromEntries(fields), where, isSnakeCase(names) ? snakeCase : undefined)
    return withPlace(row, where)
  } catch (cause) {
    throw new AdapterError('ERR_INVALID_FILE', operation, (cause as Error).message, { cause })
  }
}

export function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error
}
