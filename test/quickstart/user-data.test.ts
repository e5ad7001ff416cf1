import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { modelConfigFromJson } from '../../lib/config/model-config.js'
import { AutoModel, type Model, TextTokenizer } from '../../lib/index.js'
import { temporaryFolder } from '../native/support.js'
import { script } from '../setup/script.js'
import type { Row } from './types.js'

interface Task {
  readonly labels: string[]
  readonly train: Row[]
  readonly test: Row[]
}

interface Encoded {
  readonly inputIds: Int32Array
  readonly tokenTypeIds: Int32Array
}

interface Tagged extends Encoded {
  readonly label: Int32Array
  readonly wordAt: Int32Array
}

interface Encode {
  readerOf(model: Pick<Model, 'tokenizer' | 'config'>): object
  encodeRow(reader: object, row: Row, labels: string[]): Encoded & { label: string }
  encodeTagged(reader: object, row: { text: string; words: string[]; tags: number[] }): Tagged
}

interface Contenders {
  encodeTask(task: Task, model: Model, rows: number): object
  train(model: Model, way: string, task: Task, data: object, options: { seed: number; out: string }): Promise<object>
  test(model: Model, task: Task, data: object): Promise<{ accuracy: number }>
}

const { userTask } = await script<{ userTask(path: string): Task }>('quickstart/user-data.mjs')
const { partsOf } = await script<{ partsOf(task: Task): string }>('quickstart/tasks.mjs')
const { different } = await script<{ different<T>(rows: T[]): T[] }>('quickstart/questions.mjs')
const { readerOf, encodeRow, encodeTagged } = await script<Encode>('quickstart/encode.mjs')
const contenders = await script<Contenders>('quickstart/contenders.mjs')

const tokenizers = 'test/data/fixtures/tokenizers'
const encoder = fileURLToPath(new URL('../../../models/wordnet-bert-mini', import.meta.url))
const animals = ['cat', 'dog', 'bee', 'fox', 'owl', 'cod', 'ant', 'bat', 'cow', 'hen', 'pig', 'rat']

/** Twelve classes that one word tells apart, called by these numbers. */
function numbered(folder: string, first: number): Task {
  const rows = Array.from({ length: 360 }, (_, i) => ({
    text: `${animals[i % 12]} ${animals[i % 12]} number ${i}`,
    label: first + (i % 12)
  }))
  writeFileSync(join(folder, 'rows.jsonl'), rows.map((row) => JSON.stringify(row)).join('\n'))
  return userTask(join(folder, 'rows.jsonl'))
}

for (const first of [0, 1]) {
  test(`classes that are called ${first} to ${first + 11} are learned and measured as such`, async (t) => {
    const out = temporaryFolder(t)
    const task = numbered(out, first)
    t.deepEqual(
      task.labels,
      animals.map((_, i) => String(first + i))
    )
    const model = await AutoModel.fromPretrained(encoder, { seed: 1 })
    t.teardown(() => model.dispose())
    const data = contenders.encodeTask(task, model, 1000)
    await contenders.train(model, 'head', task, data, { seed: 1, out })
    t.true((await contenders.test(model, task, data)).accuracy > 0.9)
  })
}

/** A tokenizer without a limit of its own, and a model with 24 positions. */
function small(name: string, typeVocabSize: number): object {
  const tokenizer = TextTokenizer.fromFolder(`${tokenizers}/${name}`)
  Object.defineProperty(tokenizer, 'modelMaxLength', { value: Infinity })
  const config = modelConfigFromJson({
    ...{ model_type: 'bert', vocab_size: tokenizer.vocabSize, type_vocab_size: typeVocabSize },
    ...{
      max_position_embeddings: 24,
      hidden_size: 8,
      num_hidden_layers: 1,
      num_attention_heads: 1,
      intermediate_size: 8
    }
  })
  return readerOf({ tokenizer, config })
}

test('rows are cut to the positions of the model', (t) => {
  const reader = small('bert', 2)
  const text = 'the old cat '.repeat(40)
  const one = encodeRow(reader, { text, label: 1 }, ['no', 'yes'])
  t.is(one.inputIds.length, 24)
  t.is(one.label, 'yes')
  const words = text.trim().split(' ')
  const pair = encodeTagged(reader, { text, words, tags: words.map(() => 1) })
  t.is(pair.inputIds.length, 24)
  const known = pair.wordAt.filter((at) => at >= 0)
  t.true(known.length > 0 && known.length < words.length)
  t.deepEqual(
    [...known],
    [...pair.label.keys()].filter((i) => pair.label[i] === 1)
  )
})

test('a definition and its example are a pair as the tokenizer writes one', (t) => {
  for (const [name, types] of [
    ['bert', 2],
    ['roberta', 1]
  ] as const) {
    const reader = small(name, types)
    const tokenizer = TextTokenizer.fromFolder(`${tokenizers}/${name}`)
    const row = encodeTagged(reader, { text: 'old', words: ['cat', 'cat'], tags: [0, 1] })
    const expected = tokenizer.encode('old', name === 'bert' ? 'cat cat' : ' cat cat')
    t.deepEqual(row.inputIds, expected.inputIds, name)
    t.deepEqual(row.tokenTypeIds, expected.tokenTypeIds, name)
    t.is(row.label.filter((label) => label === 1).length, 1)
  }
})

test('a model without token types is given none, whatever its tokenizer writes', (t) => {
  const reader = small('bert', 1)
  const pair = encodeRow(reader, { text: 'old', textPair: 'cat', label: 0 } as Row, ['no'])
  const tagged = encodeTagged(reader, { text: 'old', words: ['cat'], tags: [1] })
  for (const { tokenTypeIds } of [pair, tagged]) t.true(tokenTypeIds.every((type) => type === 0))
})

test('a file in another encoding is refused', (t) => {
  const file = join(temporaryFolder(t), 'latin.jsonl')
  writeFileSync(file, Buffer.from('{"text": "caf\xe9", "label": "a"}\n', 'latin1'))
  t.throws(() => userTask(file), { message: /latin\.jsonl: it is no UTF-8/ })
})

test('one class, none, and values in the place of classes are refused with what to do', (t) => {
  const file = join(temporaryFolder(t), 'rows.jsonl')
  const read = (...labels: unknown[]) => {
    writeFileSync(file, labels.map((label, i) => `${JSON.stringify({ text: `text ${i}`, label })}\n`).join(''))
    return userTask(file)
  }
  t.throws(() => read('good', 'good', 'good'), {
    message: /: all 3 rows have the label 'good'\. With one class there is/
  })
  t.throws(() => read('good'), { message: /: its one row has the label 'good'\./ })
  t.throws(() => read(), { message: /: it has no rows\./ })
  t.throws(() => read(1, 2, 0.5), {
    message: /line 3 has 0\.5 as its label: a value.* train --head regression --train /
  })
  t.deepEqual(read(10, 2, 1.0, 2).labels, ['1', '2', '10'])
  t.deepEqual(read('0.5', '1.5', '2.5').labels, ['0.5', '1.5', '2.5'])
})

test('labels may be true and false; a file that is no JSON, and a list of labels, are told', (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'rows.jsonl')
  const read = (...rows: unknown[]) => {
    writeFileSync(file, rows.map((row) => (typeof row === 'string' ? row : JSON.stringify(row))).join('\n'))
    return userTask(file)
  }
  t.deepEqual(read(...['a', 'b', 'c', 'd'].map((text, i) => ({ text, label: i > 1 }))).labels, ['false', 'true'])
  t.throws(() => read('text,label', 'a,b'), { message: /line 1 is not JSON .*torch-adapters train.* takes CSV/ })
  t.throws(() => read({ text: 'a', label: ['x'] }), { message: /line 1 has no "label" that is one text/ })
})

test('the parts say what they are for, and which classes the test lacks; questions are different rows', (t) => {
  const row = (text: string, label: number): Row => ({ text, label })
  const task = { labels: ['a', 'b', 'c'], train: [row('x', 0)], dev: [], test: [row('y', 1), row('y', 1), row('z', 2)] }
  t.is(partsOf(task), '1 rows to train on, 0 for the curves, 3 for the test (of 2 of the 3 classes)')
  t.is(partsOf({ ...task, labels: ['b', 'c'] }), '1 rows to train on, 0 for the curves, 3 for the test')
  t.deepEqual(different(task.test), [row('y', 1), row('z', 2)])
  const many = ['a', 'a', 'b', 'c', 'b', 'd', 'e', 'f'].map((text) => ({ text }))
  t.is(
    different(many)
      .map(({ text }) => text)
      .join(''),
    'abcde'
  )
  // The same text beside another, or beside other words, is another row.
  const pairs = [
    ...[
      { text: 'a', textPair: 'b' },
      { text: 'a', textPair: 'c' }
    ],
    ...[
      { text: 'a', words: ['b'] },
      { text: 'a', words: ['c'] }
    ]
  ]
  t.is(different<object>(pairs).length, 4)
})
