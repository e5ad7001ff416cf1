import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  BatchSplit,
  type Evaluation,
  evaluate,
  type Model,
  MultiTaskTrainer,
  Parallel,
  type Row,
  setNumThreads,
  type TasksEvent,
  trainSweep
} from '../../lib/index.js'
import { loadAddon } from '../../lib/native/addon.js'
import { load, make, quiet, tinyRows } from '../model/support.js'
import { taggingRows } from '../tasks/support.js'

/** How many batches each call of the core had. */
function watchCalls(model: Model): number[] {
  const { native } = model
  const calls: number[] = []
  const forwardEach = native.forwardEach.bind(native)
  const watched: typeof forwardEach = (batches, passes) => {
    calls.push(batches.length)
    return forwardEach(batches, passes)
  }
  Object.defineProperty(native, 'forwardEach', { value: watched })
  return calls
}

const without = ({ seconds, ...rest }: Evaluation) => rest

test('evalAccumulationSteps: so many batches are one call of the core, and results do not depend on it', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addTaggingHead(name, { numLabels: 2 })
  }
  const evalDataset = taggingRows(22, 8)
  const calls = watchCalls(model)
  for (const setup of ['a', Parallel('a', 'b')]) {
    model.trainAdapter(setup)
    let expected: Omit<Evaluation, 'seconds'> | undefined
    for (const [steps, shape] of [
      [undefined, [1, 1, 1, 1, 1, 1]],
      [1, [1, 1, 1, 1, 1, 1]],
      [4, [4, 2]],
      [100, [6]]
    ] as const) {
      const args = { ...quiet, perDeviceEvalBatchSize: 4, evalAccumulationSteps: steps }
      const seen: number[] = []
      const computeMetrics = ({ logits }: { logits: Float32Array }) => {
        seen.push(...logits)
        return { first: logits[0] ?? 0 }
      }
      const options = { model, trainDataset: evalDataset, evalDataset, args, computeMetrics }
      calls.length = 0
      const result = without(await new AdapterTrainer(options).evaluate())
      t.deepEqual(calls, [...shape], `${steps}`)
      expected ??= result
      t.deepEqual(result, expected, `${steps}`)
      t.true(seen.length > evalDataset.length)
    }
  }
})

test('evalAccumulationSteps: runs of one task and of several take it', async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  const rows = tinyRows(10)
  const args = {
    ...{ ...quiet, maxSteps: 1, evalStrategy: 'steps' as const, evalSteps: 1 },
    ...{ perDeviceEvalBatchSize: 3, evalAccumulationSteps: 2 }
  }
  const calls = watchCalls(model)
  await new AdapterTrainer({ model, trainDataset: rows, evalDataset: rows, args }).train()
  t.deepEqual(calls, [2, 2])
  const tasks = { a: { dataset: rows, evalDataset: rows } }
  await new MultiTaskTrainer({ model, tasks, args }).train()
  t.deepEqual(calls, [2, 2, 2, 2])
})

/** Rows of one class far more than of the other, and of several labels. */
const uneven = tinyRows(13, { seed: 3 }).map((row, i) => ({ ...row, label: i % 4 === 0 ? 1 : 0 }))
const several = uneven.map(({ inputIds, label }) => ({ inputIds, label: [label, 1 - label] }))

async function withHead(t: ExecutionContext, kind: 'classes' | 'tags' | 'labels'): Promise<Model> {
  const model = await load(t)
  model.addAdapter('a')
  if (kind === 'classes') model.addClassificationHead('a', { numLabels: 2 })
  else if (kind === 'tags') model.addTaggingHead('a', { numLabels: 2 })
  else model.addMultiLabelClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

for (const [kind, rows] of Object.entries({ classes: uneven, tags: taggingRows(13, 4), labels: several })) {
  test(`a run's evaluations have the loss that it lowers, whatever the batches: ${kind}`, async (t) => {
    const model = await withHead(t, kind as 'classes')
    const whole = { ...quiet, maxSteps: 1, learningRate: 0, perDeviceTrainBatchSize: rows.length, shuffle: false }
    for (const classWeights of [null, 'balanced', [0.3, 4]] as const) {
      const labelSmoothingFactor = kind === 'labels' ? 0 : 0.2
      for (const perDeviceEvalBatchSize of [4, rows.length]) {
        const args = {
          ...{ ...whole, classWeights, labelSmoothingFactor, perDeviceEvalBatchSize },
          ...{ evalStrategy: 'steps' as const, evalSteps: 1 }
        }
        const trainer = new AdapterTrainer({ model, trainDataset: rows as Row[], evalDataset: rows as Row[], args })
        const losses: number[] = []
        for await (const event of trainer.run()) {
          if (event.type === 'step' || event.type === 'evaluate') losses.push(event.loss)
        }
        losses.push((await trainer.evaluate()).loss)
        const [step = Number.NaN] = losses
        t.is(losses.length, 3)
        for (const loss of losses) t.true(Math.abs(loss - step) < 2e-6, `${classWeights}: ${losses}`)
        const plain = (await evaluate(model, rows as Row[])).loss
        t.true(!Array.isArray(classWeights) || Math.abs(plain - step) > 1e-3)
      }
    }
  })
}

test('the mean over batches of a weighted loss is by the weights: reckoned from the logits', async (t) => {
  const model = await withHead(t, 'classes')
  const answers = await model.predict(uneven.map(({ inputIds }) => ({ inputIds })))
  const weights = [0.3, 4]
  let [sum, weight] = [0, 0]
  answers.forEach(({ logits }, i) => {
    const label = uneven[i]?.label ?? 0
    const all = Array.from(logits)
    const own = weights[label] ?? 0
    sum += own * (Math.log(all.reduce((total, logit) => total + Math.exp(logit), 0)) - (all[label] ?? 0))
    weight += own
  })
  const args = { ...quiet, classWeights: weights, perDeviceEvalBatchSize: 3 }
  const { loss } = await new AdapterTrainer({ model, trainDataset: uneven, evalDataset: uneven, args }).evaluate()
  t.true(Math.abs(loss - sum / weight) < 1e-6, `${loss} ${sum / weight}`)
})

test('of several tasks, and of a sweep whose members weigh classes differently, each has its own', async (t) => {
  const one = { ...quiet, maxSteps: 1, learningRate: 0, perDeviceTrainBatchSize: 13, shuffle: false }
  const args = { ...one, evalStrategy: 'steps' as const, evalSteps: 1, perDeviceEvalBatchSize: 4 }
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  const task = { dataset: uneven, evalDataset: uneven }
  const trainer = new MultiTaskTrainer({
    ...{ model, args },
    tasks: { a: { ...task, args: { classWeights: 'balanced' } }, b: { ...task, args: { labelSmoothingFactor: 0.3 } } }
  })
  const check = (events: readonly TasksEvent[], names: readonly string[]) => {
    const step = events.find((event) => event.type === 'step')
    const found = names.map((name) => {
      const evaluated = events.find((event) => event.type === 'evaluate' && event.task === name)
      const [trained, measured] = [step?.tasks[name]?.loss ?? 0, evaluated?.type === 'evaluate' ? evaluated.loss : 1]
      t.true(Math.abs(trained - measured) < 2e-6, `${name}: ${trained} ${measured}`)
      return measured
    })
    t.is(new Set(found).size, names.length)
  }
  const events: TasksEvent[] = []
  for await (const event of trainer.run()) events.push(event)
  check(events, ['a', 'b'])
  const measured = await trainer.evaluate()
  for (const event of events) if (event.type === 'evaluate') t.is(measured[event.task]?.loss, event.loss)
  const swept: TasksEvent[] = []
  const onEvent = (event: TasksEvent): void => {
    swept.push(event)
  }
  const grid = { classWeights: [null, [0.3, 4]], labelSmoothingFactor: [0, 0.2] }
  await trainSweep(model, uneven, grid, {
    args: { ...args, metricForBestModel: 'accuracy' },
    evalDataset: uneven,
    head: 'a',
    onEvent
  })
  check(swept, ['sweep-1', 'sweep-2', 'sweep-3', 'sweep-4'])
})

test('evaluate takes adapters and a head of its own, as predict does, and leaves what is active', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  model.addClassificationHead('own', { numLabels: 2 })
  const rows = tinyRows(9)
  model.setActiveAdapters('b')
  const active = without(await evaluate(model, rows))
  const fixed = async (setup: 'a' | 'b' | null, head: string) => {
    model.setActiveAdapters(setup)
    model.activeHead = head
    return without(await evaluate(model, rows))
  }
  const [ofA, ownOfA, ownOfNone] = [await fixed('a', 'a'), await fixed('a', 'own'), await fixed(null, 'own')]
  t.is(new Set([active, ofA, ownOfA, ownOfNone].map(({ loss }) => loss)).size, 4)
  model.setActiveAdapters('b')
  t.deepEqual(without(await evaluate(model, rows, { adapters: 'a' })), ofA)
  t.deepEqual(without(await evaluate(model, rows, { adapters: 'a', head: 'own' })), ownOfA)
  t.deepEqual(without(await evaluate(model, rows, { adapters: null, head: 'own' })), ownOfNone)
  t.deepEqual(without(await evaluate(model, rows, { adapters: 'b' })), active)
  t.notDeepEqual(without(await evaluate(model, rows, { head: 'own' })), active)
  t.is(model.activeAdapters, 'b')
  t.is(model.activeHead, 'b')
  t.deepEqual(without(await evaluate(model, rows)), active)

  await t.throwsAsync(evaluate(model, rows, { head: 'nobody' }), { message: /no 'nobody' here/ })
  await t.throwsAsync(evaluate(model, rows, { head: null as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.throwsAsync(evaluate(model, rows, { adapters: 'nobody' }), { message: /no 'nobody' here/ })
  await t.throwsAsync(evaluate(model, rows, { adapters: ['a', 'b'] as never }), { message: /one setup for all rows/ })
})

test('heads for words: of the logits only the best words are kept, with the same loss and accuracy', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name, 'seq_bn')
    model.addMaskedLmHead(name)
  }
  // Row 3 has no label that counts, and some batches have no row that has one.
  const rows: Row[] = tinyRows(14, { seed: 3 }).map(({ inputIds }, row) => ({
    inputIds,
    labels: inputIds.map((id, i) => (row === 3 || row > 10 || (i + row) % 3 > 0 ? -100 : id))
  }))
  const everything = () => ({})
  for (const setup of ['a', Parallel('a', 'b')]) {
    model.setActiveAdapters(setup)
    for (const batchSize of [1, 4, 32]) {
      const kept = await evaluate(model, rows, { batchSize })
      const all = await evaluate(model, rows, { batchSize, computeMetrics: everything })
      const each = (one: Evaluation) => Object.values(one.heads ?? { a: one })
      t.is(each(kept).length, setup === 'a' ? 1 : 2)
      for (const [i, own] of each(kept).entries()) {
        const other = each(all)[i]
        t.is(own.metrics['accuracy'], other?.metrics['accuracy'] as number)
        t.true(Math.abs(own.loss - (other?.loss ?? 0)) < 1e-6)
        t.is(own.rows, other?.rows as number)
      }
    }
  }
})

test('heads for words: rows that threads share have the same best words', async (t) => {
  const before = loadAddon().systemInfo().threads
  t.teardown(() => setNumThreads(before))
  setNumThreads(2)
  const hidden = { hidden_size: 128, num_attention_heads: 4, intermediate_size: 512, num_hidden_layers: 2 }
  const model = await make(t, { ...hidden, max_position_embeddings: 128, vocab_size: 60 })
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addMaskedLmHead(name)
  }
  const rows: Row[] = Array.from({ length: 6 }, (_, row) => {
    const inputIds = Array.from({ length: 60 + 9 * row }, (_, i) => 5 + ((7 * row + 11 * i) % 50))
    return { inputIds, labels: inputIds.map((id, i) => (row === 2 || (i + row) % 4 > 0 ? -100 : id)) }
  })
  for (const setup of ['a', Parallel('a', 'b'), BatchSplit('a', 'b', { batchSizes: [2, 4] })]) {
    model.setActiveAdapters(setup)
    const kept = await evaluate(model, rows)
    const all = await evaluate(model, rows, { computeMetrics: () => ({}) })
    t.true(Math.abs(kept.loss - all.loss) < 1e-5)
    t.deepEqual(kept.metrics, {
      ...all.metrics,
      ...('perplexity' in kept.metrics && { perplexity: kept.metrics['perplexity'] as number })
    })
    for (const [head, own] of Object.entries(kept.heads ?? {}))
      t.is(own.metrics['accuracy'], all.heads?.[head]?.metrics['accuracy'])
  }
})
