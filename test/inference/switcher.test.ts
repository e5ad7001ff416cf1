import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterSwitcher,
  AdapterTrainer,
  adapterTrainingStrategy,
  batchInferenceWithAdapters,
  type Model,
  Stack
} from '../../lib/index.js'
import { largestDifference, load, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

/** Folders of three adapters with heads of 2, 3 and 4 labels. */
async function folders(t: ExecutionContext): Promise<Record<string, { path: string }>> {
  const model = await load(t)
  const folder = scratch(t)
  const sources: Record<string, { path: string }> = {}
  for (const [i, config] of ['seq_bn', 'double_seq_bn', 'par_bn'].entries()) {
    const name = 'abc'[i] ?? ''
    model.addAdapter(name, config)
    model.addClassificationHead(name, { numLabels: 2 + i })
    sources[name] = { path: join(folder, name) }
    await model.saveAdapter(join(folder, name), name)
  }
  return sources
}

const rows = tinyRows(4)

test('switching makes another adapter and its head the active ones', async (t) => {
  const model = await load(t)
  const switcher = new AdapterSwitcher(model, await folders(t))
  t.throws(() => switcher.switchAdapter('a'), { code: 'ERR_BUSY', message: /await switcher\.ready/ })
  await switcher.ready
  t.deepEqual(switcher.names, ['a', 'b', 'c'])
  for (const [i, name] of ['a', 'b', 'c', 'a'].entries()) {
    switcher.switchAdapter(name)
    t.is(model.activeAdapters, name)
    t.is(model.activeHead, name)
    const [answer] = await model.predict([rows[0] ?? { inputIds: [] }])
    t.is(answer?.logits.length, 2 + (i % 3))
  }
  t.throws(() => switcher.switchAdapter('d'), { message: /no 'd' here; there are 'a', 'b', 'c'/ })
  t.is(model.activeAdapters, 'a')
})

test('inference by name, whichever is active; it waits for the loading by itself', async (t) => {
  const model = await load(t)
  const switcher = new AdapterSwitcher(model, await folders(t))
  const row = { inputIds: [5, 6, 7] }
  const answer = await switcher.inference(row, 'b')
  t.is(model.activeAdapters, null)
  const [expected] = await model.predict([row], { adapters: 'b' })
  t.deepEqual(answer, expected)
  await t.throwsAsync(switcher.inference(row, 'bb'), { message: /Did you mean 'b'/ })
})

test('adapters that are there already, and sources that cannot be', async (t) => {
  const model = await load(t)
  model.addAdapter('mine')
  const switcher = new AdapterSwitcher(model, { mine: {} })
  await switcher.ready
  t.notThrows(() => switcher.switchAdapter('mine'))
  t.throws(() => new AdapterSwitcher(model, { other: {} }), { message: /no 'other' here; there are 'mine'/ })
  t.throws(() => new AdapterSwitcher(model, {}), { message: /at least one adapter/ })
  t.throws(() => new AdapterSwitcher(model, { a: { pth: 'x' } } as never), { message: /Did you mean 'path'/ })
  const lost = new AdapterSwitcher(model, { a: { path: join(scratch(t), 'nothing') } })
  await t.throwsAsync(lost.ready, { code: 'ERR_FILE_NOT_FOUND' })
  await t.throwsAsync(lost.inference({ inputIds: [5] }, 'a'), { code: 'ERR_FILE_NOT_FOUND' })
})

test('one path that is wrong: none of the adapters stays, and every call says why', async (t) => {
  const model = await load(t)
  model.addAdapter('mine')
  const before = snapshot(model)
  const { a = { path: '' }, b = { path: '' } } = await folders(t)
  const lost = new AdapterSwitcher(model, { mine: {}, a, b, c: { path: join(scratch(t), 'nothing') } })
  const wrong = { code: 'ERR_FILE_NOT_FOUND', message: /nothing/ }
  await t.throwsAsync(lost.ready, wrong)
  t.deepEqual([...model.adapters.keys(), ...model.heads.keys()], ['mine'])
  t.is(model.activeHead, null)
  t.deepEqual([...snapshot(model).keys()], [...before.keys()])
  for (const name of ['mine', 'a', 'c']) {
    t.throws(() => lost.switchAdapter(name), wrong)
    await t.throwsAsync(lost.inference({ inputIds: [5] }, name), wrong)
  }
  const again = new AdapterSwitcher(model, { a, b })
  await again.ready
  t.notThrows(() => again.switchAdapter('a'))
})

async function withThree(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  for (const [name, { path }] of Object.entries(await folders(t))) await model.loadAdapter(path, { as: name })
  model.activeHead = 'a'
  return model
}

test('batchInferenceWithAdapters answers every input as its adapter alone would, in order', async (t) => {
  const model = await withThree(t)
  const inputs = tinyRows(7, { seed: 9 })
  const names = ['c', null, 'a', Stack('a', 'b'), 'b', 'c', null]
  const answers = await batchInferenceWithAdapters(model, inputs, names)
  for (const [i, input] of inputs.entries()) {
    const [alone] = await model.predict([input], { adapters: names[i] ?? null })
    t.true(largestDifference(alone?.logits ?? [], answers[i]?.logits ?? []) < 2e-5, `input ${i}`)
  }
  t.deepEqual(await batchInferenceWithAdapters(model, [], []), [])
  await t.throwsAsync(batchInferenceWithAdapters(model, inputs, ['a']), { message: /one for each of 7 inputs, got 1/ })
})

test('the strategies are arguments of the trainer', async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  for (const strategy of ['adapter', 'careful', 'fusion', 'full'] as const) {
    const args = { ...adapterTrainingStrategy(strategy), ...quiet, maxSteps: 1 }
    t.is((await new AdapterTrainer({ model, trainDataset: rows, args }).train()).steps, 1)
  }
  t.is(adapterTrainingStrategy().learningRate, 1e-3)
  t.throws(() => adapterTrainingStrategy('adapters' as never), { message: /Did you mean 'adapter'/ })
})
