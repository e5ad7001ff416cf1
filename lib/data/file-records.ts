import { AdapterError } from '../native/errors.js'

/** One record of a text file: a line, or, where cells stand in quotes, what lies between two line ends outside of them. */
export interface FileRecord {
  /** Without what ends it. */
  readonly bytes: Buffer
  /** Bytes of the file before it. */
  readonly start: number
  /** The line in which it begins, from 1. */
  readonly line: number
}

export interface RecordForm {
  /** Whether line ends within quotes end no record. */
  readonly quotes: boolean
  /** What ends a line; a carriage return before a line feed goes with it. */
  readonly lineEnd: number
}

export const lineFeed = 0x0a
export const carriageReturn = 0x0d
const quote = 0x22

// Far more than a row of any model; a file without line ends must not fill the memory.
const longestRecord = 16 * 1024 * 1024

/** The records in the pieces of a file, those of a piece at a time. A byte order mark is no part of the first. */
export async function* fileRecords(
  pieces: AsyncIterable<Uint8Array>,
  name: string,
  formOf: (first: Buffer) => RecordForm
): AsyncGenerator<FileRecord[], void, undefined> {
  let rest: Buffer = Buffer.alloc(0)
  let form: RecordForm | undefined
  // Of the record that is not yet whole: where it lies in the file, and its line.
  let [start, line] = [0, 1]
  for await (const piece of pieces) {
    const bytes = rest.length === 0 ? asBuffer(piece) : Buffer.concat([rest, piece])
    form ??= formOf(bytes)
    const records: FileRecord[] = []
    const { quotes, lineEnd } = form
    let [begin, lines] = [start === 0 ? markLength(bytes) : 0, 0]
    let inQuotes = false
    for (let i = begin; i < bytes.length; i++) {
      const byte = bytes[i]
      if (byte === quote && quotes) inQuotes = !inQuotes
      if (byte !== lineEnd) continue
      lines++
      if (inQuotes) continue
      records.push({ bytes: withoutReturn(bytes.subarray(begin, i)), start: start + begin, line })
      begin = i + 1
      line += lines
      lines = 0
    }
    yield records
    rest = bytes.subarray(begin)
    start += begin
    if (rest.length > longestRecord) throw tooLong(`${name}:${line}`, quotes)
  }
  const begin = start === 0 ? markLength(rest) : 0
  if (rest.length > begin) yield [{ bytes: withoutReturn(rest.subarray(begin)), start: start + begin, line }]
}

function tooLong(where: string, quotes: boolean): AdapterError {
  const hint = quotes ? 'Is there a quote that nothing closes?' : 'There is one row on each line.'
  const message = `${where}: a row of more than ${longestRecord} bytes begins here`
  return new AdapterError('ERR_INVALID_FILE', 'read rows', message, { hint })
}

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, byteLength)

const withoutReturn = (bytes: Buffer): Buffer => (bytes.at(-1) === carriageReturn ? bytes.subarray(0, -1) : bytes)

const byteOrderMark = Buffer.from('\ufeff')
const markLength = (bytes: Buffer): number =>
  bytes.subarray(0, byteOrderMark.length).equals(byteOrderMark) ? byteOrderMark.length : 0
