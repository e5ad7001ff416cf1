import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  type Dataset,
  evaluate,
  type Model,
  MultiTaskTrainer,
  type Row,
  type RowStream,
  type TrainingArguments
} from '../../lib/index.js'
import { EncodedDataset } from '../../lib/training/encoded.js'
import { evaluationMasks, type Masking, trainingMasks } from '../../lib/training/masks.js'
import { load, moved, quiet, scratch, snapshot, tiny } from '../model/support.js'

const special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
const [cls, sep, mask] = [2, 3, 4]
const words = Array.from({ length: 90 }, (_, i) => `w${i}`)

async function ready(t: ExecutionContext): Promise<Model> {
  const folder = join(scratch(t), 'model')
  mkdirSync(folder, { recursive: true })
  cpSync(tiny, folder, { recursive: true })
  writeFileSync(join(folder, 'vocab.txt'), [...special, ...words].join('\n'))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"tokenizer_class": "BertTokenizer"}')
  const model = await AutoModel.fromPretrained(folder)
  t.teardown(() => model.dispose())
  model.addAdapter('a', 'seq_bn_inv[reduction_factor=2]')
  model.addMaskedLmHead('a')
  model.trainAdapter('a')
  return model
}

/** Each word says which comes next. */
const rows: Row[] = Array.from({ length: 24 }, (_, i) => ({
  text: Array.from({ length: 14 }, (_, j) => words[(i + j) % 8]).join(' ')
}))
const epochs = (epoch: number, of: readonly unknown[]) => of.map(() => epoch)
const numbers = [...rows.keys()]

async function drawn(model: Model, masking: Masking, epoch: number) {
  const data = await EncodedDataset.of(rows, model, 'rows', undefined, masking)
  const { batch } = await data.batch(numbers, { epochs: epochs(epoch, rows) })
  return { ids: batch.inputIds, labels: batch.labels as Int32Array }
}

test('15 % of the words are to be guessed: 80 % masked, 10 % another word, 10 % as they are; others in each epoch', async (t) => {
  const model = await ready(t)
  const data = await EncodedDataset.of(
    rows,
    model,
    'rows',
    undefined,
    trainingMasks({ mlmProbability: 0.15, dataSeed: null, seed: 3 })
  )
  const before = numbers.flatMap((i) => [...data.at(i, 'a').inputIds])
  const count = { words: 0, asked: 0, masked: 0, kept: 0 }
  const seen = new Set<string>()
  for (let epoch = 0; epoch < 100; epoch++) {
    const { batch } = await data.batch(numbers, { epochs: epochs(epoch, rows) })
    const labels = batch.labels as Int32Array
    seen.add(labels.join())
    labels.forEach((label, i) => {
      const [now, given] = [batch.inputIds[i], before[i] ?? 0]
      const isSpecial = given === cls || given === sep
      count.words += Number(!isSpecial)
      if (isSpecial || label === -100) {
        if (label !== -100 || now !== given) t.fail(`${i} of epoch ${epoch}`)
        return
      }
      if (label !== given) t.fail(`label ${label} for ${given}`)
      count.asked++
      count.masked += Number(now === mask)
      count.kept += Number(now === given)
    })
  }
  const near = (part: number, whole: number, share: number) => {
    const deviation = Math.sqrt((share * (1 - share)) / whole)
    t.true(Math.abs(part / whole - share) < 4 * deviation, `${part} of ${whole} for ${share}`)
  }
  near(count.asked, count.words, 0.15)
  near(count.masked, count.asked, 0.8)
  // A random word is the same one now and then.
  near(count.kept, count.asked, 0.1 + 0.1 / words.length)
  t.is(seen.size, 100)
  t.deepEqual(
    numbers.flatMap((i) => [...data.at(i, 'a').inputIds]),
    before,
    'what is kept is not masked'
  )
})

test('masks follow from seed, epoch and row, whatever the batch; evaluations have one masking', async (t) => {
  const model = await ready(t)
  const masks = (seed: number, mlmProbability = 0.15) => trainingMasks({ mlmProbability, dataSeed: null, seed })
  t.deepEqual(await drawn(model, masks(3), 1), await drawn(model, masks(3), 1))
  t.notDeepEqual(await drawn(model, masks(3), 1), await drawn(model, masks(3), 2))
  t.notDeepEqual(await drawn(model, masks(3), 1), await drawn(model, masks(4), 1))
  t.true((await drawn(model, masks(3, 1), 0)).labels.filter((label) => label === -100).length === 2 * rows.length)
  const data = await EncodedDataset.of(rows, model, 'rows', undefined, evaluationMasks())
  const all = await data.batch(numbers)
  const one = await data.batch([7])
  const at = 7 * 16
  t.deepEqual(one.batch.inputIds, all.batch.inputIds.slice(at, at + 16))
  const first = await evaluate(model, rows, { batchSize: 5 })
  const second = await evaluate(model, rows, { batchSize: 24 })
  t.true(Math.abs(first.loss - second.loss) < 1e-5)
  t.truthy(first.metrics['perplexity'])
})

test('a batch of short rows always has a word to guess; labels that rows bring stay', async (t) => {
  const model = await ready(t)
  const short: Row[] = Array.from({ length: 40 }, () => ({ text: 'w1' }))
  const data = await EncodedDataset.of(
    short,
    model,
    'rows',
    undefined,
    trainingMasks({ mlmProbability: 0.15, dataSeed: null, seed: 1 })
  )
  for (let i = 0; i < 40; i++) t.is((await data.batch([i], { epochs: [0] })).batch.labels?.[1], 6)
  const own = { inputIds: [2, mask, 7, 3], labels: [-100, 6, -100, -100] }
  const labelled = await EncodedDataset.of([own], model, 'rows')
  t.deepEqual([...((await labelled.batch([0])).batch.labels ?? [])], own.labels)
  t.deepEqual([...(await labelled.batch([0])).batch.inputIds], own.inputIds)
})

const recipe: TrainingArguments = {
  ...quiet,
  learningRate: 5e-3,
  numTrainEpochs: 3,
  perDeviceTrainBatchSize: 5,
  gradientAccumulationSteps: 2,
  maxGradNorm: 0
}

test('training on texts resumes in the middle of an epoch with the same bits', async (t) => {
  const outputDir = scratch(t)
  const args = { ...recipe, outputDir, saveStrategy: 'steps', saveSteps: 4 } as const
  const whole = await ready(t)
  await new AdapterTrainer({ model: whole, trainDataset: rows, args }).train()
  const resumed = await ready(t)
  const again = { ...args, resumeFromCheckpoint: join(outputDir, 'checkpoint-4') }
  await new AdapterTrainer({ model: resumed, trainDataset: rows, args: again }).train()
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])
  const other = new AdapterTrainer({ model: resumed, trainDataset: rows, args: { ...again, mlmProbability: 0.2 } })
  await t.throwsAsync(other.train(), { code: 'ERR_RESUME', message: /mlmProbability/ })
})

test('so it does on a stream, and as one of several tasks', async (t) => {
  const args = { ...recipe, maxSteps: 8, saveStrategy: 'steps', saveSteps: 3 } as const
  const ways = {
    stream: (model: Model, own: TrainingArguments) =>
      new AdapterTrainer({ model, trainDataset: () => rows, args: own }).train(),
    tasks: (model: Model, own: TrainingArguments) =>
      new MultiTaskTrainer({ model, args: own, tasks: { a: { dataset: rows } } }).train()
  }
  for (const [name, train] of Object.entries(ways)) {
    const outputDir = scratch(t)
    const [whole, resumed] = [await ready(t), await ready(t)]
    await train(whole, { ...args, outputDir })
    await train(resumed, { ...args, outputDir, resumeFromCheckpoint: join(outputDir, 'checkpoint-3') })
    t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [], name)
  }
})

test('the loss goes down, over rows in memory, on a stream and as one of several tasks', async (t) => {
  const args = { ...recipe, numTrainEpochs: 25, mlmProbability: 0.3 }
  const model = await ready(t)
  const before = await evaluate(model, rows)
  const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset: rows, args })
  await trainer.train()
  const { loss } = await trainer.evaluate()
  t.true(loss < 0.6 * before.loss, `${before.loss} to ${loss}`)
  const streamed = await ready(t)
  const stream = () => rows
  await new AdapterTrainer({ model: streamed, trainDataset: stream, args: { ...args, maxSteps: 75 } }).train()
  t.true((await evaluate(streamed, rows)).loss < 0.6 * before.loss)
  const several = await ready(t)
  const tasks = new MultiTaskTrainer({ model: several, args, tasks: { a: { dataset: rows, evalDataset: rows } } })
  await tasks.train()
  const same = snapshot(model, /adapters|head/)
  for (const [name, values] of snapshot(several, /adapters|head/)) {
    const far = values.reduce(
      (most, value, i) => Math.max(most, Math.abs(value - (same.get(name)?.[i] ?? Number.NaN))),
      0
    )
    t.true(far < 1e-4, `${name}: ${far}`)
  }
})

test('what cannot be masked is refused by name', async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  model.addMaskedLmHead('a')
  model.trainAdapter('a')
  const train = (trainDataset: Row[], args: TrainingArguments = {}) =>
    new AdapterTrainer({ model, trainDataset, args: { ...quiet, ...args } }).train()
  await t.throwsAsync(train([{ inputIds: [2, 7, 3] }]), {
    code: 'ERR_NO_LABELS',
    message: /trainDataset\[0\] has no label, and the model has no tokenizer/
  })
  t.throws(() => new AdapterTrainer({ model, trainDataset: [], args: { mlmProbability: 0 } }), {
    message: /mlmProbability: expected a number above 0 and at most 1/
  })
})

test('texts alone are rows, in memory and as a stream: a run over them is the one over { text }, bit for bit', async (t) => {
  const texts = rows.map((row) => (row as { text: string }).text)
  const run = async (trainDataset: Dataset | RowStream) => {
    const model = await ready(t)
    const args = { ...quiet, maxSteps: 3, outputDir: scratch(t) }
    await new AdapterTrainer({ model, trainDataset, args }).train()
    return snapshot(model)
  }
  const expected = await run(rows)
  t.deepEqual(await run(texts), expected)
  t.deepEqual(await run(() => texts), await run(() => rows))
  const model = await ready(t)
  const losses = [await evaluate(model, texts), await evaluate(model, texts.values()), await evaluate(model, rows)]
  t.is(new Set(losses.map(({ loss }) => loss)).size, 1)
  model.addClassificationHead('b', { numLabels: 2 })
  model.activeHead = 'b'
  await t.throwsAsync(evaluate(model, texts), { code: 'ERR_NO_LABELS', message: /dataset\[0\] has no label/ })
})

test('a batch in which nothing has a label costs nothing and moves nothing', async (t) => {
  const model = await ready(t)
  const args: TrainingArguments = { ...quiet, maxSteps: 2, perDeviceTrainBatchSize: 1, weightDecay: 0 }
  const losses: number[] = []
  const train = async (trainDataset: Dataset) => {
    const before = snapshot(model)
    for await (const event of new AdapterTrainer({ model, trainDataset, args }).run()) {
      if (event.type === 'step') losses.push(event.loss)
    }
    return moved(before, snapshot(model)).length > 0
  }
  t.false(await train(['', '']))
  t.true(await train(['w1 w2 w3 w4', 'w1 w2 w3 w4']))
  model.addAdapter('b')
  model.addTaggingHead('b', { labels: ['O', 'B'] })
  model.trainAdapter('b')
  t.false(
    await train([
      { words: [], labels: [] },
      { inputIds: [2, 5], labels: [-100, -100] }
    ])
  )
  t.deepEqual(
    losses.map((loss) => loss > 0),
    [false, false, true, true, false, false]
  )
  t.deepEqual([losses[0], losses[1], losses[4], losses[5]], [0, 0, 0, 0])
})
