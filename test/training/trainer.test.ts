import test, { type ExecutionContext } from 'ava'
import {
  AdapterError,
  AdapterTrainer,
  type Model,
  type TrainingArguments,
  type TrainingEvent
} from '../../lib/index.js'
import { largestDifference, load, make, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const dropout = { hidden_dropout_prob: 0.2, attention_probs_dropout_prob: 0.1 }

/** `double_seq_bn` with dropout and stochastic depth of its own: every random number that training draws. */
async function ready(t: ExecutionContext, fields: object = dropout): Promise<Model> {
  const model = await make(t, fields)
  const random = fields === dropout ? ', dropout=0.1, stochastic_depth=0.2' : ''
  model.addAdapter('a', `double_seq_bn[reduction_factor=4${random}]`)
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

async function events(model: Model, args: TrainingArguments, rows = tinyRows(19)): Promise<TrainingEvent[]> {
  const all: TrainingEvent[] = []
  for await (const event of new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, ...args } }).run())
    all.push(event)
  return all
}

const losses = (all: readonly TrainingEvent[]) => all.flatMap((event) => (event.type === 'step' ? [event.loss] : []))

test('the same seed gives the same bits twice, another one others', async (t) => {
  const args = { maxSteps: 12, weightDecay: 0.01, warmupRatio: 0.2, gradientAccumulationSteps: 2 }
  const [first, again, other] = [await ready(t), await ready(t), await ready(t)]
  const firstLosses = losses(await events(first, args))
  t.deepEqual(losses(await events(again, args)), firstLosses)
  t.deepEqual(moved(snapshot(first), snapshot(again)), [])
  const otherLosses = losses(await events(other, { ...args, seed: 43 }))
  t.true(otherLosses.some((loss, i) => loss !== firstLosses[i]))
  t.not(moved(snapshot(first), snapshot(other)).length, 0)
})

test('without shuffling and dropout the seed does not matter', async (t) => {
  const args = { maxSteps: 6, shuffle: false }
  const [first, second] = [await ready(t, {}), await ready(t, {})]
  t.deepEqual(losses(await events(first, { ...args, seed: 1 })), losses(await events(second, { ...args, seed: 2 })))
})

test('four batches accumulated are one batch of four times the rows', async (t) => {
  // A large epsilon: with a small one AdamW turns rounding of tiny gradients into whole steps.
  const args = { maxSteps: 6, shuffle: false, adamEpsilon: 1e-3, weightDecay: 0.01 }
  const rows = tinyRows(64)
  const [big, small] = [await ready(t, {}), await ready(t, {})]
  const bigRun = await events(big, { ...args, perDeviceTrainBatchSize: 16 }, rows)
  const smallRun = await events(small, { ...args, perDeviceTrainBatchSize: 4, gradientAccumulationSteps: 4 }, rows)
  t.true(largestDifference(losses(bigRun), losses(smallRun)) < 1e-6)
  const values = snapshot(small)
  for (const [name, data] of snapshot(big)) t.true(largestDifference(data, values.get(name) ?? []) < 1e-6, name)
})

test('training learns what decides the label', async (t) => {
  const model = await ready(t, {})
  const rows = tinyRows(64)
  const args = { numTrainEpochs: 24, perDeviceTrainBatchSize: 8, learningRate: 1e-2 }
  const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset: rows, args: { ...quiet, ...args } })
  const before = await trainer.evaluate()
  await trainer.train()
  const after = await trainer.evaluate()
  t.log(`loss ${after.loss}, accuracy ${after.metrics.accuracy}`)
  t.true(after.loss < 0.6 * before.loss, `${before.loss} → ${after.loss}`)
  t.true((after.metrics.accuracy ?? 0) > 0.85, `${after.metrics.accuracy}`)
})

test('the learning rate follows its schedule, from 0 where there is warm-up', async (t) => {
  const model = await ready(t, {})
  const run = await events(model, { maxSteps: 5, learningRate: 1e-2, warmupSteps: 2 })
  const rates = run.flatMap((event) => (event.type === 'step' ? [event.learningRate] : []))
  t.true(largestDifference(rates, [0, 0.005, 0.01, 0.01 * (2 / 3), 0.01 / 3]) < 1e-9, `${rates}`)
})

test('gradients longer than maxGradNorm are cut, and the event carries the length before it', async (t) => {
  const [free, tight] = [await ready(t, {}), await ready(t, {})]
  const args = { maxSteps: 1, lrSchedulerType: 'constant', adamEpsilon: 1, learningRate: 1 } as const
  const before = snapshot(free)
  const norm = (run: TrainingEvent[]) => run.flatMap((event) => (event.type === 'step' ? [event.gradNorm] : []))[0]
  const length = norm(await events(free, { ...args, maxGradNorm: 0 })) ?? 0
  t.is(norm(await events(tight, { ...args, maxGradNorm: length / 1000 })), length)
  // With epsilon 1 the first step is about lr · g / (|g| + 1), so a gradient a thousandth as long moves as much less.
  const way = (model: Model) =>
    [...snapshot(model)].reduce(
      (most, [name, data]) => Math.max(most, largestDifference(data, before.get(name) ?? [])),
      0
    )
  t.true(way(tight) < way(free) / 100, `${way(tight)} and ${way(free)}`)
  t.true(way(tight) > 0)
})

test('a loss that is not finite stops the run, names the step, and the parameters are those before it', async (t) => {
  const [model, one] = [await ready(t, {}), await ready(t, {})]
  const args = { maxSteps: 10, learningRate: 1e30, lrSchedulerType: 'constant', maxGradNorm: 0 } as const
  const seen: number[] = []
  const trainer = new AdapterTrainer({ model, trainDataset: tinyRows(19), args: { ...quiet, ...args } })
  const error = await t.throwsAsync(
    async () => {
      for await (const event of trainer.run()) if (event.type === 'step') seen.push(event.step)
    },
    { instanceOf: AdapterError, code: 'ERR_NAN_LOSS' }
  )
  const failed = seen.length + 1
  t.true(failed > 1)
  t.regex(error?.message ?? '', new RegExp(`step ${failed} has no finite`))
  t.regex(error?.message ?? '', /parameters are as they were before this step/)
  await events(one, { ...args, maxSteps: failed - 1 })
  t.deepEqual(moved(snapshot(one), snapshot(model)), [])
  // The model is free again.
  t.notThrows(() => model.addAdapter('b'))
})

test('without an epsilon, what has no gradient stands still', async (t) => {
  const model = await ready(t, {})
  model.addAdapter('lora', 'lora')
  model.trainAdapter('lora')
  const before = snapshot(model)
  // B is zero, so that no gradient reaches A in the first step.
  await events(model, { maxSteps: 1, adamEpsilon: 0, weightDecay: 0 })
  const after = moved(before, snapshot(model))
  t.true(after.some((name) => name.endsWith('lora_B')) && !after.some((name) => name.endsWith('lora_A')), `${after}`)
})

test('data that cannot be trained on is said before the first step, by row', async (t) => {
  const model = await ready(t, {})
  const before = snapshot(model)
  const train = (trainDataset: unknown, args = {}) =>
    new AdapterTrainer({
      model,
      trainDataset: trainDataset as never,
      args: { ...quiet, maxSteps: 2, shuffle: false, ...args }
    }).train()
  await t.throwsAsync(train([]), { message: /trainDataset: it has no rows/ })
  await t.throwsAsync(train(7), { instanceOf: TypeError, message: /trainDataset/ })
  await t.throwsAsync(train([{ inputIds: [5], label: 2 }]), { message: /trainDataset\[0\]\.label.*2/ })
  await t.throwsAsync(train([{ inputIds: [5], label: 'yes' }]), { message: /trainDataset\[0\]\.label.*'yes'/ })
  await t.throwsAsync(train([{ inputIds: [5], label: Number.NaN }]), { message: /trainDataset\[0\]\.label/ })
  await t.throwsAsync(train([{ inputIds: [5] }]), { message: /label/ })
  await t.throwsAsync(train([{ inputIds: [], label: 0 }]), {
    message: /trainDataset\[0\]\.inputIds.*at least one token/
  })
  await t.throwsAsync(train([{ inputIds: new Array(25).fill(5), label: 0 }]), {
    message: /trainDataset\[0\]\.inputIds.*at most 24/
  })
  await t.throwsAsync(train([{ inputIds: [99], label: 0 }]), { message: /99/ })
  await t.throwsAsync(train([{ text: 'hello', label: 0 }]), { message: /trainDataset\[0\].*no tokenizer/ })
  await t.throwsAsync(train(tinyRows(3), { dataloaderDropLast: true }), { message: /no full batch/ })
  t.deepEqual(moved(before, snapshot(model)), [])
  await train(tinyRows(8))
})

test('a row that is wrong at the end stops the run before its first step', async (t) => {
  const model = await ready(t, {})
  const rows = [...tinyRows(12), { inputIds: [5], label: 9 }]
  const steps: number[] = []
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, shuffle: false, maxSteps: 8 } })
  await t.throwsAsync(
    async () => {
      for await (const event of trainer.run()) if (event.type === 'step') steps.push(event.step)
    },
    { message: /trainDataset\[12\]\.label/ }
  )
  t.deepEqual(steps, [])
  t.truthy((await model.forward({ inputIds: [[5]] })).logits)
})

test('arguments of the trainer are checked by name', async (t) => {
  const model = await ready(t, {})
  const rows = tinyRows(4)
  const make = (options: object) => () => new AdapterTrainer(options as never)
  t.throws(make({ model, trainDataset: rows, arg: {} }), { message: /'arg'.*Did you mean 'args'/ })
  t.throws(make({ model: {}, trainDataset: rows }), { instanceOf: TypeError, message: /model made by AutoModel/ })
  t.throws(make({ model }), { message: /trainDataset/ })
  t.throws(make({ model, trainDataset: rows, args: { learningrate: 1 } }), { message: /Did you mean 'learningRate'/ })
  t.throws(make({ model, trainDataset: rows, args: { learningRate: -1 } }), { message: /args\.learningRate.*-1/ })
  t.throws(make({ model, trainDataset: rows, args: { evalStrategy: 'epoch' } }), {
    message: /evalStrategy.*needs an evalDataset/
  })
})

test('an adapter that no folder could hold is told of before the first step, where a checkpoint would be written', async (t) => {
  const model = await load(t)
  model.addAdapter('m', "mtl_lora[attn_matrices=['q', 'o']]")
  model.addClassificationHead('m')
  model.trainAdapter('m')
  const args = { ...quiet, maxSteps: 1, outputDir: scratch(t) }
  const steps: unknown[] = []
  const train = async (saveStrategy: 'no' | 'epoch') => {
    for await (const event of new AdapterTrainer({
      model,
      trainDataset: tinyRows(4),
      args: { ...args, saveStrategy }
    }).run())
      steps.push(event)
  }
  await t.throwsAsync(train('epoch'), {
    code: 'ERR_UNSUPPORTED',
    message:
      /no checkpoint could hold 'm': the adapter library has no attnMatrices with 'o', and PEFT.*saveStrategy: 'no'/
  })
  t.is(steps.length, 0)
  const told: string[] = []
  const listen = (warning: Error) => told.push(warning.message)
  process.on('warning', listen)
  await t.notThrowsAsync(train('no'))
  await new Promise(setImmediate)
  process.off('warning', listen)
  t.true(told.some((text) => /^train: no folder could hold 'm': the adapter library has no attnMatrices/.test(text)))
})
