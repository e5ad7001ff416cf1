import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
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
  const input = createReadStream(file)
  const chunks: AsyncIterator<Buffer> = input[Symbol.asyncIterator]()
  const first = await chunks.next()
  const quotes = format === 'csv' || beginsWithQuote(first.value)
  const parser = parse({
    delimiter: format === 'tsv' ? '\t' : ',',
    quote: quotes ? '"' : null,
    bom: true,
    columns: true,
    info: true,
    skip_empty_lines: true,
    max_record_size: largestRecord
  })
  const all = Readable.from(rejoined(first, chunks))
  all.once('error', (error) => parser.destroy(error))
  try {
    for await (const { record, info } of all.pipe(parser)) {
      yield { record: quotes ? record : unquoted(record), line: info.lines }
    }
  } finally {
    input.destroy()
  }
}

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
