import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  evaluate,
  fuseTasks,
  type Model,
  MultiTaskTrainer,
  type TaskOptions,
  type TasksEvent,
  type TrainingArguments
} from '../../lib/index.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'
import { distance, valuesOf } from './support.js'

/** What is learned makes these worse, sooner or later. */
const turned = (count: number, seed: number) =>
  tinyRows(count, { seed }).map((row) => ({ ...row, label: 1 - row.label }))

/** Two tasks over one adapter: the one gets better all the time, the other worse. */
const sharing = {
  good: { dataset: tinyRows(20, { seed: 1 }), evalDataset: tinyRows(12, { seed: 8 }), adapter: 'both' },
  bad: { dataset: tinyRows(16, { seed: 2 }), evalDataset: turned(12, 9), adapter: 'both' }
} as const satisfies Record<string, TaskOptions>

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  model.addAdapter('both', 'seq_bn[reduction_factor=2]')
  for (const head of ['good', 'bad']) model.addClassificationHead(head, { numLabels: 2 })
  return model
}

const evaluated: TrainingArguments = {
  ...quiet,
  maxSteps: 24,
  learningRate: 2e-2,
  evalStrategy: 'steps',
  evalSteps: 3
}

async function run(model: Model, args: TrainingArguments, tasks: Record<string, TaskOptions> = sharing) {
  const events: TasksEvent[] = []
  for await (const event of new MultiTaskTrainer({ model, tasks, args }).run()) events.push(event)
  return { events, end: events.find((event) => event.type === 'end') }
}

/** Of each step the mean over the tasks of what was measured. */
function means(events: readonly TasksEvent[], of: 'loss' | 'accuracy'): Map<number, number> {
  const all = new Map<number, number[]>()
  for (const event of events) {
    if (event.type !== 'evaluate') continue
    const value = of === 'loss' ? event.loss : (event.metrics.accuracy ?? Number.NaN)
    all.set(event.step, [...(all.get(event.step) ?? []), value])
  }
  return new Map([...all].map(([step, values]) => [step, values.reduce((a, b) => a + b, 0) / values.length]))
}

/** Which step is the first with the best mean. */
function bestOf(found: ReadonlyMap<number, number>, sign: 1 | -1): number {
  const values = [...found.values()].map((value) => sign * value)
  return [...found.keys()][values.indexOf(Math.max(...values))] as number
}

const parts = ['both', 'good', 'bad']

test('tasks that share an adapter come back from the step whose mean over them is the best', async (t) => {
  const own = { ...evaluated, loadBestModelAtEnd: true, metricForBestModel: 'eval_mean_loss' }
  const model = await ready(t)
  const { events, end } = await run(model, own)
  const found = means(events, 'loss')
  t.is(found.size, 8)
  const step = bestOf(found, -1)
  t.true(step < 24 && step > 3, `${step}`)
  t.deepEqual(end?.best, { metric: 'mean_loss', value: found.get(step) as number, step })
  // What it has now is what a run had that ended there, what they share and their heads alike.
  const other = await ready(t)
  const stop = {
    onEvaluate: (event: { step: number }, { stop }: { stop(): void }) => (event.step === step ? stop() : undefined)
  }
  await new MultiTaskTrainer({ model: other, tasks: sharing, args: evaluated, callbacks: [stop] }).train()
  for (const part of parts) t.is(distance(valuesOf(model, part), valuesOf(other, part)), 0, part)
  const now = await Promise.all([
    evaluate(model, sharing.good.evalDataset, { adapters: 'both', head: 'good' }),
    evaluate(model, sharing.bad.evalDataset, { adapters: 'both', head: 'bad' })
  ])
  const mean = (now[0].loss + now[1].loss) / 2
  t.true(Math.abs(mean - (found.get(step) ?? 0)) < 1e-5)
  // Of another measure more is better; the tasks have no best of their own.
  const { events: more, end: ofAccuracy } = await run(await ready(t), { ...own, metricForBestModel: 'mean_accuracy' })
  t.is(ofAccuracy?.best?.step, bestOf(means(more, 'accuracy'), 1))
  t.is(ofAccuracy?.tasks['good']?.best, undefined)
})

test('early stopping by the mean ends the run, and saveStrategy best saves its best steps', async (t) => {
  const outputDir = scratch(t)
  const best = { metricForBestModel: 'mean_loss', earlyStoppingPatience: 2, loadBestModelAtEnd: true } as const
  const model = await ready(t)
  const { events, end } = await run(model, { ...evaluated, ...best, outputDir, saveStrategy: 'best' })
  const found = [...means(events, 'loss')]
  t.true(end?.stoppedEarly)
  t.is(end?.step, found.at(-1)?.[0])
  t.is(end?.best?.step, found.at(-3)?.[0])
  const improving = found.filter(([, mean], i) => found.slice(0, i).every(([, before]) => mean < before))
  const saved = [...improving.map(([step]) => step), end?.step as number]
  t.deepEqual(readdirSync(outputDir).filter((name) => name.startsWith('checkpoint')).length, new Set(saved).size)
  // Resumed in the middle it ends at the same step, with the same values.
  const from = join(outputDir, `checkpoint-${improving[0]?.[0]}`)
  const resumed = await ready(t)
  const again = await run(resumed, { ...evaluated, ...best, outputDir: scratch(t), resumeFromCheckpoint: from })
  t.deepEqual([again.end?.best, again.end?.step], [end?.best, end?.step])
  for (const part of parts) t.is(distance(valuesOf(model, part), valuesOf(resumed, part)), 0, part)
  // Behind the end: nothing is left to do, unless there is more patience.
  const last = {
    ...evaluated,
    ...best,
    outputDir: scratch(t),
    resumeFromCheckpoint: join(outputDir, `checkpoint-${end?.step}`)
  }
  const behind = await ready(t)
  t.is((await run(behind, last)).end?.steps, 0)
  for (const part of parts) t.is(distance(valuesOf(model, part), valuesOf(behind, part)), 0, part)
  const patient = await run(await ready(t), { ...last, earlyStoppingPatience: 3 })
  t.true((patient.end?.steps ?? 0) > 0)
})

test('reduce_lr_on_plateau by the mean: what tasks share and their heads follow it, a schedule of a task’s own does not', async (t) => {
  const own: TrainingArguments = {
    ...evaluated,
    metricForBestModel: 'eval_mean_loss',
    lrSchedulerType: 'reduce_lr_on_plateau',
    lrSchedulerKwargs: { factor: 1e-7, patience: 0 },
    outputDir: scratch(t),
    saveStrategy: 'steps',
    saveSteps: 3
  }
  const { lrSchedulerType: _, lrSchedulerKwargs: __, ...unmoved } = own
  const constant = { lrSchedulerType: 'constant', lrSchedulerKwargs: {} } as const
  const tasks = { ...sharing, bad: { ...sharing.bad, args: constant } }
  const model = await ready(t)
  const { events, end } = await run(model, own, tasks)
  const found = [...means(events, 'loss')]
  const worse = found.findIndex(([, mean], i) => i > 0 && mean > (1 - 1e-4) * (found[i - 1]?.[1] ?? 0))
  const step = found[worse]?.[0] ?? 0
  t.true(step > 3 && step < 21, `${step}`)
  const rates = (task: string) =>
    events.flatMap((event) => (event.type === 'step' ? (event.tasks[task]?.learningRate ?? []) : []))
  const expected = Array.from({ length: 24 }, (_, i) => (i < step ? 2e-2 : 2e-9))
  for (const [i, rate] of rates('good').entries()) t.true(Math.abs((rate ?? 0) - (expected[i] ?? 0)) < 1e-12, `${i}`)
  t.deepEqual(new Set(rates('bad')), new Set([2e-2]))
  // From there on the adapter that they share and the head that follows stand still; the other goes on.
  const until = await ready(t)
  const lasting = { good: { ...sharing.good, args: constant }, bad: tasks.bad }
  await run(until, { ...unmoved, ...constant, outputDir: scratch(t), maxSteps: step }, lasting)
  for (const part of ['both', 'good']) t.true(distance(valuesOf(model, part), valuesOf(until, part)) < 1e-6, part)
  t.true(distance(valuesOf(model, 'bad'), valuesOf(until, 'bad')) > 1e-2)
  t.true(distance(valuesOf(model, 'both'), valuesOf(await ready(t), 'both')) > 1e-2)
  // Resumed on either side of it, the bits are the same.
  for (const from of [step - 3, step]) {
    const resumed = await ready(t)
    const folder = join(own.outputDir ?? '', `checkpoint-${from}`)
    await run(resumed, { ...own, outputDir: scratch(t), resumeFromCheckpoint: folder }, tasks)
    for (const part of parts) t.is(distance(valuesOf(model, part), valuesOf(resumed, part)), 0, `${part} from ${from}`)
  }
  t.is(end?.step, 24)
})

test('a task that is not measured does not count, one that has ended counts with its last value', async (t) => {
  const own = { ...evaluated, loadBestModelAtEnd: true, metricForBestModel: 'mean_loss' }
  const { evalDataset: _, ...unmeasured } = sharing.bad
  const one = await run(await ready(t), own, { good: sharing.good, bad: unmeasured })
  const found = means(one.events, 'loss')
  t.is(one.end?.best?.step, bestOf(found, -1))
  t.is(one.end?.best?.value, found.get(one.end?.best?.step ?? 0))
  const patience = { metricForBestModel: 'loss', earlyStoppingPatience: 1 }
  const { events, end } = await run(await ready(t), own, { ...sharing, bad: { ...sharing.bad, args: patience } })
  t.is(end?.tasks['bad']?.ended, 'earlyStopping')
  let [good, bad, best] = [Number.NaN, Number.NaN, Number.POSITIVE_INFINITY]
  for (const event of events) {
    if (event.type !== 'evaluate') continue
    if (event.task === 'good') good = event.loss
    else bad = event.loss
    const hasEnded = events.some((other) => other.type === 'taskEnd' && other.step < event.step)
    if (event.task === 'bad' || hasEnded) best = Math.min(best, (good + bad) / 2)
  }
  t.is(end?.best?.value, best)
})

test('a mean that some task has not, and a best of its own beside, are refused by name', async (t) => {
  const model = await ready(t)
  model.addRegressionHead('length', {})
  const best = { loadBestModelAtEnd: true, metricForBestModel: 'mean_accuracy' }
  const length = {
    dataset: [{ inputIds: [3], label: 0.5 }],
    evalDataset: [{ inputIds: [3], label: 0.5 }],
    adapter: 'both'
  }
  await t.throwsAsync(run(model, { ...evaluated, ...best }, { ...sharing, length }), {
    message: /^args\.metricForBestModel: it is a mean over the tasks, and of 'length' no evaluation has 'accuracy'/
  })
  const own = { ...sharing, good: { ...sharing.good, args: { loadBestModelAtEnd: true } } }
  t.throws(() => new MultiTaskTrainer({ model, tasks: own, args: { ...evaluated, ...best } }), {
    message: /^tasks\.good\.args\.loadBestModelAtEnd: metricForBestModel is a mean over all tasks/
  })
  await t.throwsAsync(run(model, { ...evaluated, loadBestModelAtEnd: true }), {
    message: /the best step of one is not that of another; .*metricForBestModel: 'mean_loss'/
  })
})

test('of two stages the first has the mean of all tasks, the second the target’s own measure', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  const { good, bad } = sharing
  const tasks = { a: { ...good, adapter: 'a' }, b: { ...bad, adapter: 'b' } }
  const best = { loadBestModelAtEnd: true, metricForBestModel: 'eval_mean_accuracy' }
  const args = { ...evaluated, ...best, maxSteps: 6, outputDir: scratch(t) }
  const result = await fuseTasks({ model, tasks, target: 'a', args })
  t.is(result.tasks.best?.metric, 'mean_accuracy')
  t.is(result.target.best?.metric, 'accuracy')
})

test('a task that waits for its turn is not ended by evaluations of what it was, and its learning rate stays', async (t) => {
  const own = async (more: TrainingArguments) => {
    const model = await load(t)
    for (const name of ['first', 'second']) {
      model.addAdapter(name)
      model.addClassificationHead(name, { numLabels: 2 })
    }
    const tasks = {
      first: { dataset: tinyRows(40, { seed: 1 }), evalDataset: tinyRows(8, { seed: 3 }) },
      second: { dataset: tinyRows(12, { seed: 2 }), evalDataset: tinyRows(8, { seed: 4 }) }
    }
    const args = {
      ...quiet,
      numTrainEpochs: 1,
      evalStrategy: 'steps',
      evalSteps: 1,
      learningRate: 1e-3,
      ...more
    } as const
    const trainer = new MultiTaskTrainer({ model, tasks, mode: 'alternate', sampler: 'sequential', args })
    const events: TasksEvent[] = []
    for await (const event of trainer.run()) events.push(event)
    return events
  }
  const patient = await own({ earlyStoppingPatience: 2, metricForBestModel: 'loss' })
  const end = patient.find((event) => event.type === 'end')
  t.true((end?.tasks['second']?.steps ?? 0) > 0)
  const turns = patient.filter((event) => event.type === 'evaluate' && event.task === 'second')
  t.true(turns.length > 5)
  const logged = { loggingStrategy: 'steps', loggingSteps: 1 } as const
  const plateau = await own({ lrSchedulerType: 'reduce_lr_on_plateau', lrSchedulerKwargs: { patience: 0 }, ...logged })
  const rates = plateau.flatMap((event) =>
    event.type === 'log' && event.task === 'second' ? [event.learningRate] : []
  )
  t.is(rates[0], 1e-3)
})
