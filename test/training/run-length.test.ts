import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  type Model,
  MultiTaskTrainer,
  type Row,
  type SweepResult,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { makeReady, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'
import { distance, tasks, valuesOf, withTasks } from '../tasks/support.js'

const rows = tinyRows(19)
const ready = (t: ExecutionContext): Promise<Model> => makeReady(t, { hidden_dropout_prob: 0.1 })

/** Checkpoints behind every step. */
const recipe = (outputDir: string, args: TrainingArguments): TrainingArguments => ({
  ...{ ...quiet, outputDir, saveStrategy: 'steps', saveSteps: 1, perDeviceTrainBatchSize: 4 },
  ...args
})

/** The learning rate of each step. */
async function train(
  model: Model,
  args: TrainingArguments,
  trainDataset: readonly Row[] | (() => Iterable<Row>) = rows
): Promise<[number, number][]> {
  const rates: [number, number][] = []
  for await (const event of new AdapterTrainer({ model, trainDataset, args }).run()) {
    if (event.type === 'step') rates.push([event.step, event.learningRate])
  }
  return rates
}

/** What is warned of while something runs. */
async function warnings(run: () => Promise<unknown>): Promise<string[]> {
  const told: string[] = []
  const listen = (warning: Error & { code?: string }) => {
    if (warning.code === 'TORCH_ADAPTERS_NEW_LENGTH') told.push(warning.message)
  }
  process.on('warning', listen)
  try {
    await run()
    // A warning is told in a turn of its own.
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('warning', listen)
  }
  return told
}

test.serial('longer than it was planned: with a rate that no length decides, the same bits as one run', async (t) => {
  for (const [short, long] of [
    [{ maxSteps: 7 }, { maxSteps: 12 }],
    [{ numTrainEpochs: 1.5 }, { numTrainEpochs: 3 }],
    [{ numTrainEpochs: 1 }, { maxSteps: 8 }]
  ] as const) {
    const steady = { lrSchedulerType: 'constant_with_warmup', warmupSteps: 2 } as const
    const whole = await ready(t)
    const all = await train(whole, recipe(scratch(t), { ...steady, ...long }))
    const outputDir = scratch(t)
    const first = await train(await ready(t), recipe(outputDir, { ...steady, ...short }))
    const model = await ready(t)
    const rest = await train(model, recipe(outputDir, { ...steady, ...long, resumeFromCheckpoint: true }))
    t.deepEqual([...first, ...rest], all)
    t.deepEqual(moved(snapshot(whole), snapshot(model)), [])
  }
})

test.serial('the rate of the steps to come is that of the new length, and a warning says so', async (t) => {
  const args = { lrSchedulerType: 'linear', warmupRatio: 0.2, learningRate: 1e-2 } as const
  const long = await train(await ready(t), recipe(scratch(t), { ...args, maxSteps: 10 }))
  const outputDir = scratch(t)
  await train(await ready(t), recipe(outputDir, { ...args, maxSteps: 5 }))
  let rest: [number, number][] = []
  const again = recipe(outputDir, { ...args, maxSteps: 10, resumeFromCheckpoint: true })
  const told = await warnings(async () => {
    rest = await train(await ready(t), again)
  })
  t.deepEqual(rest, long.slice(5))
  t.deepEqual(told, [
    'resume the training: the run was to have 5 steps and now has 10; from step 6 on the learning rate is that of a run of 10.'
  ])
  // Its own checkpoints know the new length.
  t.deepEqual(await warnings(async () => train(await ready(t), again)), [])
})

test.serial('shorter than planned, but not than what is done; another rate is refused as ever', async (t) => {
  const outputDir = scratch(t)
  await train(await ready(t), recipe(outputDir, { maxSteps: 9 }))
  const from = recipe(outputDir, { resumeFromCheckpoint: join(outputDir, 'checkpoint-5') })
  const model = await ready(t)
  const before = snapshot(model)
  await t.throwsAsync(train(model, { ...from, maxSteps: 4 }), {
    code: 'ERR_RESUME',
    message:
      'resume the training: 5 steps are done already (expected a run of 5 steps or more, got one of 4). ' +
      'Give more maxSteps or numTrainEpochs, or resume from an earlier checkpoint.'
  })
  await t.throwsAsync(train(model, { ...from, maxSteps: 12, learningRate: 0.5 }), {
    code: 'ERR_RESUME',
    message: /\(expected learningRate [\d.]+, got learningRate 0\.5\)/
  })
  t.deepEqual(moved(before, snapshot(model)), [])
  t.is((await train(model, { ...from, maxSteps: 7 })).length, 2)
  t.is((await train(await ready(t), { ...from, maxSteps: 5 })).length, 0)
})

test.serial('a stream goes on beyond its length, too', async (t) => {
  const args = { lrSchedulerType: 'constant' } as const
  const stream = () => rows
  const whole = await ready(t)
  const all = await train(whole, recipe(scratch(t), { ...args, maxSteps: 9 }), stream)
  const outputDir = scratch(t)
  await train(await ready(t), recipe(outputDir, { ...args, maxSteps: 4 }), stream)
  const model = await ready(t)
  const rest = await train(model, recipe(outputDir, { ...args, maxSteps: 9, resumeFromCheckpoint: true }), stream)
  t.deepEqual(rest, all.slice(4))
  t.deepEqual(moved(snapshot(whole), snapshot(model)), [])
})

test.serial('tasks and sweeps go on beyond their length', async (t) => {
  const steady = { lrSchedulerType: 'constant', warmupSteps: 0 } as const
  const own = Object.fromEntries(
    Object.entries(tasks).map(([name, task]) => [name, { ...task, args: { ...task.args, ...steady } }])
  )
  const trained = async (args: TrainingArguments) => {
    const model = await withTasks(t)
    await new MultiTaskTrainer({ model, tasks: own, args: recipe(scratch(t), args) }).train()
    return model
  }
  const whole = await trained({ numTrainEpochs: 3 })
  const outputDir = scratch(t)
  await trained({ numTrainEpochs: 1, outputDir })
  const longer = await trained({ numTrainEpochs: 3, outputDir, resumeFromCheckpoint: true })
  for (const name of Object.keys(tasks)) t.is(distance(valuesOf(whole, name), valuesOf(longer, name)), 0, name)

  const swept = async (args: TrainingArguments): Promise<SweepResult> => {
    const model = await ready(t)
    return await trainSweep(model, rows, { learningRate: [1e-2, 1e-3] }, { args: recipe(scratch(t), args) })
  }
  const all = await swept({ ...steady, maxSteps: 6 })
  await swept({ ...steady, maxSteps: 3, outputDir })
  const checkpoint = join(outputDir, 'checkpoint-3')
  const rest = await swept({ ...steady, maxSteps: 6, outputDir, resumeFromCheckpoint: checkpoint })
  t.deepEqual(
    rest.members.map(({ steps, loss }) => [steps, loss]),
    all.members.map(({ steps, loss }) => [steps, loss])
  )
})
