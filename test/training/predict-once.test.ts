import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  type Model,
  MultiTask,
  Parallel,
  type Prediction,
  type Row
} from '../../lib/index.js'
import { fill, load, quiet, tinyRows } from '../model/support.js'
import { taggingRows } from '../tasks/support.js'
import { choices, parses, questions, withAll } from './choice-rows.js'

/** How many batches go through the model. */
function countPasses(model: Model): () => number {
  const { native } = model
  let passes = 0
  const forward = native.forward.bind(native)
  const forwardEach = native.forwardEach.bind(native)
  const counting: Pick<Model['native'], 'forward' | 'forwardEach'> = {
    forward: (batch, pass) => {
      passes++
      return forward(batch, pass)
    },
    forwardEach: (batches, each) => {
      passes += batches.length
      return forwardEach(batches, each)
    }
  }
  for (const [name, value] of Object.entries(counting))
    Object.defineProperty(native, name, { value, configurable: true })
  return () => passes
}

/** Numbers to four digits: batches of other rows sum in another order. */
function rounded(value: unknown): unknown {
  if (typeof value === 'number') return Number(value.toPrecision(4))
  if (value instanceof Float32Array || Array.isArray(value)) return Array.from(value, rounded)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, rounded(one)]))
}

/** `passes`: of so many rows in batches of 4. */
async function check(t: ExecutionContext, model: Model, rows: readonly Row[], what: string, passes: number) {
  const args = { ...quiet, perDeviceEvalBatchSize: 4, perDeviceTrainBatchSize: 4 }
  const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset: rows, args })
  const expected = await model.predict(rows, { batchSize: 4 })
  const { seconds: _, ...measured } = await trainer.evaluate()
  const counted = countPasses(model)
  const { predictions, seconds: __, ...found } = await trainer.predict(rows)
  t.is(counted(), passes, what)
  t.deepEqual(found, measured, what)
  t.deepEqual(rounded(predictions), rounded(expected), what)
  return predictions
}

const random = (count: number) => Array.from({ length: count }, (_, i) => ((i * 7) % 5) / 5 - 0.4)

test('labelled rows are answered and measured in one pass, by every kind of head', async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  fill(model, 'a', { scale: 0.3 })
  const values = tinyRows(10).map(({ inputIds }, i) => ({ inputIds, label: random(10)[i] as number }))
  const several = tinyRows(10).map(({ inputIds }, i) => ({ inputIds, labels: [i % 2, 1, 0] }))
  const kinds: readonly (readonly [string, () => void, readonly Row[]])[] = [
    ['classification', () => model.addClassificationHead('a', { numLabels: 3 }), tinyRows(10)],
    ['regression', () => model.addRegressionHead('a', {}), values],
    ['several labels', () => model.addMultiLabelClassificationHead('a', { numLabels: 3 }), several],
    ['tagging', () => model.addTaggingHead('a', { numLabels: 2 }), taggingRows(10, 3)],
    // Where no label of a batch counts, there is nothing to measure, but an answer.
    [
      'tagging, unlabelled',
      () => model.addTaggingHead('a', { numLabels: 2 }),
      taggingRows(10, 3).map((row, i) => (i < 4 ? { ...row, labels: row.labels.map(() => -100) } : row))
    ]
  ]
  for (const [what, add, rows] of kinds) {
    add()
    model.trainAdapter('a')
    const found = await check(t, model, rows, what, 3)
    t.is(found.length, 10)
    t.true(new Set(found.map(({ logits }) => logits.join())).size > 5, what)
    model.deleteHead('a')
  }
})

test('so are questions, choices and words, of which a row is several for the core', async (t) => {
  const model = await withAll(t)
  for (const [name, rows] of [
    ['qa', questions],
    ['mc', choices],
    ['parse', parses]
  ] as const) {
    fill(model, name, { scale: 0.3 })
    model.trainAdapter(name)
    await check(t, model, rows.slice(0, 6), name, 2)
  }
  // A long context is several windows.
  const context = `${'The park is the park. '.repeat(6)}The tower is in Rome.`
  const long = {
    question: 'where is the tower?',
    context,
    answers: { text: ['Rome'], answer_start: [context.length - 5] }
  }
  model.trainAdapter('qa')
  const [found] = await check(t, model, [long, ...questions.slice(0, 3)], 'windows', 1)
  t.true((found?.logits.length ?? 0) > 2 * 24)
})

test('copies of Parallel stand child after child, and rows of MultiTask each have their own head', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    fill(model, name, { scale: name === 'a' ? 0.3 : 0.5 })
  }
  model.addClassificationHead('a', { numLabels: 2 })
  model.addClassificationHead('b', { numLabels: 4 })
  model.trainAdapter(Parallel('a', 'b'))
  const both: readonly Prediction[] = await check(t, model, tinyRows(6), 'Parallel', 2)
  t.deepEqual(
    both.map(({ logits }) => logits.length),
    [...new Array(6).fill(2), ...new Array(6).fill(4)]
  )
  model.trainAdapter(MultiTask('a', 'b'))
  const rows = tinyRows(6).map((row, i) => ({ ...row, taskId: ['b', 'a'][i % 2] as string }))
  const mixed = await check(t, model, rows, 'MultiTask', 2)
  t.deepEqual(
    mixed.map(({ logits }) => logits.length),
    [4, 2, 4, 2, 4, 2]
  )
})

test('words that evaluation hides are answered as they are, in a pass of their own', async (t) => {
  const model = await withAll(t)
  model.addAdapter('words')
  model.addMaskedLmHead('words')
  model.trainAdapter('words')
  const rows = ['the tower is in paris .', 'where is the park ?'].map((text) => ({ text }))
  await check(t, model, rows, 'masked', 2)
  const labelled = tinyRows(3).map(({ inputIds }) => ({
    inputIds: inputIds.map(() => 7),
    labels: inputIds.map(() => 8)
  }))
  await check(t, model, labelled, 'with labels of their own', 1)
  const gpt2 = await AutoModel.fromConfig(
    { ...{ model_type: 'gpt2', vocab_size: 99, n_positions: 24, n_embd: 32, n_layer: 2, n_head: 4 } },
    { seed: 2 }
  )
  t.teardown(() => gpt2.dispose())
  gpt2.addAdapter('next', 'lora')
  gpt2.addCausalLmHead('next')
  gpt2.trainAdapter('next')
  const unlabelled = tinyRows(6, { from: 2 }).map(({ inputIds }) => ({ inputIds }))
  await check(t, gpt2, unlabelled, 'causal', 2)
})
