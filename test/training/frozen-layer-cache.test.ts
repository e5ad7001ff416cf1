import { existsSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  type Model,
  Parallel,
  type TrainingArguments,
  type TrainingEvent,
  type TrainResult
} from '../../lib/index.js'
import { largestDifference, make, moved, quiet, scratch, snapshot, tinyRows, vocabulary } from '../model/support.js'
import { fixtures } from '../parity/support/fixtures.js'

const rows = tinyRows(20)
const evaluation = tinyRows(6, { seed: 2 })
const distinct = new Set(rows.map(({ inputIds }) => `${inputIds}`)).size

/** Four layers, the two lowest without adapters. `dropout`: of the whole model. */
async function ready(t: ExecutionContext, { dropout = 0, leaveOut = [0, 1] } = {}): Promise<Model> {
  const fields = { num_hidden_layers: 4, hidden_dropout_prob: dropout, attention_probs_dropout_prob: dropout }
  const model = await make(t, fields)
  model.addAdapter('a', `seq_bn[reduction_factor=4,leave_out=[${leaveOut}]]`)
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

const recipe = (outputDir: string, more: TrainingArguments = {}): TrainingArguments => ({
  ...quiet,
  outputDir,
  numTrainEpochs: 3,
  perDeviceTrainBatchSize: 4,
  learningRate: 1e-2,
  ...more
})

async function train(model: Model, args: TrainingArguments): Promise<TrainResult> {
  return await new AdapterTrainer({ model, trainDataset: rows, evalDataset: evaluation, args }).train()
}

const trained = (model: Model): number[] =>
  model.namedParameters().flatMap(({ name, trainable }) => (trainable ? [...model.parameter(name).data] : []))

test('a run that computes frozen layers once ends where the plain run ends', async (t) => {
  const [plain, cached] = [await ready(t), await ready(t)]
  const folder = scratch(t)
  const args = { evalStrategy: 'epoch' } as const
  const expected = await train(plain, recipe(scratch(t), args))
  const got = await train(cached, recipe(folder, { ...args, frozenLayerCache: true }))
  t.true(largestDifference(trained(cached), trained(plain)) < 1e-5)
  t.true(Math.abs(got.loss - expected.loss) < 1e-5)
  t.true(Math.abs((got.evaluation?.loss ?? 0) - (expected.evaluation?.loss ?? 1)) < 1e-5)
  t.is(expected.frozenLayers, undefined)
  const report = got.frozenLayers
  if (report === undefined) return t.fail()
  const { layers, rowsRead, rowsComputed, bytes, full } = report
  const inEvaluation = new Set(evaluation.map(({ inputIds }) => `${inputIds}`)).size
  t.is(layers, 2)
  t.true(rowsComputed >= distinct && rowsComputed <= rows.length + inEvaluation)
  t.is(rowsRead + rowsComputed, 3 * (rows.length + evaluation.length))
  t.false(full)
  const files = readdirSync(join(folder, 'frozen-layers'))
  t.is(files.length, 1)
  t.is(statSync(join(folder, 'frozen-layers', files[0] ?? '')).size, bytes)
})

test('another run over the same text reads what an earlier one kept', async (t) => {
  const cache = { folder: join(scratch(t), 'shared') }
  const first = await train(await ready(t), recipe(scratch(t), { frozenLayerCache: cache }))
  t.true((first.frozenLayers?.rowsComputed ?? 0) > 0)
  // Another adapter, another rate: the base model and the text decide.
  const model = await ready(t)
  model.addAdapter('b', 'seq_bn[reduction_factor=2,leave_out=[0,1]]')
  model.addClassificationHead('b', { numLabels: 2 })
  model.trainAdapter('b')
  const second = await train(model, recipe(scratch(t), { frozenLayerCache: cache, learningRate: 1e-3 }))
  t.is(second.frozenLayers?.rowsComputed, 0)
  // The layers below its adapters are others.
  const higher = await ready(t, { leaveOut: [0, 1, 2] })
  const third = await train(higher, recipe(scratch(t), { frozenLayerCache: cache }))
  t.is(third.frozenLayers?.layers, 3)
  t.true((third.frozenLayers?.rowsComputed ?? 0) > 0)
  // Nothing is left open.
  t.is((await train(model, recipe(scratch(t)))).frozenLayers, undefined)
})

test('dropout acts above the kept layers alone, and differs from step to step', async (t) => {
  const losses = async (cached: boolean) => {
    const model = await ready(t, { dropout: 0.3 })
    const found: number[] = []
    const args = recipe(scratch(t), { learningRate: 0, frozenLayerCache: cached, shuffle: false, numTrainEpochs: 2 })
    for await (const event of new AdapterTrainer({ model, trainDataset: rows, args }).run())
      if (event.type === 'step') found.push(event.loss)
    return found
  }
  const [once, again, plain] = [await losses(true), await losses(true), await losses(false)]
  t.deepEqual(once, again)
  t.notDeepEqual(once.slice(0, 5), once.slice(5))
  t.notDeepEqual(once, plain)
})

test('a run is resumed bit for bit, with the cache and after it was lost', async (t) => {
  const whole = await ready(t, { dropout: 0.2 })
  const folder = scratch(t)
  const args = { frozenLayerCache: true, saveStrategy: 'steps', saveSteps: 4 } as const
  await train(whole, recipe(folder, args))
  const expected = snapshot(whole)
  for (const step of [12, 8, 4]) {
    rmSync(join(folder, `checkpoint-${step}`), { recursive: true })
    if (step === 4) break
    const model = await ready(t, { dropout: 0.2 })
    const result = await train(model, recipe(folder, { ...args, resumeFromCheckpoint: true }))
    t.is(result.frozenLayers?.rowsComputed, 0)
    t.deepEqual(moved(expected, snapshot(model)), [], `before step ${step}`)
    for (const name of readdirSync(folder)) {
      if (name.startsWith('checkpoint-') && Number(name.slice(11)) >= step)
        rmSync(join(folder, name), { recursive: true })
    }
  }
  // A run with the cache is another run than one without.
  const fresh = scratch(t)
  await train(await ready(t), recipe(fresh, { ...args, maxSteps: 4 }))
  const error = await t.throwsAsync(
    train(await ready(t), recipe(fresh, { saveStrategy: 'no', maxSteps: 4, resumeFromCheckpoint: true }))
  )
  t.regex(error?.message ?? '', /frozenLayerCache "float32"/)
})

test('what is damaged or does not fit any more is computed again', async (t) => {
  const folder = scratch(t)
  const cache = { folder: join(folder, 'cache') }
  const run = async (more = {}) =>
    await train(await ready(t), recipe(folder, { frozenLayerCache: { ...cache, ...more } }))
  const { frozenLayers: first } = await run()
  const [file = ''] = readdirSync(cache.folder)
  truncateSync(join(cache.folder, file), statSync(join(cache.folder, file)).size / 2)
  const { frozenLayers: second } = await run()
  t.true((second?.rowsComputed ?? 0) > 0 && (second?.rowsComputed ?? 0) < (first?.rowsComputed ?? 0))
  rmSync(cache.folder, { recursive: true })
  const { frozenLayers: small } = await run({ maxBytes: 3000 })
  t.true(small?.full)
  t.true((small?.bytes ?? Infinity) <= 3000)
  t.is((small?.rowsRead ?? 0) + (small?.rowsComputed ?? 0), 60)
  rmSync(cache.folder, { recursive: true })
  const { frozenLayers: half } = await run({ dtype: 'bfloat16' })
  t.true((half?.bytes ?? 0) < 0.6 * (first?.bytes ?? 0))
  writeFileSync(join(folder, 'file'), '')
  const error = await t.throwsAsync(
    train(await ready(t), recipe(folder, { frozenLayerCache: { folder: join(folder, 'file') } })),
    { code: 'ERR_FILE_IO' }
  )
  t.regex(error?.message ?? '', /file/)
})

test('adapters in the first layer and arguments that mean nothing are refused', async (t) => {
  const low = await ready(t, { leaveOut: [2] })
  const before = snapshot(low)
  const error = await t.throwsAsync(train(low, recipe(scratch(t), { frozenLayerCache: true })), {
    code: 'ERR_INVALID_ARGUMENT'
  })
  t.regex(error?.message ?? '', /an adapter in the first layer.*leave_out/s)
  t.deepEqual(moved(before, snapshot(low)), [])
  // The model is free again.
  await train(low, recipe(scratch(t), { maxSteps: 1 }))
  const wrong = (frozenLayerCache: unknown) =>
    t.throws(() => new AdapterTrainer({ model: low, trainDataset: rows, args: { frozenLayerCache } as never })).message
  t.regex(wrong({ dir: 'x' }), /args\.frozenLayerCache.*'dir'/s)
  const all = /expected true .*, false, or an object: \{ folder: .*, maxBytes: .*, dtype: 'float32' or 'bfloat16' \}/
  for (const value of ['disk', 1, null, []]) t.regex(wrong(value), all)
  t.regex(wrong({ maxBytes: '4GB' }), /maxBytes: expected a number of bytes, such as 4 \* 2 \*\* 30, got '4GB'/)
  t.regex(wrong({ maxBytes: 0 }), /args\.frozenLayerCache\.maxBytes/)
  t.regex(wrong({ dtype: 'float16' }), /args\.frozenLayerCache\.dtype/)
  t.regex(wrong('yes'), /args\.frozenLayerCache/)
})

test('children of Parallel share the layers that they all leave free', async (t) => {
  const build = async () => {
    const model = await ready(t)
    model.addAdapter('b', 'seq_bn[reduction_factor=4,leave_out=[0]]')
    model.addClassificationHead('b', { numLabels: 2 })
    model.trainAdapter(Parallel('a', 'b'))
    return model
  }
  const [plain, cached] = [await build(), await build()]
  await train(plain, recipe(scratch(t)))
  const { frozenLayers } = await train(cached, recipe(scratch(t), { frozenLayerCache: true }))
  t.is(frozenLayers?.layers, 1)
  t.true(largestDifference(trained(cached), trained(plain)) < 1e-5)
})

test('adapters of every kind and place end where the plain run ends, too', async (t) => {
  for (const [config, family] of [
    ['double_seq_bn[reduction_factor=4,leave_out=[0,1]]', 'bert'],
    ['par_bn[reduction_factor=4,leave_out=[0,1]]', 'bert'],
    ['lora[r=4,leave_out=[0,1]]', 'bert'],
    ['lora[r=4,attn_matrices=[],output_lora=true,leave_out=[0,1]]', 'bert'],
    ['seq_bn[reduction_factor=4,leave_out=[0,1]]|prefix_tuning_flat[leave_out=[0,1]]', 'bert'],
    ['loreft[layers=[2,3]]', 'bert'],
    ['seq_bn[reduction_factor=4,leave_out=[0,1]]', 'roberta']
  ] as const) {
    const build = async () => {
      const model = await make(t, { num_hidden_layers: 4, ...(family === 'roberta' && { model_type: 'roberta' }) })
      model.addAdapter('a', config)
      model.addClassificationHead('a', { numLabels: 2 })
      model.trainAdapter('a')
      return model
    }
    const [plain, cached] = [await build(), await build()]
    await train(plain, recipe(scratch(t)))
    const { frozenLayers } = await train(cached, recipe(scratch(t), { frozenLayerCache: true }))
    t.is(frozenLayers?.layers, 2, config)
    const difference = largestDifference(trained(cached), trained(plain))
    t.true(difference < 1e-5, `${family} ${config}: ${difference}`)
  }
})

const images = rows.map(({ label }, i) => ({
  pixelValues: Float32Array.from({ length: 48 }, (_, k) => Math.sin((i + 5) * (k + 1))),
  label
}))

for (const family of ['electra', 'distilbert', 'gpt2', 'vit']) {
  test(`${family}: a layer that ends with its adapter is kept up to there, and the run ends where the plain one ends`, async (t) => {
    const config = JSON.parse(readFileSync(join(fixtures, `models/${family}-tiny/config.json`), 'utf8'))
    const layers = { gpt2: 'n_layer', distilbert: 'n_layers' }[family] ?? 'num_hidden_layers'
    const build = async (adapter: string) => {
      const model = await AutoModel.fromConfig({ ...config, [layers]: 4, vocab_size: vocabulary }, { seed: 7 })
      t.teardown(() => model.dispose())
      model.addAdapter('a', adapter)
      if (family === 'vit') model.addImageClassificationHead('a', { numLabels: 2 })
      else model.addClassificationHead('a', { numLabels: 2 })
      model.trainAdapter('a')
      return model
    }
    const run = async (adapter: string) => {
      const [plain, cached] = [await build(adapter), await build(adapter)]
      const of = async (model: Model, more: TrainingArguments) => {
        const trainDataset = family === 'vit' ? images : rows
        return await new AdapterTrainer({ model, trainDataset, args: recipe(scratch(t), more) }).train()
      }
      await of(plain, {})
      const { frozenLayers } = await of(cached, { frozenLayerCache: true })
      t.is(frozenLayers?.layers, 2, adapter)
      t.true(largestDifference(trained(cached), trained(plain)) < 1e-5, adapter)
      return frozenLayers?.bytes ?? 0
    }
    const whole = await run('double_seq_bn[reduction_factor=4,leave_out=[0,1]]')
    // A sub-layer's output and its residual for each token, where the other is one state.
    const begun = await run('seq_bn[reduction_factor=4,leave_out=[0,1]]')
    t.true(begun > 1.5 * whole, `${begun} ${whole}`)
  })
}

test('a run that is left early closes its cache', async (t) => {
  const model = await ready(t)
  const folder = scratch(t)
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args: recipe(folder, { frozenLayerCache: true }) })
  const events: TrainingEvent[] = []
  for await (const event of trainer.run()) {
    events.push(event)
    if (event.type === 'step' && event.step === 3) break
  }
  t.true(existsSync(join(folder, 'frozen-layers')))
  const { frozenLayers } = await train(model, recipe(folder, { frozenLayerCache: true }))
  t.true((frozenLayers?.rowsComputed ?? 0) < rows.length + evaluation.length)
})
