import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import test, { type ExecutionContext } from 'ava'
import { rowsOfPass } from '../../lib/data/row-stream.js'
import {
  AdapterTrainer,
  type Dataset,
  type Model,
  MultiTaskTrainer,
  type Row,
  type RowStream,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { make, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(23)

const later: RowStream = async function* () {
  for (const row of rows) yield await Promise.resolve(row)
}

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.2 })
  model.addAdapter('a')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

async function run(t: ExecutionContext, trainDataset: Dataset | RowStream, args: TrainingArguments) {
  const model = await ready(t)
  const losses: number[] = []
  const epochs: number[] = []
  for await (const event of new AdapterTrainer({ model, trainDataset, args }).run()) {
    if (event.type !== 'step') continue
    losses.push(event.loss)
    epochs.push(event.epoch)
  }
  return { losses, epochs, values: snapshot(model) }
}

for (const own of [{}, { gradientAccumulationSteps: 2 }, { dataloaderDropLast: true }] as const) {
  test(`pass after pass, what rows in memory give in their order: ${JSON.stringify(own)}`, async (t) => {
    const args = { ...quiet, ...own, maxSteps: 14, shuffle: false }
    const expected = await run(t, rows, args)
    const got = await run(t, later, args)
    t.deepEqual(got.losses, expected.losses)
    t.deepEqual(moved(expected.values, got.values), [])
    // Nobody knows where a pass ends: all steps are one epoch.
    t.is(got.epochs.at(-1), 1)
    const plain = await run(t, () => rows, args)
    t.deepEqual(plain.losses, expected.losses)
  })
}

const numbered: Row[] = Array.from({ length: 40 }, (_, i) => ({ text: String(i) }))

async function order(pass: number, shuffleBufferSize: number | null, seed = 1): Promise<number[]> {
  const all: number[] = []
  const options = { name: 'stream', pass, shuffleBufferSize, seed }
  for await (const row of rowsOfPass(() => numbered, options)) all.push('text' in row ? Number(row.text) : -1)
  return all
}

test('a buffer shuffles: each row once, another order in each pass, none far before its turn', async (t) => {
  const inOrder = Array.from({ length: 40 }, (_, i) => i)
  t.deepEqual(await order(0, null), inOrder)
  t.deepEqual(await order(0, 1), inOrder)
  for (const size of [5, 40, 1000]) {
    const first = await order(0, size)
    t.notDeepEqual(first, inOrder)
    t.deepEqual(
      [...first].sort((a, b) => a - b),
      inOrder
    )
    t.deepEqual(await order(0, size), first)
    t.notDeepEqual(await order(1, size), first)
    t.notDeepEqual(await order(0, size, 2), first)
    first.forEach((row, place) => void t.true(row <= place + size))
  }
})

test('a run resumes behind what it has read, to the same bits; another stream is refused', async (t) => {
  const outputDir = scratch(t)
  const args: TrainingArguments = {
    ...{ ...quiet, outputDir, maxSteps: 9, gradientAccumulationSteps: 2, shuffleBufferSize: 6 },
    ...{ saveStrategy: 'steps', saveSteps: 1 }
  }
  const whole = await run(t, later, args)
  const resumed = async (step: number, stream: RowStream, own: TrainingArguments = {}) => {
    const folder = scratch(t)
    cpSync(join(outputDir, `checkpoint-${step}`), join(folder, `checkpoint-${step}`), { recursive: true })
    return await run(t, stream, { ...args, ...own, outputDir: folder, resumeFromCheckpoint: true })
  }
  for (const step of [1, 3, 4, 8]) {
    const rest = await resumed(step, later)
    t.deepEqual(rest.losses, whole.losses.slice(step))
    t.deepEqual(moved(whole.values, rest.values), [])
  }
  const other = rows.map((row, i) => (i === 2 ? { ...row, label: 1 - row.label } : row))
  const model = await ready(t)
  const before = snapshot(model)
  const from = { ...args, outputDir: scratch(t), resumeFromCheckpoint: join(outputDir, 'checkpoint-3') }
  const refused = new AdapterTrainer({ model, trainDataset: () => other, args: from }).train()
  await t.throwsAsync(refused, { code: 'ERR_RESUME', message: /the stream gives other rows/ })
  t.deepEqual(moved(before, snapshot(model)), [])
  await t.throwsAsync(resumed(3, rows as never, { shuffleBufferSize: null }), { code: 'ERR_RESUME' })
})

test('a step ahead is read and no more, and the stream is let go of', async (t) => {
  const model = await ready(t)
  let read = 0
  let ended = 0
  const counting: RowStream = async function* () {
    try {
      for (;;) {
        yield rows[read % rows.length] as Row
        read++
      }
    } finally {
      ended++
    }
  }
  const args = { ...quiet, maxSteps: 1000, perDeviceTrainBatchSize: 3 }
  for await (const event of new AdapterTrainer({ model, trainDataset: counting, args }).run()) {
    if (event.type !== 'step') continue
    t.true(read <= 3 * (event.step + 2), `${read} rows read after step ${event.step}`)
    if (event.step === 20) break
  }
  await setTimeout(1)
  t.is(ended, 1)
})

test('an abort does not wait for a stream that gives nothing', async (t) => {
  const model = await ready(t)
  const silent: RowStream = async function* () {
    yield* rows.slice(0, 4)
    await new Promise(() => undefined)
  }
  for (const saveOnAbort of [false, true]) {
    const outputDir = scratch(t)
    const controller = new AbortController()
    const trainer = new AdapterTrainer({ model, trainDataset: silent, args: { ...quiet, outputDir, maxSteps: 5 } })
    const seen: string[] = []
    const running = async () => {
      for await (const event of trainer.run({ signal: controller.signal, saveOnAbort })) {
        seen.push(event.type)
        if (event.type === 'step') void setTimeout(20).then(() => controller.abort(new Error('enough')))
      }
    }
    await t.throwsAsync(running, { message: 'enough' })
    t.deepEqual(seen, saveOnAbort ? ['step', 'save'] : ['step'])
  }
  model.addAdapter('b')
})

test('a buffer for shuffling is refused where there is no stream, by each trainer', async (t) => {
  const model = await ready(t)
  const args = { ...quiet, maxSteps: 3, shuffleBufferSize: 8 }
  const message = /^args\.shuffleBufferSize: it is for a stream, .*: leave it out$/
  t.throws(() => new AdapterTrainer({ model, trainDataset: rows, args }), { message })
  t.throws(() => new MultiTaskTrainer({ model, tasks: { a: { dataset: rows } }, args }), { message })
  await t.throwsAsync(trainSweep(model, rows, { seed: [1] }, { head: 'a', args }), { message })
})

test('what a stream cannot do is refused by name', async (t) => {
  const model = await ready(t)
  const refuse = (args: TrainingArguments, message: RegExp) =>
    t.throws(() => new AdapterTrainer({ model, trainDataset: later, args: { ...quiet, ...args } }), { message })
  refuse({}, /args\.maxSteps: trainDataset is a stream, whose length nobody knows/)
  refuse({ maxSteps: 3, saveStrategy: 'epoch' }, /args\.saveStrategy: .*use 'steps'/)
  refuse({ maxSteps: 3, groupByLength: true }, /args\.groupByLength/)
  refuse({ maxSteps: 3, perDeviceTrainBatchSize: undefined, maxTokensPerBatch: 99 }, /args\.maxTokensPerBatch/)
  refuse({ maxSteps: 3, classWeights: 'balanced' }, /args\.classWeights: .*give numbers/)
  const fails = async (stream: unknown, message: RegExp) =>
    await t.throwsAsync(run(t, stream as RowStream, { ...quiet, maxSteps: 9 }), { message })
  await fails(() => 3, /trainDataset\(\): expected an iterable/)
  await fails(async () => rows, /\(to wait for rows, an async function\* that yields them\), got a Promise/)
  await fails(() => [], /the stream gave no rows in pass 1/)
  const once = rows.values()
  await fails(() => once, /the stream gave no rows in pass 2/)
  await fails(() => [...rows, { inputIds: [2, 3], label: 5 }], /trainDataset\[23\]\.label/)
  await fails(() => [...rows, { inputIds: [2, 3] }], /trainDataset\[23\] has no label/)
  await fails(function* () {
    yield* rows
    throw new Error('the network is gone')
  }, /the network is gone/)
})
