import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import {
  AdapterTrainer,
  type Model,
  MultiTaskTrainer,
  type SweepOptions,
  type TasksEvent,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { BestModel } from '../../lib/training/best.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'
import { args, distance, lengthRows, names, tasks, trainedAlone, valuesOf, withTasks } from './support.js'

/** Each with a schedule that its own evaluations move, and rows that it gets worse at sooner or later. */
const watched = {
  topic: {
    dataset: tasks.topic.dataset,
    evalDataset: tinyRows(12, { seed: 9 }).map((row) => ({ ...row, label: 1 - row.label })),
    args: { learningRate: 1e-2, lrSchedulerType: 'reduce_lr_on_plateau', lrSchedulerKwargs: { patience: 0 } }
  },
  tags: { ...tasks.tags, evalDataset: tasks.tags.dataset },
  length: {
    dataset: tasks.length.dataset,
    evalDataset: lengthRows(8, 5).map((row) => ({ ...row, label: 2 - row.label })),
    args: {
      learningRate: 5e-3,
      lrSchedulerType: 'reduce_lr_on_plateau',
      lrSchedulerKwargs: { factor: 0.5, patience: 1, cooldown: 1 }
    }
  }
} as const
const evaluated = { ...args, numTrainEpochs: 8, evalStrategy: 'epoch' } as const

async function run(model: Model, given: TrainingArguments): Promise<TasksEvent[]> {
  const events: TasksEvent[] = []
  for await (const event of new MultiTaskTrainer({ model, tasks: watched, args: given }).run()) events.push(event)
  return events
}

/** The learning rate of each of its own steps. */
const ratesOf = (events: readonly TasksEvent[], task: string): number[] =>
  events.flatMap((event) => (event.type === 'step' ? [event.tasks[task]?.learningRate ?? []].flat() : []))

test('reduce_lr_on_plateau: each task follows its own evaluations as it would alone', async (t) => {
  const model = await withTasks(t)
  const events = await run(model, evaluated)
  for (const name of names) {
    const alone = await trainedAlone(t, name, evaluated, watched[name])
    t.deepEqual(ratesOf(events, name), alone.rates, name)
    const apart = distance(valuesOf(alone.model, name), valuesOf(model, name))
    t.true(apart < 1e-4, `${name}: ${apart}`)
  }
  const different = (name: string) => new Set(ratesOf(events, name)).size
  t.true(different('topic') > 2 && different('length') > 2)
  t.notDeepEqual(
    ratesOf(events, 'topic').map((rate) => rate / 1e-2),
    ratesOf(events, 'length').map((rate) => rate / 5e-3)
  )
})

test('reduce_lr_on_plateau: tasks resume at any checkpoint with the same bits', async (t) => {
  const outputDir = scratch(t)
  const straight = await withTasks(t)
  const events = await run(straight, { ...evaluated, outputDir, saveStrategy: 'steps', saveSteps: 7 })
  const saved = events.flatMap((event) => (event.type === 'save' ? [event] : []))
  t.true(saved.length > 3)
  for (const { step, folder } of saved) {
    const model = await withTasks(t)
    const rest = await run(model, { ...evaluated, outputDir: scratch(t), resumeFromCheckpoint: folder })
    const after = events.filter((event) => event.type === 'step' && event.step > step)
    t.deepEqual(
      rest.filter(({ type }) => type === 'step'),
      after,
      `from step ${step}`
    )
    for (const name of names) t.is(distance(valuesOf(straight, name), valuesOf(model, name)), 0, `${name} at ${step}`)
  }
})

/** The steps after which some of these evaluations is the best of its task so far. */
function bestSteps(events: readonly TasksEvent[]): number[] {
  const best = new Map<string, BestModel>()
  const steps = new Set<number>()
  for (const event of events) {
    if (event.type !== 'evaluate') continue
    const own =
      best.get(event.task) ??
      new BestModel(trainingArguments({ saveStrategy: 'best', evalStrategy: 'epoch' }), undefined)
    best.set(event.task, own)
    if (own.take(event.step, event)) steps.add(event.step)
  }
  return [...steps]
}

test("saveStrategy 'best' writes a checkpoint where some task has its best, from which tasks resume", async (t) => {
  const outputDir = scratch(t)
  const own = { ...evaluated, outputDir, saveStrategy: 'best' } as const
  const straight = await withTasks(t)
  const events = await run(straight, own)
  const expected = bestSteps(events)
  t.true(expected.length > 1 && expected.length <= 8)
  t.deepEqual(readdirSync(outputDir).sort(), expected.map((step) => `checkpoint-${step}`).sort())
  const model = await withTasks(t)
  const from = join(outputDir, `checkpoint-${expected[1]}`)
  const rest = await run(model, { ...own, outputDir: scratch(t), resumeFromCheckpoint: from })
  const ended = rest.find((event) => event.type === 'end')
  t.deepEqual(
    rest.flatMap((event) => (event.type === 'save' ? [event.step] : [])),
    expected.slice(2)
  )
  const whole = events.find((event) => event.type === 'end')
  for (const name of names) {
    t.deepEqual(ended?.tasks[name]?.best, whole?.tasks[name]?.best)
    t.is(distance(valuesOf(straight, name), valuesOf(model, name)), 0, name)
  }
})

const rows = tinyRows(18, { seed: 4 })
const wrong = tinyRows(12, { seed: 6 }).map((row) => ({ ...row, label: 1 - row.label }))

async function sweep(t: ExecutionContext, given: TrainingArguments, options: SweepOptions = {}) {
  const model = await load(t)
  model.addClassificationHead('h', { numLabels: 2 })
  const events: TasksEvent[] = []
  const onEvent = (event: TasksEvent): void => {
    events.push(event)
  }
  const grid = { learningRate: [2e-2, 5e-3], seed: [1, 2] }
  const own = { keep: 'all', evalDataset: wrong, onEvent, ...options } as const
  const result = await trainSweep(model, rows, grid, { ...own, args: given })
  return { model, events, result }
}

test('a sweep: schedules and best checkpoints are those of each member alone', async (t) => {
  const outputDir = scratch(t)
  const given = {
    ...{ ...quiet, numTrainEpochs: 6, seed: 3, evalStrategy: 'epoch', saveStrategy: 'best' },
    ...{ lrSchedulerType: 'reduce_lr_on_plateau', lrSchedulerKwargs: { factor: 0.3, patience: 0 } }
  } as const satisfies TrainingArguments
  const { model, events, result } = await sweep(t, { ...given, outputDir })
  const best = new Set<number>()
  for (const { name, values, best: own } of result.members) {
    const { learningRate, seed } = values as { learningRate: number; seed: number }
    const alone = await load(t)
    alone.addAdapter(name, 'seq_bn', { seed })
    alone.addClassificationHead(name, { numLabels: 2, seed })
    alone.trainAdapter(name)
    const trainer = new AdapterTrainer({
      ...{ model: alone, trainDataset: rows, evalDataset: wrong },
      args: { ...given, learningRate, dataSeed: 3, outputDir: scratch(t) }
    })
    const rates: number[] = []
    for await (const event of trainer.run()) {
      if (event.type === 'step') rates.push(event.learningRate)
      if (event.type === 'save') best.add(event.step)
      if (event.type === 'end') t.is(event.best?.step, own?.step, name)
    }
    t.deepEqual(ratesOf(events, name), rates, name)
    t.true(new Set(rates).size > 1)
    t.true(distance(valuesOf(alone, name), valuesOf(model, name)) < 1e-4, name)
  }
  t.deepEqual(
    events.flatMap((event) => (event.type === 'save' ? [event.step] : [])),
    [...best].sort((a, b) => a - b)
  )
  const folder = join(outputDir, `checkpoint-${Math.min(...best)}`)
  const resumed = await sweep(t, { ...given, outputDir: scratch(t), resumeFromCheckpoint: folder })
  for (const { name } of result.members) {
    t.is(distance(valuesOf(model, name), valuesOf(resumed.model, name)), 0, name)
  }
})

test('a schedule that evaluations move needs evaluations of the task’s own', async (t) => {
  const model = await withTasks(t)
  const train = async (given: object, all: object = {}) =>
    await new MultiTaskTrainer({
      model,
      ...{ tasks: { ...watched, ...given }, args: { ...evaluated, ...all } }
    }).train()
  const { evalDataset: _, ...unwatched } = watched.topic
  await t.throwsAsync(train({ topic: unwatched }), {
    message: "topic: lrSchedulerType: 'reduce_lr_on_plateau' needs an evalDataset"
  })
  model.addClassificationHead('other', { numLabels: 2 })
  const other = { ...watched.topic, adapter: 'topic', head: 'other' }
  await t.throwsAsync(train({ other }, { lrSchedulerType: 'reduce_lr_on_plateau' }), {
    message: /args\.lrSchedulerType: .* what topic and other share is of several: .* metricForBestModel: 'mean_loss'/
  })
  await t.notThrowsAsync(train({ other }, { numTrainEpochs: 1 }))
})
