import { join } from 'node:path'
import test from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import {
  AdapterTrainer,
  type CallbackRun,
  evaluate,
  planSweep,
  Stack,
  type SweepGrid,
  type SweepMember,
  type SweepOptions,
  sweepTable,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { rankingOf } from '../../lib/tasks/sweep-ranking.js'
import { peekUser, trainingFile } from '../../lib/training/checkpoint-folder.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'
import { distance, lengthRows, valuesOf } from './support.js'

const rows = tinyRows(18, { seed: 4 })
const parts: Readonly<Record<string, ReturnType<typeof tinyRows>>> = { some: rows, others: tinyRows(18, { seed: 9 }) }
const args: TrainingArguments = { ...quiet, numTrainEpochs: 2, seed: 3, warmupSteps: 1 }

for (const [name, grid] of Object.entries<SweepGrid>({
  'on the same rows': { reductionFactor: [4, 16], learningRate: [1e-2, 3e-3], seed: [1, 2] },
  'each on rows of its own': {
    dataset: ['some', 'others'],
    learningRate: [1e-2, 3e-3],
    seed: [1, 2],
    adamEpsilon: [1e-5]
  },
  'each in its own order': { config: ['seq_bn', 'lora[r=4]'], dataSeed: [7, 8], optim: ['adamw', 'sgd'] }
})) {
  test(`a sweep ${name} trains each adapter as a run of its own does`, async (t) => {
    const model = await load(t)
    model.addClassificationHead('h', { numLabels: 2 })
    const given = 'dataset' in grid ? parts : rows
    const { members } = await trainSweep(model, given, grid, { args, keep: 'all' })
    t.is(members.length, 8)
    for (const member of members) {
      const { config = 'seq_bn', seed = 3, reductionFactor, dataset, ...own } = member.values as Record<string, never>
      const trainDataset = parts[dataset ?? ''] ?? rows
      const alone = await load(t)
      const fields = reductionFactor === undefined ? config : `seq_bn[reduction_factor=${reductionFactor}]`
      alone.addAdapter(member.name, fields, { seed })
      alone.addClassificationHead(member.name, { numLabels: 2, seed })
      alone.trainAdapter(member.name)
      const run = { ...args, dataSeed: 3, ...own }
      const { loss } = await new AdapterTrainer({ model: alone, trainDataset, args: run }).train()
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
  t.is(best?.keptEvaluation?.step, best?.best?.step)
  const answers = await model.predict(evalDataset.map(({ inputIds }) => ({ inputIds })))
  const right = answers.filter((answer, i) => 'labelId' in answer && answer.labelId === evalDataset[i]?.label).length
  t.true(Math.abs(right / evalDataset.length - (best?.best?.value ?? 0)) < 1e-9)
  t.throws(() => sweepTable(undefined as never), { message: /^result: expected an object, got undefined/ })
  t.throws(() => sweepTable({} as never), { message: /^result\.members: expected an array/ })
  const { head, rows: lines } = sweepTable(result)
  t.deepEqual(head.slice(0, 3), ['adapter', 'learningRate', 'reductionFactor'])
  t.is(lines[0]?.[0], result.best)
  t.is(lines.length, 4)
})

for (const loadBestModelAtEnd of [false, true]) {
  const what = loadBestModelAtEnd ? 'their best steps, where they go back to them' : 'the steps that they end with'
  test(`they are ranked, and shown, by ${what}`, async (t) => {
    const model = await load(t)
    model.addClassificationHead('h', { numLabels: 2 })
    // The more they learn, the worse they get.
    const evalDataset = rows.map((row) => ({ ...row, label: 1 - row.label }))
    const grid = { learningRate: [2e-2, 1e-3, 5e-3] }
    const own: TrainingArguments = { ...args, numTrainEpochs: 6, evalStrategy: 'epoch', loadBestModelAtEnd }
    const result = await trainSweep(model, rows, grid, { args: own, evalDataset, keep: 'all' })
    const measured = new Map<string, number>()
    for (const { name, keptEvaluation, best } of result.members) {
      const { loss, metrics } = await evaluate(model, evalDataset, { adapters: name, head: name })
      t.true(Math.abs(loss - (keptEvaluation?.loss ?? 0)) < 1e-5, `${name}: ${loss}, ${keptEvaluation?.loss}`)
      t.deepEqual(keptEvaluation?.metrics, metrics)
      t.is(keptEvaluation?.step, loadBestModelAtEnd ? best?.step : 30)
      measured.set(name, loss)
    }
    t.true(result.members.some(({ best }) => best?.step !== 30))
    const sorted = [...measured].sort(([, a], [, b]) => a - b).map(([name]) => name)
    t.deepEqual(result.ranking, sorted)
    t.is(result.best, sorted[0] ?? '')
    const { head, rows: lines } = sweepTable(result)
    t.deepEqual(head.slice(0, 6), [
      ...['adapter', 'learningRate', 'parameters'],
      ...['training loss', 'evaluated at step', 'evaluation loss']
    ])
    t.deepEqual(
      lines.map((line) => [line[0], line[4], line[5]]),
      sorted.map((name) => {
        const { keptEvaluation } = result.members.find((one) => one.name === name) as SweepMember
        return [name, String(keptEvaluation?.step), measured.get(name)?.toFixed(4)]
      })
    )
  })
}

test('one that was better before and got worse comes behind; those without a number are last', (t) => {
  const member = (name: string, peak: number, last: number, more: Partial<SweepMember> = {}): SweepMember => {
    const keptEvaluation = { step: 50, epoch: 2, loss: 1, metrics: { accuracy: last }, rows: 4, seconds: 0 }
    const best = { metric: 'accuracy', value: peak, step: 25 }
    return { name, values: {}, parameters: 1, steps: 50, loss: 0.5, best, keptEvaluation, ...more } as SweepMember
  }
  const members = [
    member('failed', 1, 1, { ended: 'notFinite' }),
    member('nothing', 0.9, Number.NaN),
    member('peaked', 0.99, 0.6),
    member('steady', 0.8, 0.8),
    member('level', 0.7, 0.6, { loss: 0.4 }),
    member('last', 0.7, 0.6)
  ]
  const each = [trainingArguments({ evalStrategy: 'epoch', metricForBestModel: 'accuracy' })]
  t.deepEqual(rankingOf(members, each), ['steady', 'level', 'peaked', 'last', 'nothing', 'failed'])
  const unmeasured = members.map(({ keptEvaluation: _, ...rest }, i) => ({ ...rest, loss: 5 - i }))
  t.deepEqual(rankingOf(unmeasured, each), ['last', 'level', 'steady', 'peaked', 'nothing', 'failed'])
})

test('where each weighs its loss in its own way, a sweep needs another measure to tell its best', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  model.addRegressionHead('length', {})
  const evalDataset = tinyRows(10, { seed: 6 })
  const weights = { classWeights: ['balanced', [1, 0.01]] }
  const smoothing = { labelSmoothingFactor: [0, 0.2] }
  const measured = { ...args, evalStrategy: 'epoch' } as const
  const sweep = (grid: SweepGrid, own: TrainingArguments, more: SweepOptions = {}) =>
    trainSweep(model, rows, grid, { args: own, head: 'h', ...(own.evalStrategy && { evalDataset }), ...more })
  for (const [grid, own, message] of [
    [
      weights,
      measured,
      /^grid\.classWeights: .* the loss does not tell .*; name a measure: metricForBestModel: 'accuracy'$/
    ],
    [smoothing, { ...measured, metricForBestModel: 'eval_loss' }, /^grid\.labelSmoothingFactor: .*'accuracy'$/],
    [
      smoothing,
      { ...args, evalStrategy: 'no' },
      /the loss of training does not tell .* an evalDataset, evalStrategy: 'epoch', and/
    ],
    [
      smoothing,
      { ...args, evalStrategy: 'steps', evalSteps: 500, metricForBestModel: 'accuracy' },
      /^args\.evalSteps: the sweep ends at step 10, before an evaluation/
    ],
    [smoothing, { ...measured, evalDelay: 3, metricForBestModel: 'accuracy' }, /^args\.evalDelay: /],
    // Epochs count as far as the run goes, whatever numTrainEpochs says.
    [
      smoothing,
      { ...measured, maxSteps: 3, numTrainEpochs: 5, evalDelay: 1, metricForBestModel: 'accuracy' },
      /^args\.evalDelay: the sweep ends at step 3/
    ]
  ] as const) {
    await t.throwsAsync(sweep(grid, own), { message })
    t.deepEqual([...model.adapters.keys()], [])
  }
  const several = { evalDataset: { near: evalDataset, far: evalDataset } }
  await t.throwsAsync(sweep(smoothing, { ...measured, metricForBestModel: 'far_loss' }, several), {
    message: /'near_accuracy'$/
  })
  const computeMetrics = () => ({ own_loss: 1 })
  await t.throwsAsync(sweep(smoothing, measured, { computeMetrics }), { message: /'accuracy'$/ })
  for (const grid of [smoothing, weights, { labelSmoothingFactor: [0.1], learningRate: [1e-2, 1e-3] }]) {
    await t.throwsAsync(trainSweep(model, lengthRows(9, 2), grid, { args, head: 'length' }), {
      message: /^sweep-[12]: (classWeights|labelSmoothingFactor): no head that trains .*: leave it out$/
    })
  }
  for (const [name, run] of Object.entries({
    measured: () => sweep({ ...weights, ...smoothing }, { ...measured, metricForBestModel: 'accuracy' }),
    own: () => sweep(smoothing, { ...measured, metricForBestModel: 'own_loss' }, { computeMetrics }),
    alike: () => sweep({ classWeights: ['balanced'], learningRate: [1e-2, 1e-3] }, measured)
  })) {
    const { best } = await run()
    t.true(best.startsWith('sweep-'), name)
    model.deleteAdapter(best)
    model.deleteHead(best)
  }
})

test('a sweep that a callback stops before its first step ends in good order', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  const stop = { onTrainBegin: (run: CallbackRun) => run.stop() }
  const { members, ranking, best } = await trainSweep(model, rows, { seed: [1, 2] }, { args, callbacks: [stop] })
  t.deepEqual(
    members.map(({ steps, loss }) => [steps, loss]),
    [
      [0, Number.NaN],
      [0, Number.NaN]
    ]
  )
  t.deepEqual(ranking, ['sweep-1', 'sweep-2'])
  t.is(best, 'sweep-1')
  t.deepEqual([...model.adapters.keys()], ['sweep-1'])
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
    code: 'ERR_NAN_LOSS',
    message: /the loss of every adapter was not finite/
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

test('what trained before a sweep that is stopped, or a plan of one, trains behind it', async (t) => {
  const model = await load(t)
  model.addAdapter('t', 'seq_bn')
  model.addClassificationHead('t', { numLabels: 2 })
  model.trainAdapter('t')
  const trained = () => model.namedParameters().flatMap(({ name, trainable }) => (trainable ? [name] : []))
  const before = trained()
  const grid = { learningRate: [1e-2, 1e-3] }
  await planSweep(model, rows, grid, { args })
  t.deepEqual(trained(), before)
  const stopped = trainSweep(model, rows, grid, { args, signal: AbortSignal.abort() })
  await t.throwsAsync(stopped, { name: 'AbortError', any: true })
  t.deepEqual(trained(), before)
  t.deepEqual([model.activeAdapters, model.activeHead], ['t', 't'])
  await new AdapterTrainer({ model, trainDataset: rows, args: { ...args, maxSteps: 1 } }).train()
})

test('arguments for all are read beside what each has of the grid, not beside the defaults', async (t) => {
  const kinds: readonly (readonly [SweepGrid, TrainingArguments])[] = [
    [{ optim: ['sgd'], learningRate: [0.1, 0.01] }, { optimArgs: { momentum: 0.9 } }],
    [{ lrSchedulerType: ['cosine', 'cosine_with_restarts'] }, { lrSchedulerKwargs: { numCycles: 2 } }],
    [{ lrSchedulerType: ['warmup_stable_decay'] }, { lrSchedulerKwargs: { numDecaySteps: 3 }, warmupSteps: 0 }],
    [
      { learningRate: [0.1, 0.2] },
      { learningRate: 1e-3, lrSchedulerType: 'polynomial', lrSchedulerKwargs: { lrEnd: 0.05 } }
    ]
  ]
  for (const [grid, own] of kinds) {
    const model = await load(t)
    model.addClassificationHead('h', { numLabels: 2 })
    for (const { name, values, loss } of (await trainSweep(model, rows, grid, { args: { ...args, ...own } })).members) {
      const alone = await load(t)
      alone.addAdapter(name, 'seq_bn', { seed: 3 })
      alone.addClassificationHead(name, { numLabels: 2, seed: 3 })
      alone.trainAdapter(name)
      const run = { ...args, dataSeed: 3, ...own, ...values }
      const result = await new AdapterTrainer({ model: alone, trainDataset: rows, args: run }).train()
      t.true(Math.abs(result.loss - loss) < 1e-5, `${JSON.stringify(values)}: ${result.loss}, ${loss}`)
    }
  }
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  const momentum = { ...args, optimArgs: { momentum: 0.9 } }
  for (const [grid, own, message] of [
    [{ seed: [1] }, momentum, /^args\.optimArgs: 'adamw' does not take 'momentum'/],
    [{ optim: ['sgd', 'lion'] }, momentum, /^grid\.optimArgs: 'lion' does not take 'momentum'/],
    [{ optimArgs: [{ momentum: 0.9 }] }, args, /^grid\.optimArgs: 'adamw' does not take 'momentum'/]
  ] as const) {
    await t.throwsAsync(trainSweep(model, rows, grid, { args: own }), { message })
  }
})

test('of several datasets each is read by those that the grid names it for; the longest says how many steps there are', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  const uneven = { long: rows, short: tinyRows(5, { seed: 2 }) }
  const run = { ...args, numTrainEpochs: 1, perDeviceTrainBatchSize: 6 }
  const { members } = await trainSweep(model, uneven, { dataset: ['long', 'short'] }, { args: run })
  t.deepEqual(
    members.map(({ values, steps }) => [values['dataset'], steps]),
    [
      ['long', 3],
      ['short', 3]
    ]
  )
  for (const [dataset, grid, message] of [
    [uneven, { seed: [1] }, /^grid\.dataset: expected the names .* such as dataset: \['long', 'short'\]/],
    [uneven, { dataset: ['long', 'shrt'] }, /^grid\.dataset: .*Did you mean 'short'/],
    [
      rows,
      { dataset: ['long'] },
      /^grid\.dataset: it names datasets, given as \{ name: rows, … \}; got one for all|one dataset/
    ],
    [{ long: rows, short: [] }, { dataset: ['short'] }, /dataset\.short/]
  ] as const) {
    await t.throwsAsync(trainSweep(model, dataset, grid as SweepGrid, { args: run, name: 'next' }), { message })
  }
})

test('what no sweep can vary is said', async (t) => {
  const model = await load(t)
  await t.throwsAsync(trainSweep(model, rows, {}), { message: /head: the model has none/ })
  model.addClassificationHead('h', { numLabels: 2 })
  await t.throwsAsync(trainSweep(model, rows, { numTrainEpochs: [1, 2] }), { message: /grid\.numTrainEpochs/ })
  await t.throwsAsync(trainSweep(model, rows, { epochs: [1, 2] }), {
    message: /^grid\.epochs: all of a sweep train in the same steps: give it in args as numTrainEpochs/
  })
  await t.throwsAsync(trainSweep(model, rows, { config: ['seq_bn', 'ia3'], reduction_factor: [4, 8] }), {
    message: /^grid\.config: of "ia3": .*unknown field 'reductionFactor'/
  })
  await t.throwsAsync(trainSweep(model, rows, { perDeviceTrainBatchSize: [1, 2] }), { message: /the same batches/ })
  await t.throwsAsync(trainSweep(model, rows, { metricForBestModel: ['loss'] }), { message: /one measure/ })
  await t.throwsAsync(trainSweep(model, rows, { reductionFactr: [1] }), { message: /reduction/i })
  await t.throwsAsync(trainSweep(model, rows, { learning_rate: [1] }), { message: /Did you mean 'learningRate'/ })
  await t.throwsAsync(trainSweep(model, rows, { learningRate: [] }), { message: /at least one value/ })
  await t.throwsAsync(trainSweep(model, rows, { learningRate: [1e-3, 1e-4, 1e-3] }), {
    message: /^grid\.learningRate: expected each value once, got 0\.001 twice/
  })
  model.addAdapter('sweep-2')
  await t.throwsAsync(trainSweep(model, rows, { seed: [1, 2] }), { message: /name: the model has 'sweep-2' already/ })
  model.deleteAdapter('sweep-2')
  t.deepEqual([...model.adapters.keys()], [])
})
