import test from 'ava'
import { classificationHead, multiLabelHead, taggingHead } from '../../lib/config/head-config.js'
import { checkRowFits, collate, encodeRow, labelledTokens } from '../../lib/data/collate.js'
import type { Row } from '../../lib/data/dataset.js'
import { TextTokenizer } from '../../lib/data/tokenizer.js'

const tokenizer = TextTokenizer.fromFolder('test/data/fixtures/tokenizers/bert')
const encode = (row: Row, options: object = {}) =>
  encodeRow(
    row,
    { tokenizer, limits: { maxLength: 64, vocabSize: 1000, typeVocabSize: 2, image: null }, ...options },
    'row'
  )

test('rows lie one after the other, sorted by length; order leads back', (t) => {
  const head = classificationHead({ numLabels: 3 })
  const rows = [
    { inputIds: [1, 2, 3], label: 0 },
    { inputIds: [4], label: 1 },
    { inputIds: [5, 6], tokenTypeIds: [0, 1], label: 2 },
    { inputIds: [7], label: 0 }
  ].map((row) => encode(row, { head }))
  const batch = collate(rows)
  t.deepEqual([...batch.inputIds], [4, 7, 5, 6, 1, 2, 3])
  t.deepEqual([...batch.rowLengths], [1, 1, 2, 3])
  t.deepEqual([...(batch.tokenTypeIds ?? [])], [0, 0, 0, 1, 0, 0, 0])
  t.deepEqual(batch.labels, Int32Array.of(1, 0, 2, 0))
  t.deepEqual([...batch.order], [1, 3, 2, 0])
})

test('a row without tokens is named', (t) => {
  // As GPT-2's, which adds none of its own.
  const ids = { inputIds: new Int32Array(), tokenTypeIds: new Int32Array() }
  const bare = Object.create(tokenizer, { encode: { value: () => ids } })
  t.throws(() => encode({ text: '' }, { tokenizer: bare }), { message: 'row: this row has no tokens' })
})

test('label vectors and token labels lie in the same order as the rows', (t) => {
  const head = multiLabelHead({ numLabels: 2 })
  const vectors = collate([
    encode({ inputIds: [1, 2], label: [1, 0] }, { head }),
    encode({ inputIds: [3], label: [0, 1] }, { head })
  ])
  t.deepEqual(vectors.labels, Float32Array.of(0, 1, 1, 0))
  const tagging = { head: taggingHead({ labels: ['O', 'B'] }) }
  const tokens = collate([
    encode({ words: ['small', 'furry'], labels: ['B', 'O'] }, tagging),
    encode({ inputIds: [9], labels: ['B'] }, tagging)
  ])
  t.deepEqual([...(tokens.labels ?? [])].slice(0, 2), [1, -100])
  t.is(labelledTokens(tokens.labels as Int32Array), 3)
})

test('text and pairs are cut to the length of the model', (t) => {
  const row = encode(
    { text: 'a small furry animal', textPair: 'that lives in trees' },
    { limits: { maxLength: 8, vocabSize: 1000, typeVocabSize: 2, image: null } }
  )
  t.is(row.inputIds.length, 8)
  t.deepEqual([...new Set(row.tokenTypeIds)], [0, 1])
  t.is(row.label, undefined)
})

test('without a head labels are left alone', (t) => {
  t.is(collate([encode({ text: 'a', label: 'anything' })]).labels, undefined)
})

test('wrong batches and rows', (t) => {
  const head = classificationHead()
  t.throws(() => collate([]), { message: /no rows/ })
  t.throws(() => collate([encode({ text: 'a', label: 1 }, { head }), encode({ text: 'a' }, { head })]), {
    message: /some rows have a label and some have none/
  })
  t.throws(() => encode({ inputIds: new Array(65).fill(1) }), { instanceOf: RangeError, message: /at most 64 ids/ })
  t.throws(
    () => encodeRow({ text: 'a' }, { limits: { maxLength: 8, vocabSize: 1000, typeVocabSize: 2, image: null } }, 'row'),
    {
      message: /no tokenizer, so rows must be inputIds/
    }
  )
  const textual = { text: 'a', label: [1] }
  t.throws(() => encode(textual, { head: taggingHead() }), { message: /need words or inputIds, not text\.$/ })
  t.throws(() => encode({ ...textual, tokens: ['a'] } as Row, { head: taggingHead() }), {
    message: /Did you mean 'words' instead of 'tokens'\?/
  })
  t.throws(() => encode({ text: 'a', targetText: 'b' }), {
    message: /targetText: the model has no decoder; leave it out/
  })
  t.throws(() => encode({ inputIds: [1, 2], label: [1] }, { head: taggingHead() }), {
    message: /1 labels for 2 tokens/
  })
})

test('ids and token types are checked against the model, by place', (t) => {
  const limits = { maxLength: 4, vocabSize: 10, typeVocabSize: 2, image: null }
  const wrong = (row: object) => () => checkRowFits(row as never, limits, 'train.jsonl:7')
  t.notThrows(wrong({ inputIds: [0, 9], tokenTypeIds: [0, 1] }))
  t.throws(wrong({ inputIds: [1, 10] }), { message: /train\.jsonl:7\.inputIds\[1\].*0 to 9, the vocabulary.*got 10/ })
  t.throws(wrong({ inputIds: [1], tokenTypeIds: [2] }), { message: /tokenTypeIds\[0\].*0 to 1, the token types/ })
  t.throws(wrong({ inputIds: [1, 2, 3, 4, 5] }), { message: /at most 4 ids/ })
  t.notThrows(() => checkRowFits({ inputIds: [1], tokenTypeIds: [0] }, { ...limits, typeVocabSize: 0 }, 'row'))
})
