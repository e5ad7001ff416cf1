import { createReadStream } from 'node:fs'
import { parse } from 'csv-parse'

export interface CsvRecord {
  /** Cells under their columns' names. */
  readonly record: Readonly<Record<string, string>>
  readonly line: number
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
  const quotes = format === 'csv' || (await beginsWithQuote(file))
  const parser = parse({
    delimiter: format === 'tsv' ? '\t' : ',',
    quote: quotes ? '"' : null,
    bom: true,
    columns: true,
    info: true,
    skip_empty_lines: true,
    max_record_size: largestRecord
  })
  const input = createReadStream(file)
  input.once('error', (error) => parser.destroy(error))
  try {
    for await (const { record, info } of input.pipe(parser)) {
      yield { record: quotes ? record : unquoted(record), line: info.lines }
    }
  } finally {
    input.destroy()
  }
}

async function beginsWithQuote(file: string): Promise<boolean> {
  let start = ''
  // Room for a byte order mark and the quote.
  for await (const chunk of createReadStream(file, { end: 3, encoding: 'utf8' })) start += chunk
  return start.replace('\ufeff', '').startsWith('"')
}

function unquoted(record: Readonly<Record<string, string>>): Record<string, string> {
  const cells = Object.entries(record).map(([name, cell]) => {
    const isQuoted = /^"(?:[^"]|"")*"$/.test(cell) && cell.slice(1, -1).includes('""')
    return [name, isQuoted ? cell.slice(1, -1).replaceAll('""', '"') : cell]
  })
  return Object.fromEntries(cells)
}
