import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import { Sampler } from '../../lib/data/sampler.js'
import { AdapterTrainer, BatchSplit, type Model, type TrainingArguments } from '../../lib/index.js'
import { StepPlan, stepBatches } from '../../lib/training/plan.js'
import { makeReady, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(37, { from: 1, to: 9 })
const lengths = Uint32Array.from(rows, ({ inputIds }) => inputIds.length)
const total = lengths.reduce((sum, length) => sum + length, 0)

const ready = (t: ExecutionContext): Promise<Model> => makeReady(t, { hidden_dropout_prob: 0.2 })

const { perDeviceTrainBatchSize: _, ...noSize } = quiet

async function steps(model: Model, args: TrainingArguments): Promise<{ tokens: number; epoch: number }[]> {
  const all: { tokens: number; epoch: number }[] = []
  for await (const event of new AdapterTrainer({ model, trainDataset: rows, args }).run()) {
    if (event.type === 'step') all.push({ tokens: event.tokens, epoch: event.epoch })
  }
  return all
}

const kinds: readonly TrainingArguments[] = [
  { perDeviceTrainBatchSize: 4, groupByLength: true },
  { maxTokensPerBatch: 24 },
  { maxTokensPerBatch: 24, groupByLength: true },
  { maxTokensPerBatch: 24, shuffle: false }
]

for (const args of kinds) {
  test(`every epoch contains every token once, and resuming has the same bits: ${JSON.stringify(args)}`, async (t) => {
    const recipe = (outputDir: string) => ({
      ...noSize,
      ...args,
      outputDir,
      numTrainEpochs: 2.5,
      gradientAccumulationSteps: 2,
      saveStrategy: 'steps' as const,
      saveSteps: 1
    })
    const whole = await ready(t)
    const outputDir = scratch(t)
    const all = await steps(whole, recipe(outputDir))
    const tokensOf = (epoch: number) =>
      all.filter((step) => step.epoch > epoch && step.epoch <= epoch + 1).reduce((sum, step) => sum + step.tokens, 0)
    t.is(tokensOf(0), total)
    t.is(tokensOf(1), total)
    t.true(Math.abs((all.at(-1)?.epoch ?? 0) - 2.5) < 0.2)
    if (args.maxTokensPerBatch) t.true(all.every(({ tokens }) => tokens <= 48))
    for (const step of [1, 4, 7]) {
      const model = await ready(t)
      const folder = scratch(t)
      const rest = await steps(model, {
        ...recipe(folder),
        resumeFromCheckpoint: join(outputDir, `checkpoint-${step}`)
      })
      t.deepEqual(rest, all.slice(step))
      t.deepEqual(moved(snapshot(whole), snapshot(model)), [], `from step ${step}`)
    }
  })
}

test('rows of one length stand together, the longest first', (t) => {
  const many = Uint32Array.from({ length: 400 }, (_, i) => 1 + ((i * 37) % 101))
  const sampler = new Sampler({ length: 400, batchSize: 8, seed: 2, lengths: many, groupSize: 8 })
  const spread = (batches: Iterable<Uint32Array>) =>
    [...batches].map((batch) => {
      const own = Array.from(batch, (row) => many[row] ?? 0)
      return Math.max(...own) - Math.min(...own)
    })
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  // A stretch is 12 batches, sorted: neighbours of one batch are about 101 / 12 apart, of a random one about 78.
  t.true(mean(spread(sampler.batches(0))) < 15)
  t.true(mean(spread(new Sampler({ length: 400, batchSize: 8, seed: 2 }).batches(0))) > 60)
  t.is(many[sampler.order(0)[0] ?? 0], 101)
  t.notDeepEqual(sampler.order(0), sampler.order(1))
  t.deepEqual(
    Array.from(sampler.order(3)).sort((a, b) => a - b),
    Array.from(many.keys())
  )
})

test('a budget of tokens: as many rows as fit, a longer row alone', (t) => {
  const own = Uint32Array.of(3, 4, 2, 12, 1, 9)
  const sampler = new Sampler({ length: 6, batchSize: 1, shuffle: false, lengths: own, maxTokens: 10 })
  const batches = [...sampler.batches(0)].map((batch) => [...batch])
  t.deepEqual(batches, [[0, 1, 2], [3], [4, 5]])
  t.is(sampler.batchCount(7), 3)
  t.deepEqual(
    [...sampler.batches(0, 1)].map((batch) => [...batch]),
    batches.slice(1)
  )
})

test('epochs of different numbers of batches: every step has its place', (t) => {
  const args = trainingArguments({ maxTokensPerBatch: 15, gradientAccumulationSteps: 2, numTrainEpochs: 4.5 })
  const sampler = new Sampler({ length: rows.length, batchSize: 1, seed: 5, lengths, maxTokens: 15 })
  const counts = [0, 1, 2, 3, 4].map((epoch) => Math.ceil(sampler.batchCount(epoch) / 2))
  t.true(new Set(counts).size > 1, `${counts}`)
  const plan = new StepPlan(args, sampler)
  const [last = 0, ...before] = counts.toReversed()
  const whole = before.reduce((sum, count) => sum + count, 0)
  t.is(plan.totalSteps, whole + Math.ceil(last / 2))
  // Asked in any order.
  t.deepEqual(new StepPlan(args, sampler).place(whole), { epoch: 4, index: 0, count: last })
  t.is(plan.epochAfter(whole), 4)
  t.true(plan.endsEpoch(whole))
  t.false(plan.endsEpoch(whole + 1))
  const all = [...stepBatches(sampler, plan, 2, 0)]
  t.is(all.length, plan.totalSteps)
  const seen = all.slice(0, whole).flatMap((group) => group.flatMap((batch) => [...batch]))
  t.is(seen.length, 4 * rows.length)
  for (const row of rows.keys()) t.is(seen.filter((one) => one === row).length, 4)
  for (const start of [1, 8, whole]) t.deepEqual([...stepBatches(sampler, plan, 2, start)], all.slice(start))
})

test('dataSeed alone decides the order', async (t) => {
  const order = async (args: TrainingArguments) =>
    (await steps(await ready(t), { ...quiet, maxSteps: 9, ...args })).map(({ tokens }) => tokens)
  const own = await order({ dataSeed: 5 })
  t.deepEqual(await order({ dataSeed: 5, seed: 1 }), own)
  t.deepEqual(await order({ seed: 5 }), own)
  t.notDeepEqual(await order({}), own)
})

test('what does not go together is refused by name', async (t) => {
  const cases: [TrainingArguments, RegExp][] = [
    [{ groupByLength: true, shuffle: false }, /args\.groupByLength: .*it needs shuffle/],
    [{ maxTokensPerBatch: 9, perDeviceTrainBatchSize: 8 }, /no number of rows: leave out perDeviceTrainBatchSize/],
    [{ maxTokensPerBatch: 9, dataloaderDropLast: true }, /no full size: leave out dataloaderDropLast/],
    [{ maxTokensPerBatch: 0 }, /positive integer/]
  ]
  for (const [args, message] of cases) t.throws(() => trainingArguments(args), { message })
  const model = await ready(t)
  model.addAdapter('b')
  model.trainAdapter(BatchSplit('a', 'b', { batchSizes: [2, 2] }))
  await t.throwsAsync(steps(model, { ...noSize, maxTokensPerBatch: 20, maxSteps: 1 }), {
    message: /maxTokensPerBatch: .* is for batches of a fixed number of rows/
  })
})

test('the epoch counts batches: of six, in steps of four, the first step is two thirds', (t) => {
  const args = trainingArguments({ gradientAccumulationSteps: 4, numTrainEpochs: 2 })
  const plan = new StepPlan(args, new Sampler({ length: 23, batchSize: 4, seed: 1 }))
  const epochs = [0, 1, 2, 3, 4].map((step) => plan.epochAfter(step))
  t.deepEqual(epochs, [0, 4 / 6, 1, 10 / 6, 2])
})
