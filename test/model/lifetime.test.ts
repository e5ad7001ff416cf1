import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterError, AdapterTrainer, evaluate, type Model, MultiTaskTrainer } from '../../lib/index.js'
import { load, moved, quiet, ready, scratch, snapshot, tinyRows } from './support.js'

const rows = tinyRows(32)
const inputIds = rows.map((row) => row.inputIds)

const configuration: Readonly<Record<string, (model: Model) => unknown>> = {
  addAdapter: (model) => model.addAdapter('b'),
  deleteAdapter: (model) => model.deleteAdapter('a'),
  addHead: (model) => model.addClassificationHead('b'),
  deleteHead: (model) => model.deleteHead('a'),
  trainAdapter: (model) => model.trainAdapter('a'),
  trainHead: (model) => model.trainHead('a'),
  trainAll: (model) => model.trainAll(),
  freeze: (model) => model.freezeBaseModel(),
  setActiveAdapters: (model) => model.setActiveAdapters('a'),
  activeHead: (model) => {
    model.activeHead = 'a'
  },
  loadStateDict: (model) => model.loadStateDict(new Map())
}

const reading: Readonly<Record<string, (model: Model) => unknown>> = {
  namedModules: (model) => model.namedModules(),
  namedParameters: (model) => model.namedParameters(),
  parameter: (model) => model.parameter('heads.a.1.weight'),
  adapterSummary: (model) => model.adapterSummary()
}

const work = (folder: string): Readonly<Record<string, (model: Model) => Promise<unknown>>> => ({
  forward: (model) => model.forward({ inputIds }),
  predict: (model) => model.predict(rows),
  saveAdapter: (model) => model.saveAdapter(join(folder, 'a'), 'a'),
  savePretrained: (model) => model.savePretrained(join(folder, 'base'))
})

test('dispose: once or twice, then every call says ERR_DISPOSED', async (t) => {
  const model = await ready(t)
  t.false(model.disposed)
  model.dispose()
  model.dispose()
  model[Symbol.dispose]()
  t.true(model.disposed)
  const gone = { instanceOf: AdapterError, code: 'ERR_DISPOSED' }
  for (const [name, call] of Object.entries({ ...configuration, ...reading })) t.throws(() => call(model), gone, name)
  const folder = scratch(t)
  for (const [name, call] of Object.entries(work(folder))) await t.throwsAsync(call(model), gone, name)
  await t.throwsAsync(model.loadAdapter(folder), gone)
  await t.throwsAsync(model.gradients({ inputIds }), gone)
  await t.throwsAsync(new AdapterTrainer({ model, trainDataset: rows, args: quiet }).train(), gone)
  t.false(existsSync(join(folder, 'a')))
})

test('using gives the model back at the end of its block', async (t) => {
  let kept: Model
  {
    using model = await ready(t)
    kept = model
    t.truthy((await model.forward({ inputIds })).logits)
  }
  t.true(kept.disposed)
})

test('work under way when the model is disposed of still ends well', async (t) => {
  const model = await ready(t)
  const expected = await model.forward({ inputIds })
  const running = Array.from({ length: 8 }, () => model.forward({ inputIds }))
  const saving = model.saveAdapter(join(scratch(t), 'a'), 'a').catch((error: unknown) => error)
  model.dispose()
  for (const answer of await Promise.all(running)) t.deepEqual(answer, expected)
  // It has more than one step: either all of them came in time, or the error says why not.
  const saved = await saving
  if (saved !== undefined) t.is((saved as AdapterError).code, 'ERR_DISPOSED')
})

test('disposing of a model while it trains ends the run with ERR_DISPOSED, and no other model notices', async (t) => {
  const [model, other] = [await ready(t), await ready(t)]
  const expected = await other.forward({ inputIds })
  const args = { ...quiet, maxSteps: 50 }
  const third = await ready(t)
  const trainers = [
    [model, new AdapterTrainer({ model, trainDataset: rows, args })],
    [third, new MultiTaskTrainer({ model: third, tasks: { a: { dataset: rows } }, args })]
  ] as const
  for (const [own, trainer] of trainers) {
    let steps = 0
    const error = await t.throwsAsync(async () => {
      for await (const event of trainer.run()) if (event.type === 'step' && ++steps === 3) own.dispose()
    })
    t.is((error as AdapterError).code, 'ERR_DISPOSED')
    t.is(steps, 3)
  }
  // The same where the run comes upon it as it saves.
  const saving = { ...args, saveStrategy: 'steps', saveSteps: 1 } as const
  const [fourth, fifth] = [await ready(t), await ready(t)]
  const savers = [
    [fourth, new AdapterTrainer({ model: fourth, trainDataset: rows, args: { ...saving, outputDir: scratch(t) } })],
    [
      fifth,
      new MultiTaskTrainer({
        model: fifth,
        tasks: { a: { dataset: rows } },
        args: { ...saving, outputDir: scratch(t) }
      })
    ]
  ] as const
  for (const [own, trainer] of savers) {
    const error = await t.throwsAsync(async () => {
      for await (const event of trainer.run()) if (event.type === 'step') own.dispose()
    })
    t.is((error as AdapterError).code, 'ERR_DISPOSED')
    t.regex(error?.message ?? '', /^train: the model was disposed of/)
  }
  t.deepEqual(await other.forward({ inputIds }), expected)
})

test('during a run: configuration says ERR_BUSY and who holds the model, reading and work go on', async (t) => {
  const model = await ready(t)
  const folder = scratch(t)
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 4 } })
  const busy = { instanceOf: AdapterError, code: 'ERR_BUSY', message: /a training run holds the model.*abort it/ }
  let steps = 0
  for await (const event of trainer.run()) {
    if (event.type !== 'step') continue
    steps++
    for (const [name, call] of Object.entries(configuration)) t.throws(() => call(model), busy, name)
    await t.throwsAsync(model.loadAdapter(folder), busy)
    await t.throwsAsync(model.gradients({ inputIds, labels: rows.map(({ label }) => label) }), busy)
    await t.throwsAsync(new AdapterTrainer({ model, trainDataset: rows }).train(), busy)
    for (const [name, call] of Object.entries(reading)) t.notThrows(() => call(model), name)
    for (const [name, call] of Object.entries(work(folder))) await t.notThrowsAsync(call(model), name)
  }
  t.is(steps, 4)
  t.notThrows(() => model.addAdapter('b'))
  t.notThrows(() => model.trainAdapter('b'))
  t.is(model.activeAdapters, 'b')
})

test('what is refused during a run leaves the run’s result as it would have been', async (t) => {
  const [quietly, disturbed] = [await ready(t), await ready(t)]
  const args = { ...quiet, maxSteps: 5 }
  await new AdapterTrainer({ model: quietly, trainDataset: rows, args }).train()
  for await (const _ of new AdapterTrainer({ model: disturbed, trainDataset: rows, args }).run()) {
    for (const call of Object.values(configuration)) t.throws(() => call(disturbed))
    await disturbed.predict(rows)
  }
  t.deepEqual(moved(snapshot(quietly), snapshot(disturbed)), [])
})

test('forward passes that are asked for at once are answered one by one, each right', async (t) => {
  const model = await ready(t)
  const alone = []
  for (const ids of inputIds) alone.push(await model.forward({ inputIds: [ids] }))
  t.deepEqual(await Promise.all(inputIds.map((ids) => model.forward({ inputIds: [ids] }))), alone)
})

test('an adapter added while others run is there at the next call', async (t) => {
  const model = await ready(t)
  const before = Promise.all(inputIds.map((ids) => model.forward({ inputIds: [ids] })))
  model.addAdapter('b')
  t.truthy((await model.forward({ inputIds }, { adapters: 'b' })).logits)
  t.is((await before).length, rows.length)
})

test('rows of one call are answered by one model: what changes weights waits', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'lora')
  model.addClassificationHead('a')
  const rows = Array.from({ length: 40 }, (_, i) => ({ inputIds: [5, 6 + i], label: i % 2 }))
  const changes = [
    () => model.mergeAdapter('a'),
    () => model.resetAdapter(),
    () => model.loadStateDict(new Map()),
    () => model.replaceModule('bert.encoder.layer.0', (module) => module)
  ]
  const answers = () => model.predict(rows, { batchSize: 1, head: 'a' })
  for (const begin of [answers, () => evaluate(model, rows, { head: 'a' })]) {
    const work: Promise<unknown> = begin()
    for (const change of changes) t.throws(change, { code: 'ERR_BUSY', message: /Wait until predict or evaluate ends/ })
    model.setActiveAdapters('a')
    await work
  }
  for (const change of changes) t.notThrows(change)
})
