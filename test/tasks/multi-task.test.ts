import { join } from 'node:path'
import test from 'ava'
import { MultiTaskTrainer, Stack, type TaskOptions, type TasksEvent, type TrainingArguments } from '../../lib/index.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'
import { args, distance, names, tasks, trainedAlone, valuesOf, withTasks } from './support.js'

for (const mode of ['fused', 'alternate'] as const) {
  test(`${mode}: each task learns exactly what it would learn alone`, async (t) => {
    const model = await withTasks(t)
    const trainer = new MultiTaskTrainer({ model, tasks, args, mode })
    const losses: Record<string, number[]> = { topic: [], tags: [], length: [] }
    for await (const event of trainer.run()) {
      if (event.type !== 'step') continue
      if (mode === 'alternate') t.is(Object.keys(event.tasks).length, 1)
      for (const [name, { loss }] of Object.entries(event.tasks)) losses[name]?.push(loss)
    }
    for (const name of names) {
      const alone = await trainedAlone(t, name)
      t.is(losses[name]?.length, alone.losses.length)
      alone.losses.forEach((loss, i) => {
        t.true(Math.abs(loss - (losses[name]?.[i] ?? Number.NaN)) < 1e-5 * Math.max(1, loss), `${name}, step ${i}`)
      })
      const apart = distance(valuesOf(alone.model, name), valuesOf(model, name))
      t.true(apart < 1e-4, `${name}: ${apart}`)
    }
  })
}

test('accumulated micro-batches of several tasks are those of each alone', async (t) => {
  const accumulating = { ...args, gradientAccumulationSteps: 2 }
  const model = await withTasks(t)
  await new MultiTaskTrainer({ model, tasks, args: accumulating }).train()
  for (const name of names) {
    const alone = await trainedAlone(t, name, accumulating)
    t.true(distance(valuesOf(alone.model, name), valuesOf(model, name)) < 1e-4, name)
  }
})

test('an adapter that tasks share gets the weighted sum of their gradients, each task its own head', async (t) => {
  const rows = { x: tinyRows(4, { seed: 1 }), y: tinyRows(4, { seed: 2 }) }
  const shared = async () => {
    const model = await load(t)
    model.addAdapter('s')
    for (const name of ['x', 'y']) model.addClassificationHead(name, { numLabels: 2 })
    return model
  }
  const reference = await shared()
  const gradients = []
  for (const name of ['x', 'y'] as const) {
    reference.trainAdapter('s')
    reference.activeHead = name
    const ids = rows[name].map(({ inputIds }) => inputIds)
    gradients.push(await reference.gradients({ inputIds: ids, labels: rows[name].map(({ label }) => label) }))
  }
  const model = await shared()
  const before = new Map(model.namedParameters().map(({ name }) => [name, model.parameter(name).data.slice()]))
  await new MultiTaskTrainer({
    model,
    tasks: {
      x: { dataset: rows.x, adapter: 's', weight: 2 },
      y: { dataset: rows.y, adapter: 's', weight: 0.5 }
    },
    args: { ...quiet, maxSteps: 1, optim: 'sgd', learningRate: 1, maxGradNorm: 0, lrSchedulerType: 'constant' }
  }).train()
  let checked = 0
  for (const { name, part } of model.namedParameters()) {
    if (part !== 'adapter') continue
    const now = model.parameter(name).data
    const [x, y] = gradients.map((one) => one.gradients.get(name)?.data ?? new Float32Array())
    now.forEach((value, i) => {
      const expected = (before.get(name)?.[i] ?? 0) - 2 * (x?.[i] ?? 0) - 0.5 * (y?.[i] ?? 0)
      t.true(Math.abs(value - expected) < 1e-5)
    })
    checked++
  }
  t.true(checked > 0)
})

test('a language adapter below stays as it is while the task adapter above learns', async (t) => {
  const model = await withTasks(t)
  model.addAdapter('de')
  const [before, task] = [valuesOf(model, 'de'), valuesOf(model, 'topic')]
  const setup = Stack('de', 'topic')
  await new MultiTaskTrainer({
    model,
    tasks: { topic: { ...tasks.topic, adapter: setup, train: ['topic'] }, tags: tasks.tags },
    args
  }).train()
  t.is(distance(before, valuesOf(model, 'de')), 0)
  t.true(distance(task, valuesOf(model, 'topic')) > 1e-3)
})

test('a task whose loss is not finite ends by name, and the others learn what they would have learned', async (t) => {
  const broken = {
    ...tasks,
    tags: { ...tasks.tags, args: { learningRate: 1e30, optim: 'sgd', maxGradNorm: 0 } }
  } as const
  const model = await withTasks(t)
  const ends: TasksEvent[] = []
  for await (const event of new MultiTaskTrainer({ model, tasks: broken, args, onNotFinite: 'stopTask' }).run()) {
    if (event.type === 'taskEnd') ends.push(event)
    if (event.type === 'end') t.is(event.tasks['tags']?.ended, 'notFinite')
  }
  t.deepEqual(
    ends.map((event) => event.type === 'taskEnd' && [event.task, event.reason]),
    [['tags', 'notFinite']]
  )
  for (const name of ['topic', 'length'] as const) {
    const alone = await trainedAlone(t, name)
    t.true(distance(valuesOf(alone.model, name), valuesOf(model, name)) < 1e-4, name)
  }
  const other = await withTasks(t)
  await t.throwsAsync(new MultiTaskTrainer({ model: other, tasks: broken, args }).train(), {
    code: 'ERR_NAN_LOSS',
    message: /of 'tags'/
  })
})

test('a task without rows ends before its first step, by name, and the others learn what they would have learned', async (t) => {
  async function* none(): AsyncGenerator<never> {}
  for (const [dataset, mode] of [
    [[], 'fused'],
    [none(), 'alternate'],
    [{ length: 0, at: () => tinyRows(1)[0] as never }, 'fused']
  ] as const) {
    const withEmpty = { topic: tasks.topic, tags: { ...tasks.tags, dataset }, length: tasks.length }
    const model = await withTasks(t)
    const before = valuesOf(model, 'tags')
    const reportTo = ['jsonl'] as const
    const own = { ...args, saveStrategy: 'epoch', outputDir: scratch(t), reportTo } as const
    const trainer = new MultiTaskTrainer({ model, tasks: withEmpty, args: own, mode, onNotFinite: 'stopTask' })
    const events: TasksEvent[] = []
    for await (const event of trainer.run()) events.push(event)
    t.deepEqual(events[0], { type: 'taskEnd', task: 'tags', step: 0, reason: 'noRows' })
    const end = events.at(-1)
    t.true(end?.type === 'end' && end.tasks['tags']?.ended === 'noRows' && end.tasks['tags'].steps === 0)
    t.is(distance(before, valuesOf(model, 'tags')), 0)
    for (const name of ['topic', 'length'] as const) {
      const alone = await trainedAlone(t, name)
      t.true(distance(valuesOf(alone.model, name), valuesOf(model, name)) < 1e-4, name)
    }
    // A resumed run knows it, too.
    const resumed = await withTasks(t)
    const again = { ...own, resumeFromCheckpoint: join(own.outputDir, `checkpoint-${mode === 'fused' ? 6 : 11}`) }
    const options = { model: resumed, tasks: withEmpty, args: again, mode, onNotFinite: 'stopTask' } as const
    t.is((await new MultiTaskTrainer(options).train()).tasks['tags']?.ended, 'noRows')
    for (const name of ['topic', 'length'] as const) {
      t.is(distance(valuesOf(model, name), valuesOf(resumed, name)), 0)
    }
  }
  const model = await withTasks(t)
  const empty = { topic: tasks.topic, tags: { ...tasks.tags, dataset: [] } }
  await t.throwsAsync(new MultiTaskTrainer({ model, tasks: empty, args }).train(), {
    instanceOf: TypeError,
    message: "tasks.tags.dataset: it has no rows; leave the task out, or go on without it by onNotFinite: 'stopTask'"
  })
  const nothing = { tags: { ...tasks.tags, dataset: [] } }
  await t.throwsAsync(new MultiTaskTrainer({ model, tasks: nothing, args, onNotFinite: 'stopTask' }).train(), {
    message: 'tasks: none of them has rows'
  })
  const few = {
    topic: tasks.topic,
    tags: { ...tasks.tags, args: { dataloaderDropLast: true, perDeviceTrainBatchSize: 99 } }
  }
  await t.throwsAsync(new MultiTaskTrainer({ model, tasks: few, args }).train(), {
    message: /^tasks\.tags\.dataset: there is no full batch/
  })
})

test('early stopping and the best parameters are each task’s own', async (t) => {
  const model = await withTasks(t)
  const evaluated = { ...args, evalStrategy: 'epoch', numTrainEpochs: 6, learningRate: 1e-2 } as const
  const own = { metricForBestModel: 'loss', loadBestModelAtEnd: true } as const
  const both = {
    topic: { ...tasks.topic, evalDataset: tinyRows(12, { seed: 9 }), args: { ...tasks.topic.args, ...own } },
    length: {
      ...tasks.length,
      evalDataset: tasks.length.dataset.map((row) => ({ ...row, label: -5 })),
      args: { ...tasks.length.args, ...own, learningRate: 5e-2, earlyStoppingPatience: 2 }
    }
  }
  const trainer = new MultiTaskTrainer({ model, tasks: both, args: evaluated })
  const result = await trainer.train()
  t.is(result.tasks['length']?.ended, 'earlyStopping')
  t.is(result.tasks['topic']?.ended, undefined)
  const now = await trainer.evaluate()
  for (const name of ['topic', 'length']) {
    t.true(Math.abs((now[name]?.loss ?? 0) - (result.tasks[name]?.best?.value ?? 1)) < 1e-5, name)
  }
})

test('a task’s own size of batches takes the place of that of all, whichever way it is said', async (t) => {
  const model = await withTasks(t)
  const { perDeviceTrainBatchSize: _, ...rest } = args
  const argsOf = (own: object, all: object) =>
    new MultiTaskTrainer({ model, tasks: { topic: { ...tasks.topic, args: own } }, args: { ...rest, ...all } })
  const losses = async (trainer: MultiTaskTrainer) => (await trainer.train()).tasks['topic']?.steps
  const rows = await losses(argsOf({ perDeviceTrainBatchSize: 1 }, { maxTokensPerBatch: 10_000 }))
  const tokens = await losses(argsOf({ maxTokensPerBatch: 10_000 }, { perDeviceTrainBatchSize: 1 }))
  const epochs = args.numTrainEpochs ?? 3
  t.is(rows, tasks.topic.dataset.length * epochs)
  t.is(tokens, epochs)
  t.throws(() => argsOf({ maxTokensPerBatch: 64, perDeviceTrainBatchSize: 4 }, {}), {
    message: /^tasks\.topic\.args\.maxTokensPerBatch: .*leave out perDeviceTrainBatchSize/
  })
})

test('arguments of all are read beside a task’s own, not beside the defaults', async (t) => {
  const own = { topic: { optim: 'sgd' }, tags: { optim: 'sgd', lrSchedulerType: 'cosine' } } as const
  const all = { ...args, optimArgs: { momentum: 0.9 } }
  const given = { topic: { ...tasks.topic, args: own.topic }, tags: { ...tasks.tags, args: own.tags } }
  const model = await withTasks(t)
  await new MultiTaskTrainer({ model, tasks: given, args: all }).train()
  for (const name of ['topic', 'tags'] as const) {
    const alone = await trainedAlone(t, name, all, given[name])
    const apart = distance(valuesOf(alone.model, name), valuesOf(model, name))
    t.true(apart < 1e-4, `${name}: ${apart}`)
  }
  // What is wrong by itself is said of all, and what a task makes wrong of the task.
  const made = (optim: 'sgd' | 'lion' | undefined) =>
    new MultiTaskTrainer({ model, tasks: { topic: { ...tasks.topic, args: { optim } } }, args: all })
  t.throws(() => made(undefined), { message: /^args\.optimArgs: 'adamw' does not take 'momentum'/ })
  t.throws(() => made('lion'), { message: /^tasks\.topic\.args\.optimArgs: 'lion' does not take 'momentum'/ })
})

test('what several tasks share has no best step', async (t) => {
  const model = await withTasks(t)
  const own = { evalDataset: tinyRows(12, { seed: 9 }), args: { metricForBestModel: 'loss', loadBestModelAtEnd: true } }
  model.addClassificationHead('other', { numLabels: 2 })
  const sharing = {
    topic: { ...tasks.topic, ...own },
    other: { dataset: tasks.topic.dataset, adapter: 'topic', head: 'other' }
  }
  const evaluated = { ...args, evalStrategy: 'epoch' } as const
  const before = [...valuesOf(model, 'topic')]
  await t.throwsAsync(new MultiTaskTrainer({ model, tasks: sharing, args: evaluated }).train(), {
    message: /^tasks\.topic: loadBestModelAtEnd: the tasks topic and other share what trains, .*an adapter of its own/
  })
  t.deepEqual([...valuesOf(model, 'topic')], before)
})

test('what cannot be trained is said by name before the first step', async (t) => {
  const model = await withTasks(t)
  const make = (given: object) => () => new MultiTaskTrainer({ model, tasks, args, ...given })
  t.throws(make({ tasks: {} }), { message: /at least one task/ })
  t.throws(make({ tasks: { nothing: { dataset: tasks.topic.dataset } } }), {
    message: /tasks\.nothing\.adapter: no 'nothing' here/
  })
  t.throws(make({ tasks: { x: { dataset: tasks.topic.dataset, adapter: null } } }), {
    message: /tasks\.x: no head is called 'x'/
  })
  t.throws(make({ sampler: 'sequential' }), { message: /needs mode 'alternate'/ })
  t.throws(make({ sampler: { temperature: 0 } }), { message: /sampler.temperature/ })
  t.throws(make({ tasks: { topic: { ...tasks.topic, args: { numTrainEpochs: 3 } } } }), {
    message: /tasks\.topic\.args\.numTrainEpochs: it is one for all/
  })
  t.throws(make({ tasks: { topic: { ...tasks.topic, args: { learningRat: 3 } } } }), { message: /learningRate/ })
  t.throws(make({ tasks: { topic: { trainDataset: [] } as never } }), {
    message: /'trainDataset' is called 'dataset' here/
  })
  await t.throwsAsync(new MultiTaskTrainer({ model, tasks: { ...tasks, topic: { dataset: [] } }, args }).train(), {
    message: /tasks\.topic\.dataset/
  })
  const twice = { x: { ...tasks.topic, adapter: 'topic', head: 'topic' }, topic: tasks.topic }
  await t.throwsAsync(new MultiTaskTrainer({ model, tasks: twice, args }).train(), {
    message: /'x' has nothing of its own that trains/
  })
})

test('measures that no evaluation will have are refused before the first step', async (t) => {
  const model = await withTasks(t)
  const { topic } = tasks
  const refuse = async (own: TaskOptions['args'], all: TrainingArguments, message: RegExp) => {
    const withEvaluation = { ...topic, evalDataset: topic.dataset, args: { ...topic.args, ...own } }
    const given = { model, tasks: { topic: withEvaluation }, args: { ...args, evalStrategy: 'epoch', ...all } as const }
    await t.throwsAsync(async () => await new MultiTaskTrainer(given).train(), { message })
  }
  await refuse({ metricForBestModel: 'acuracy' }, {}, /no evaluation has 'acuracy'\. Did you mean 'accuracy'\?/)
})
