import { cpSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, Fuse, type Model, type TrainingArguments } from '../../lib/index.js'
import { layers, make, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(12)
const setup = Fuse('a', 'b', { name: 'f' })

async function ready(t: ExecutionContext, config: object = {}): Promise<Model> {
  const model = await make(t)
  model.addAdapter('a')
  model.addAdapter('b', 'seq_bn[reduction_factor=8]')
  model.addAdapterFusion(['a', 'b'], { temperature: true, dropoutProb: 0.1, ...config }, { name: 'f' })
  model.addClassificationHead('b')
  model.trainAdapterFusion(setup)
  return model
}

const train = (model: Model, args: TrainingArguments) =>
  new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, ...args } }).train()

test('training moves the fusion and the head alone, and lowers the loss', async (t) => {
  const model = await ready(t)
  const before = snapshot(model)
  const first = await train(model, { maxSteps: 2 })
  t.true(moved(before, snapshot(model)).every((name) => /adapter_fusion_layer\.f\.|^heads\.b\./.test(name)))
  const last = await train(model, { maxSteps: 40 })
  t.true(last.loss < first.loss)
})

test('the temperature falls by 0.05 a step of training, never in evaluation, and is kept in folders', async (t) => {
  const model = await ready(t)
  t.is(model.native.fusionTemperature('f'), 50)
  await model.forward({ inputIds: [[5, 6]] })
  t.is(model.native.fusionTemperature('f'), 50)
  await train(model, { maxSteps: 4, gradientAccumulationSteps: 2 })
  t.true(Math.abs(model.native.fusionTemperature('f') - 49.8) < 1e-9)
  const folder = join(scratch(t), 'f')
  await model.saveAdapterFusion(folder, 'f')
  await model.loadAdapterFusion(folder, { as: 'g' })
  t.is(model.native.fusionTemperature('g'), model.native.fusionTemperature('f'))
})

test('a resumed run of a fusion is the run that was never stopped, temperature and all', async (t) => {
  const outputDir = scratch(t)
  const args = { outputDir, maxSteps: 6, saveStrategy: 'steps', saveSteps: 3 } as const
  const whole = await ready(t)
  await train(whole, args)
  const folder = scratch(t)
  cpSync(join(outputDir, 'checkpoint-3'), join(folder, 'checkpoint-3'), { recursive: true })
  const resumed = await ready(t)
  await train(resumed, { ...args, outputDir: folder, resumeFromCheckpoint: true })
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])
  t.is(resumed.native.fusionTemperature('f'), whole.native.fusionTemperature('f'))
  const other = await ready(t, { regularization: false })
  await t.throwsAsync(train(other, { ...args, outputDir: folder, resumeFromCheckpoint: true }), {
    code: 'ERR_RESUME',
    message: /fusions\.f\.config\.regularization true, got/
  })
})

// The gradient of 0.01 Σ ‖I - V‖² is 0.02 (V - I); with a first step of AdamW alone it decides the sign of every step.
test('regularisation is a part of the step that it belongs to', async (t) => {
  const start = async (regularization: boolean) => {
    const model = await ready(t, { regularization, valueInitialized: false, temperature: false, dropoutProb: 0 })
    // A loss without any say: the head gives the same for every label.
    const zeros = model
      .namedParameters()
      .filter(({ name }) => name.startsWith('heads.b.'))
      .map(({ name, shape }) => [name, { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape }] as const)
    model.loadStateDict(new Map(zeros))
    return model
  }
  const values = (model: Model) => snapshot(model, /adapter_fusion_layer\.f\.value/)
  const [free, bound] = [await start(false), await start(true)]
  const before = values(bound)
  const args = { maxSteps: 1, learningRate: 1e-3, lrSchedulerType: 'constant', maxGradNorm: 0 } as const
  await train(free, args)
  await train(bound, args)
  t.deepEqual(moved(before, values(free)), [])
  const after = values(bound)
  t.is(before.size, layers)
  for (const [name, data] of before) {
    const size = Math.sqrt(data.length)
    let right = 0
    for (const [i, value] of data.entries()) {
      const towards = (i % (size + 1) === 0 ? 1 : 0) - value
      if (Math.sign((after.get(name)?.[i] ?? Number.NaN) - value) === Math.sign(towards)) right++
    }
    t.is(right, data.length)
  }
})

test('a fusion has a learning rate of its own', async (t) => {
  const model = await ready(t)
  const before = snapshot(model)
  await train(model, { maxSteps: 2, parameterGroups: [{ match: 'fusion', learningRate: 0 }] })
  t.true(moved(before, snapshot(model)).every((name) => name.startsWith('heads.b.')))
  const other = await ready(t)
  await train(other, { maxSteps: 2, learningRate: 0, parameterGroups: [{ match: 'fusion', learningRate: 1e-2 }] })
  const changed = moved(before, snapshot(other))
  t.true(changed.length > 0 && changed.every((name) => name.includes('adapter_fusion_layer.f.')))
})
