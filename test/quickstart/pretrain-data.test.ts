import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { script } from '../setup/script.js'

interface Store {
  readonly train: number
  readonly dev: number
  lengthOf(row: number): number
  row(row: number): { ids: Int32Array; secondAt: number; name: Int32Array }
}

interface Batch {
  readonly ids: Int32Array
  readonly tokenTypes: Int32Array
  readonly rowLengths: Int32Array
  readonly labels: Int32Array
  readonly epoch: number
  readonly index: number
}

interface Options {
  readonly batchTokens: number
  readonly maskShare: number
  readonly seed: number
  readonly vocabularySize: number
  readonly nameAtCls?: boolean
}

interface MaskedBatches {
  planEpoch(store: Store, options: Options, epoch: number): Uint32Array[]
  maskedBatches(store: Store, options: Options, from?: { epoch: number; index: number }): Generator<Batch>
}

interface TokenStoreModule {
  openTokenStore(places: { modelFolder: string; cacheFolder: string; synsets: () => unknown[] }): Store
}

const { openTokenStore } = await script<TokenStoreModule>('pretrain/token-store.mjs')
const { maskedBatches, planEpoch } = await script<MaskedBatches>('pretrain/masked-batches.mjs')

const modelFolder = fileURLToPath(new URL('../../../models/wordnet-bert-mini', import.meta.url))
const synset = (i: number, split: string) => ({
  split,
  definition: `a ${'very '.repeat(i % 7)}small house number ${i}`,
  examples: i % 3 === 0 ? ['the house is small'] : [],
  lemmas: ['house', 'cottage']
})
const synsets = Array.from({ length: 300 }, (_, i) => synset(i, i < 200 ? 'train' : i < 250 ? 'dev' : 'test'))
const options = { batchTokens: 512, maskShare: 0.2, seed: 3, vocabularySize: 8192, nameAtCls: true }

function openStore(t: { teardown(fn: () => void): void }): Store {
  const cacheFolder = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  t.teardown(() => rmSync(cacheFolder, { recursive: true }))
  openTokenStore({ modelFolder, cacheFolder, synsets: () => synsets })
  const unused = (): never => {
    throw new Error('the file of the first time was not used')
  }
  return openTokenStore({ modelFolder, cacheFolder, synsets: unused })
}

function take(batches: Generator<Batch>, count: number): Batch[] {
  return Array.from({ length: count }, () => batches.next().value as Batch)
}

test('the store gives rows with special tokens, from its file the second time', (t) => {
  const store = openStore(t)
  t.deepEqual([store.train, store.dev], [200 + 200 + 67, 5])
  const [plain, named] = [store.row(0), store.row(1)]
  t.is(plain.ids[0], 2)
  t.is(plain.ids.at(-1), 3)
  t.is(plain.secondAt, plain.ids.length)
  t.is(named.ids[named.secondAt - 1], 3)
  t.deepEqual([...named.ids.subarray(named.secondAt)], [...plain.ids.subarray(1)])
  t.is(store.lengthOf(1), named.ids.length)
})

test('an epoch takes every row once, in batches that are full', (t) => {
  const store = openStore(t)
  const plan = planEpoch(store, options, 0)
  t.deepEqual(
    plan.flatMap((rows) => [...rows]).sort((a, b) => a - b),
    Array.from({ length: store.train }, (_, row) => row)
  )
  const tokens = plan.map((rows) => rows.reduce((sum, row) => sum + store.lengthOf(row), 0))
  t.true(tokens.every((count) => count <= options.batchTokens))
  t.true(tokens.filter((count) => count > 470).length >= plan.length - 2)
})

test('a fifth of the tokens is hidden, special tokens never, and [CLS] looks for the name', (t) => {
  const store = openStore(t)
  const plan = planEpoch(store, options, 0)
  const [batch] = take(maskedBatches(store, options), 1)
  const rows = Array.from(plan[0] ?? [], (row) => store.row(row))
  const original = Int32Array.from(rows.flatMap(({ ids }) => [...ids]))
  const starts = new Set<number>()
  let at = 0
  for (const { ids, name } of rows) {
    starts.add(at)
    const label = batch?.labels[at] ?? Number.NaN
    t.true(name.length === 0 ? label === -100 : name.includes(label))
    at += ids.length
  }
  const hidden = [...original.keys()].filter((place) => !starts.has(place) && batch?.labels[place] !== -100)
  t.is(hidden.length, Math.round(0.2 * original.length))
  t.true(hidden.every((place) => (original[place] ?? 0) >= 5 && batch?.labels[place] === original[place]))
  const changed = [...original.keys()].filter((place) => batch?.ids[place] !== original[place])
  t.true(changed.every((place) => hidden.includes(place)))
  t.true(changed.length > 0.7 * hidden.length)
})

test('a run that starts in the middle sees the batches of one that never stopped', (t) => {
  const store = openStore(t)
  const all = take(maskedBatches(store, options), 60)
  const later = all[45]
  t.truthy(later && later.epoch > 0)
  t.deepEqual(take(maskedBatches(store, options, later), 15), all.slice(45))
})
