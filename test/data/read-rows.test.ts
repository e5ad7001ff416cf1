import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
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

test('errors name the file and the line', async (t) => {
  const cases: [string, string, RegExp][] = [
    ['.jsonl', '{"text":"a"}\n{"text":', /rows-\d+\.jsonl:2: /],
    ['.jsonl', '[1]\n', /:1: a row is an object/],
    ['.jsonl', '{"txet":"a"}\n', /:1: expected one of text.*Did you mean 'text' instead of 'txet'\?/],
    ['.csv', 'text,label\n"open', /\.csv: /],
    ['.csv', 'text,label\na,b,c\n', /\.csv: .*line 2/],
    ['.csv', 'texts,label\nx,1\n', /Did you mean 'text' instead of 'texts'\?/],
    ['.csv', 'text, label\nx,1\n', /:2: unknown field ' label'\. Did you mean 'label'\?/],
    ['.jsonl', '{"text":"a","text_pairs":"b"}\n', /:1: unknown field 'text_pairs'\. Did you mean 'text_pair'\?/],
    ['.jsonl', '{"input_id":[1]}\n', /text, words or input_ids, got input_id\. Did you mean 'input_ids' instead of/]
  ]
  for (const [extension, content, message] of cases) {
    await t.throwsAsync(read(extension, content), { code: 'ERR_INVALID_FILE', message }, content)
  }
})

test('a line without end is refused before it fills the memory', async (t) => {
  const endless = Buffer.alloc(20 * 1024 * 1024, 'a')
  await t.throwsAsync(read('.jsonl', endless), { message: /a line of more than/ })
  await t.throwsAsync(read('.csv', Buffer.concat([Buffer.from('text\n"'), endless])), { code: 'ERR_INVALID_FILE' })
})

test('files that are not there, and names that say nothing', async (t) => {
  const none = join(folder, 'none.jsonl')
  await t.throwsAsync(readRows(none).next(), { code: 'ERR_FILE_NOT_FOUND', message: /none\.jsonl does not exist/ })
  await t.throwsAsync(readRows(join(folder, 'none.csv')).next(), { code: 'ERR_FILE_NOT_FOUND' })
  t.throws(() => readRows('rows.xlsx'), { code: 'ERR_INVALID_FILE', message: /\.jsonl.*'\.xlsx'/ })
})
