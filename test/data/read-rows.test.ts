import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as zlib from 'node:zlib'
import test from 'ava'
import type { Row } from '../../lib/data/dataset.js'
import { readLabelNames } from '../../lib/data/parquet.js'
import { readRows } from '../../lib/data/read-rows.js'

const folder = mkdtempSync(join(tmpdir(), 'rows-'))
let files = 0

async function read(extension: string, content: string | Buffer) {
  const file = join(folder, `rows-${files++}${extension}`)
  writeFileSync(file, content)
  const rows = []
  for await (const row of readRows(file)) rows.push(row)
  return rows as object[]
}

const first = (rows: AsyncIterable<unknown>) => rows[Symbol.asyncIterator]().next()

test('the rows of a file can be gone through again', async (t) => {
  const file = join(folder, 'twice.jsonl')
  writeFileSync(file, '{"text": "a"}\n{"text": "b"}\n')
  const rows = readRows(file)
  for (let pass = 0; pass < 2; pass++) {
    const texts: unknown[] = []
    for await (const row of rows) texts.push('text' in row && row.text)
    t.deepEqual(texts, ['a', 'b'])
  }
})

test('JSONL: both spellings, empty lines, a byte order mark, Windows line ends', async (t) => {
  const content =
    '\ufeff{"text":"caf\u00e9","label":"a"}\r\n\n{"input_ids":[1,2],"token_type_ids":[0,1],"id":7}\n{"text":"x","textPair":"y","my_id":1}'
  t.deepEqual(await read('.jsonl', content), [
    { text: 'café', label: 'a' },
    { inputIds: [1, 2], tokenTypeIds: [0, 1], id: 7 },
    { text: 'x', textPair: 'y', my_id: 1 }
  ])
})

test('characters that lie across two chunks', async (t) => {
  const text = 'é'.repeat(100_001)
  t.deepEqual(await read('.jsonl', `${JSON.stringify({ text })}\n{"text":"b"}\n`), [{ text }, { text: 'b' }])
})

test('CSV and TSV: quotes, line ends in a cell, empty cells', async (t) => {
  const csv = 'text,text_pair,label\n"a, ""b""\nc",d,1\nx,,\n'
  t.deepEqual(await read('.csv', csv), [
    { text: 'a, "b"\nc', textPair: 'd', label: '1' },
    { text: 'x', textPair: null, label: null }
  ])
  t.deepEqual(await read('.tsv', 'label\ttext\n0\ta, b\n'), [{ label: '0', text: 'a, b' }])
})

test('TSV: quotes are text, as in GLUE', async (t) => {
  const tsv = 'label\ttext\n0\t"Never!" he said\n1\tthe 5" disk\n0\t"Quoted."\n1\t"open\n'
  t.deepEqual(
    (await read('.tsv', tsv)).map((row) => (row as { text: string }).text),
    ['"Never!" he said', 'the 5" disk', '"Quoted."', '"open']
  )
})

test('TSV: what only a program that quotes can have written is unquoted', async (t) => {
  // pandas quotes a cell that holds a quote.
  t.deepEqual(await read('.tsv', 'text\tlabel\n"a ""b"" c"\t1\n"" b""\t2\n'), [
    { text: 'a "b" c', label: '1' },
    { text: '"" b""', label: '2' }
  ])
  // R quotes all text, the names included.
  t.deepEqual(await read('.tsv', '\ufeff"text"\t"label"\n"a\tb\nc"\t"x"\n'), [{ text: 'a\tb\nc', label: 'x' }])
})

test('CSV and TSV: words, ids and their labels', async (t) => {
  t.deepEqual(
    await read('.tsv', 'words\tlabels\nNew  York is\tB-LOC I-LOC O\n["a b","c"]\t[0, -100]\n[ 1 ]\tO -100 O\n'),
    [
      { words: ['New', 'York', 'is'], labels: ['B-LOC', 'I-LOC', 'O'] },
      { words: ['a b', 'c'], labels: [0, -100] },
      { words: ['[', '1', ']'], labels: ['O', -100, 'O'] }
    ]
  )
  t.deepEqual(await read('.csv', 'input_ids,token_type_ids,label\n2 5 3,0 0 1,very good\n"[2,5]",,7\n'), [
    { inputIds: [2, 5, 3], tokenTypeIds: [0, 0, 1], label: 'very good' },
    { inputIds: [2, 5], tokenTypeIds: null, label: '7' }
  ])
  // A list for a text, which is one label under either name unless it is JSON.
  t.deepEqual(await read('.csv', 'text,labels\na b,"[""x"",""y""]"\nc d,x y\n'), [
    { text: 'a b', labels: ['x', 'y'] },
    { text: 'c d', labels: 'x y' }
  ])
})

test('CSV and TSV: a list that is no JSON is an error, and brackets of names and words are none', async (t) => {
  const cells: readonly [columns: string, cells: string, field: string][] = [
    ['words\tlabels', "a b\t['A', 'B']", 'labels'],
    ['words\tlabels', "['a', 'b']\tA B", 'words'],
    ['words\tlabels', "['it', \"don't\"]\tA B", 'words'],
    ['words\tlabels', 'a b\t[A, B]', 'labels'],
    ['words\tlabels', 'a b\t["A", "B"', 'labels'],
    ['words\theads\trelations', "a b\t[2, 0]\t['x', 'y']", 'relations'],
    ['words\theads\trelations', 'a b\t[2 0]\tx y', 'heads'],
    ['text\tlabels', "a\t['A', 'B']", 'labels'],
    ['text\tlabel', 'a\t[0. 1. 1.]', 'label'],
    ['text\tlabel', 'a\t[nan, 1.0]', 'label'],
    ['text\tlabel', 'a\t[ nan 1.e+00]', 'label'],
    ['text\tlabel', 'a\t[0 1', 'label'],
    ['text\tlabel', 'a\t[True False]', 'label'],
    ['text\tlabel', "a\t['not sure']", 'label'],
    ['text\tlabel', "a\t['A' 'B']", 'label'],
    ['text\tlabel', 'a\t[A, B]', 'label'],
    ['text\tlabels', 'a\t[A, B]', 'labels'],
    ['text\tlabel', 'a\t["A", "B"', 'label'],
    ['text\tlabel', "a\t[['A']]", 'label'],
    ['text\tchoices\tlabel', "a\t['b', 'c']\t0", 'choices'],
    ['pixel_values\tlabel', '[0.5 1. ]\tx', 'pixelValues'],
    ['input_features\tlabel', '[[0.5 1. ]]\tx', 'inputFeatures'],
    ['input_ids\tlabel', '[2 5 3]\tx', 'inputIds'],
    ['question\tcontext\tanswers', "a\tb\t{'text': ['b'], 'answer_start': [0]}", 'answers']
  ]
  for (const [columns, record, field] of cells) {
    const told = `\\.tsv:2\\.${field}: this list is no JSON \\(expected .*, got '.*'\\)\\. .*json\\.dumps`
    const wrong = { code: 'ERR_INVALID_FILE', message: new RegExp(told) }
    await t.throwsAsync(read('.tsv', `${columns}\n${record}\n`), wrong, record)
  }
  t.deepEqual(await read('.tsv', 'text\tlabel\n[a, b]\t[spam]\n'), [{ text: '[a, b]', label: '[spam]' }])
  for (const name of [
    '[not sure]',
    '[not sure] really, no',
    '[3 stars]',
    '[',
    '[unclear',
    '[ not sure ]',
    '[n/a] [x]'
  ]) {
    for (const column of ['label', 'labels']) {
      t.deepEqual(await read('.tsv', `text\t${column}\na\t${name}\n`), [{ text: 'a', [column]: name }] as Row[], name)
    }
  }
  t.deepEqual(await read('.tsv', "words\tlabels\n[ 'a' ]\t[CLS] O [SEP]\n"), [
    { words: ['[', "'a'", ']'], labels: ['[CLS]', 'O', '[SEP]'] }
  ])
  t.deepEqual(await read('.tsv', 'pixel_values\tlabel\n[0.5, 1]\tx\n'), [{ pixelValues: [0.5, 1], label: 'x' }])
})

test('JSONL: whole numbers that JavaScript would round stay as they are, as texts; true and false are labels', async (t) => {
  const lines = '{"id":9007199254740993,"text":"9007199254740993 \\"1234567890123456789","label":true}\n'
  t.deepEqual(
    await read('.jsonl', `${lines}{"id":9007199254740991,"text":"","label":false,"x":[-12345678901234567890]}`),
    [
      { id: '9007199254740993', text: '9007199254740993 "1234567890123456789', label: 'true' },
      { id: 9007199254740991, text: '', label: 'false', x: ['-12345678901234567890'] }
    ]
  )
})

test('errors name the file and the line', async (t) => {
  const cases: [string, string | Buffer, RegExp][] = [
    ['.jsonl', '{"text":"a"}\n{"text":', /rows-\d+\.jsonl:2: /],
    ['.jsonl', '[1]\n', /:1: a row is an object .*got a list\)\. Write a list of objects one a line/],
    ['.json', '[\n{"text":"a"}\n]', /:1: .*one JSON object on each line\)\. Write a list of objects one a line/],
    ['.jsonl.gz', '', /Unpack the file first/],
    ['.txt', 'a', /Give each text a row/],
    ['.jsonl', '{"txet":"a"}\n', /:1: expected one of text.*Did you mean 'text' instead of 'txet'\?/],
    ['.csv', 'text,label\n"open', /\.csv:2: .*got '"open'/],
    ['.csv', 'text,label\nx,1\n\na "joy",1\n', /\.csv:4: .*got 'a "joy",1'/],
    ['.csv', 'text,label\n"a" joy,1\n', /\.csv:2: .*got '"a" joy,1'/],
    ['.tsv', 'text\tlabel\na\tb\tc\n', /\.tsv:2: .*got 3\)\. A text cannot have a tab/],
    ['.csv', Buffer.from('text,label\nso,1\ncaf\xe9,1\n', 'latin1'), /\.csv:3: .*UTF-8.*got the byte 0xe9 after 'caf'/],
    ['.jsonl', Buffer.from('{"text":"\xe9"}', 'latin1'), /\.jsonl:1: .*UTF-8.*iconv/],
    ['.csv', Buffer.from('\ufefftext,label\na,b\n', 'utf16le'), /got UTF-16LE.*iconv -f UTF-16 -t UTF-8/],
    ['.csv', 'text,label\na,b,c\n', /\.csv:2: .*expected 2 cells \(text,label\), got 3\)\. .* stands in quotes/],
    ['.csv', 'text,label,text\na,b,c\n', /\.csv: its first line has more than one column 'text'/],
    ['.csv', 'text;label\na;b\n', /\.csv: its first line has one column, 'text;label': cells stand between commas/],
    ['.tsv', 'text,label\na,b\n', /\.tsv: its first line has one column, .* between tabs/],
    ['.csv', 'texts,label\nx,1\n', /Did you mean 'text' instead of 'texts'\?/],
    ['.csv', 'text, label\nx,1\n', /:2: unknown field ' label'\. Did you mean 'label'\?/],
    ['.csv', 'input_ids\n1 2 x\n', /:2\.inputIds\[2\]: expected an integer from 0 .*got 'x'/],
    ['.jsonl', '{"text":null,"label":1}\n', /:1\.text: expected a string, got null/],
    ['.jsonl', '{"input_ids":null}\n', /:1\.input_ids: expected an array of numbers, got null/],
    ['.jsonl', '{"text":"a","text_pairs":"b"}\n', /:1: unknown field 'text_pairs'\. Did you mean 'text_pair'\?/],
    [
      '.jsonl',
      '{"input_id":[1]}\n',
      /text, words, input_ids or pixel_values, got input_id\. Did you mean 'input_ids' instead of/
    ]
  ]
  for (const [extension, content, message] of cases) {
    await t.throwsAsync(read(extension, content), { code: 'ERR_INVALID_FILE', message }, String(content))
  }
})

test('a line without end is refused before it fills the memory', async (t) => {
  const endless = Buffer.alloc(20 * 1024 * 1024, 'a')
  await t.throwsAsync(read('.jsonl', endless), { message: /\.jsonl:1: a row of more than/ })
  await t.throwsAsync(read('.csv', Buffer.concat([Buffer.from('text\n"'), endless])), { code: 'ERR_INVALID_FILE' })
})

test('files that are not there, and names that say nothing', async (t) => {
  const none = join(folder, 'none.jsonl')
  await t.throwsAsync(first(readRows(none)), { code: 'ERR_FILE_NOT_FOUND', message: /none\.jsonl does not exist/ })
  await t.throwsAsync(first(readRows(join(folder, 'none.csv'))), { code: 'ERR_FILE_NOT_FOUND' })
  t.throws(() => readRows('rows.xlsx'), { code: 'ERR_INVALID_FILE', message: /\.jsonl.*'\.xlsx'/ })
})

const onUnix = process.platform === 'win32' ? test.skip : test

onUnix('a pipe is read, because a file is opened once', async (t) => {
  const quoted = '"a ""b"""'
  const contents = { '.jsonl': '{"text":"a \\"b\\""}\n', '.csv': `text\n${quoted}\n`, '.tsv': `"text"\n${quoted}\n` }
  for (const [extension, content] of Object.entries(contents)) {
    const pipe = join(folder, `pipe${extension}`)
    execFileSync('mkfifo', [pipe])
    const writing = writeFile(pipe, content)
    const rows = []
    for await (const row of readRows(pipe)) rows.push(row)
    await writing
    t.deepEqual(rows, [{ text: 'a "b"' }] as object[], extension)
  }
})

const parquet = (name: string) => join('test', 'data', 'fixtures', 'parquet', `${name}.parquet`)

async function readFileRows(file: string) {
  const rows = []
  for await (const row of readRows(file)) rows.push(row)
  return rows as object[]
}

test("Parquet: pyarrow's files, row groups, lists, structs, whole numbers of 64 bits", async (t) => {
  const texts = await readFileRows(parquet('texts'))
  t.deepEqual(texts, [
    { text: 'a fine café', textPair: null, label: 1, id: '1152921504606846976' },
    { text: 'dull', textPair: 'b', label: 0, id: 2 },
    { text: '', textPair: null, label: 0, id: 3 },
    { text: 'so so', textPair: null, label: 2, id: 4 },
    { text: 'fine', textPair: 'c', label: 1, id: 5 }
  ])
  t.deepEqual(await readFileRows(parquet('words')), [
    { words: ['a', 'b'], labels: [0, -100] },
    { words: ['c'], labels: [1] }
  ])
  const answers = { text: ['two'], answer_start: [4] }
  t.deepEqual(await readFileRows(parquet('questions')), [{ question: 'which?', context: '\ufeffne two', answers }])
})

test('Parquet: a page whose values are all null, which takes no bytes', async (t) => {
  const rows = [0, 1].map((label) => ({ text: 'ab'[label], label, note: null }))
  for (const codec of ['gzip', 'brotli']) {
    t.deepEqual(
      (await readFileRows(parquet(`nulls-${codec}`))).map((row) => ({ note: null, ...(row as object) })),
      rows as never
    )
  }
})

test("Parquet: the label names of Hugging Face's datasets", async (t) => {
  t.deepEqual(await readLabelNames(parquet('texts')), ['low', 'high', 'mid'])
  t.deepEqual(await readLabelNames(parquet('words')), ['O', 'B-X'])
  t.is(await readLabelNames(parquet('questions')), null)
})

test('Parquet: zstd where Node has it; what cannot be read', async (t) => {
  const ids = () => readFileRows(parquet('ids'))
  if ('zstdDecompressSync' in zlib) t.deepEqual(await ids(), [{ inputIds: [5, 6, 7], label: 0.5 }])
  else await t.throwsAsync(ids(), { code: 'ERR_INVALID_FILE', message: /zstd needs Node 22\.15/ })
  await t.throwsAsync(readFileRows(parquet('lz4')), { code: 'ERR_INVALID_FILE', message: /LZ4.*snappy or gzip/s })
  // Damage in two columns: the second fails when the reader has given up.
  const damages = { ids: [183, 48, 428, 231, 882, 194], 'nulls-gzip': [41, 194, 357, 2] }
  for (const [name, places] of Object.entries(damages)) {
    const bytes = readFileSync(parquet(name))
    for (let i = 0; i < places.length; i += 2) bytes[places[i] as number] = places[i + 1] as number
    const damaged = join(folder, `damaged-${name}.parquet`)
    writeFileSync(damaged, bytes)
    await t.throwsAsync(readFileRows(damaged), { code: 'ERR_INVALID_FILE', message: /whole Parquet file/ })
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await t.throwsAsync(readFileRows(parquet('none')), { code: 'ERR_FILE_NOT_FOUND' })
  await t.throwsAsync(read('.parquet', 'PAR1 not'), { code: 'ERR_INVALID_FILE', message: /a whole Parquet file/ })
  const whole = readFileSync(parquet('texts'))
  for (let cut = 0; cut < whole.length; cut += 97) {
    await t.throwsAsync(read('.parquet', whole.subarray(0, cut)), { code: 'ERR_INVALID_FILE' })
  }
})
