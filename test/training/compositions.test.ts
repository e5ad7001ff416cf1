import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  type AdapterSetup,
  AdapterTrainer,
  BatchSplit,
  evaluate,
  type Model,
  MultiTask,
  Parallel,
  Stack,
  type TrainingArguments
} from '../../lib/index.js'
import { fill, largestDifference, load, make, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

// What the peer leaves out or does wrong is derived from runs of each adapter alone: MultiTask with seq_bn (defect D2) and
// its heads (D9), BatchSplit of other methods and places (D3) and of a tagging head (D10).

const tolerance = 1e-4

type Gradients = Awaited<ReturnType<Model['gradients']>>

async function withTwo(t: ExecutionContext, second = 'double_seq_bn[reduction_factor=8]'): Promise<Model> {
  const model = await load(t)
  model.addAdapter('a', 'seq_bn[reduction_factor=4]')
  model.addAdapter('b', second)
  for (const name of ['a', 'b']) {
    model.addClassificationHead(name, { numLabels: 3 })
    fill(model, name, { scale: 0.2 })
  }
  return model
}

const rows = tinyRows(6, { seed: 5, labels: 3 })
const inputs = (some: readonly { inputIds: number[]; label: number }[]) => ({
  inputIds: some.map((row) => row.inputIds),
  labels: some.map((row) => row.label)
})

/** Largest difference relative to the largest value, over all gradients that either has; a missing one is zero. */
function relative(got: ReadonlyMap<string, { data: ArrayLike<number> }>, expected: typeof got): number {
  let worst = 0
  let scale = 0
  for (const name of new Set([...got.keys(), ...expected.keys()])) {
    const one = got.get(name)?.data ?? new Float32Array(expected.get(name)?.data.length ?? 0)
    const other = expected.get(name)?.data ?? new Float32Array(one.length)
    worst = Math.max(worst, largestDifference(one, other))
    scale = Math.max(scale, largestDifference(other, new Float32Array(other.length)))
  }
  return worst / scale
}

/** Gradients of each part's adapter and head, computed alone. */
async function alone(
  model: Model,
  parts: readonly (readonly [string, typeof rows, AdapterSetup?])[]
): Promise<Gradients> {
  const gradients: Gradients['gradients'] = new Map()
  let loss = 0
  for (const [name, some, setup = name] of parts) {
    if (some.length === 0) continue
    const one = await model.gradients(inputs(some), { adapters: setup, head: name })
    loss += one.loss
    const own = new RegExp(`\\.${name}\\.`)
    for (const [parameter, value] of one.gradients) if (own.test(`.${parameter}`)) gradients.set(parameter, value)
  }
  return { loss, gradients }
}

const pick = (...numbers: number[]) => numbers.map((i) => rows[i] as (typeof rows)[number])

for (const second of ['double_seq_bn[reduction_factor=8]', 'lora[r=4]', 'prefix_tuning_flat[prefix_length=3]']) {
  test(`BatchSplit, MultiTask and Parallel: each adapter and head learn from their rows as alone (${second})`, async (t) => {
    const model = await withTwo(t, second)
    model.trainAdapter(Parallel('a', 'b'))
    const check = async (what: string, got: Gradients, expected: Gradients) => {
      t.true(Math.abs(got.loss - expected.loss) < 1e-5 * expected.loss, `${what}: loss ${got.loss}, ${expected.loss}`)
      t.true(relative(got.gradients, expected.gradients) < tolerance, what)
    }
    const split = BatchSplit('a', 'b', { batchSizes: [2, 4] })
    await check(
      'BatchSplit',
      await model.gradients(inputs(rows), { adapters: split }),
      await alone(model, [
        ['a', pick(0, 1)],
        ['b', pick(2, 3, 4, 5)]
      ])
    )
    const tasks = { adapters: MultiTask('a', 'b'), taskIds: ['b', 'a', 'b', 'b', 'a', 'a'] }
    await check(
      'MultiTask',
      await model.gradients(inputs(rows), tasks),
      await alone(model, [
        ['a', pick(1, 4, 5)],
        ['b', pick(0, 2, 3)]
      ])
    )
    await check(
      'Parallel',
      await model.gradients(inputs(rows), { adapters: Parallel('a', 'b') }),
      await alone(model, [
        ['a', rows],
        ['b', rows]
      ])
    )
    await check(
      'an empty part',
      await model.gradients(inputs(rows), { adapters: BatchSplit('a', 'b', { batchSizes: [0, 6] }) }),
      await alone(model, [['b', rows]])
    )
  })
}

test('heads of words, of values and of classes learn side by side; labels that are ignored take no part', async (t) => {
  const model = await withTwo(t)
  model.addAdapter('c', 'seq_bn[reduction_factor=8]')
  model.addTaggingHead('c', { numLabels: 4 })
  model.addAdapter('d', 'ia3')
  model.addRegressionHead('d')
  for (const name of ['c', 'd']) fill(model, name, { scale: 0.2 })
  model.trainAdapter(Parallel('a', 'b', 'c', 'd'))
  const tags = pick(1, 3).map(({ inputIds }, row) => inputIds.map((_, i) => (i % 2 === row ? -100 : i % 4)))
  const batch = {
    inputIds: rows.map((row) => row.inputIds),
    labels: [rows[0]?.label ?? 0, tags[0] ?? [], 0.25, tags[1] ?? [], rows[4]?.label ?? 0, -1.5]
  }
  const both = await model.gradients(batch as never, { adapters: ['a', 'c', 'd', 'c', 'b', 'd'] })
  const expected = await alone(model, [
    ['a', pick(0)],
    ['b', pick(4)]
  ])
  const more = [
    ['c', { inputIds: pick(1, 3).map((row) => row.inputIds), labels: tags }],
    ['d', { inputIds: pick(2, 5).map((row) => row.inputIds), labels: [0.25, -1.5] }]
  ] as const
  for (const [name, input] of more) {
    const one = await model.gradients(input, { adapters: name, head: name })
    expected.loss += one.loss
    for (const [key, value] of one.gradients) if (`.${key}`.includes(`.${name}.`)) expected.gradients.set(key, value)
  }
  t.true(Math.abs(both.loss - expected.loss) < 1e-5 * expected.loss)
  t.true(relative(both.gradients, expected.gradients) < tolerance)

  const ignored = {
    ...batch,
    labels: batch.labels.map((label) => (Array.isArray(label) ? label.map(() => -100) : label))
  }
  const without = await model.gradients(ignored as never, { adapters: ['a', 'c', 'd', 'c', 'b', 'd'] })
  const tagging = await model.gradients(more[0][1], { adapters: 'c', head: 'c' })
  t.true(Math.abs(without.loss + tagging.loss - both.loss) < 1e-5 * both.loss)
  const forC = [...without.gradients].filter(([name]) => /\.c\./.test(`.${name}`))
  t.true(forC.every(([, { data }]) => data.every((value) => value === 0)))
})

test('forward tells answers and losses head by head, in the caller’s rows', async (t) => {
  const model = await withTwo(t)
  const order = ['b', 'a', 'b', 'b', 'a', 'a']
  const { logits, loss, headOutputs = [] } = await model.forward(inputs(rows), { adapters: order })
  t.is(logits, undefined)
  t.deepEqual(
    headOutputs.map(({ head, rows: own, logits: { shape } }) => [head, own, shape]),
    [
      ['b', [0, 2, 3], [3, 3]],
      ['a', [1, 4, 5], [3, 3]]
    ]
  )
  let sum = 0
  for (const { head, rows: own, logits: together, loss: part = Number.NaN } of headOutputs) {
    const one = await model.forward(inputs(pick(...own)), { adapters: head, head })
    t.true(largestDifference(together.data, one.logits?.data ?? []) < 1e-5)
    t.true(Math.abs(part - (one.loss ?? 0)) < 1e-5)
    sum += part
  }
  t.true(Math.abs(sum - (loss ?? 0)) < 1e-5)
  model.addTaggingHead('tags', { numLabels: 4 })
  model.addAdapter('tags', 'seq_bn')
  const mixed = await model.forward({ inputIds: [[7, 8, 9], [5], [6, 7]] }, { adapters: ['a', 'tags', 'tags'] })
  const own = await model.forward({ inputIds: [[5], [6, 7]] }, { adapters: 'tags', head: 'tags' })
  t.deepEqual(mixed.headOutputs?.[1]?.logits.shape, [2, 3, 4])
  const [first, second] = [mixed.headOutputs?.[1]?.logits.data ?? [], own.logits?.data ?? []]
  t.true(largestDifference(first.slice(0, 4), second.slice(0, 4)) < 1e-5)
  t.true(largestDifference(first.slice(12, 20), second.slice(8, 16)) < 1e-5)
  await t.throwsAsync(model.gradients({ ...inputs(rows), labels: [0, 1, 2, 0, 9, 1] }, { adapters: order }), {
    message: /the labels of head 'a'\[1\].*0 to 2.*got 9/
  })
})

const unclipped: TrainingArguments = { ...quiet, maxGradNorm: 0, maxSteps: 6, weightDecay: 0.01 }

test('a run under Parallel ends where two runs of its children alone end', async (t) => {
  const data = tinyRows(12, { labels: 3 })
  const trained = async (setup: Exclude<AdapterSetup, null>) => {
    const model = await withTwo(t)
    model.trainAdapter(setup)
    await new AdapterTrainer({ model, trainDataset: data, args: unclipped }).train()
    return snapshot(model, /\.adapters\.[ab]\.|^heads\./)
  }
  const both = await trained(Parallel('a', 'b'))
  const [a, b] = [await trained('a'), await trained('b')]
  const start = snapshot(await withTwo(t), /\.adapters\.[ab]\.|^heads\./)
  for (const [name, values] of both) {
    const expected = (/\.a\./.test(`.${name}`) ? a : b).get(name) ?? []
    t.true(largestDifference(values as never, expected as never) < 1e-4, name)
  }
  t.is(moved(start, both).length, both.size)
})

test('a run under MultiTask: rows say their task, and only what they pass through moves', async (t) => {
  const model = await withTwo(t)
  model.addAdapter('c', 'seq_bn')
  model.addClassificationHead('c', { numLabels: 2 })
  model.trainAdapter(MultiTask('a', Stack('b', 'c')))
  const names = ['a', 'Stack[b, c]']
  const data = tinyRows(16, { labels: 2 }).map((row, i) => ({ ...row, taskId: names[i % 2] as string }))
  const before = snapshot(model)
  const first = await evaluate(model, data)
  await new AdapterTrainer({ model, trainDataset: data, args: { ...quiet, maxSteps: 40 } }).train()
  const changed = moved(before, snapshot(model))
  t.true(changed.every((name) => /\.adapters\.[abc]\.|^heads\.[ac]\./.test(name)))
  t.true(changed.some((name) => /\.adapters\.b\./.test(name)) && !changed.some((name) => /^heads\.b\./.test(name)))
  const last = await evaluate(model, data, { batchSize: 5 })
  t.deepEqual(Object.keys(last.heads ?? {}), ['a', 'c'])
  t.is(last.heads?.['a']?.rows, 8)
  t.true(last.loss < first.loss)
  t.true((last.heads?.['c']?.metrics.accuracy ?? 0) > (first.heads?.['c']?.metrics.accuracy ?? 1) - 1e-9)
  const alone = await evaluate(
    model,
    data.filter(({ taskId }) => taskId === 'a')
  )
  t.true(Math.abs((alone.heads?.['a']?.loss ?? 0) - (last.heads?.['a']?.loss ?? 1)) < 1e-5)
})

for (const setup of [MultiTask('a', 'b'), Parallel('a', 'b'), BatchSplit('a', 'b', { batchSizes: [1, 2] })]) {
  test(`a run under ${setup.type} resumes bit for bit`, async (t) => {
    const data = tinyRows(12, { labels: 3 }).map((row, i) => ({ ...row, taskId: i % 2 }))
    const folder = scratch(t)
    const run = async (args: TrainingArguments) => {
      const model = await make(t, { hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.1 })
      for (const name of ['a', 'b']) {
        model.addAdapter(name, 'seq_bn[reduction_factor=4, dropout=0.1]')
        model.addClassificationHead(name, { numLabels: 3 })
      }
      model.trainAdapter(setup)
      const outputDir = join(folder, 'out')
      const common = { ...quiet, perDeviceTrainBatchSize: 3, gradientAccumulationSteps: 2, maxSteps: 7, outputDir }
      await new AdapterTrainer({
        model,
        trainDataset: data,
        args: { ...common, saveStrategy: 'steps', saveSteps: 3, ...args }
      }).train()
      return snapshot(model)
    }
    const whole = await run({})
    t.deepEqual(moved(whole, await run({ resumeFromCheckpoint: join(folder, 'out', 'checkpoint-3') })), [])
  })
}

test('what cannot be trained is told before the first step', async (t) => {
  const model = await withTwo(t)
  const train = (args: TrainingArguments = {}, trainDataset: object[] = rows) =>
    new AdapterTrainer({ model, trainDataset: trainDataset as never, args: { ...quiet, maxSteps: 1, ...args } }).train()
  model.trainAdapter(MultiTask('a', 'b'))
  await t.throwsAsync(train(), {
    message: /trainDataset\[0\].*under MultiTask a row needs a taskId: one of 'a', 'b', or its number/
  })
  const named = rows.map((row) => ({ ...row, taskId: 'aa' }))
  await t.throwsAsync(train({}, named), { message: /trainDataset\[0\]\.taskId.*Did you mean 'a'/ })
  model.trainAdapter(BatchSplit('a', 'b', { batchSizes: [1, 3] }))
  await t.throwsAsync(train({ perDeviceTrainBatchSize: 5 }), { message: /batches of 4 rows, got 5/ })
  await t.throwsAsync(train({ perDeviceTrainBatchSize: 4 }), { message: /dataloaderDropLast.*the last of 6 rows/ })
  await t.notThrowsAsync(train({ perDeviceTrainBatchSize: 4, dataloaderDropLast: true }))

  model.trainAdapter('b')
  model.setActiveAdapters('a')
  await t.throwsAsync(train(), { message: /'b' was chosen to train and is not active/ })
  model.trainAdapter('b')
  model.setActiveAdapters('b', { skipLayers: [0, 1] })
  await t.throwsAsync(train(), { message: /'b' runs in no layer.*skipLayers 0, 1/ })
  model.setActiveAdapters('b', { skipLayers: [1] })
  await t.notThrowsAsync(train())
})
