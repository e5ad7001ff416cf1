import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  type AdapterTrainerOptions,
  type MemoryPlan,
  type Model,
  MultiTaskTrainer,
  planSweep,
  type TrainingArguments
} from '../../lib/index.js'
import { describePlan } from '../../lib/training/memory-plan.js'
import { make, moved, quiet, snapshot, type TinyRow, tinyRows } from '../model/support.js'

const rows = tinyRows(12)
// In batches of 8: 64 tokens, 64, and 160 at last.
const measured = [8, 8, 20].flatMap((length, i) => tinyRows(8, { seed: 5 + i, from: length, to: length }))

const args = {
  ...{ ...quiet, maxSteps: 4, perDeviceTrainBatchSize: 2 },
  ...{ evalStrategy: 'steps', evalSteps: 2, perDeviceEvalBatchSize: 8 }
} as const satisfies TrainingArguments

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.1 })
  model.addAdapter('a')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  return model
}

const planOf = (model: Model, more: Omit<AdapterTrainerOptions, 'model' | 'trainDataset'>): Promise<MemoryPlan> =>
  new AdapterTrainer({ model, trainDataset: rows, ...more }).plan()

test('the largest batch of an evaluation is measured, and decides where it takes more than training', async (t) => {
  const [planned, other] = [await ready(t), await ready(t)]
  const before = snapshot(planned)
  const trainer = new AdapterTrainer({ model: planned, trainDataset: rows, evalDataset: measured, args })
  const plan = await trainer.plan()
  t.deepEqual(plan.largest, { pass: 'evaluation', rows: 8, tokens: 160 })
  const alone = await planOf(planned, { args: { ...args, evalStrategy: 'no' } })
  t.is(alone.largest.pass, 'training')
  t.true(plan.activations > alone.activations)
  t.is(plan.total, plan.parameters.total + plan.gradients + plan.optimizer + plan.activations + plan.overhead)
  t.regex(describePlan(plan), /largest batch of an evaluation, which takes more than training does: 8 rows, 160 tokens/)
  t.regex(describePlan(alone), /largest micro-batch: 2 rows, /)
  // Of batches that are no larger than training's it takes less: nothing is kept for a way back.
  const small = await planOf(planned, { evalDataset: rows, args: { ...args, perDeviceEvalBatchSize: 2 } })
  t.like(small, { largest: alone.largest, activations: alone.activations })
  t.deepEqual(moved(before, snapshot(planned)), [])
  await trainer.train()
  await new AdapterTrainer({ model: other, trainDataset: rows, evalDataset: measured, args }).train()
  t.deepEqual(moved(snapshot(planned), snapshot(other)), [])
})

test('evaluations that a run does not make do not count, and those before its first step do', async (t) => {
  const model = await ready(t)
  const passOf = async (more: TrainingArguments) =>
    (await planOf(model, { evalDataset: measured, args: { ...args, ...more } })).largest.pass
  t.is(await passOf({ evalStrategy: 'no' }), 'training')
  t.is(await passOf({ evalSteps: 5 }), 'training')
  t.is(await passOf({ evalDelay: 5 }), 'training')
  t.is(await passOf({ evalStrategy: 'no', evalOnStart: true }), 'evaluation')
  t.is(await passOf({ evalStrategy: 'epoch', maxSteps: 6 }), 'evaluation')
  t.is(await passOf({ saveStrategy: 'steps', saveSteps: 2, loadBestModelAtEnd: true }), 'evaluation')
})

test('of several sets the largest batch of all counts', async (t) => {
  const model = await ready(t)
  const evalDataset = {
    short: measured.slice(0, 8),
    long: measured.slice(16),
    one: rows.slice(0, 1)
  }
  t.deepEqual((await planOf(model, { evalDataset, args })).largest, { pass: 'evaluation', rows: 8, tokens: 160 })
})

test('answers that wait for those of other batches count', async (t) => {
  const model = await make(t)
  model.addAdapter('a')
  model.addMaskedLmHead('a')
  model.trainAdapter('a')
  const long = tinyRows(24, { from: 20, to: 20 }).map(({ inputIds }) => ({ inputIds, labels: inputIds }))
  // Nothing to answer: no word was hidden.
  const none = [{ inputIds: [5, 6], labels: [-100, -100] }]
  const activations = async (evalAccumulationSteps: number, hasOwn: boolean) => {
    const trainer = new AdapterTrainer({
      ...{ model, trainDataset: [{ inputIds: [5, 6], labels: [7, 8] }], evalDataset: { long, none } },
      args: { ...args, evalAccumulationSteps },
      computeMetrics: hasOwn ? () => ({ own: 1 }) : undefined
    })
    return (await trainer.plan()).activations
  }
  // Logits of two batches of 160 tokens wait for the third's; without own metrics one word of each token does.
  const logits = 160 * 99 * 4
  const [own, words] = [
    (await activations(3, true)) - (await activations(1, true)),
    (await activations(3, false)) - (await activations(1, false))
  ]
  t.true(own >= 2 * logits, `${own}`)
  t.true(words > 0 && words < logits / 10, `${words}`)
})

test('rows that stay on disk: some batches of them are read; those that come once are there for the training, too', async (t) => {
  const model = await ready(t)
  const read = new Set<number>()
  const onDisk = {
    length: 100_000,
    at: (index: number) => {
      read.add(index)
      return measured[index % 24] as TinyRow
    }
  }
  for (const evalAccumulationSteps of [null, 4]) {
    read.clear()
    const plan = await planOf(model, { evalDataset: onDisk, args: { ...args, evalAccumulationSteps } })
    t.is(plan.largest.pass, 'evaluation')
    // And some for what tokenizing takes.
    t.true(read.size > 64 * 8 - 64 && read.size <= 64 * 8 + 64, `${read.size}`)
    t.true(Math.max(...read) > 90_000)
  }
  const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset: measured.values(), args })
  t.deepEqual((await trainer.plan()).largest, { pass: 'evaluation', rows: 8, tokens: 160 })
  t.is((await trainer.evaluate()).rows, 24)
})

test('with a cache of frozen layers the rows of evaluations are kept, too', async (t) => {
  const model = await ready(t)
  model.trainHead('a')
  model.setActiveAdapters(null)
  const planned = async (own: TrainingArguments) =>
    (await planOf(model, { evalDataset: measured, args: { ...args, frozenLayerCache: true, ...own } })).frozenLayerCache
  const tokens = 8 * (8 + 8 + 20)
  t.is((await planned({})) - (await planned({ evalStrategy: 'no' })), 2 * 4 * tokens * model.config.hiddenSize)
})

test('evaluations of tasks and of sweeps count', async (t) => {
  const model = await ready(t)
  model.addAdapter('b', 'lora')
  model.addClassificationHead('b')
  const passOf = async (evalDataset: readonly TinyRow[] | undefined) => {
    const tasks = { a: { dataset: rows, evalDataset: rows.slice(0, 1) }, b: { dataset: rows, evalDataset } }
    return (await new MultiTaskTrainer({ model, tasks, args }).plan()).largest
  }
  t.deepEqual(await passOf(measured), { pass: 'evaluation', rows: 8, tokens: 160 })
  t.is((await passOf(undefined)).pass, 'training')
  const sweep = async (more: TrainingArguments) =>
    await planSweep(
      model,
      rows,
      { learningRate: [0.1, 0.2] },
      { head: 'a', evalDataset: measured, args: { ...args, ...more } }
    )
  const [largest, alone] = [await sweep({}), await sweep({ evalStrategy: 'no' })]
  t.deepEqual(largest.largest, { pass: 'evaluation', rows: 8, tokens: 160 })
  t.is(alone.largest.pass, 'training')
  t.true(largest.activations > alone.activations)
})
