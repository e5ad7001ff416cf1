import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  type Evaluation,
  evaluate,
  type Model,
  MultiTaskTrainer,
  Parallel,
  rowsFile,
  type TasksEvent,
  type TrainingArguments,
  type TrainingEvent,
  trainSweep
} from '../../lib/index.js'
import { load, makeReady, quiet as quick, scratch, tinyRows } from '../model/support.js'

/** Evaluations in batches as those of evaluate(). */
const quiet: TrainingArguments = { ...quick, perDeviceEvalBatchSize: 32 }
const trainDataset = tinyRows(24)
const other = (rows: readonly ReturnType<typeof tinyRows>[0][]) => rows.map((row) => ({ ...row, label: 1 - row.label }))
/** What is learned makes one of them better and the other one worse, sooner or later. */
const sets = { same: tinyRows(7, { seed: 3 }), turned: other(tinyRows(12, { seed: 4 })) }

const steps: TrainingArguments = { ...quiet, maxSteps: 16, evalStrategy: 'steps', evalSteps: 4 }

async function eventsOf(model: Model, args: TrainingArguments): Promise<TrainingEvent[]> {
  const all: TrainingEvent[] = []
  const trainer = new AdapterTrainer({ model, trainDataset, evalDataset: sets, args })
  for await (const event of trainer.run()) all.push(event)
  return all
}

const evaluationsOf = <E extends { readonly type: string }>(events: readonly E[]) =>
  events.filter((event): event is E & { readonly type: 'evaluate' } => event.type === 'evaluate')

/** What sets that were measured one by one give together. */
function joined(each: Readonly<Record<string, Evaluation>>) {
  const all = Object.values(each)
  const values = Object.entries(each).flatMap(([set, { loss, metrics }]) =>
    Object.entries({ loss, ...metrics }).map(([name, value]) => [`${set}_${name}`, value])
  )
  return {
    loss: all.reduce((sum, { loss }) => sum + loss, 0) / all.length,
    metrics: Object.fromEntries(values),
    rows: all.reduce((sum, { rows }) => sum + rows, 0)
  }
}

test('several sets are measured one by one, and told as NAME_loss, NAME_accuracy with the mean of their losses', async (t) => {
  const model = await makeReady(t, {})
  const trainer = new AdapterTrainer({ model, trainDataset, evalDataset: sets, args: quiet })
  const { seconds, ...found } = await trainer.evaluate()
  const expected = joined({ same: await evaluate(model, sets.same), turned: await evaluate(model, sets.turned) })
  t.deepEqual(found, expected)
  t.is(found.rows, 19)
  t.true(Object.keys(found.metrics).includes('turned_macroF1') && seconds > 0)
  // As many sets as there are, another time one dataset.
  t.deepEqual(Object.keys((await trainer.evaluate({ evalDataset: { one: sets.same } })).metrics)[0], 'one_loss')
  t.is((await trainer.evaluate({ evalDataset: sets.same })).metrics['accuracy'], found.metrics['same_accuracy'])
  // Several heads: each has its own of every set.
  model.addAdapter('second')
  model.addClassificationHead('second', { numLabels: 2 })
  model.trainAdapter(Parallel('a', 'second'))
  const both = await new AdapterTrainer({ model, trainDataset, evalDataset: sets, args: quiet }).evaluate()
  const { heads = {} } = await evaluate(model, sets.turned)
  t.is(both.metrics['turned_second.accuracy'], heads['second']?.metrics.accuracy as number)
  t.is(both.heads, undefined)
})

test('metricForBestModel names one of a set, which brings its best model back', async (t) => {
  const folder = scratch(t)
  const args = { ...steps, outputDir: folder, learningRate: 0.05, loadBestModelAtEnd: true }
  const model = await makeReady(t, {})
  const events = await eventsOf(model, { ...args, metricForBestModel: 'eval_turned_loss', reportTo: 'all' })
  const losses = evaluationsOf(events).map(({ metrics }) => metrics['turned_loss'] as number)
  t.is(losses.length, 4)
  const at = losses.indexOf(Math.min(...losses))
  const end = events.find((event) => event.type === 'end')
  t.deepEqual(end?.best, { metric: 'turned_loss', value: losses[at] as number, step: 4 * (at + 1) })
  t.true(at < 3, 'the best is not the last')
  t.is((await evaluate(model, sets.turned)).loss, losses[at] as number)
  // The curves have each set's measures.
  const lines = readFileSync(join(folder, 'events.jsonl'), 'utf8').trim().split('\n')
  const [line = {}] = lines.map((one) => JSON.parse(one)).filter(({ type }) => type === 'evaluate')
  t.deepEqual(line.metrics, evaluationsOf(events)[0]?.metrics)
  t.is(JSON.parse(lines[0] ?? '').rows.evaluation, 19)
  t.regex(readFileSync(join(folder, 'report.html'), 'utf8'), /Evaluation turned_accuracy/)
  // The other way round: what is a loss, or a mean square, is better when it is lower.
  const [greater, lower] = ['same_accuracy', 'same_mse'].map((metricForBestModel) => {
    const trainer = new AdapterTrainer({ model, trainDataset, evalDataset: sets, args: { metricForBestModel } })
    return trainer.args.greaterIsBetter
  })
  t.deepEqual([greater, lower], [true, false])
})

test('what is no set, and measures that none of them has, are refused before the first step', async (t) => {
  const model = await makeReady(t, {})
  const make = (evalDataset: unknown, args: TrainingArguments = steps) =>
    new AdapterTrainer({ model, trainDataset, evalDataset: evalDataset as typeof sets, args })
  t.throws(() => make({}), { message: /^evalDataset: it has no sets; expected rows, or several sets/ })
  for (const name of ['', 'eval', 'mean']) {
    t.throws(() => make({ [name]: trainDataset }), {
      message: /^evalDataset\['(|eval|mean)'\]: a set cannot be called so: /
    })
  }
  await t.throwsAsync(make({ same: 'rows.jsonl' }).train(), { message: /^evalDataset\.same: expected an array/ })
  await t.throwsAsync(make({ same: [] }).train(), { message: /^evalDataset\.same: it has no rows/ })
  await t.throwsAsync(make({ same: [{ inputIds: [1, 2] }] }).train(), {
    message: /evalDataset\.same\[0\] has no label/
  })
  const best = { ...steps, metricForBestModel: 'accuracy' }
  await t.throwsAsync(make(sets, best).train(), {
    message: /metricForBestModel: no evaluation has 'accuracy'\..*(same_accuracy|turned_accuracy)/
  })
  await t.throwsAsync(make(sets, { ...steps, metricForBestModel: 'eval_turnd_loss' }).train(), {
    message: /Did you mean 'turned_loss'/
  })
})

test('two sets whose measures would have one name are refused', async (t) => {
  const model = await makeReady(t, {})
  const evalDataset = { dev: trainDataset, dev_hard: trainDataset }
  const make = (computeMetrics: () => Record<string, number>) =>
    new AdapterTrainer({ model, trainDataset, evalDataset, computeMetrics, args: steps })
  await t.throwsAsync(make(() => ({ hard_loss: 1 })).evaluate(), {
    message: /the sets 'dev' and 'dev_hard' both have a measure called 'dev_hard_loss'; give one another name/
  })
  t.is((await make(() => ({ hard: 1 })).evaluate()).metrics['dev_hard_hard'], 1)
})

test('rows on disk and those of a generator are sets as well as arrays', async (t) => {
  const model = await makeReady(t, {})
  const file = join(scratch(t), 'rows.jsonl')
  writeFileSync(file, sets.same.map(({ inputIds, label }) => JSON.stringify({ inputIds, label })).join('\n'))
  const onDisk = await rowsFile(file)
  function* generated() {
    yield* sets.same
  }
  const evalDataset = { plain: sets.same, disk: onDisk, generated: generated() }
  const trainer = new AdapterTrainer({ model, trainDataset, evalDataset, args: quiet })
  const { metrics } = await trainer.evaluate()
  t.is(metrics['disk_loss'], metrics['plain_loss'])
  t.is(metrics['generated_loss'], metrics['plain_loss'])
  t.is((await trainer.evaluate()).metrics['generated_loss'], metrics['plain_loss'])
  onDisk.close()
})

async function withTasks(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  return model
}

test('a task, and the members of a sweep, take several sets, too', async (t) => {
  const model = await withTasks(t)
  const args = { ...quiet, maxSteps: 2, evalStrategy: 'steps', evalSteps: 2, learningRate: 0.05 } as const
  const best = { metricForBestModel: 'eval_turned_loss' } as const
  const tasks = {
    a: { dataset: trainDataset, evalDataset: sets, args: best },
    b: { dataset: trainDataset, evalDataset: sets.same }
  }
  const trainer = new MultiTaskTrainer({ model, tasks, args })
  const events: TasksEvent[] = []
  for await (const event of trainer.run()) events.push(event)
  const [a, b] = evaluationsOf(events)
  const own = async (head: string, rows: typeof trainDataset) => await evaluate(model, rows, { adapters: head, head })
  const expected = joined({ same: await own('a', sets.same), turned: await own('a', sets.turned) })
  t.deepEqual([a?.loss, a?.metrics, a?.rows], [expected.loss, expected.metrics, expected.rows])
  t.is(b?.metrics['accuracy'], (await own('b', sets.same)).metrics.accuracy as number)
  const measured = await trainer.evaluate()
  t.deepEqual(measured['a']?.metrics, expected.metrics)
  const end = events.find((event) => event.type === 'end')
  t.is(end?.tasks['a']?.best?.metric, 'turned_loss')

  const grid = { learningRate: [0.05, 1e-4], dataSeed: [1, 2] }
  const swept = await trainSweep(model, trainDataset, grid, {
    ...{ args: { ...args, ...best }, evalDataset: sets, head: 'a', keep: 'all' }
  })
  for (const { name, best: found, evaluation } of swept.members) {
    t.is(found?.value, evaluation?.metrics['turned_loss'])
    const alone = await evaluate(model, sets.turned, { adapters: name, head: name })
    t.true(Math.abs(alone.loss - (found?.value ?? 0)) < 1e-6, name)
  }
  await t.throwsAsync(
    trainSweep(model, trainDataset, grid, {
      args: { ...args, metricForBestModel: 'mean' },
      evalDataset: sets,
      head: 'a',
      name: 'next'
    }),
    { message: /no evaluation has 'mean'.*turned_loss/ }
  )
})
