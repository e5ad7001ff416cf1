import { join } from 'node:path'
import test from 'ava'
import {
  AdapterTrainer,
  Stack,
  type SweepGrid,
  sweepTable,
  type TrainingArgumentsInput,
  trainSweep
} from '../../lib/index.js'
import { peekUser, trainingFile } from '../../lib/training/checkpoint-folder.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'
import { distance, valuesOf } from './support.js'

const rows = tinyRows(18, { seed: 4 })
const args: TrainingArgumentsInput = { ...quiet, numTrainEpochs: 2, seed: 3, warmupSteps: 1 }

for (const [name, grid] of Object.entries<SweepGrid>({
  'on the same rows': { reductionFactor: [4, 16], learningRate: [1e-2, 3e-3], seed: [1, 2] },
  'each in its own order': { config: ['seq_bn', 'lora[r=4]'], dataSeed: [7, 8], optim: ['adamw', 'sgd'] }
})) {
  test(`a sweep ${name} trains each adapter as a run of its own does`, async (t) => {
    const model = await load(t)
    model.addClassificationHead('h', { numLabels: 2 })
    const { members } = await trainSweep(model, rows, grid, { args, keep: 'all' })
    t.is(members.length, 8)
    for (const member of members) {
      const { config = 'seq_bn', seed = 3, reductionFactor, ...own } = member.values as Record<string, never>
      const alone = await load(t)
      const fields = reductionFactor === undefined ? config : `seq_bn[reduction_factor=${reductionFactor}]`
      alone.addAdapter(member.name, fields, { seed })
      alone.addClassificationHead(member.name, { numLabels: 2, seed })
      alone.trainAdapter(member.name)
      const run = { ...args, dataSeed: 3, ...own }
      const { loss } = await new AdapterTrainer({ model: alone, trainDataset: rows, args: run }).train()
      t.true(Math.abs(loss - member.loss) < 1e-5, `${member.name}: ${loss}, ${member.loss}`)
      const apart = distance(valuesOf(alone, member.name), valuesOf(model, member.name))
      t.true(apart < 1e-4, `${member.name}: ${apart}`)
    }
  })
}

test('above an adapter that stands still each learns what it learns there alone', async (t) => {
  const withLanguage = async () => {
    const model = await load(t)
    model.addAdapter('en', 'double_seq_bn_inv', { seed: 5 })
    // As one that has learned.
    for (const { name } of model.namedParameters()) {
      if (!name.includes('.en.')) continue
      const { data, shape } = model.parameter(name)
      model.loadStateDict({ [name]: { data: data.map((value, i) => value + 0.05 * Math.sin(i)), shape } })
    }
    return model
  }
  const model = await withLanguage()
  model.addClassificationHead('h', { numLabels: 2 })
  const before = valuesOf(model, 'en')
  const { members, best } = await trainSweep(model, rows, { seed: [1, 2] }, { args, keep: 'all', below: ['en'] })
  t.is(distance(valuesOf(model, 'en'), before), 0)
  for (const { name, values, loss } of members) {
    const alone = await withLanguage()
    const { seed } = values as { seed: number }
    alone.addAdapter(name, 'seq_bn', { seed })
    alone.addClassificationHead(name, { numLabels: 2, seed })
    alone.trainAdapter(name)
    alone.setActiveAdapters(Stack('en', name))
    const own = await new AdapterTrainer({ model: alone, trainDataset: rows, args: { ...args, dataSeed: 3 } }).train()
    t.true(Math.abs(own.loss - loss) < 1e-5, `${name}: ${own.loss}, ${loss}`)
    t.true(distance(valuesOf(alone, name), valuesOf(model, name)) < 1e-4, name)
  }
  const next = await trainSweep(model, rows, { seed: [1, 2] }, { args, name: 'next', below: ['en'] })
  t.deepEqual(model.activeAdapters, Stack('en', next.best))
  t.true(best.startsWith('sweep-'))
  await t.throwsAsync(trainSweep(model, rows, { seed: [1] }, { args, name: 'third', below: ['enn'] }), {
    message: /^below: .*'en'/s
  })
})

test('rows that are given once are enough for orders of their own', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  let reads = 0
  function* once() {
    for (const row of rows) {
      reads++
      yield row
    }
  }
  const grid = { dataSeed: [1, 2, 3] }
  const own = { ...args, maxSteps: 2, saveStrategy: 'steps', saveSteps: 2, outputDir: scratch(t) } as const
  const { members } = await trainSweep(model, once(), grid, { args: own, head: 'h' })
  t.is(members.length, 3)
  t.is(reads, rows.length)
  const { run } = peekUser(join(own.outputDir, 'checkpoint-2', trainingFile)) as {
    run: { tasks: Record<string, { rows: number; data: string; dataSeed: number }> }
  }
  const tasks = Object.values(run.tasks)
  t.deepEqual(
    tasks.map((task) => [task.rows, task.dataSeed]),
    [1, 2, 3].map((seed) => [rows.length, seed])
  )
  t.is(new Set(tasks.map(({ data }) => data)).size, 1)
  t.regex(tasks[0]?.data ?? '', /^[0-9a-f]{16}$/)
})

test('the best one stays, is active and answers as it was measured', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  const evalDataset = tinyRows(20, { seed: 6 })
  const result = await trainSweep(
    model,
    rows,
    { learningRate: [1e-2, 1e-6], reductionFactor: [2, 8] },
    {
      args: { ...args, evalStrategy: 'epoch', metricForBestModel: 'accuracy', loadBestModelAtEnd: true },
      evalDataset,
      name: 'try'
    }
  )
  t.deepEqual([...model.adapters.keys()], [result.best])
  t.is(model.activeAdapters, result.best)
  const best = result.members.find(({ name }) => name === result.best)
  t.is(best?.values['learningRate'], 1e-2)
  for (const { best: own } of result.members) t.true((own?.value ?? 1) <= (best?.best?.value ?? 0))
  const answers = await model.predict(evalDataset.map(({ inputIds }) => ({ inputIds })))
  const right = answers.filter((answer, i) => 'labelId' in answer && answer.labelId === evalDataset[i]?.label).length
  t.true(Math.abs(right / evalDataset.length - (best?.best?.value ?? 0)) < 1e-9)
  const { head, rows: lines } = sweepTable(result)
  t.deepEqual(head.slice(0, 3), ['adapter', 'learningRate', 'reductionFactor'])
  t.is(lines[0]?.[0], result.best)
  t.is(lines.length, 4)
})

test('one that diverges ends by itself; all of them, or as the caller wants it, end the sweep', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  const sgd = { ...args, optim: 'sgd', maxGradNorm: 0 } as const
  const { members, best } = await trainSweep(model, rows, { learningRate: [1e30, 1e-2] }, { args: sgd })
  t.is(members[0]?.ended, 'notFinite')
  t.is(best, 'sweep-2')
  model.deleteAdapter('sweep-2')
  model.deleteHead('sweep-2')
  await t.throwsAsync(trainSweep(model, rows, { learningRate: [1e30] }, { args: sgd, head: 'h' }), {
    message: /not finite/
  })
  t.deepEqual([...model.heads.keys()], ['h'])
  await t.throwsAsync(
    trainSweep(model, rows, { learningRate: [1e30, 1e-2] }, { args: sgd, head: 'h', onNotFinite: 'throw' }),
    {
      code: 'ERR_NAN_LOSS'
    }
  )
  t.deepEqual([...model.adapters.keys()], [])
  model.addAdapter('a')
})

test('what no sweep can vary is said', async (t) => {
  const model = await load(t)
  await t.throwsAsync(trainSweep(model, rows, {}), { message: /head: the model has none/ })
  model.addClassificationHead('h', { numLabels: 2 })
  await t.throwsAsync(trainSweep(model, rows, { numTrainEpochs: [1, 2] }), { message: /grid\.numTrainEpochs/ })
  await t.throwsAsync(trainSweep(model, rows, { perDeviceTrainBatchSize: [1, 2] }), { message: /the same batches/ })
  await t.throwsAsync(trainSweep(model, rows, { metricForBestModel: ['loss'] }), { message: /one measure/ })
  await t.throwsAsync(trainSweep(model, rows, { reductionFactr: [1] }), { message: /reduction/i })
  await t.throwsAsync(trainSweep(model, rows, { learning_rate: [1] }), { message: /Did you mean 'learningRate'/ })
  await t.throwsAsync(trainSweep(model, rows, { learningRate: [] }), { message: /at least one value/ })
  model.addAdapter('sweep-2')
  await t.throwsAsync(trainSweep(model, rows, { seed: [1, 2] }), { message: /name: the model has 'sweep-2' already/ })
  model.deleteAdapter('sweep-2')
  t.deepEqual([...model.adapters.keys()], [])
})
