import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  AdapterError,
  MultiTaskTrainer,
  type SweepResult,
  type TasksEvent,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import type { TaskSampling } from '../../lib/tasks/task-sampling.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'
import { damagedBytes, filesIn } from '../training/checkpoint-files.js'
import { args, distance, names, tasks, valuesOf, withTasks } from './support.js'

/** What a step and a line of the log tell. */
function losses(event: TasksEvent): unknown[] {
  if (event.type === 'step') return [[event.step, event.loss]]
  if (event.type === 'log') return [[event.task, event.step, event.loss, event.learningRate, event.gradNorm]]
  return []
}

for (const sampler of ['exhaustive', 'round_robin', { temperature: 2 }] as const satisfies TaskSampling[]) {
  for (const mode of ['fused', 'alternate'] as const) {
    test(`${mode}, ${JSON.stringify(sampler)}: resuming at any checkpoint ends with the same bits`, async (t) => {
      const outputDir = scratch(t)
      const own: TrainingArguments = {
        ...{ ...args, outputDir, saveStrategy: 'steps', saveSteps: 2, gradientAccumulationSteps: 2 },
        loggingStrategy: 'steps',
        loggingSteps: 3
      }
      const straight = await withTasks(t)
      const events = []
      for await (const event of new MultiTaskTrainer({ model: straight, tasks, args: own, mode, sampler }).run()) {
        events.push(event)
      }
      const saved = events.flatMap((event) => (event.type === 'save' ? [event] : []))
      t.true(saved.length > 1)
      for (const { step, folder } of saved) {
        const model = await withTasks(t)
        const resumed = { ...own, saveStrategy: 'no', resumeFromCheckpoint: folder } as const
        const told = []
        for await (const event of new MultiTaskTrainer({ model, tasks, args: resumed, mode, sampler }).run()) {
          told.push(...losses(event))
        }
        const rest = events.flatMap((event) => (event.step > step ? losses(event) : []))
        t.deepEqual(told, rest)
        for (const name of names)
          t.is(distance(valuesOf(straight, name), valuesOf(model, name)), 0, `${name} at ${step}`)
      }
    })
  }
}

test('a resumed run keeps who has ended and whose parameters were best', async (t) => {
  const outputDir = scratch(t)
  const best = { metricForBestModel: 'loss', loadBestModelAtEnd: true } as const
  const watched = {
    topic: { ...tasks.topic, evalDataset: tinyRows(12, { seed: 9 }), args: { ...tasks.topic.args, ...best } },
    length: {
      ...tasks.length,
      evalDataset: tasks.length.dataset.map((row) => ({ ...row, label: -5 })),
      args: { ...best, learningRate: 5e-2, earlyStoppingPatience: 1 }
    }
  }
  const own = { ...args, outputDir, numTrainEpochs: 5, evalStrategy: 'epoch', saveStrategy: 'epoch' } as const
  const straight = await withTasks(t)
  const expected = await new MultiTaskTrainer({ model: straight, tasks: watched, args: own }).train()
  const model = await withTasks(t)
  const from = join(outputDir, 'checkpoint-18')
  const resumed = { ...own, saveStrategy: 'no', resumeFromCheckpoint: from } as const
  const result = await new MultiTaskTrainer({ model, tasks: watched, args: resumed }).train()
  t.is(result.tasks['length']?.ended, 'earlyStopping')
  for (const name of ['topic', 'length']) {
    t.deepEqual(result.tasks[name]?.best, expected.tasks[name]?.best)
    t.is(distance(valuesOf(straight, name), valuesOf(model, name)), 0)
  }
})

test('resumed behind its last evaluation, a run still tells it, numbers that are not finite among it', async (t) => {
  const outputDir = scratch(t)
  const evalDataset = tinyRows(12, { seed: 9 })
  const watched = { topic: { ...tasks.topic, evalDataset, computeMetrics: () => ({ own: Number.NaN }) } }
  const own = { ...args, outputDir, maxSteps: 6, evalStrategy: 'steps', evalSteps: 4, saveStrategy: 'steps' } as const
  const saving = { ...own, saveSteps: 5 }
  const expected = await new MultiTaskTrainer({ model: await withTasks(t), tasks: watched, args: saving }).train()
  const from = { ...own, saveStrategy: 'no', resumeFromCheckpoint: join(outputDir, 'checkpoint-5') } as const
  const result = await new MultiTaskTrainer({ model: await withTasks(t), tasks: watched, args: from }).train()
  t.is(result.steps, 1)
  t.is(expected.tasks['topic']?.evaluation?.metrics['own'], Number.NaN)
  t.deepEqual(result.tasks, expected.tasks)
})

test('a run of other tasks, another mode or other rows is refused by name', async (t) => {
  const outputDir = scratch(t)
  const own = { ...args, outputDir, saveStrategy: 'steps', saveSteps: 2, maxSteps: 2 } as const
  await new MultiTaskTrainer({ model: await withTasks(t), tasks, args: own }).train()
  const resumed = { ...own, resumeFromCheckpoint: true }
  const others = {
    mode: { mode: 'alternate' },
    'tasks.topic.weight': { tasks: { ...tasks, topic: { ...tasks.topic, weight: 3 } } },
    'tasks.topic.learningRate': { tasks: { ...tasks, topic: { ...tasks.topic, args: { learningRate: 1 } } } },
    'tasks.tags.data': { tasks: { ...tasks, tags: { ...tasks.tags, dataset: tasks.tags.dataset.toReversed() } } }
  } as const
  for (const [name, change] of Object.entries(others)) {
    const model = await withTasks(t)
    await t.throwsAsync(new MultiTaskTrainer({ model, tasks, args: resumed, ...change }).train(), {
      code: 'ERR_RESUME',
      message: new RegExp(`expected.*${name.replaceAll('.', '\\.')}`)
    })
  }
  const { topic, tags, length } = tasks
  const refused = async (change: object, message: RegExp) => {
    const model = await withTasks(t)
    const error = await t.throwsAsync(new MultiTaskTrainer({ model, tasks, args: resumed, ...change }).train())
    t.regex(error?.message ?? '', message)
    t.true((error?.message.length ?? 0) < 400, error?.message)
  }
  // What is of all is said once, and what is long is not spelt out.
  await refused(
    { args: { ...resumed, seed: 6, adamBeta1: 0.5 } },
    /\(expected adamBeta1 0\.9, seed 5, got adamBeta1 0\.5, seed 6\)/
  )
  await refused(
    { tasks: { topic, tags } },
    /\(expected adapterConfigs\.length \{…\}, tasks\.length \{…\}, got adapterConfigs\.length none, tasks\.length none\)/
  )
  await refused(
    { tasks: { tags, topic, length } },
    /expected tasks\.tags\.feed 1, tasks\.topic\.feed 0, got tasks\.tags\.feed 0, tasks\.topic\.feed 1/
  )
})

test('a checkpoint of tasks or of a sweep of which any file is damaged: a named error, and the one before goes on', async (t) => {
  const rows = tinyRows(18, { seed: 4 })
  const runs = {
    tasks: async (args: TrainingArguments) => {
      const model = await withTasks(t)
      const before = new Map([...valuesOf(model, 'topic'), ...valuesOf(model, 'length')])
      try {
        await new MultiTaskTrainer({ model, tasks, args }).train()
      } catch (error) {
        const after = new Map([...valuesOf(model, 'topic'), ...valuesOf(model, 'length')])
        t.is(distance(before, after), 0, 'the model is as it was')
        throw error
      }
    },
    sweep: async (args: TrainingArguments) => {
      const model = await load(t)
      model.addClassificationHead('h', { numLabels: 2 })
      await trainSweep(model, rows, { learningRate: [1e-2, 1e-3] }, { args })
    }
  }
  for (const [name, run] of Object.entries(runs)) {
    const outputDir = scratch(t)
    const own = { ...args, outputDir, maxSteps: 4 } as const
    await run({ ...own, saveStrategy: 'steps', saveSteps: 2 })
    const checkpoint = join(outputDir, 'checkpoint-4')
    const files = filesIn(checkpoint)
    t.is(files.length, name === 'tasks' ? 14 : 12, String(files))
    for (const file of files) {
      const path = join(checkpoint, file)
      const whole = readFileSync(path)
      for (const bytes of damagedBytes(whole)) {
        writeFileSync(path, bytes)
        const error = await t.throwsAsync(run({ ...own, saveStrategy: 'no', resumeFromCheckpoint: true }), {
          instanceOf: AdapterError,
          code: 'ERR_FILE_FORMAT'
        })
        const told = error?.message ?? ''
        t.true(told.includes(`checkpoint-4 cannot be read: ${file} is damaged`), told)
        t.regex(told, /--resume-from \S+checkpoint-2$/, `${name} ${bytes.length}`)
      }
      writeFileSync(path, whole)
    }
    await t.notThrowsAsync(
      run({ ...own, saveStrategy: 'no', resumeFromCheckpoint: join(outputDir, 'checkpoint-2') }),
      name
    )
  }
})

test('a sweep resumes with the same bits', async (t) => {
  const outputDir = scratch(t)
  const rows = tinyRows(18, { seed: 4 })
  const own = { ...quiet, outputDir, maxSteps: 8, saveStrategy: 'steps', saveSteps: 3 } as const
  const sweep = async (given: object): Promise<SweepResult & { values: Map<string, Float32Array> }> => {
    const model = await load(t)
    model.addClassificationHead('h', { numLabels: 2 })
    const result = await trainSweep(
      model,
      rows,
      { learningRate: [1e-2, 1e-3] },
      { args: { ...own, ...given }, keep: 'all' }
    )
    return { ...result, values: new Map([...valuesOf(model, 'sweep-1'), ...valuesOf(model, 'sweep-2')]) }
  }
  const straight = await sweep({})
  const resumed = await sweep({ saveStrategy: 'no', resumeFromCheckpoint: join(outputDir, 'checkpoint-3') })
  t.is(distance(straight.values, resumed.values), 0)
  t.is(resumed.best, straight.best)
})

test('a sweep of other seeds is another one', async (t) => {
  const outputDir = scratch(t)
  const sweep = async (seed: number[], own: TrainingArguments) => {
    const model = await load(t)
    model.addClassificationHead('h', { numLabels: 2 })
    const given = { ...args, outputDir, maxSteps: 4, ...own } as const
    return await trainSweep(model, tinyRows(12, { seed: 4 }), { seed }, { args: given })
  }
  await sweep([1, 2], { saveStrategy: 'steps', saveSteps: 2 })
  const from = { saveStrategy: 'no', resumeFromCheckpoint: join(outputDir, 'checkpoint-2') } as const
  await t.throwsAsync(sweep([3, 4], from), { code: 'ERR_RESUME', message: /expected seeds/ })
  await t.notThrowsAsync(sweep([1, 2], from))
})

test('a resumed sweep knows the evaluations of best steps that lie before its checkpoint', async (t) => {
  const outputDir = scratch(t)
  const rows = tinyRows(18, { seed: 4 })
  const evalDataset = rows.map((row) => ({ ...row, label: 1 - row.label }))
  const sweep = async (given: TrainingArguments) => {
    const model = await load(t)
    model.addClassificationHead('h', { numLabels: 2 })
    const own: TrainingArguments = { ...quiet, outputDir, maxSteps: 8, evalStrategy: 'steps', evalSteps: 2 }
    const args = { ...own, loadBestModelAtEnd: true, ...given }
    const { members, ranking } = await trainSweep(model, rows, { learningRate: [1e-2, 1e-3] }, { args, evalDataset })
    return { ranking, kept: members.map(({ keptEvaluation }) => ({ ...keptEvaluation, seconds: 0 })) }
  }
  const straight = await sweep({ saveStrategy: 'steps', saveSteps: 3 })
  t.deepEqual(
    straight.kept.map(({ step }) => step),
    [2, 2]
  )
  t.deepEqual(await sweep({ resumeFromCheckpoint: join(outputDir, 'checkpoint-3') }), straight)
})
