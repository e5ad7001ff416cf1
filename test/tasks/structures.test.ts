import test from 'ava'
import {
  fuseTasks,
  MultiTaskAdapterModel,
  MultiTaskTrainer,
  type TaskOptions,
  type TrainingArguments
} from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { load, quiet, scratch, tinyRows } from '../model/support.js'
import { distance, valuesOf } from './support.js'

const rows = { x: tinyRows(24, { seed: 1 }), y: tinyRows(16, { seed: 2 }) }
const args = { ...quiet, numTrainEpochs: 4, learningRate: 2e-2 }

test('an adapter for each task on the last hidden state', async (t) => {
  const model = await load(t)
  const shared = new MultiTaskAdapterModel(model, { x: { adapterSize: 8 }, y: { adapterSize: 4 } })
  for (const name of shared.tasks) model.addClassificationHead(name, { numLabels: 2 })
  const before = { x: valuesOf(model, 'x'), y: valuesOf(model, 'y') }
  const tasks = { x: { dataset: rows.x }, y: { dataset: rows.y } }
  t.throws(() => new MultiTaskTrainer({ model: shared as never, tasks, args }), {
    message: /expected the model that it was made of \(its baseModel\), got a MultiTaskAdapterModel/
  })
  for await (const event of new MultiTaskTrainer({ model, tasks, args: { ...args, maxSteps: 6 } }).run()) {
    if (event.type === 'end') t.deepEqual(Object.keys(event.tasks), ['x', 'y'])
  }
  for (const name of ['x', 'y'] as const) t.true(distance(before[name], valuesOf(model, name)) > 1e-3)
})

test('adapters of two tasks are trained, then fused for one of them', async (t) => {
  const model = await load(t)
  for (const name of ['x', 'y']) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  const evalDataset = tinyRows(20, { seed: 3 })
  const result = await fuseTasks({
    model,
    tasks: { x: { dataset: rows.x, evalDataset }, y: { dataset: rows.y } },
    target: 'x',
    args: { ...args, outputDir: scratch(t), evalStrategy: 'epoch' },
    fusion: { args: { learningRate: 5e-3 } }
  })
  t.is(result.fusion, 'x,y')
  t.deepEqual(model.activeAdapters, { type: 'Fuse', children: ['x', 'y'], name: 'x,y' })
  t.true((result.target.evaluation?.metrics['accuracy'] ?? 0) > 0.6, JSON.stringify(result.target.evaluation))
  t.is(result.tasks.tasks['x']?.steps, 24)
  await t.throwsAsync(fuseTasks({ model, tasks: { x: { dataset: rows.x } }, target: 'z' }), { message: /target/ })
})

test('what tasks share moves as all of them say, or else as is said for all', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_SHARED_ARGUMENTS')
  const own = {
    optim: 'sgd',
    learningRate: 0.5,
    maxGradNorm: 0,
    lrSchedulerType: 'constant',
    weightDecay: 0.1
  } as const
  const moved = async (all: TrainingArguments, x: TaskOptions['args'], y: TaskOptions['args']) => {
    const model = await load(t)
    model.addAdapter('s')
    for (const name of ['x', 'y']) model.addClassificationHead(name, { numLabels: 2 })
    const tasks = { x: { dataset: rows.x, adapter: 's', args: x }, y: { dataset: rows.y, adapter: 's', args: y } }
    await new MultiTaskTrainer({ model, tasks, args: { ...quiet, maxSteps: 3, ...all } }).train()
    return valuesOf(model, 's')
  }
  const expected = await moved(own, {}, {})
  t.deepEqual(await moved({}, own, own), expected)
  t.deepEqual(await moved({ ...own, weightDecay: 0.3 }, { weightDecay: 0.1 }, { weightDecay: 0.1 }), expected)
  // What all of them take is none of the default's.
  const momentum = { optimArgs: { momentum: 0.9 } }
  t.deepEqual(await moved(momentum, own, own), await moved({ ...own, ...momentum }, {}, {}))
  t.deepEqual(warnings, [])
  await t.throwsAsync(moved(momentum, own, { ...own, adamBeta1: 0.5 }), {
    message: /^args\.optimArgs: 'adamw' does not take 'momentum'/
  })
  await soon()
  warnings.length = 0
  // Later steps differ by what the heads have become.
  const one = { ...own, maxSteps: 1 }
  const first = await moved(one, {}, {})
  t.deepEqual(await moved(one, { learningRate: 1 }, { learningRate: 2 }), first)
  t.deepEqual(await moved(one, { optim: 'lion' }, {}), first)
  await soon()
  t.is(warnings.length, 2)
  t.regex(
    `${warnings[0]}`,
    /the tasks x and y share trains with the learningRate of all, 0\.5; that in the args of the tasks \(x: 1, y: 2\)/
  )
  t.regex(`${warnings[1]}`, /the optim of all, "sgd"; .*\(x: "lion", y: "sgd"\)/)
})
