import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterError,
  AdapterTrainer,
  type Model,
  MultiTask,
  Stack,
  type TrainingArguments,
  type TrainingEvent
} from '../../lib/index.js'
import { make, moved, quiet, sameBits, scratch, snapshot, tinyRows } from '../model/support.js'
import { damagedBytes, filesIn } from './checkpoint-files.js'

const rows = tinyRows(19)

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.1 })
  model.addAdapter('a', 'double_seq_bn[reduction_factor=4, dropout=0.1]')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

/** Ten batches of 2 an epoch, the last with one row, in steps of 3: checkpoints in the middle of epochs, too. */
const recipe = (outputDir: string): TrainingArguments => ({
  ...quiet,
  outputDir,
  numTrainEpochs: 2.5,
  perDeviceTrainBatchSize: 2,
  gradientAccumulationSteps: 3,
  weightDecay: 0.01,
  warmupSteps: 2,
  loggingStrategy: 'steps',
  loggingSteps: 3,
  saveStrategy: 'steps',
  saveSteps: 1
})

/** What of an event does not depend on the clock. */
function timeless(event: TrainingEvent): object {
  const {
    seconds: _,
    tokensPerSecond: __,
    rowsPerSecond: ___,
    ...rest
  } = event as TrainingEvent & { seconds?: number; tokensPerSecond?: number; rowsPerSecond?: number }
  return rest
}

async function run(model: Model, args: TrainingArguments, trainDataset = rows): Promise<object[]> {
  const all: object[] = []
  for await (const event of new AdapterTrainer({ model, trainDataset, args }).run()) {
    if (event.type === 'step' || event.type === 'log') all.push(timeless(event))
  }
  return all
}

test('resuming at any checkpoint ends with the same bits and tells the same losses', async (t) => {
  const whole = await ready(t)
  const outputDir = scratch(t)
  const events = await run(whole, recipe(outputDir))
  const expected = snapshot(whole)
  t.is(readdirSync(outputDir).length, 10)
  const file = (step: number, folder = outputDir) =>
    readFileSync(join(folder, `checkpoint-${step}`, 'training.safetensors'))
  const last = file(10)
  for (let step = 1; step <= 10; step++) {
    const model = await ready(t)
    const folder = scratch(t)
    cpSync(join(outputDir, `checkpoint-${step}`), join(folder, `checkpoint-${step}`), { recursive: true })
    const rest = await run(model, { ...recipe(folder), resumeFromCheckpoint: true })
    t.deepEqual(
      rest,
      events.filter((event) => (event as { step: number }).step > step),
      `from step ${step}`
    )
    t.deepEqual(moved(expected, snapshot(model)), [], `from step ${step}`)
    t.true(file(10, folder).equals(last), `the last checkpoint of a run from step ${step}`)
    model.dispose()
  }
})

test('full fine-tuning resumes bit for bit, too', async (t) => {
  const all = async () => {
    const model = await ready(t)
    model.trainAll()
    return model
  }
  const [whole, resumed] = [await all(), await all()]
  const outputDir = scratch(t)
  await run(whole, recipe(outputDir))
  await run(resumed, { ...recipe(outputDir), resumeFromCheckpoint: join(outputDir, 'checkpoint-4') })
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])
})

test('a model that trained elsewhere in between makes no difference', async (t) => {
  const whole = await ready(t)
  const outputDir = scratch(t)
  await run(whole, recipe(outputDir))
  const expected = snapshot(whole)
  await run(whole, { ...recipe(outputDir), resumeFromCheckpoint: join(outputDir, 'checkpoint-5') })
  t.deepEqual(moved(expected, snapshot(whole)), [])
})

test('a run that is complete resumes to its end without a step', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  await run(model, recipe(outputDir))
  const again = await ready(t)
  t.deepEqual(await run(again, { ...recipe(outputDir), resumeFromCheckpoint: true }), [])
  t.deepEqual(moved(snapshot(model), snapshot(again)), [])
  const args = { ...recipe(outputDir), resumeFromCheckpoint: true }
  const { step, steps, loss } = await new AdapterTrainer({ model: again, trainDataset: rows, args }).train()
  t.deepEqual({ step, steps }, { step: 10, steps: 0 })
  t.true(loss > 0.1 && loss < 5, `the mean of the steps before: ${loss}`)
})

test('resumed behind its last evaluation, a run still tells it, numbers that are not finite among it', async (t) => {
  const outputDir = scratch(t)
  const own = { ...recipe(outputDir), maxSteps: 6, evalStrategy: 'steps', evalSteps: 4, saveSteps: 5 } as const
  const train = async (args: TrainingArguments) => {
    const computeMetrics = () => ({ own: Number.NEGATIVE_INFINITY })
    const trainer = new AdapterTrainer({
      model: await ready(t),
      ...{ trainDataset: rows, evalDataset: rows },
      computeMetrics,
      args
    })
    return await trainer.train()
  }
  const expected = await train(own)
  t.is(expected.evaluation?.step, 4)
  t.is(expected.evaluation?.metrics['own'], Number.NEGATIVE_INFINITY)
  const result = await train({ ...own, outputDir: scratch(t), resumeFromCheckpoint: join(outputDir, 'checkpoint-5') })
  t.is(result.steps, 1)
  t.deepEqual(result.evaluation, expected.evaluation)
})

test('the mean loss of a resumed run is that of all steps', async (t) => {
  const outputDir = scratch(t)
  const whole = await ready(t)
  const { loss } = await new AdapterTrainer({ model: whole, trainDataset: rows, args: recipe(outputDir) }).train()
  const model = await ready(t)
  const args = { ...recipe(scratch(t)), resumeFromCheckpoint: join(outputDir, 'checkpoint-9') }
  const result = await new AdapterTrainer({ model, trainDataset: rows, args }).train()
  t.is(result.steps, 1)
  t.is(result.loss, loss)
})

test('other arguments or other data are refused by name, and the model stays as it is', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  await run(model, recipe(outputDir))
  const other = await ready(t)
  const before = snapshot(other)
  const resume = (changed: TrainingArguments, data = rows) =>
    run(other, { ...recipe(outputDir), ...changed, resumeFromCheckpoint: join(outputDir, 'checkpoint-3') }, data)
  const refused = (message: RegExp) => ({ instanceOf: AdapterError, code: 'ERR_RESUME', message })
  await t.throwsAsync(resume({ learningRate: 0.02 }), refused(/expected learningRate 0\.01, got learningRate 0\.02/))
  await t.throwsAsync(
    resume({ seed: 1, perDeviceTrainBatchSize: 4 }),
    refused(/perDeviceTrainBatchSize 2.*seed 42.*perDeviceTrainBatchSize 4.*seed 1/)
  )
  await t.throwsAsync(resume({}, tinyRows(20)), refused(/rows 19.*rows 20/))
  await t.throwsAsync(resume({}, tinyRows(19, { seed: 2 })), refused(/expected data "\w{16}", got data "\w{16}"\)/))
  await t.throwsAsync(resume({}, rows.toReversed()), refused(/expected data/))
  t.deepEqual(moved(before, snapshot(other)), [])
  // What only says when something is told or kept may change.
  await t.notThrowsAsync(resume({ loggingSteps: 1, saveSteps: 5, saveTotalLimit: 3 }))
  t.deepEqual(moved(snapshot(model), snapshot(other)), [])
})

test('another adapter config, another order of labels and another base model of the same sizes are refused by name', async (t) => {
  const outputDir = scratch(t)
  const words = ['bad', 'good']
  const start = async (fields: { config?: string; labels?: string[]; seed?: number } = {}) => {
    const { config = 'seq_bn', labels = words, seed = 7 } = fields
    const model = await make(t, {}, seed)
    model.addAdapter('a', config)
    model.addClassificationHead('a', { labels })
    model.trainAdapter('a')
    return model
  }
  const named = rows.map(({ inputIds, label }) => ({ inputIds, label: words[label] as string }))
  const args = { ...quiet, outputDir, maxSteps: 4, saveStrategy: 'steps', saveSteps: 2 } as const
  const go = (model: Model, from: string | null) =>
    new AdapterTrainer({ model, trainDataset: named, args: { ...args, resumeFromCheckpoint: from } }).train()
  await go(await start(), null)
  const checkpoint = join(outputDir, 'checkpoint-2')
  for (const [changed, message] of [
    [
      await start({ config: 'seq_bn[dropout=0.1]' }),
      /expected adapterConfigs\.a\.dropout 0, got adapterConfigs\.a\.dropout 0\.1\)/
    ],
    [await start({ labels: ['good', 'bad'] }), /head\.labels \["bad","good"\], got head\.labels \["good","bad"\]/],
    [await start({ seed: 8 }), /expected model "\w{16}", got model "\w{16}"\)/]
  ] as const) {
    const before = snapshot(changed)
    await t.throwsAsync(go(changed, checkpoint), { instanceOf: AdapterError, code: 'ERR_RESUME', message })
    t.deepEqual(moved(before, snapshot(changed)), [])
  }
  const skipping = await start()
  skipping.setActiveAdapters('a', { skipLayers: [1] })
  await t.throwsAsync(go(skipping, checkpoint), { code: 'ERR_RESUME', message: /skipLayers/ })
  const result = await go(await start(), checkpoint)
  t.is(result.steps, 2)
  t.is(result.step, 4)
})

test('adapters that run and do not train are to be the same', async (t) => {
  const outputDir = scratch(t)
  const start = async (seed: number) => {
    const model = await make(t)
    model.addAdapter('below', 'seq_bn', { seed })
    model.addAdapter('a', 'seq_bn')
    model.addClassificationHead('a', { numLabels: 2 })
    model.trainAdapter('a')
    model.setActiveAdapters(Stack('below', 'a'))
    return model
  }
  const args = { ...quiet, outputDir, maxSteps: 4, saveStrategy: 'steps', saveSteps: 2 } as const
  const go = (model: Model, from: string | null) =>
    new AdapterTrainer({ model, trainDataset: rows, args: { ...args, resumeFromCheckpoint: from } }).train()
  await go(await start(1), null)
  const checkpoint = join(outputDir, 'checkpoint-2')
  await t.throwsAsync(go(await start(2), checkpoint), {
    code: 'ERR_RESUME',
    message: /expected frozenAdapters "\w{16}"/
  })
  t.is((await go(await start(1), checkpoint)).steps, 2)
})

test('a checkpoint of another adapter, a damaged one, and none', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  await t.throwsAsync(run(model, { ...recipe(outputDir), resumeFromCheckpoint: true }), {
    code: 'ERR_FILE_NOT_FOUND',
    message: /holds no checkpoint/
  })
  await t.throwsAsync(run(model, { ...recipe(outputDir), resumeFromCheckpoint: 'nowhere' }), {
    message: /nowhere holds no checkpoint/
  })
  await run(model, { ...recipe(outputDir), saveSteps: 5 })
  const resume = (other: Model) =>
    run(other, { ...recipe(outputDir), resumeFromCheckpoint: join(outputDir, 'checkpoint-5') })

  const different = await make(t)
  different.addAdapter('b')
  different.addClassificationHead('b')
  different.trainAdapter('b')
  await t.throwsAsync(resume(different), {
    instanceOf: AdapterError,
    code: 'ERR_RESUME',
    message: /belongs to another run.*got adapters "b"/
  })
  const method = await make(t)
  method.addAdapter('a', 'lora')
  method.addClassificationHead('a', { numLabels: 2 })
  method.trainAdapter('a')
  // The kinds of the two, not all of their fields.
  await t.throwsAsync(resume(method), {
    message: /expected adapterConfigs\.a\.architecture "bottleneck", .*got adapterConfigs\.a\.architecture "lora", /
  })

  const checkpoint = join(outputDir, 'checkpoint-5')
  const files = filesIn(checkpoint)
  t.is(files.length, 6, String(files))
  const before = snapshot(model)
  for (const file of files) {
    const path = join(checkpoint, file)
    const whole = readFileSync(path)
    for (const bytes of [...damagedBytes(whole), undefined]) {
      if (bytes === undefined) rmSync(path)
      else writeFileSync(path, bytes)
      const error = await t.throwsAsync(resume(model), { instanceOf: AdapterError })
      t.is(error?.code, bytes === undefined ? 'ERR_FILE_NOT_FOUND' : 'ERR_FILE_FORMAT', file)
      if (bytes === undefined && file === 'training.safetensors') continue
      t.true(error?.message.includes(`checkpoint-5 cannot be read: ${file} is `), error?.message)
      t.regex(error?.message ?? '', /\. There is no earlier checkpoint beside it/)
    }
    writeFileSync(path, whole)
  }
  t.deepEqual(moved(before, snapshot(model)), [])
  writeFileSync(join(checkpoint, 'notes.txt'), 'What one puts beside the files does no harm.')
  await t.notThrowsAsync(resume(model))
})

test('a damaged newest checkpoint: the error names the one before it that can be read', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  await run(model, { ...recipe(outputDir), saveSteps: 2 })
  const file = (step: number) => join(outputDir, `checkpoint-${step}`, 'training.safetensors')
  const damaged = readFileSync(file(10))
  const near = damaged.length - 100
  damaged.writeUInt8(damaged.readUInt8(near) ^ 1, near)
  writeFileSync(file(10), damaged)
  writeFileSync(file(8), '')
  const resume = (from: string | boolean) => run(model, { ...recipe(outputDir), resumeFromCheckpoint: from })
  const error = await t.throwsAsync(resume(true), { instanceOf: AdapterError, code: 'ERR_FILE_FORMAT' })
  const older = join(outputDir, 'checkpoint-6')
  t.true(error?.message.includes('checkpoint-10 cannot be read: training.safetensors is damaged'), error?.message)
  t.true(error?.message.endsWith(`--resume-from ${older}`), error?.message)
  t.notRegex(error?.message ?? '', /earlier checkpoint/)
  await t.notThrowsAsync(resume(older))
  rmSync(file(10))
  await t.throwsAsync(resume(true), { instanceOf: AdapterError, message: /checkpoint-10 cannot be read/ })
})

test('what an interrupted save left behind is no checkpoint', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  await run(model, { ...recipe(outputDir), maxSteps: 6, saveSteps: 3 })
  const left = join(outputDir, '.checkpoint-9-123')
  mkdirSync(left)
  writeFileSync(join(left, 'training.safetensors'), 'half')
  mkdirSync(join(outputDir, 'checkpoint-final'))
  const again = await ready(t)
  t.deepEqual(await run(again, { ...recipe(outputDir), maxSteps: 6, resumeFromCheckpoint: true }), [])
  t.deepEqual(moved(snapshot(model), snapshot(again)), [])
  t.true(existsSync(left))
})

test('a checkpoint keeps adapters whose names no file may have', async (t) => {
  const outputDir = scratch(t)
  const names = ['de/en', 'a "b": c', `long ${'x'.repeat(300)}`]
  const ready = async () => {
    const model = await make(t)
    for (const name of names) model.addAdapter(name)
    model.addClassificationHead('de/en', { numLabels: 2 })
    model.trainAdapter('de/en')
    return model
  }
  const args = { ...recipe(outputDir), maxSteps: 4, saveSteps: 2 }
  const whole = await ready()
  await run(whole, args)
  t.is(readdirSync(join(outputDir, 'checkpoint-2')).length, names.length + 2)
  const resumed = await ready()
  await run(resumed, { ...args, resumeFromCheckpoint: join(outputDir, 'checkpoint-2') })
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])
})

const tasks = ['one', 'two', 'three'] as const
const taskRows = rows.map((row, i) => ({ ...row, taskId: tasks[i % 3] as string }))

/** MTL-LoRA for three tasks: two have A and the up-projections in common, the third its own. */
async function sharing(t: ExecutionContext, from?: string): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.2 })
  for (const name of tasks) {
    if (from !== undefined) await model.loadAdapter(join(from, name))
    else {
      model.addAdapter(name, 'mtl_lora[r=2, n_up_projection=2, dropout=0.1, init_weights="bert"]')
      model.addClassificationHead(name, { numLabels: 2 })
    }
  }
  if (from === undefined) model.shareParameters(['two', 'one'], { name: 'both' })
  model.trainAdapter(MultiTask(...tasks))
  return model
}

test('tasks that share parameters resume with the same bits, also from what the checkpoint holds', async (t) => {
  const whole = await sharing(t)
  const outputDir = scratch(t)
  const events = await run(whole, recipe(outputDir), taskRows)
  const expected = snapshot(whole)
  const shared = 'bert.encoder.layer.0.attention.self.query.loras.one.lora_B'
  t.false(sameBits(expected.get(shared), snapshot(await sharing(t)).get(shared)), 'what is shared must have learned')
  for (const step of [1, 5]) {
    const folder = join(outputDir, `checkpoint-${step}`)
    for (const from of [undefined, folder]) {
      const model = await sharing(t, from)
      t.deepEqual([...model.sharedParameters], [['both', ['two', 'one']]])
      const args = { ...recipe(scratch(t)), resumeFromCheckpoint: folder }
      const rest = await run(model, args, taskRows)
      t.deepEqual(
        rest,
        events.filter((event) => (event as { step: number }).step > step),
        `from step ${step}`
      )
      t.deepEqual(moved(expected, snapshot(model)), [], `from step ${step}`)
    }
  }
  const apart = await sharing(t)
  apart.unshareParameters('both')
  const error = await t.throwsAsync(run(apart, { ...recipe(outputDir), resumeFromCheckpoint: true }, taskRows))
  t.like(error, { code: 'ERR_RESUME' })
  t.regex(error?.message ?? '', /sharedParameters\.both \["two","one"\]|sharedParameters \{"both"/)
})
