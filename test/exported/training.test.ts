import test, { type ExecutionContext } from 'ava'
import {
  AdapterConfig,
  AdapterSwitcher,
  AdapterTrainer,
  Fuse,
  type Model,
  MultiTaskTrainer,
  Parallel,
  Stack,
  trainSweep
} from '../../lib/index.js'
import { fill, moved, quiet, scratch, snapshot } from '../model/support.js'
import { distance, open } from './support.js'

// Rows of the fixtures' vocabulary.
const rows = Array.from({ length: 12 }, (_, i) => ({
  inputIds: Array.from({ length: 2 + (i % 5) }, (_, j) => 3 + ((7 * i + 5 * j) % 30)),
  label: i % 2
}))

const args = { ...quiet, numTrainEpochs: 2, seed: 5, dataSeed: 3 }

async function ready(t: ExecutionContext, name: string, seed = 1): Promise<Model> {
  const { model } = await open(t, name)
  model.addAdapter('a', 'double_seq_bn[reduction_factor=4]', { seed })
  model.addClassificationHead('a', { numLabels: 2, seed })
  model.trainAdapter('a')
  return model
}

for (const name of ['bert', 'llama']) {
  test(`${name}: a trainer moves the adapter and not a bit of the network, the same each time`, async (t) => {
    const [model, again] = [await ready(t, name), await ready(t, name)]
    const before = snapshot(model)
    const own = { ...args, numTrainEpochs: 8 }
    const { loss } = await new AdapterTrainer({ model, trainDataset: rows, args: own }).train()
    await new AdapterTrainer({ model: again, trainDataset: rows, args: own }).train()
    t.deepEqual(moved(snapshot(model), snapshot(again)), [])
    const changed = moved(before, snapshot(model))
    t.true(changed.length > 0 && changed.every((one) => one.includes('.adapters.a.') || one.startsWith('heads.a.')))
    const first = await ready(t, name)
    const start = await new AdapterTrainer({ model: first, trainDataset: rows, args: { ...args, maxSteps: 1 } }).train()
    t.true(loss < start.loss, `${loss}, at first ${start.loss}`)
  })
}

test('below the lowest adapter nothing is kept for gradients', async (t) => {
  const activations = async (leaveOut: number[]) => {
    const { model } = await open(t, 'llama')
    model.addAdapter('a', AdapterConfig.load('seq_bn', { reductionFactor: 4, leaveOut }))
    model.addClassificationHead('a', { numLabels: 2 })
    model.trainAdapter('a')
    return (await new AdapterTrainer({ model, trainDataset: rows, args }).plan()).activations
  }
  const [all, upper] = [await activations([]), await activations([0])]
  t.true(upper < 0.75 * all, `${upper} above the first layer, ${all} from there on`)
})

test('members of a sweep end where they end alone', async (t) => {
  const { model } = await open(t, 'llama')
  model.addClassificationHead('h', { numLabels: 2 })
  const grid = { learningRate: [1e-2, 3e-3] }
  const { members } = await trainSweep(model, rows, grid, { args, keep: 'all', config: 'seq_bn[reduction_factor=4]' })
  t.is(members.length, 2)
  for (const { name, values, loss } of members) {
    const { model: alone } = await open(t, 'llama')
    alone.addAdapter(name, 'seq_bn[reduction_factor=4]', { seed: args.seed })
    alone.addClassificationHead(name, { numLabels: 2, seed: args.seed })
    alone.trainAdapter(name)
    const own = await new AdapterTrainer({
      model: alone,
      trainDataset: rows,
      args: { ...args, ...values } as never
    }).train()
    t.true(Math.abs(own.loss - loss) < 1e-5, `${name}: ${own.loss}, ${loss}`)
  }
})

test('several tasks train one network', async (t) => {
  const model = await ready(t, 'llama')
  model.addAdapter('b', 'lora')
  model.addClassificationHead('b', { numLabels: 2 })
  const before = snapshot(model)
  await new MultiTaskTrainer({ model, tasks: { a: { dataset: rows }, b: { dataset: rows } }, args }).train()
  const changed = moved(before, snapshot(model))
  t.true(changed.some((one) => one.includes('.adapters.a.')) && changed.some((one) => one.includes('.loras.b.')))
  t.false(changed.some((one) => one.endsWith('proj.weight')))
})

test('rows of one batch pass through adapters of their own, and answer as they do alone', async (t) => {
  const model = await ready(t, 'llama')
  model.addAdapter('b', 'lora')
  model.addAdapter('c', 'seq_bn[reduction_factor=4]')
  model.addAdapterFusion(['a', 'c'])
  for (const name of ['a', 'b', 'c']) fill(model, name)
  const setups = ['a', 'b', null, Stack('c', 'b'), Fuse('a', 'c'), Parallel('a', 'c')]
  const given = rows.slice(0, 5)
  const together = await model.forward(
    { inputIds: given.map(({ inputIds }) => inputIds) },
    { adapters: setups.slice(0, 5) as never, head: 'a' }
  )
  for (const [i, { inputIds }] of given.entries()) {
    const alone = await model.forward({ inputIds: [inputIds] }, { adapters: setups[i] as never, head: 'a' })
    const data = together.logits?.data.subarray(2 * i, 2 * i + 2) ?? []
    const away = distance(data, { data: alone.logits?.data as Float32Array })
    t.true(away < 1e-5, `row ${i}: ${away}`)
  }
  const both = await model.forward({ inputIds: [[5, 6, 7]] }, { adapters: setups[5] as never, head: 'a' })
  t.is(both.logits?.shape[0], 2)
})

test('a switcher answers with each of its adapters', async (t) => {
  const model = await ready(t, 'llama')
  fill(model, 'a')
  const folder = scratch(t)
  await model.saveAdapter(folder, 'a')
  const { model: other } = await open(t, 'llama')
  const switcher = new AdapterSwitcher(other, { a: { path: folder } })
  await switcher.ready
  const row = { inputIds: [5, 6, 7] }
  const [expected] = await model.predict([row], { adapters: 'a' })
  t.deepEqual(await switcher.inference(row, 'a'), expected)
})
