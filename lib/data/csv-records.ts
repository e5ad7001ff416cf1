import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { type Options, type Parser, parse } from 'csv-parse'
import { parse as parseAll } from 'csv-parse/sync'
import { camelCase } from '../config/case.js'
import { headFields, rowFields } from './row-fields.js'

/** What a file's first lines tell about all of it. */
export interface CsvForm {
  readonly columns: readonly string[]
  readonly delimiter: string
  /** Whether cells may stand in quotes. */
  readonly quotes: boolean
  /** What ends a line. */
  readonly lineEnds: readonly Buffer[]
}

export interface CsvRecord {
  /** Cells under their columns' names. */
  readonly record: Readonly<Record<string, string>>
  readonly line: number
  /** Bytes of the file up to its end. */
  readonly end: number
  /** The same of all records. */
  readonly form: CsvForm
}

/**
 * The records of a file whose first line names the columns. CSV quotes as RFC 4180 says. In TSV a cell is what stands
 * between two tabs: GLUE's files hold quotes that quote nothing. Only where the first line itself begins with a quote does
 * the file quote as CSV does; and a cell such as `"a ""b"""`, which nobody writes but a program that quotes, is unquoted.
 */
export async function* csvRecords(
  file: string,
  format: 'csv' | 'tsv',
  largestRecord: number
): AsyncGenerator<CsvRecord, void, undefined> {
  const input = createReadStream(file)
  const chunks: AsyncIterator<Buffer> = input[Symbol.asyncIterator]()
  const first = await chunks.next()
  const quotes = format === 'csv' || beginsWithQuote(first.value)
  const delimiter = format === 'tsv' ? '\t' : ','
  const options = { ...optionsOf({ quotes, delimiter }), bom: true, columns: true, info: true }
  const parser = parse({ ...options, max_record_size: largestRecord })
  const all = Readable.from(rejoined(first, chunks))
  all.once('error', (error) => parser.destroy(error))
  let form: CsvForm | undefined
  try {
    for await (const { record, info } of all.pipe(parser)) {
      // The parser has found out by now.
      form ??= checked({ ...found(parser), delimiter, quotes })
      yield { record: quotes ? record : unquoted(record), line: info.lines, end: info.bytes, form }
    }
  } finally {
    input.destroy()
  }
}

function found({ options }: Parser): Pick<CsvForm, 'columns' | 'lineEnds'> {
  const { columns, record_delimiter: lineEnds } = options as unknown as {
    readonly columns: readonly { readonly name: string }[]
    readonly record_delimiter: readonly Buffer[]
  }
  return { columns: columns.map(({ name }) => name), lineEnds }
}

const read: readonly string[] = [...rowFields, ...headFields]

/** Of columns with one name only the last would be read, and a file with another delimiter has a single column. */
function checked(form: CsvForm): CsvForm {
  const { columns, delimiter } = form
  const twice = columns.find((name, i) => columns.indexOf(name) < i && read.includes(camelCase(name)))
  if (twice !== undefined) throw new Error(`its first line has more than one column '${twice}'`)
  const [only = ''] = columns
  if (columns.length > 1 || !/[,;\t]/.test(only)) return form
  throw new Error(
    `its first line has one column, '${only}': cells stand between ${delimiter === ',' ? 'commas' : 'tabs'}`
  )
}

/** The one record in a piece of a file. @param isFirst the piece begins with the line that names the columns */
export function recordIn(bytes: Buffer, form: CsvForm, isFirst: boolean): Readonly<Record<string, string>> {
  const { columns, lineEnds, quotes } = form
  const [record = {}] = parseAll(bytes, {
    ...optionsOf(form),
    bom: isFirst,
    columns: isFirst ? true : [...columns],
    record_delimiter: [...lineEnds]
  }) as Record<string, string>[]
  return quotes ? record : unquoted(record)
}

const optionsOf = ({ quotes, delimiter }: Pick<CsvForm, 'quotes' | 'delimiter'>) =>
  ({ delimiter, quote: quotes ? '"' : null, skip_empty_lines: true }) satisfies Options

/** A file is read once, for it may be a pipe. */
async function* rejoined(first: IteratorResult<Buffer>, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  for (let part = first; part.done !== true; part = await rest.next()) yield part.value
}

function beginsWithQuote(start: Buffer | undefined): boolean {
  // Behind a byte order mark, of three bytes.
  return start?.toString('utf8', 0, 4).replace('\ufeff', '').startsWith('"') ?? false
}

function unquoted(record: Readonly<Record<string, string>>): Record<string, string> {
  const cells = Object.entries(record).map(([name, cell]) => {
    const isQuoted = /^"(?:[^"]|"")*"$/.test(cell) && cell.slice(1, -1).includes('""')
    return [name, isQuoted ? cell.slice(1, -1).replaceAll('""', '"') : cell]
  })
  return Object.fromEntries(cells)
}
