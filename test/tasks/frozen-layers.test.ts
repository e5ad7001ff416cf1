// What frozen layers give is computed once for all tasks and for all of a sweep, and read in every epoch after.
import test, { type ExecutionContext } from 'ava'
import { type Model, MultiTaskTrainer, type TrainingArguments, trainSweep } from '../../lib/index.js'
import { largestDifference, make, quiet, scratch, tinyRows } from '../model/support.js'

const [one, two] = [tinyRows(12), tinyRows(8, { seed: 3 })]
const config = 'seq_bn[reduction_factor=4,leave_out=[0,1]]'
const shared = { ...quiet, numTrainEpochs: 3, perDeviceTrainBatchSize: 4, learningRate: 1e-2 } as const

const trained = (model: Model): number[] =>
  model.namedParameters().flatMap(({ name, trainable }) => (trainable ? [...model.parameter(name).data] : []))

const four = async (t: ExecutionContext) => await make(t, { num_hidden_layers: 4 })

async function tasksOf(t: ExecutionContext, more: TrainingArguments): Promise<Model> {
  const model = await four(t)
  for (const name of ['x', 'y']) {
    model.addAdapter(name, config)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  const args = { ...shared, outputDir: scratch(t), ...more }
  const trainer = new MultiTaskTrainer({ model, tasks: { x: { dataset: one }, y: { dataset: two } }, args })
  const { frozenLayers } = await trainer.train()
  t.is(frozenLayers?.layers, more.frozenLayerCache === true ? 2 : undefined)
  if (frozenLayers !== undefined) {
    const distinct = new Set([...one, ...two].map(({ inputIds }) => `${inputIds}`)).size
    // Two alike in one batch are computed both.
    t.true(frozenLayers.rowsComputed >= distinct && frozenLayers.rowsComputed <= one.length + two.length)
    t.true(frozenLayers.rowsRead >= 2 * (one.length + two.length))
  }
  return model
}

test('tasks end where they end without it', async (t) => {
  const [plain, cached] = [await tasksOf(t, {}), await tasksOf(t, { frozenLayerCache: true })]
  t.true(largestDifference(trained(cached), trained(plain)) < 1e-5)
})

async function sweepOf(t: ExecutionContext, more: TrainingArguments): Promise<Model> {
  const model = await four(t)
  model.addClassificationHead('h', { numLabels: 2 })
  const args = { ...shared, outputDir: scratch(t), ...more }
  await trainSweep(model, one, { learningRate: [1e-2, 3e-3], seed: [1, 2] }, { config, args, keep: 'all', head: 'h' })
  return model
}

test('so does a sweep', async (t) => {
  const [plain, cached] = [await sweepOf(t, {}), await sweepOf(t, { frozenLayerCache: true })]
  t.true(largestDifference(trained(cached), trained(plain)) < 1e-5)
  t.true(trained(cached).length > 0)
})
