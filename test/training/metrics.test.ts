import test, { type ExecutionContext } from 'ava'
import {
  classificationHead,
  maskedLmHead,
  multiLabelHead,
  regressionHead,
  taggingHead
} from '../../lib/config/head-config.js'
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
  close(t, counter.result(), { accuracy: 0.5, macroF1: 1 / 3, matthews: 0 })
})

test('several labels', (t) => {
  // Rows [1,0,1], [0,1,0], [1,1,0], [0,0,0] answered [1,0,0], [0,1,0], [1,0,0], [0,0,0]: F1 is 1, 2/3 and 0.
  const counter = metricCounter(multiLabelHead({ numLabels: 3 }))
  counter.add(Float32Array.of(2, -1, -1, -1, 0.1, -3), Float32Array.of(1, 0, 1, 0, 1, 0))
  counter.add(Float32Array.of(1, -1, -2, -1, -1, -1), Float32Array.of(1, 1, 0, 0, 0, 0))
  close(t, counter.result(), { accuracy: 0.5, macroF1: (1 + 2 / 3) / 3 })
})

test('values', (t) => {
  // Errors 0.5, 0.5, 0, 1: mean of squares 0.375. scipy.stats.pearsonr: 0.98486961844827.
  const counter = metricCounter(regressionHead())
  counter.add(Float32Array.of(2.5, 0), Float32Array.of(3, -0.5))
  counter.add(Float32Array.of(2, 8), Float32Array.of(2, 7))
  const { mse, pearson } = counter.result()
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

test('masked language modelling', (t) => {
  const counter = metricCounter(maskedLmHead())
  counter.add(answers([3, 1, 4], 5), Int32Array.of(3, -100, 0))
  t.deepEqual(counter.result(), { accuracy: 0.5 })
})

test('nothing seen', (t) => {
  t.deepEqual(metricCounter(classificationHead()).result(), { accuracy: 0, macroF1: 0, matthews: 0 })
  t.deepEqual(metricCounter(regressionHead()).result(), { mse: 0, pearson: 0 })
})

test('sizes that do not fit are refused', (t) => {
  const counter = metricCounter(classificationHead({ numLabels: 3 }))
  t.throws(() => counter.add(new Float32Array(5), Int32Array.of(0, 1)), { message: /2 labels need 6 outputs, got 5/ })
})
