import { createReadStream } from 'node:fs'
import { CsvError, parse } from 'csv-parse/sync'
import { camelCase } from '../config/case.js'
import { AdapterError } from '../native/errors.js'
import { carriageReturn, type FileRecord, fileRecords, lineFeed, type RecordForm } from './file-records.js'
import { headFields, rowFields } from './row-fields.js'
import { utf8Text } from './utf8.js'

/** What a file's beginning tells about all of it. */
export interface CsvForm extends RecordForm {
  readonly file: string
  readonly columns: readonly string[]
  readonly delimiter: string
}

export interface CsvRecords {
  /** The same for all. */
  readonly form: CsvForm
  readonly records: readonly FileRecord[]
}

const operation = 'read rows'

/**
 * The records of a file whose first line names the columns, those of a piece of it at a time. CSV quotes as RFC 4180 says.
 * In TSV a cell is what stands between two tabs: GLUE's files hold quotes that quote nothing. Only where the first line
 * itself begins with a quote does the file quote as CSV does; and a cell such as `"a ""b"""`, which nobody writes but a
 * program that quotes, is unquoted.
 */
export async function* csvRecords(file: string, format: 'csv' | 'tsv'): AsyncGenerator<CsvRecords, void, undefined> {
  let form: CsvForm = { file, columns: [], delimiter: format === 'tsv' ? '\t' : ',', quotes: true, lineEnd: lineFeed }
  const formOf = (first: Buffer) => {
    // Behind a byte order mark, of three bytes.
    const beginsWithQuote = first.toString('utf8', 0, 4).replace('\ufeff', '').startsWith('"')
    form = { ...form, quotes: format === 'csv' || beginsWithQuote, lineEnd: lineEndIn(first) }
    return form
  }
  for await (const found of fileRecords(createReadStream(file, { highWaterMark: 1 << 20 }), file, formOf)) {
    const filled = found.filter(({ bytes }) => bytes.length > 0)
    const first = form.columns.length === 0 ? filled.shift() : undefined
    if (first !== undefined) form = { ...form, columns: columnsIn(first, form) }
    yield { form, records: filled }
  }
}

/** A carriage return alone in files of old Macs, else a line feed, with or without one before it. */
function lineEndIn(first: Buffer): number {
  const at = first.indexOf(carriageReturn)
  const isAlone = at >= 0 && first[at + 1] !== lineFeed && !first.subarray(0, at).includes(lineFeed)
  return isAlone ? carriageReturn : lineFeed
}

const read: readonly string[] = [...rowFields, ...headFields]

/** Of columns with one name only the last would be read, and a file with another delimiter has a single column. */
function columnsIn(first: FileRecord, form: CsvForm): readonly string[] {
  const { file, delimiter } = form
  const columns = cellsIn(first, form)
  const twice = columns.find((name, i) => columns.indexOf(name) < i && read.includes(camelCase(name)))
  if (twice !== undefined) {
    const hint = 'Give one of them another name, or leave it out.'
    throw invalid(`${file}: its first line has more than one column '${twice}'`, hint)
  }
  const [only = ''] = columns
  if (columns.length > 1 || !/[,;\t]/.test(only)) return columns
  const between = delimiter === ',' ? 'commas' : 'tabs'
  const others = only.includes('\t') ? 'A file with tabs is named .tsv.' : `Write the file with ${between}.`
  throw invalid(`${file}: its first line has one column, '${only}': cells stand between ${between}`, others)
}

/** The cells of a record under their columns' names. */
export function recordOf(found: Pick<FileRecord, 'bytes' | 'line'>, form: CsvForm): Record<string, string> {
  const { file, columns, delimiter, quotes } = form
  const cells = cellsIn(found, form)
  if (cells.length === columns.length) {
    return Object.fromEntries(columns.map((name, i) => [name, quotes ? (cells[i] ?? '') : unquoted(cells[i] ?? '')]))
  }
  const inQuotes = `A text with a comma, a quote or a line end stands in quotes, its own quotes twice: "so, ""he"" said".`
  const inTabs = 'A text cannot have a tab or a line end.'
  throw invalid(`${file}:${found.line}: this row has not the columns of the first line`, quotes ? inQuotes : inTabs, {
    expected: `${columns.length} cells (${columns.join(delimiter)})`,
    got: `${cells.length}`
  })
}

/** What is not written as RFC 4180 says is left to the parser, which says what is wrong and takes far longer for each record. */
function cellsIn({ bytes, line }: Pick<FileRecord, 'bytes' | 'line'>, form: CsvForm): string[] {
  const where = `${form.file}:${line}`
  const text = utf8Text(bytes, where, operation)
  if (!form.quotes || !text.includes('"')) return text.split(form.delimiter)
  const plain = quotedCells(text, form.delimiter)
  if (plain !== undefined) return plain
  const lineEnd = String.fromCharCode(form.lineEnd)
  try {
    const [cells = []] = parse(text, { delimiter: form.delimiter, record_delimiter: lineEnd }) as string[][]
    return cells
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    throw invalid(`${where}: quotes do not pair up`, 'Programs that write CSV do so (pandas: to_csv).', {
      expected: 'a cell with quotes to stand in quotes, its own twice: "so ""he"" said"',
      got: `'${text.slice(0, 60).replaceAll('\n', '\\n').replaceAll('\r', '\\r')}'`
    })
  }
}

/** Undefined where a quote stands inside of a cell without quotes, or where quotes do not pair up. */
function quotedCells(text: string, delimiter: string): string[] | undefined {
  const cells: string[] = []
  for (let at = 0; ; at++) {
    const end = text[at] === '"' ? closingQuote(text, at + 1) : endOf(text, delimiter, at)
    if (end < 0) return undefined
    const isQuoted = text[at] === '"'
    const cell = isQuoted ? text.slice(at + 1, end).replaceAll('""', '"') : text.slice(at, end)
    if (!isQuoted && cell.includes('"')) return undefined
    cells.push(cell)
    at = isQuoted ? end + 1 : end
    if (at === text.length) return cells
    if (text[at] !== delimiter) return undefined
  }
}

function closingQuote(text: string, from: number): number {
  let at = text.indexOf('"', from)
  while (at >= 0 && text[at + 1] === '"') at = text.indexOf('"', at + 2)
  return at
}

function endOf(text: string, delimiter: string, from: number): number {
  const at = text.indexOf(delimiter, from)
  return at < 0 ? text.length : at
}

function unquoted(cell: string): string {
  const isQuoted = cell.startsWith('"') && /^"(?:[^"]|"")*"$/.test(cell) && cell.slice(1, -1).includes('""')
  return isQuoted ? cell.slice(1, -1).replaceAll('""', '"') : cell
}

const invalid = (message: string, hint: string, told: { expected?: string; got?: string } = {}) =>
  new AdapterError('ERR_INVALID_FILE', operation, message, { ...told, hint })
