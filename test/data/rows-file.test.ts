import { appendFileSync, cpSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { placeOf, type Row } from '../../lib/data/dataset.js'
import { Random } from '../../lib/data/random.js'
import { readRows } from '../../lib/data/read-rows.js'
import { type RowsFile, rowsFile } from '../../lib/data/rows-file.js'
import { trainTestSplit } from '../../lib/data/split.js'

const folder = mkdtempSync(join(tmpdir(), 'rows-file-'))
let files = 0

function written(extension: string, content: string): string {
  const file = join(folder, `rows-${files++}${extension}`)
  writeFileSync(file, content)
  return file
}

const rowsOf = (file: RowsFile): Row[] => Array.from({ length: file.length }, (_, i) => file.at(i))
const placed = (rows: readonly Row[]) => rows.map((row) => ({ ...row, place: placeOf(row, 'none') }))

/** Row by row, backwards and again, what readRows reads, with the same file and line. */
async function sameAsRead(content: string, extension: string) {
  const name = written(extension, content)
  const expected: Row[] = []
  for await (const row of readRows(name)) expected.push(row)
  using file = await rowsFile(name)
  const backwards = rowsOf(file).map((_, i) => file.at(file.length - 1 - i))
  return { rows: placed(rowsOf(file)), backwards: placed(backwards.reverse()), expected: placed(expected) }
}

const contents: readonly [name: string, extension: string, content: string][] = [
  [
    'JSONL, a mark, blank lines, Windows',
    '.jsonl',
    '\ufeff{"text":"a"}\r\n\r\n \t\r\n{"text":"日本","label":1}\r\n{"text":""}'
  ],
  ['JSONL that ends with a line end', '.ndjson', '{"text":"a"}\n{"input_ids":[1,2]}\n'],
  ['CSV, quotes, line ends in cells', '.csv', '\ufefftext,label\r\n"a, ""é""\r\nb",1\r\n\r\n日本,x\r\n"",2'],
  ['CSV, lone line ends in cells of a Windows file', '.csv', 'text,label\r\n"a\nb",1\r\nc,2\r\n'],
  ['CSV of an old Mac', '.csv', 'text,label\ra,1\r"b\rc",2\r'],
  ['CSV, one row, a column twice', '.csv', 'text,note,note\na,1,2\n'],
  ['TSV, where quotes are text', '.tsv', 'label\ttext\n0\t"Never!" he said\n1\tthe 5" disk\n\n1\t"open\n'],
  ['TSV that quotes', '.tsv', '"text"\t"label"\n"a\tb\nc"\t"x"\n"d"\t"y"\n'],
  ['TSV with what only a program quotes', '.tsv', 'text\tlabel\n"a ""b"" c"\t1\n']
]

for (const [name, extension, content] of contents) {
  test(`the rows that readRows gives: ${name}`, async (t) => {
    const { rows, backwards, expected } = await sameAsRead(content, extension)
    t.true(expected.length > 0)
    t.deepEqual(rows, expected)
    t.deepEqual(backwards, expected)
  })
}

test('thousands of rows of all lengths, past the size of a chunk', async (t) => {
  const random = Random.fromSeed(4)
  const texts = Array.from({ length: 3000 }, (_, i) => `${i} ${'é'.repeat(random.nextBelow(1200))}`)
  const lines = texts.map((text) => `${JSON.stringify({ text })}${'\n'.repeat(1 + random.nextBelow(3))}`)
  const { rows, expected } = await sameAsRead(lines.join(''), '.jsonl')
  t.is(rows.length, 3000)
  t.deepEqual(rows, expected)
  const csv = await sameAsRead(`text,label\n${texts.map((text) => `"${text}\n",1`).join('\n')}`, '.csv')
  t.deepEqual(csv.rows, csv.expected)
})

test('Parquet: the rows that readRows gives, in any order, from a file of its own', async (t) => {
  const temporary = mkdtempSync(join(folder, 'temporary-'))
  const before = process.env['TMPDIR']
  process.env['TMPDIR'] = temporary
  for (const name of ['texts', 'words', 'questions']) {
    const source = join('test', 'data', 'fixtures', 'parquet', `${name}.parquet`)
    const expected: Row[] = []
    for await (const row of readRows(source)) expected.push(row)
    const copy = join(folder, `${name}.parquet`)
    cpSync(source, copy)
    using file = await rowsFile(copy)
    // What was unpacked is read, not what somebody may be writing.
    writeFileSync(copy, 'something else')
    const backwards = rowsOf(file).map((_, i) => file.at(file.length - 1 - i))
    t.deepEqual(rowsOf(file), expected)
    t.deepEqual(backwards.reverse(), expected)
    t.deepEqual(
      rowsOf(file).map((row) => placeOf(row, '')),
      expected.map((_, i) => `${copy}[${i}]`)
    )
  }
  if (before === undefined) delete process.env['TMPDIR']
  else process.env['TMPDIR'] = before
  t.deepEqual(readdirSync(temporary), [])
})

test('a split of it stays on disk', async (t) => {
  using file = await rowsFile(written('.jsonl', '{"text":"a"}\n{"text":"b"}\n{"text":"c"}\n{"text":"d"}\n'))
  const { train, test: tested } = await trainTestSplit(file, { testSize: 1 })
  const texts = [train.at(0), train.at(1), train.at(2), tested.at(0)].map((row) => ('text' in row ? row.text : ''))
  t.deepEqual(texts.sort(), ['a', 'b', 'c', 'd'])
})

test('what goes wrong names the file and the line', async (t) => {
  await t.throwsAsync(rowsFile(join(folder, 'none.jsonl')), { code: 'ERR_FILE_NOT_FOUND' })
  await t.throwsAsync(rowsFile(written('.jsonl', '\n \n')), { code: 'ERR_INVALID_FILE', message: /has no rows/ })
  await t.throwsAsync(rowsFile(written('.parquet', '')), { code: 'ERR_INVALID_FILE' })
  await t.throwsAsync(rowsFile(written('.csv', 'text,label\na,1\nb\n')), {
    code: 'ERR_INVALID_FILE',
    message: /rows-\d+\.csv:3: .*expected 2 cells/
  })
  using wrong = await rowsFile(written('.jsonl', '{"text":"a"}\n\n{"text":1}\n{"text"\n'))
  t.throws(() => wrong.at(1), { message: /rows-\d+\.jsonl:3\.text: expected a string/ })
  t.throws(() => wrong.at(2), { code: 'ERR_INVALID_FILE', message: /rows-\d+\.jsonl:4/ })
  t.throws(() => wrong.at(3), { code: 'ERR_OUT_OF_RANGE' })
  const name = written('.jsonl', '{"text":"a"}\n')
  const changing = await rowsFile(name)
  t.deepEqual(changing.at(0), { text: 'a' })
  appendFileSync(name, '{"text":"b"}\n')
  t.throws(() => changing.at(0), { code: 'ERR_INVALID_FILE', message: /has changed since it was opened/ })
  changing.close()
  changing.close()
  t.throws(() => changing.at(0), { code: 'ERR_DISPOSED' })
})
