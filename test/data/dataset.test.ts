import test from 'ava'
import { checkRow, collectRows, type Row } from '../../lib/data/dataset.js'

const rows: Row[] = [
  { text: 'a', label: 1 },
  { inputIds: [1, 2], tokenTypeIds: [0, 1] },
  { words: ['a', 'b'], labels: [0, 1] }
]

test('arrays, iterables and async iterables give the same rows', async (t) => {
  async function* later() {
    yield* rows
  }
  t.deepEqual(await collectRows(rows), rows)
  t.deepEqual(await collectRows(new Set(rows)), rows)
  const once = later()
  // A plan, or an evaluation, may ask before the training does.
  for (const _ of ['first', 'again']) t.deepEqual(await collectRows(once), rows)
})

test('what is no dataset', async (t) => {
  await t.throwsAsync(collectRows([]), { message: 'dataset: it has no rows' })
  await t.throwsAsync(collectRows('text' as never), { instanceOf: TypeError, message: /an array, an iterable/ })
  await t.throwsAsync(collectRows({} as never), { instanceOf: TypeError })
  const stream = /\(a function that gives rows, a stream, is for trainDataset of AdapterTrainer\), got a function/
  await t.throwsAsync(collectRows((() => []) as never), { instanceOf: TypeError, message: stream })
  await t.throwsAsync(collectRows([{ text: 'a' }, { text: 1 }] as never, 'trainDataset'), {
    message: 'trainDataset[1].text: expected a string, got 1 (a number)'
  })
})

test('wrong rows name the field', (t) => {
  const cases: [unknown, RegExp][] = [
    [{ text: null, label: 1 }, /row\.text: expected a string, got null/],
    [{ question: null, context: 'a' }, /\.question: expected a string, got null/],
    [{ inputIds: null, words: null }, /\.words: expected an array, got null/],
    [{ inputIds: undefined }, /\.inputIds: expected an array of numbers, got undefined/],
    [{ label: 1 }, /expected one of text, words, inputIds or pixelValues, got label/],
    [{ input_ids: [1] }, /unknown field 'input_ids'\. Did you mean 'inputIds'\?/],
    [{ texts: 'a' }, /got texts\. Did you mean 'text' instead of 'texts'\?/],
    [{ sentence: 'a', label: 1 }, /got sentence, label\. Did you mean 'text' instead of 'sentence'\?/],
    [{ id: 7, x: new Float32Array(7), label: 1 }, /got id, x, label\. Numbers are inputValues, .*, such as 'x'\./],
    [{ x: [0.5, 1] }, /those of images pixelValues, whatever the network calls them, such as 'x'/],
    [{ text: 'a', inputIds: [1] }, /got text and inputIds/],
    [{ text: 'a', textPair: 1 }, /row\.textPair: expected a string/],
    [{ words: ['a'], textPair: 'b' }, /row\.textPair: it goes with text alone, and this row has words: leave it out/],
    [{ inputIds: [1], textPair: 'b' }, /row\.textPair: it goes with text alone/],
    [{ text: 'a', attentionMask: [1] }, /row\.attentionMask: it goes with inputIds alone, and this row has text/],
    [{ question: 'a', context: 'b', tokenTypeIds: [1] }, /row\.tokenTypeIds: .* this row has question/],
    [{ inputIds: [] }, /at least one token/],
    [{ inputIds: [1, -1] }, /inputIds\[1\]: expected an integer from 0/],
    [{ inputIds: [1], tokenTypeIds: [0, 0] }, /2 types for 1 ids/],
    [{ words: ['a', 2] }, /words\[1\]: expected a string/],
    [{ text: 'a', label: 1, labels: [1] }, /label or labels, not both/],
    [null, /row: expected an object, got null/]
  ]
  for (const [row, message] of cases) t.throws(() => checkRow(row, 'row'), { message })
})

test('a misspelled field is an error that names both; other names are left alone', (t) => {
  const misspelled: Record<string, string> = {
    text_pair: 'textPair',
    textPairs: 'textPair',
    tokenTypeId: 'tokenTypeIds',
    token_typ_id: 'tokenTypeIds',
    input_ids: 'inputIds',
    lable: 'label',
    Label: 'label',
    ' label': 'label',
    LABLES: 'labels'
  }
  for (const [name, meant] of Object.entries(misspelled)) {
    t.throws(() => checkRow({ text: 'a', [name]: 'b' }, 'row'), {
      code: 'ERR_INVALID_ARG_VALUE',
      message: `row: unknown field '${name}'. Did you mean '${meant}'?`
    })
  }
  const own = ['id', 'idx', 'word', 'texts', 'title', 'context', 'source', 'test', 'next', 'input_id', 'token_types']
  const labels = ['label2', 'label_2', 'label_a', 'labelText', 'label_text', 'labeled', 'pair', 'text_part', 'text2']
  for (const name of [...own, ...labels]) t.notThrows(() => checkRow({ text: 'a', [name]: 'b' }, 'row'), name)
})

test('the mask of a tokenizer may say that every id counts, and nothing else', (t) => {
  const row = { inputIds: [5, 6, 7], attentionMask: [1, 1, 1] }
  t.is(checkRow(row, 'row'), row)
  t.throws(() => checkRow({ ...row, attentionMask: [1, 1, 0] }, 'rows[2]'), {
    message: /rows\[2\]\.attentionMask: expected 1 for every id, got 0 at 2\. Rows are not padded here/
  })
  t.throws(() => checkRow({ ...row, attentionMask: [1] }, 'row'), { message: /1 values for 3 ids/ })
  t.throws(() => checkRow({ inputIds: [5], attention_mask: [1] }, 'row'), { message: /Did you mean 'attentionMask'/ })
})
