import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, AutoModel, evaluate, type Model, type TrainingEvent } from '../../lib/index.js'
import { load, quiet, scratch, tiny, tinyRows } from '../model/support.js'

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  model.addAdapter('a')
  model.addClassificationHead('a', { numLabels: 3 })
  model.trainAdapter('a')
  return model
}

const rows = tinyRows(18, { labels: 3 })

async function collect(run: AsyncIterable<TrainingEvent>): Promise<TrainingEvent[]> {
  const all: TrainingEvent[] = []
  for await (const event of run) all.push(event)
  return all
}

test('events come in order: step, log, evaluate, save, and end once', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const trainer = new AdapterTrainer({
    model,
    trainDataset: rows,
    evalDataset: rows.slice(0, 7),
    args: {
      outputDir,
      numTrainEpochs: 2,
      perDeviceTrainBatchSize: 4,
      loggingSteps: 2,
      loggingFirstStep: true,
      evalStrategy: 'epoch',
      saveStrategy: 'epoch'
    }
  })
  const all = await collect(trainer.run())
  // 18 rows in batches of 4: five steps an epoch.
  const expected = [
    ...['step', 'log', 'step', 'log', 'step', 'step', 'log', 'step', 'evaluate', 'save'],
    ...['step', 'log', 'step', 'step', 'log', 'step', 'step', 'log', 'evaluate', 'save', 'end']
  ]
  t.deepEqual(
    all.map(({ type }) => type),
    expected as TrainingEvent['type'][]
  )
  const steps = all.flatMap((event) => (event.type === 'step' ? [event] : []))
  t.deepEqual(
    steps.map(({ step }) => step),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  )
  t.deepEqual(
    steps.map(({ epoch }) => epoch),
    [0.2, 0.4, 0.6, 0.8, 1, 1.2, 1.4, 1.6, 1.8, 2]
  )
  for (const event of steps) {
    t.is(event.totalSteps, 10)
    t.true(event.loss > 0 && event.gradNorm > 0 && event.learningRate > 0 && event.tokens >= 2, JSON.stringify(event))
  }
  const logs = all.flatMap((event) => (event.type === 'log' ? [event] : []))
  const lossOf = (step: number) => steps[step - 1]?.loss ?? Number.NaN
  const expectedLosses = [lossOf(1), lossOf(2), ...[4, 6, 8, 10].map((step) => (lossOf(step - 1) + lossOf(step)) / 2)]
  t.deepEqual(
    logs.map(({ loss }) => loss),
    expectedLosses
  )
  t.deepEqual(
    steps.map((one) => one.rows),
    [4, 4, 4, 4, 2, 4, 4, 4, 4, 2]
  )
  for (const [i, log] of logs.entries()) {
    const { learningRate, gradNorm } = steps[log.step - 1] ?? {}
    t.deepEqual([log.learningRate, log.gradNorm], [learningRate, gradNorm])
    // Both over the same time.
    const since = steps.slice(logs[i - 1]?.step ?? 0, log.step)
    const sum = (key: 'rows' | 'tokens') => since.reduce((all, one) => all + one[key], 0)
    t.true(log.tokensPerSecond > 0)
    t.true(Math.abs(log.tokensPerSecond / log.rowsPerSecond - sum('tokens') / sum('rows')) < 1e-9)
  }
  const tokens = rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)
  const end = all.at(-1)
  if (end?.type !== 'end') return t.fail()
  t.is(end.step, 10)
  t.is(end.epoch, 2)
  t.is(end.tokens, 2 * tokens)
  t.is(end.loss, steps.reduce((sum, { loss }) => sum + loss, 0) / 10)
  t.true(end.seconds > 0)
  const evaluations = all.flatMap((event) => (event.type === 'evaluate' ? [event] : []))
  t.deepEqual(
    evaluations.map(({ step, rows }) => [step, rows]),
    [
      [5, 7],
      [10, 7]
    ]
  )
  const saves = all.flatMap((event) => (event.type === 'save' ? [event.folder] : []))
  t.deepEqual(saves, [join(outputDir, 'checkpoint-5'), join(outputDir, 'checkpoint-10')])
})

test('train() gives the end and the last evaluation', async (t) => {
  const model = await ready(t)
  const trainer = new AdapterTrainer({
    model,
    trainDataset: rows,
    evalDataset: rows,
    args: { ...quiet, maxSteps: 4, evalStrategy: 'steps', evalSteps: 2 }
  })
  const { step, epoch, loss, evaluation } = await trainer.train()
  t.is(step, 4)
  t.is(epoch, 0.8)
  t.true(loss > 0)
  t.is(evaluation?.step, 4)
  const { seconds: _, ...now } = await trainer.evaluate()
  t.deepEqual({ loss: evaluation?.loss, metrics: evaluation?.metrics, rows: evaluation?.rows }, now)
})

test('datasets: an array, an iterable and an async iterable train alike', async (t) => {
  const losses = []
  for (const dataset of [
    rows,
    new Set(rows),
    (async function* () {
      yield* rows
    })()
  ]) {
    const model = await ready(t)
    losses.push(
      (await new AdapterTrainer({ model, trainDataset: dataset, args: { ...quiet, maxSteps: 7 } }).train()).loss
    )
  }
  t.is(losses[0], losses[1])
  t.is(losses[0], losses[2])
})

test('evaluation: loss, accuracy and macro-F1 are those of the answers, counted by hand', async (t) => {
  const model = await ready(t)
  const data = tinyRows(23, { labels: 3, seed: 9 })
  const answers = await model.predict(data)
  const chosen = answers.map(({ labelId }) => labelId)
  const right = data.filter(({ label }, i) => label === chosen[i]).length
  const f1 = [0, 1, 2].flatMap((label) => {
    const both = data.filter((row, i) => row.label === label && chosen[i] === label).length
    const either = data.filter((row) => row.label === label).length + chosen.filter((id) => id === label).length
    return either === 0 ? [] : [(2 * both) / either]
  })
  const nll = answers.map(({ logits }, i) => {
    const top = Math.max(...logits)
    const sum = logits.reduce((total, value) => total + Math.exp(value - top), 0)
    return Math.log(sum) + top - (logits[data[i]?.label ?? 0] ?? Number.NaN)
  })
  for (const batchSize of [1, 4, 64]) {
    const { loss, metrics, rows } = await evaluate(model, data, { batchSize })
    t.is(rows, 23)
    t.is(metrics.accuracy, right / 23)
    t.true(Math.abs((metrics.macroF1 ?? 0) - f1.reduce((sum, value) => sum + value, 0) / f1.length) < 1e-12)
    t.true(Math.abs(loss - nll.reduce((sum, value) => sum + value, 0) / 23) < 1e-5)
  }
  for (const batchSize of [0, -1, 1.5]) {
    await t.throwsAsync(evaluate(model, data, { batchSize }), {
      instanceOf: RangeError,
      message: /^batchSize: expected/
    })
  }
})

test('evaluation of regression: mean squared error and Pearson', async (t) => {
  const model = await load(t)
  model.addRegressionHead('value')
  const data = tinyRows(11).map(({ inputIds }, i) => ({ inputIds, label: Math.sin(i) }))
  const answers = (await model.predict(data)).map(({ score }) => score ?? Number.NaN)
  const { loss, metrics } = await evaluate(model, data)
  const squared = data.reduce((sum, { label }, i) => sum + (label - (answers[i] ?? Number.NaN)) ** 2, 0) / 11
  t.true(Math.abs(loss - squared) < 1e-5)
  t.true(Math.abs((metrics.mse ?? 0) - squared) < 1e-5)
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const labels = data.map(({ label }) => label)
  const [a, b] = [mean(labels), mean(answers)]
  const product = mean(labels.map((label, i) => (label - a) * ((answers[i] ?? 0) - b)))
  const scale = Math.sqrt(mean(labels.map((x) => (x - a) ** 2)) * mean(answers.map((x) => (x - b) ** 2)))
  t.true(Math.abs((metrics.pearson ?? 0) - product / scale) < 1e-4)
})

test('evaluation without a head, without labels, without data', async (t) => {
  const model = await load(t)
  await t.throwsAsync(evaluate(model, rows), { code: 'ERR_NO_HEAD' })
  model.addClassificationHead('a', { numLabels: 3 })
  await t.throwsAsync(evaluate(model, [{ inputIds: [5] }]), {
    code: 'ERR_NO_LABELS',
    message: /dataset\[0\] has no label/
  })
  await t.throwsAsync(evaluate(model, []), { message: /no rows/ })
  await t.throwsAsync(new AdapterTrainer({ model, trainDataset: rows }).evaluate(), { message: /evalDataset/ })
})

test('of a folder that an earlier run has used, its checkpoints go first, and what a run has just written stays', async (t) => {
  const outputDir = scratch(t)
  const args = { ...quiet, outputDir, saveStrategy: 'steps', saveSteps: 2 } as const
  const start = async (more: object) =>
    new AdapterTrainer({ model: await ready(t), trainDataset: rows, args: { ...args, ...more } }).train()
  await start({ maxSteps: 6 })
  t.deepEqual(readdirSync(outputDir).sort(), ['checkpoint-2', 'checkpoint-4', 'checkpoint-6'])
  await start({ maxSteps: 2, saveTotalLimit: 2 })
  t.deepEqual(readdirSync(outputDir), ['checkpoint-2'])
  // Without a limit nothing goes, and a warning tells what would be resumed.
  await start({ maxSteps: 6, seed: 5 })
  const seen: string[] = []
  const listen = ({ message }: Error) => seen.push(message)
  process.on('warning', listen)
  await start({ maxSteps: 2, seed: 6 })
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listen)
  t.deepEqual(readdirSync(outputDir).sort(), ['checkpoint-2', 'checkpoint-4', 'checkpoint-6'])
  t.regex(
    seen.join('\n'),
    /^train: \S+checkpoint-6 is of an earlier run, and resumeFromCheckpoint: true would go on from it/
  )
})

test('saveTotalLimit keeps the newest; each holds an adapter that loads', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const args = { ...quiet, outputDir, maxSteps: 7, saveStrategy: 'steps', saveSteps: 1, saveTotalLimit: 2 } as const
  const all = await collect(new AdapterTrainer({ model, trainDataset: rows, args }).run())
  const saves = all.flatMap((event) => (event.type === 'save' ? [event] : []))
  t.deepEqual(
    saves.map(({ step }) => step),
    [1, 2, 3, 4, 5, 6, 7]
  )
  t.deepEqual(readdirSync(outputDir).sort(), ['checkpoint-6', 'checkpoint-7'])
  const other = await AutoModel.fromPretrained(tiny)
  await other.loadAdapter(join(outputDir, 'checkpoint-7', 'a'), { setActive: true })
  const inputIds = rows.map((row) => row.inputIds)
  t.deepEqual(await other.forward({ inputIds }), await model.forward({ inputIds }))
  other.dispose()
})

test('nothing is written where nothing is to be saved', async (t) => {
  const outputDir = join(scratch(t), 'out')
  await new AdapterTrainer({
    model: await ready(t),
    trainDataset: rows,
    args: { ...quiet, outputDir, maxSteps: 2 }
  }).train()
  t.false(existsSync(outputDir))
})
