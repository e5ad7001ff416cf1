import test, { type ExecutionContext } from 'ava'
import { AdapterError, AdapterTrainer, type Model, MultiTaskTrainer, planSweep, trainSweep } from '../../lib/index.js'
import { make, moved, quiet, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(12)

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.1 })
  model.addAdapter('a', 'seq_bn[reduction_factor=4, dropout=0.1]')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

const args = { ...quiet, maxSteps: 5, perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 2 } as const

test('a plan tells bytes, and a model that was planned trains to the same bits', async (t) => {
  const [planned, other] = [await ready(t), await ready(t)]
  const before = snapshot(planned)
  // Rows that come once alone are there for the training, too.
  const trainer = new AdapterTrainer({ model: planned, trainDataset: rows.values(), args })
  const plan = await trainer.plan()
  t.deepEqual(moved(before, snapshot(planned)), [])
  const { parameters } = plan
  const count = planned.namedParameters().filter(({ trainable }) => trainable)
  const values = count.reduce((sum, { shape }) => sum + shape.reduce((size, n) => size * n, 1), 0)
  t.is(parameters.trained, 4 * values)
  t.is(plan.gradients, parameters.trained)
  t.is(plan.optimizer, 2 * parameters.trained)
  t.true(plan.activations > 0)
  t.is(plan.total, parameters.total + plan.gradients + plan.optimizer + plan.activations + plan.overhead)
  t.is(plan.frozenLayerCache, 0)
  // The four longest that meet in a batch; 5 steps of two batches are more than three epochs.
  t.like(plan.largest, { pass: 'training', rows: 4 })
  t.true(plan.largest.tokens >= (4 * rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)) / 12)
  await trainer.train()
  await new AdapterTrainer({ model: other, trainDataset: rows, args }).train()
  t.deepEqual(moved(snapshot(planned), snapshot(other)), [])
})

test('other optimizers, the cache on disk, and what cannot be planned', async (t) => {
  const model = await ready(t)
  const planOf = (more: object) => new AdapterTrainer({ model, trainDataset: rows, args: { ...args, ...more } }).plan()
  const { gradients, optimizer } = await planOf({ optim: 'lion' })
  t.is(optimizer, gradients)
  t.is((await planOf({ optim: 'sgd' })).optimizer, 0)
  const tokens = rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0)
  // Refused here as in the run: the adapter stands in the first layer.
  await t.throwsAsync(planOf({ frozenLayerCache: true }), { message: /frozenLayerCache has nothing to keep/ })
  model.trainHead('a')
  model.setActiveAdapters(null)
  t.is((await planOf({ frozenLayerCache: true })).frozenLayerCache, 2 * 4 * tokens * model.config.hiddenSize)
  t.is((await planOf({ frozenLayerCache: { maxBytes: 1000 } })).frozenLayerCache, 1000)
  model.trainAdapter('a')
  async function* endless() {
    for (;;) yield* rows
  }
  await t.throwsAsync(new AdapterTrainer({ model, trainDataset: endless, args }).plan(), {
    instanceOf: AdapterError,
    code: 'ERR_UNSUPPORTED'
  })
  // It is free again.
  await t.notThrowsAsync(model.predict([{ inputIds: [5, 6, 7] }]))
  model.setActiveAdapters(null)
  await t.throwsAsync(planOf({}), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /'a' was chosen to train and is not active/
  })
})

test('tasks side by side: a plan, and then the same bits', async (t) => {
  const withB = async () => {
    const model = await ready(t)
    model.addAdapter('b', 'lora[r=4]')
    model.addClassificationHead('b')
    return model
  }
  const [planned, other] = [await withB(), await withB()]
  const tasks = { a: { dataset: rows }, b: { dataset: tinyRows(9, { seed: 3 }) } }
  const trainer = new MultiTaskTrainer({ model: planned, tasks, args })
  const plan = await trainer.plan()
  t.is(plan.optimizer, 2 * plan.gradients)
  // A micro-batch has rows of both.
  t.is(plan.largest.rows, 8)
  t.true(plan.activations > 0)
  await trainer.train()
  await new MultiTaskTrainer({ model: other, tasks, args }).train()
  t.deepEqual(moved(snapshot(planned), snapshot(other)), [])
})

test('a sweep: a plan leaves the model as it was, and then it trains to the same bits', async (t) => {
  const [planned, other] = [await ready(t), await ready(t)]
  const before = snapshot(planned)
  const grid = { learningRate: [0.01, 0.02, 0.03], reductionFactor: [4] }
  const sweep = { head: 'a', args } as const
  const plan = await planSweep(planned, rows, grid, sweep)
  t.deepEqual([...snapshot(planned).keys()], [...before.keys()])
  t.deepEqual(moved(before, snapshot(planned)), [])
  t.is(planned.activeAdapters, 'a')
  // Three adapters with a head each, and two moments for all of them.
  const own = planned.adapterSummary().adapters[0]?.parameters ?? 0
  t.true(plan.parameters.trained > 3 * 4 * own)
  t.is(plan.optimizer, 2 * plan.gradients)
  t.is(plan.largest.rows, 4)
  t.true(plan.activations > (await planSweep(planned, rows, { learningRate: [0.01] }, sweep)).activations)
  const results = [await trainSweep(planned, rows, grid, sweep), await trainSweep(other, rows, grid, sweep)]
  t.is(results[0]?.best, results[1]?.best)
  t.deepEqual(moved(snapshot(planned), snapshot(other)), [])
})
