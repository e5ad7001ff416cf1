import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterError, AdapterTrainer, type Model } from '../../lib/index.js'
import { largestDifference, load, make, moved, quiet, scratch, snapshot, tinyRows, trainableNames } from './support.js'

const rows = tinyRows(12)
const inputIds = rows.map((row) => row.inputIds)
const labels = rows.map((row) => row.label)

async function withAdapter(t: ExecutionContext, config: string, fields?: object): Promise<Model> {
  const model = fields === undefined ? await load(t, { seed: 5 }) : await make(t, fields)
  model.addAdapter('a', config)
  model.addClassificationHead('a', { numLabels: 2, usePooler: true })
  model.setActiveAdapters('a')
  return model
}

const only = (pattern: RegExp) => (name: string) => !pattern.test(name)

const configs = {
  plain: 'double_seq_bn[reduction_factor=8]',
  parallel: 'par_bn[reduction_factor=8]',
  everything:
    "double_seq_bn[reduction_factor=8, ln_before=True, ln_after=True, scaling='channel', use_gating=True, original_ln_before=True]"
}

for (const [name, config] of Object.entries(configs)) {
  test(`${name}: each parameter alone has the gradient that it has among all`, async (t) => {
    const model = await withAdapter(t, config)
    model.trainAll()
    const { loss, gradients: all } = await model.gradients({ inputIds, labels })
    t.true(all.size > 40)
    const names = [...all.keys()]
    for (const one of names) {
      model.freeze((other) => other !== one)
      t.deepEqual(trainableNames(model), [one])
      const { loss: again, gradients } = await model.gradients({ inputIds, labels })
      t.true(Math.abs(again - loss) < 1e-6)
      t.deepEqual([...gradients.keys()], [one])
      const expected = all.get(one)?.data ?? []
      const size = Math.max(1e-3, ...Array.from(expected, Math.abs))
      const difference = largestDifference(gradients.get(one)?.data ?? [], expected)
      t.true(difference < 1e-4 * size, `${one}: ${difference} of ${size}`)
    }
  })
}

test('biases alone, in base model, adapter and head (BitFit): they move, nothing else does, under weight decay too', async (t) => {
  const model = await withAdapter(t, configs.plain)
  model.freeze(only(/\.bias$/))
  const before = snapshot(model)
  const args = { ...quiet, maxSteps: 3, weightDecay: 0.5 }
  await new AdapterTrainer({ model, trainDataset: rows, args }).train()
  const changed = moved(before, snapshot(model))
  t.deepEqual(
    changed.filter((name) => !name.endsWith('.bias')),
    []
  )
  t.true(changed.some((name) => name.includes('.adapters.a.adapter_down')))
  t.true(changed.some((name) => name.startsWith('heads.a.1')))
  t.true(changed.some((name) => name.includes('encoder.layer.0.attention.self.query.bias')))
})

test('weights alone: their steps are those of AdamW with the biases left out of the norm', async (t) => {
  const model = await withAdapter(t, configs.plain)
  const pattern = /\.adapters\.a\..*\.weight$|^heads\.a\.1\.weight$/
  model.freeze(only(pattern))
  const { gradients } = await model.gradients({ inputIds, labels })
  const squares = [...gradients.values()].flatMap(({ data }) => Array.from(data, (value) => value * value))
  const norm = Math.sqrt(squares.reduce((sum, square) => sum + square, 0))
  const before = snapshot(model)
  const rate = 1e-2
  const decay = 0.1
  const trainer = new AdapterTrainer({
    model,
    trainDataset: rows,
    args: {
      ...quiet,
      ...{ perDeviceTrainBatchSize: rows.length, maxSteps: 1, learningRate: rate, weightDecay: decay },
      ...{ lrSchedulerType: 'constant', maxGradNorm: norm / 2, adamEpsilon: 1e-4 }
    }
  })
  let seen = Number.NaN
  for await (const event of trainer.run()) if (event.type === 'step') seen = event.gradNorm
  t.true(Math.abs(seen - norm) < 1e-4 * norm)
  const after = snapshot(model)
  t.deepEqual(moved(before, after).sort(), [...gradients.keys()].sort())
  for (const [name, { data }] of gradients) {
    // The first step of AdamW: m̂ = g and v̂ = g², with g clipped to half of its norm.
    const expected = Array.from(data, (value, i) => {
      const g = value / 2
      return (before.get(name)?.[i] ?? 0) * (1 - rate * decay) - (rate * g) / (Math.abs(g) + 1e-4)
    })
    t.true(largestDifference(after.get(name) ?? [], expected) < 1e-5, name)
  }
})

test('a run that froze a part goes on from its checkpoint bit for bit, and only with the same part frozen', async (t) => {
  const outputDir = scratch(t)
  const frozen =
    /adapter_down\.0\.bias$|layer\.1\..*adapter_up\.weight$|^heads\.a\.1\.weight$|^bert\.(?!.*\.adapters\.)/
  const prepare = async (isFrozen: (name: string) => boolean) => {
    const model = await withAdapter(t, configs.plain, { hidden_dropout_prob: 0.1 })
    model.freeze(isFrozen)
    return model
  }
  const args = { ...quiet, outputDir, maxSteps: 6, saveStrategy: 'steps', saveSteps: 3, weightDecay: 0.1 } as const
  const whole = await prepare((name) => frozen.test(name))
  const start = snapshot(whole)
  await new AdapterTrainer({ model: whole, trainDataset: rows, args }).train()
  t.deepEqual(
    moved(start, snapshot(whole)).filter((name) => frozen.test(name)),
    []
  )
  const resumeFromCheckpoint = join(outputDir, 'checkpoint-3')
  const resumed = await prepare((name) => frozen.test(name))
  await new AdapterTrainer({ model: resumed, trainDataset: rows, args: { ...args, resumeFromCheckpoint } }).train()
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])

  const other = await prepare((name) => name.startsWith('bert.') && !name.includes('.adapters.'))
  const before = snapshot(other)
  await t.throwsAsync(
    new AdapterTrainer({ model: other, trainDataset: rows, args: { ...args, resumeFromCheckpoint } }).train(),
    { instanceOf: AdapterError, code: 'ERR_STATE_DICT', message: /other parameters were frozen/ }
  )
  t.deepEqual(moved(before, snapshot(other)), [])
})

test('adapterSummary counts what trains; another choice replaces the last one', async (t) => {
  const model = await withAdapter(t, configs.plain)
  const before = snapshot(model)
  model.freeze(only(/adapters\.a\.adapter_up\.bias$/))
  const { adapters, trainableParameters } = model.adapterSummary()
  t.true(adapters[0]?.trains)
  t.is(trainableParameters, 4 * 32)
  model.freeze(only(/adapters\.a\.adapter_down\.0\.bias$/))
  t.deepEqual(trainableNames(model).length, 4)
  t.true(trainableNames(model).every((name) => name.endsWith('adapter_down.0.bias')))
  model.trainAdapter('a')
  const own = [...snapshot(model, /\.adapters\.a\.|^heads\.a\./).keys()]
  t.deepEqual(trainableNames(model).sort(), own.sort())
  model.freeze(() => true)
  t.deepEqual(trainableNames(model), [])
  t.false(model.adapterSummary().adapters[0]?.trains)
  t.deepEqual(moved(before, snapshot(model)), [])
})
