import test, { type ExecutionContext } from 'ava'
import {
  classificationHead,
  maskedLmHead,
  multiLabelHead,
  regressionHead,
  taggingHead
} from '../../lib/config/head-config.js'
import { chunksOf, chunkTags } from '../../lib/training/entity-metrics.js'
import { type Metrics, metricCounter } from '../../lib/training/metrics.js'

function close(t: ExecutionContext, metrics: Metrics, expected: Metrics): void {
  t.deepEqual(Object.keys(metrics).sort(), Object.keys(expected).sort())
  for (const [name, value] of Object.entries(expected)) {
    const got = metrics[name as keyof Metrics] ?? Number.NaN
    t.true(Math.abs(got - value) < 1e-12, `${name}: expected ${value}, got ${got}`)
  }
}

/** Logits whose largest value is at each answer. */
function answers(classes: readonly number[], count: number): Float32Array {
  return Float32Array.from(
    classes.flatMap((answer) => Array.from({ length: count }, (_, i) => (i === answer ? 2 : i / 10)))
  )
}

// Class 0: 2 of 2 right, F1 1. Class 1: 1 hit, 2 labels, 1 answer, F1 2/3. Class 2: 2 hits, 2 labels, 3 answers, F1 4/5.
// Matthews: (5·6 - (2·2 + 2·1 + 2·3)) / sqrt((36 - 14)(36 - 12)) = 18 / sqrt(528); scikit-learn agrees.
test('classes', (t) => {
  const counter = metricCounter(classificationHead({ numLabels: 3 }))
  counter.add(answers([0, 2, 2], 3), Int32Array.of(0, 1, 2))
  counter.add(answers([2, 1, 0], 3), Int32Array.of(2, 1, 0))
  close(t, counter.result(), { accuracy: 5 / 6, macroF1: (1 + 2 / 3 + 4 / 5) / 3, matthews: 18 / Math.sqrt(528) })
})

test('a class that neither occurs nor is answered does not count; one that is only answered does', (t) => {
  // scikit-learn: f1_score([0,1,2,2,1,0,3,2,0,1], [0,2,2,2,1,0,1,0,0,1], average='macro') and matthews_corrcoef.
  const counter = metricCounter(classificationHead({ numLabels: 6 }))
  counter.add(answers([0, 2, 2, 2, 1, 0, 1, 0, 0, 1], 6), Int32Array.of(0, 1, 2, 2, 1, 0, 3, 2, 0, 1))
  close(t, counter.result(), { accuracy: 0.7, macroF1: 0.5476190476190476, matthews: 0.5802588531856595 })
  const other = metricCounter(classificationHead({ numLabels: 3 }))
  other.add(answers([0, 2], 3), Int32Array.of(0, 0))
  close(t, other.result(), { accuracy: 0.5, macroF1: (2 / 3 + 0) / 2, matthews: 0 })
})

test('tagging looks only at labelled tokens', (t) => {
  const counter = metricCounter(taggingHead({ numLabels: 2 }))
  counter.add(answers([0, 1, 1, 0], 2), Int32Array.of(-100, 1, 0, -100))
  // One right, one wrong, both answered 1: F1 of 1 is 2/3, of 0 it is 0.
  close(t, counter.result(), { accuracy: 0.5, f1: 2 / 3, macroF1: 1 / 3, matthews: 0 })
})

test('several labels', (t) => {
  // Rows [1,0,1], [0,1,0], [1,1,0], [0,0,0] answered [1,0,0], [0,1,0], [1,0,0], [0,0,0]: F1 is 1, 2/3 and 0.
  // Of 5 labels 3 were found, of 3 answers all are right.
  const counter = metricCounter(multiLabelHead({ numLabels: 3 }))
  counter.add(Float32Array.of(2, -1, -1, -1, 0.1, -3), Float32Array.of(1, 0, 1, 0, 1, 0))
  counter.add(Float32Array.of(1, -1, -2, -1, -1, -1), Float32Array.of(1, 1, 0, 0, 0, 0))
  close(t, counter.result(), { accuracy: 0.5, macroF1: (1 + 2 / 3) / 3, microF1: 6 / 8 })
})

test('values', (t) => {
  // Errors 0.5, 0.5, 0, 1: mean of squares 0.375. scipy.stats.pearsonr: 0.98486961844827.
  const counter = metricCounter(regressionHead())
  counter.add(Float32Array.of(2.5, 0), Float32Array.of(3, -0.5))
  counter.add(Float32Array.of(2, 8), Float32Array.of(2, 7))
  const { mse, pearson, spearman } = counter.result()
  t.is(spearman, 1)
  t.is(mse, 0.375)
  t.true(Math.abs((pearson ?? 0) - 0.98486961844827) < 1e-12)
})

test('values far from zero keep their digits', (t) => {
  const counter = metricCounter(regressionHead())
  const labels = Float32Array.from({ length: 1000 }, (_, i) => 100_000 + (i % 10))
  counter.add(
    labels.map((label) => -label),
    labels
  )
  t.true(Math.abs((counter.result().pearson ?? 0) + 1) < 1e-9)
  const constant = metricCounter(regressionHead())
  constant.add(Float32Array.of(1, 1), Float32Array.of(1, 2))
  t.is(constant.result().pearson, 0)
})

test('equal values share their rank', (t) => {
  // Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4: 4.5 / sqrt(4.5 · 5), as scipy.stats.spearmanr has it.
  const counter = metricCounter(regressionHead())
  counter.add(Float32Array.of(1, 2), Float32Array.of(1, 3))
  counter.add(Float32Array.of(2, 300), Float32Array.of(2, 4))
  t.true(Math.abs((counter.result().spearman ?? 0) - 4.5 / Math.sqrt(22.5)) < 1e-12)
})

test('F1 of two classes is that of the second', (t) => {
  // Labels 1, 1, 1, 0, 0 answered 1, 0, 0, 1, 0: one hit, three labels, two answers.
  const counter = metricCounter(classificationHead())
  counter.add(answers([1, 0, 0, 1, 0], 2), Int32Array.of(1, 1, 1, 0, 0))
  t.is(counter.result().f1, 2 / 5)
})

const tags = ['O', 'B-MISC', 'I-MISC', 'B-PER', 'I-PER']
const chunks = (...names: string[]) => [
  ...chunksOf(names.map((name) => chunkTags([name, 'B-X'])?.[0] as NonNullable<ReturnType<typeof chunkTags>>[number]))
]

test('chunks as conlleval cuts them', (t) => {
  t.deepEqual(chunks('B-A', 'I-A', 'O', 'B-A'), ['A:0:1', 'A:3:3'])
  t.deepEqual(chunks('B-A', 'B-A', 'I-A'), ['A:0:0', 'A:1:2'])
  // An I begins one where none of its kind is open.
  t.deepEqual(chunks('O', 'I-A', 'I-B', 'I-B'), ['A:1:1', 'B:2:3'])
  t.deepEqual(chunks('B-A', 'I-B', 'I-A'), ['A:0:0', 'B:1:1', 'A:2:2'])
  t.deepEqual(chunks('B-A', 'I-A', 'E-A', 'I-A', 'S-A', 'E-A'), ['A:0:2', 'A:3:3', 'A:4:4', 'A:5:5'])
  t.deepEqual(chunks('B-LONG-NAME', 'I-LONG-NAME'), ['LONG-NAME:0:1'])
  t.deepEqual(chunks('O', 'O'), [])
  t.is(chunkTags(['O', 'PER']), undefined)
  // Names of one letter that are no tags.
  t.is(chunkTags(['O', 'I']), undefined)
  t.is(chunkTags(['O', 'B', 'I', 'X']), undefined)
  t.is(chunkTags(['LABEL_0', 'LABEL_1']), undefined)
  t.is(chunkTags(['O']), undefined)
})

test('whole entities, row by row and without unlabelled tokens', (t) => {
  // The example of seqeval's README: two rows, of two entities each side has one in common.
  const right = ['O', 'O', 'O', 'B-MISC', 'I-MISC', 'I-MISC', 'O', 'B-PER', 'I-PER', 'O']
  const given = ['O', 'O', 'B-MISC', 'I-MISC', 'I-MISC', 'I-MISC', 'O', 'B-PER', 'I-PER', 'O']
  const ids = (names: string[]) => names.map((name) => tags.indexOf(name))
  const head = taggingHead({ labels: tags })
  const row = (length: number) => ({
    inputIds: new Int32Array(length),
    tokenTypeIds: new Int32Array(length),
    label: undefined
  })
  const counter = metricCounter(head)
  counter.add(answers(ids(given), 5), Int32Array.from(ids(right)), [row(7), row(3)])
  t.like(counter.result(), { accuracy: 0.8, entityPrecision: 0.5, entityRecall: 0.5, entityF1: 0.5 })
  // Labels of one entity in each row; as one row they would be a single entity, and its answer two.
  const [b, i] = [3, 4]
  const other = metricCounter(head)
  other.add(answers([b, i, b, 0, i], 5), Int32Array.of(b, i, i, -100, i), [row(2), row(3)])
  t.like(other.result(), { entityPrecision: 1, entityRecall: 1 })
  const one = metricCounter(head)
  one.add(answers([b, i, b, 0, i], 5), Int32Array.of(b, i, i, -100, i), [row(5)])
  t.like(one.result(), { entityPrecision: 0, entityRecall: 0, entityF1: 0 })
})

test('chunks of one kind, whose tags have no name of it', (t) => {
  const labels = ['O', 'B', 'I', 'E', 'S']
  const [right, given] = ['OBIOIIBBESOBIE', 'OBIOOIBIESOBIO']
  const ids = (text: string) => Array.from(text, (name) => labels.indexOf(name))
  const counter = metricCounter(taggingHead({ labels }))
  const row = { inputIds: new Int32Array(14), tokenTypeIds: new Int32Array(14), label: undefined }
  counter.add(answers(ids(given), 5), Int32Array.from(ids(right)), [row])
  const { entityPrecision, entityRecall, entityF1 } = counter.result()
  // seqeval's precision_score, recall_score and f1_score of the two.
  t.deepEqual([entityPrecision, entityRecall, entityF1], [2 / 5, 1 / 3, 4 / 11])
})

test('masked language modelling', (t) => {
  const counter = metricCounter(maskedLmHead())
  counter.add(answers([3, 1, 4], 5), Int32Array.of(3, -100, 0))
  t.deepEqual(counter.result(), { accuracy: 0.5 })
})

test('nothing seen', (t) => {
  t.deepEqual(metricCounter(classificationHead()).result(), { accuracy: 0, f1: 0, macroF1: 0, matthews: 0 })
  t.deepEqual(metricCounter(regressionHead()).result(), { mse: 0, pearson: 0, spearman: 0 })
})

test('sizes that do not fit are refused', (t) => {
  const counter = metricCounter(classificationHead({ numLabels: 3 }))
  t.throws(() => counter.add(new Float32Array(5), Int32Array.of(0, 1)), { message: /2 labels need 6 outputs, got 5/ })
})
