import test, { type ExecutionContext } from 'ava'
import type { AdapterSetup, Model } from '../../lib/index.js'
import { batchInferenceWithAdapters, Stack } from '../../lib/index.js'
import type { NativeModel } from '../../lib/native/types.js'
import { hidden, largestDifference, load, tinyRows } from './support.js'

/** Rounding: a batch is multiplied in other blocks than a row alone. */
const tolerance = 2e-5

async function withThree(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  const configs = ['seq_bn[reduction_factor=4]', 'double_seq_bn[reduction_factor=8]', 'par_bn[reduction_factor=2]']
  configs.forEach((config, i) => {
    const name = 'abc'[i] ?? ''
    model.addAdapter(name, config, {})
    model.addClassificationHead(name, { numLabels: 2 + i })
  })
  // Far from their start, so that another adapter is another answer.
  const values = model.namedParameters().flatMap(({ name, shape }) => {
    if (!/\.adapters\.|^heads\./.test(name)) return []
    const { data } = model.parameter(name)
    return [[name, { data: data.map((value, i) => value + Math.sin(i * 7 + name.length) / 4), shape }] as const]
  })
  model.loadStateDict(new Map(values))
  return model
}

const setups: AdapterSetup[] = [
  'a',
  null,
  Stack('a', 'b'),
  'b',
  'c',
  'a',
  Stack('b', 'a'),
  null,
  Stack('c'),
  'b',
  'b',
  'a'
]
const rows = tinyRows(setups.length, { seed: 4, to: 9 })
// Rows of one token, under an adapter, a stack and none.
for (const i of [0, 1, 2]) rows[i] = { inputIds: [7 + i], label: 0 }
const inputIds = rows.map((row) => row.inputIds)

test('forward: each row as if it were alone with its adapter', async (t) => {
  const model = await withThree(t)
  const together = await model.forward({ inputIds }, { adapters: setups, head: 'a', outputHiddenStates: true })
  const columns = Math.max(...inputIds.map((row) => row.length))
  const differences = new Set<string>()
  for (const [row, ids] of inputIds.entries()) {
    const alone = await model.forward(
      { inputIds: [ids] },
      { adapters: setups[row] ?? null, head: 'a', outputHiddenStates: true }
    )
    const logits = together.logits?.data.subarray(row * 2, row * 2 + 2) ?? []
    t.true(largestDifference(logits, alone.logits?.data ?? []) < tolerance, `logits of row ${row}`)
    const start = row * columns * hidden
    const last = together.lastHiddenState?.data.subarray(start, start + ids.length * hidden) ?? []
    t.true(largestDifference(last, alone.lastHiddenState?.data ?? []) < tolerance, `hidden state of row ${row}`)
    const other = await model.forward({ inputIds: [ids] }, { adapters: setups[row] === null ? 'a' : null, head: 'a' })
    if (largestDifference(logits, other.logits?.data ?? []) > 100 * tolerance) differences.add(`${row}`)
  }
  t.is(differences.size, rows.length, 'another adapter must give another answer')
})

test('forward: the order of the rows does not matter', async (t) => {
  const model = await withThree(t)
  const straight = await model.forward({ inputIds }, { adapters: setups, head: 'b' })
  const order = [...inputIds.keys()].sort((a, b) => ((a * 7) % 12) - ((b * 7) % 12))
  const mixed = await model.forward(
    { inputIds: order.map((row) => inputIds[row] ?? []) },
    { adapters: order.map((row) => setups[row] ?? null), head: 'b' }
  )
  order.forEach((row, i) => {
    const one = straight.logits?.data.subarray(row * 3, row * 3 + 3) ?? []
    t.true(largestDifference(one, mixed.logits?.data.subarray(i * 3, i * 3 + 3) ?? []) < tolerance, `row ${row}`)
  })
})

test('predict: each row with its adapter and that adapter’s head, in the order given', async (t) => {
  const model = await withThree(t)
  model.activeHead = 'c'
  const labels = { a: 2, b: 3, c: 4 }
  for (const batchSize of [1, 5, 32]) {
    const answers = await model.predict(rows, { adapters: setups, batchSize })
    t.is(answers.length, rows.length)
    for (const [i, answer] of answers.entries()) {
      const setup = setups[i] ?? null
      const head = setup === null ? 'c' : typeof setup === 'string' ? setup : (setup.children.at(-1) as 'a' | 'b' | 'c')
      const alone = await model.forward({ inputIds: [inputIds[i] ?? []] }, { adapters: setup, head })
      t.is(answer.logits.length, labels[head as 'a'])
      t.true(
        largestDifference(answer.logits, alone.logits?.data ?? []) < tolerance,
        `row ${i} of batches of ${batchSize}`
      )
      t.is(answer.labelId, answer.logits.indexOf(Math.max(...answer.logits)))
      t.is(answer.label, `LABEL_${answer.labelId}`)
    }
  }
})

test('predict: heads of every kind in one batch answer as each of them alone, from one pass', async (t) => {
  const model = await withThree(t)
  model.addTaggingHead('tags', { numLabels: 5 })
  model.addMaskedLmHead('words')
  model.addMultiLabelClassificationHead('many', { numLabels: 3, usePooler: true })
  model.addRegressionHead('value', { layers: 1 })
  const heads = ['a', 'tags', 'many', 'b', 'words', 'value', 'tags', 'c', 'many', 'a', 'words', 'tags']
  const adapters = ['a', 'b', null]
  // An adapter named as its head, so that rows choose both.
  for (const name of ['tags', 'words', 'many', 'value']) model.addAdapter(name, 'seq_bn[reduction_factor=8]')
  for (const kinds of [heads, ['a', 'value', 'c', 'many'], ['tags', 'words']]) {
    const some = kinds.map((_, i) => rows[i] ?? { inputIds: [5] })
    const setups = kinds.map((head, i) => (i % 2 === 0 ? head : Stack(adapters[i % 3] ?? 'c', head)))
    let passes = 0
    const counting = new Proxy(model.native, {
      get(native, key: keyof NativeModel) {
        if (key === 'forward') passes++
        return native[key].bind(native)
      }
    })
    Object.defineProperty(model, 'native', { value: counting, configurable: true })
    const together = await model.predict(some, { adapters: setups })
    t.is(passes, 1)
    Reflect.deleteProperty(model, 'native')
    for (const [i, answer] of together.entries()) {
      const [alone] = await model.predict([some[i] ?? ''], { adapters: [setups[i] ?? null], head: kinds[i] })
      t.deepEqual(Object.keys(answer), Object.keys(alone ?? {}))
      t.is(answer.logits.length, alone?.logits.length ?? 0)
      t.true(largestDifference(answer.logits, alone?.logits ?? []) < tolerance, `row ${i}, ${kinds[i]}`)
      const head = kinds[i] ?? ''
      const direct = await model.forward({ inputIds: [some[i]?.inputIds ?? []] }, { adapters: setups[i], head })
      t.true(largestDifference(answer.logits, direct.logits?.data ?? []) < tolerance, `row ${i}, ${head}`)
    }
  }
})

test('predict: one setup or none for all rows is the same as naming it for each', async (t) => {
  const model = await withThree(t)
  model.setActiveAdapters('b')
  const active = await model.predict(rows)
  const named = await model.predict(rows, { adapters: 'b' })
  const each = await model.predict(rows, { adapters: rows.map(() => 'b') })
  active.forEach((answer, i) => {
    t.deepEqual(answer, named[i])
    t.deepEqual(answer, each[i])
  })
})

test('a wrong count of adapters, and an unknown one, name the row', async (t) => {
  const model = await withThree(t)
  const few = { code: 'ERR_INVALID_ARG_VALUE', message: /adapters: expected one entry for each of 12 rows, got 1/ }
  await t.throwsAsync(model.forward({ inputIds }, { adapters: ['a'] }), few)
  await t.throwsAsync(model.predict(rows, { adapters: ['a'] }), few)
  const unknown = setups.with(3, 'd')
  await t.throwsAsync(model.forward({ inputIds }, { adapters: unknown }), { message: /adapters\[3\]: no 'd' here/ })
  await t.throwsAsync(model.predict(rows, { adapters: unknown }), { message: /adapters\[3\]: no 'd' here/ })
})

test('only null is the base model: undefined, and a hole in the list, are errors that name the row', async (t) => {
  const model = await withThree(t)
  const wrong = (row: number) => ({
    instanceOf: TypeError,
    message: new RegExp(`adapters\\[${row}\\]: expected .* or null for the base model alone, got undefined`)
  })
  const lost = setups.with(4, undefined as never)
  const sparse = [...setups]
  delete sparse[11]
  await t.throwsAsync(model.forward({ inputIds }, { adapters: lost }), wrong(4))
  await t.throwsAsync(model.forward({ inputIds }, { adapters: sparse }), wrong(11))
  await t.throwsAsync(model.predict(rows, { adapters: lost }), wrong(4))
  await t.throwsAsync(batchInferenceWithAdapters(model, rows, lost), wrong(4))
  await t.throwsAsync(batchInferenceWithAdapters(model, rows, sparse), {
    instanceOf: TypeError,
    message: /^adapterNames\[11\]: nothing is there \(a hole\)/
  })
})

test('predict without a head, without rows, with wrong rows', async (t) => {
  const model = await load(t)
  await t.throwsAsync(model.predict([{ inputIds: [5] }]), { message: /no head to answer with/ })
  model.addClassificationHead('a')
  t.deepEqual(await model.predict([]), [])
  await t.throwsAsync(model.predict('text' as never), { instanceOf: TypeError, message: /rows/ })
  await t.throwsAsync(model.predict(['some text']), { message: /rows\[0\].*no tokenizer/ })
  await t.throwsAsync(model.predict([{ inputIds: [5] }, { inputIds: [] }]), {
    message: /rows\[1\]\.inputIds.*at least one token/
  })
  await t.throwsAsync(model.predict([{ inputIds: [5] }], { batchSize: 0 }), { message: /batchSize/ })
  await t.throwsAsync(model.predict([{ inputIds: [5] }], { batchsize: 4 } as never), {
    message: /Did you mean 'batchSize'/
  })
  const aborted = AbortSignal.abort(new Error('enough'))
  await t.throwsAsync(model.predict([{ inputIds: [5] }], { signal: aborted }), { message: 'enough' })
})
