import test from 'ava'
import type { IndexedRows, Row } from '../../lib/data/dataset.js'
import { type SplitOptions, trainTestSplit } from '../../lib/data/split.js'

const rows: Row[] = Array.from({ length: 20 }, (_, i) => ({ text: `t${i}`, label: i % 10 === 0 ? 'rare' : 'usual' }))

const texts = (part: readonly Row[]) => part.map((row) => ('text' in row ? row.text : ''))
const rare = (part: readonly Row[]) => part.filter(({ label }) => label === 'rare').length

test('two parts of all rows, by seed', async (t) => {
  const { train, test: tested } = await trainTestSplit(rows, { testSize: 0.3, seed: 7 })
  t.is(train.length, 14)
  t.is(tested.length, 6)
  t.deepEqual(texts([...train, ...tested]).sort(), texts(rows).sort())
  t.deepEqual(await trainTestSplit(new Set(rows), { testSize: 6, seed: 7 }), { train, test: tested })
  const other = await trainTestSplit(rows, { testSize: 0.3, seed: 8 })
  t.notDeepEqual(texts(other.test), texts(tested))
})

test('texts alone are rows, too', async (t) => {
  const given = Array.from({ length: 20 }, (_, i) => `t${i}`)
  const { train, test: tested } = await trainTestSplit(given, { testSize: 0.3, seed: 7 })
  const same = await trainTestSplit(
    given.map((text) => ({ text })),
    { testSize: 0.3, seed: 7 }
  )
  t.deepEqual({ train, test: tested }, same)
})

test("sizes are scikit-learn's: the test's share is rounded up, that of the training rows down", async (t) => {
  const sizes = async (options: SplitOptions) => {
    const { train, test: tested } = await trainTestSplit(rows.slice(0, 11), options)
    return [train.length, tested.length]
  }
  t.deepEqual(await sizes({}), [8, 3])
  t.deepEqual(await sizes({ testSize: 0.5 }), [5, 6])
  t.deepEqual(await sizes({ testSize: 0.2 }), [8, 3])
  t.deepEqual(await sizes({ trainSize: 0.5 }), [5, 6])
  t.deepEqual(await sizes({ trainSize: 2, testSize: 3 }), [2, 3])
})

test('without shuffling the last rows are the test', async (t) => {
  const { train, test: tested } = await trainTestSplit(rows, { testSize: 2, shuffle: false })
  t.deepEqual(texts([...train, ...tested]), texts(rows))
})

test('stratified: both parts have the share of each label', async (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const { train, test: tested } = await trainTestSplit(rows, { testSize: 0.5, seed, stratify: true })
    t.deepEqual([rare(train), rare(tested), train.length, tested.length], [1, 1, 10, 10])
    t.is(new Set(texts([...train, ...tested])).size, 20)
  }
  const byField = rows.map((row, i) => ({ ...row, source: i < 10 ? 'a' : 'b' }))
  const { test: tested } = await trainTestSplit(byField, { testSize: 4, stratify: 'source' })
  t.is(tested.filter((row) => 'source' in row && row.source === 'a').length, 2)
})

test('rows that stay on disk are not read', async (t) => {
  const onDisk: IndexedRows = {
    length: 10,
    at(index) {
      throw new Error(`row ${index} was read`)
    }
  }
  const parts = await trainTestSplit(onDisk, { testSize: 0.2 })
  t.deepEqual([parts.train.length, parts.test.length], [8, 2])
  const { train } = await trainTestSplit({ length: 10, at: (index) => rows[index] as Row }, { testSize: 2, seed: 3 })
  const inMemory = await trainTestSplit(rows.slice(0, 10), { testSize: 2, seed: 3 })
  t.deepEqual(texts(Array.from({ length: train.length }, (_, i) => train.at(i))), texts(inMemory.train))
})

test('what cannot be split', async (t) => {
  const refuse = (options: SplitOptions, message: RegExp) => t.throwsAsync(trainTestSplit(rows, options), { message })
  await refuse({ testSize: 20 }, /two parts with rows of 20, got 0 to train on and 20 to test/)
  await refuse({ testSize: 0 }, /options\.testSize: expected a number above 0/)
  await refuse({ testSize: 1.5 }, /options\.testSize: expected a share below 1, or a number of rows, got 1\.5/)
  await refuse({ stratify: true, shuffle: false }, /it needs shuffle/)
  await refuse({ stratify: 'text' }, /20 of 20 values stand in one row alone/)
  await refuse({ stratify: 'source' }, /this row has no source to stratify by/)
  await refuse({ stratify: true, testSize: 1 }, /a part of 1 rows cannot have each of 2 values/)
})
