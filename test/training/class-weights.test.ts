import test from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import { AdapterTrainer, type ClassWeights, type Model, MultiTaskTrainer, type Row } from '../../lib/index.js'
import { headClassWeights } from '../../lib/training/class-weights.js'
import { EncodedDataset } from '../../lib/training/encoded.js'
import { load, quiet } from '../model/support.js'

const ids = (label: Row['label']): Row => ({ inputIds: [2, 7, 9], label })

async function weightsOf(model: Model, rows: readonly Row[], classWeights: ClassWeights) {
  const data = await EncodedDataset.of(rows, model, 'rows')
  const found = await headClassWeights(trainingArguments({ classWeights }), data)
  return found.map(({ head, weights }) => [head, ...Array.from(weights, (weight) => Number(weight.toFixed(4)))])
}

test('given as numbers, under names, or balanced as scikit-learn has it', async (t) => {
  const model = await load(t)
  model.addClassificationHead('mood', { labels: ['bad', 'so so', 'good'] })
  const rows = [...Array.from({ length: 6 }, () => ids('bad')), ids('good'), ids('good')]
  t.deepEqual(await weightsOf(model, rows, [1, 2, 0.5]), [['mood', 1, 2, 0.5]])
  t.deepEqual(await weightsOf(model, rows, { good: 3 }), [['mood', 1, 1, 3]])
  // compute_class_weight('balanced', classes=[0, 2], y=[0] * 6 + [2] * 2): 8 / (2 · 6) and 8 / (2 · 2)
  t.deepEqual(await weightsOf(model, rows, 'balanced'), [['mood', 0.6667, 1, 2]])
})

test('of several labels a row: those without by those with it', async (t) => {
  const model = await load(t)
  model.addMultiLabelClassificationHead('topics', { labels: ['a', 'b', 'c'] })
  const rows = [ids(['a']), ids(['a', 'b']), ids(['a']), ids(['a', 'b'])]
  t.deepEqual(await weightsOf(model, rows, 'balanced'), [['topics', 1, 1, 1]])
  t.deepEqual(await weightsOf(model, [...rows, ids([])], 'balanced'), [['topics', 0.25, 1.5, 1]])
})

test('of tokens, of which those without a label do not count', async (t) => {
  const model = await load(t)
  model.addTaggingHead('tags', { labels: ['O', 'X'] })
  const rows: Row[] = [
    { inputIds: [2, 7, 9, 3], label: [-100, 0, 0, -100] },
    { inputIds: [2, 3], label: [0, 1] }
  ]
  t.deepEqual(await weightsOf(model, rows, 'balanced'), [['tags', 0.6667, 2]])
})

test('what does not fit is refused before the first step', async (t) => {
  const model = await load(t)
  model.addClassificationHead('mood', { labels: ['bad', 'good'] })
  model.trainHead('mood')
  const refuse = async (classWeights: unknown, message: RegExp) => {
    const options = { model, trainDataset: [ids(0)], args: { ...quiet, classWeights: classWeights as ClassWeights } }
    await t.throwsAsync(async () => await new AdapterTrainer(options).train(), { message })
  }
  await refuse([1], /args\.classWeights: expected 2 numbers, one for each label of 'mood', got an array of 1/)
  await refuse([1, 0], /args\.classWeights\[1\]: expected a number above 0/)
  await refuse({ god: 2 }, /unknown label 'god'\. Did you mean 'good'\?/)
  await refuse('balance', /Did you mean 'balanced'\?/)
  await refuse('good', /'balanced', an array of numbers, or numbers under the labels' names, got 'good'/)
  await refuse(2, /'balanced', an array of numbers/)
  model.addRegressionHead('value')
  model.trainHead('value')
  model.activeHead = 'value'
  await refuse('balanced', /^args\.classWeights: no head that trains has classes: leave it out$/)
})

test('smoothed labels where no head chooses one of several are refused before the first step', async (t) => {
  const model = await load(t)
  model.addRegressionHead('value')
  model.addMultiLabelClassificationHead('topics', { labels: ['a', 'b'] })
  model.addClassificationHead('mood', { labels: ['bad', 'good'] })
  const message = /^args\.labelSmoothingFactor: no head that trains chooses one of several classes: leave it out$/
  for (const [head, label] of Object.entries({ value: 0.5, topics: ['a'] })) {
    model.trainHead(head)
    model.activeHead = head
    const options = { model, trainDataset: [ids(label)], args: { ...quiet, labelSmoothingFactor: 0.1 } }
    await t.throwsAsync(new AdapterTrainer(options).train(), { message })
    await t.throwsAsync(new AdapterTrainer(options).evaluate({ evalDataset: [ids(label)] }), { message })
  }
  const task = (head: string, label: Row['label']) => ({ head, dataset: [ids(label)] })
  const tasks = { value: task('value', 1), topics: task('topics', ['a']) }
  model.addAdapter('shared', 'ia3')
  const run = (more: object) => {
    const all = Object.entries({ ...tasks, ...more }).map(([name, one]) => [name, { ...one, adapter: 'shared' }])
    const args = { ...quiet, labelSmoothingFactor: 0.1, maxSteps: 1 }
    return new MultiTaskTrainer({ model, tasks: Object.fromEntries(all), args }).train()
  }
  await t.throwsAsync(run({}), { message: /^value: labelSmoothingFactor: no head that trains chooses/ })
  // What is for all means those that it can be for.
  t.is((await run({ mood: task('mood', 'good') })).step, 1)
})
