import test from 'ava'
import { type Dataset, placeOf, type Row, withPlace } from '../../lib/data/dataset.js'
import { nameLabels } from '../../lib/data/label-names.js'

const names = { 1: 'World', 2: 'Sports' }

test('names in place of numbers, whatever kind of dataset', async (t) => {
  const rows: Row[] = [withPlace({ text: 'a', label: 2 }, 'rows.csv:2'), { text: 'b', label: '1' }, { text: 'c' }]
  const expected = [{ text: 'a', label: 'Sports' }, { text: 'b', label: 'World' }, { text: 'c' }]
  const named = nameLabels(rows, names)
  t.deepEqual<Dataset, Dataset>(named, expected)
  t.is(placeOf(named[0] as Row, ''), 'rows.csv:2')
  t.deepEqual<Dataset, Dataset>(nameLabels(new Set(rows), names), expected)
  t.deepEqual<Dataset, Dataset>(nameLabels(rows, ['none', 'World', 'Sports']), expected)
  const onDisk = nameLabels({ length: 3, at: (index) => rows[index] as Row }, names)
  t.deepEqual<unknown, unknown>([0, 1, 2].map(onDisk.at), expected)
  async function* later() {
    yield* rows
  }
  const all: Row[] = []
  for await (const row of nameLabels(later(), names)) all.push(row)
  t.deepEqual<Dataset, Dataset>(all, expected)
})

test('lists are named one by one, and what has no label stays', (t) => {
  const rows: Row[] = [{ words: ['a', 'b', 'c'], labels: [1, -100, 2] }]
  t.deepEqual<Dataset, Dataset>(nameLabels(rows, names), [
    { words: ['a', 'b', 'c'], labels: ['World', -100, 'Sports'] as never }
  ])
})

test('a label without a name is an error that says where', (t) => {
  const rows: Row[] = [
    { text: 'a', label: 1 },
    { text: 'b', label: 0 }
  ]
  const message = /dataset\[1\]\.label: no name for 0 \(a number\); there are names for '1', '2'/
  t.throws(() => nameLabels(rows, names), { message })
  t.throws(() => nameLabels(rows, { 1: '' }), { message: /names\['1'\]: expected a string that is not empty/ })
})
