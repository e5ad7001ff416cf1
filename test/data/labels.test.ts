import test from 'ava'
import { classificationHead, multiLabelHead, regressionHead, taggingHead } from '../../lib/config/head-config.js'
import { rowLabel } from '../../lib/data/collate.js'
import type { Row } from '../../lib/data/dataset.js'
import { encodeLabel, spreadWordLabels, summarizeLabels } from '../../lib/data/labels.js'

const sentiment = classificationHead({ labels: ['negative', 'positive'] })

test('classes by number, by name and by text from a CSV file', (t) => {
  t.deepEqual(encodeLabel(sentiment, 1, 'label'), Int32Array.of(1))
  t.deepEqual(encodeLabel(sentiment, 'positive', 'label'), Int32Array.of(1))
  t.deepEqual(encodeLabel(classificationHead(), '1', 'label'), Int32Array.of(1))
  t.deepEqual(encodeLabel(classificationHead(), 'LABEL_0', 'label'), Int32Array.of(0))
  t.deepEqual(encodeLabel(sentiment, '1', 'label'), Int32Array.of(1))
  // pandas writes whole numbers of a column with gaps so.
  t.deepEqual(encodeLabel(classificationHead(), '1.0', 'label'), Int32Array.of(1))
  t.deepEqual(encodeLabel(sentiment, '0.0', 'label'), Int32Array.of(0))
})

test('where a name is a number, numbers are names and never ids', (t) => {
  const stars = classificationHead({ labels: ['1', '2', '3', 'none'] })
  for (const label of [2, '2', '2.0']) t.deepEqual(encodeLabel(stars, label, 'label'), Int32Array.of(1))
  for (const label of [0, '0', 4, 'LABEL_1']) {
    t.throws(() => encodeLabel(stars, label, 'rows[7].label'), {
      message: /rows\[7\]\.label: unknown label .*(The head's labels: '1', '2', '3', 'none'\.|Did you mean)/
    })
  }
  const several = multiLabelHead({ labels: ['1', '2'] })
  t.deepEqual(encodeLabel(several, ['2'], 'label'), Float32Array.of(0, 1))
  t.deepEqual(encodeLabel(taggingHead({ labels: ['1', '2'] }), [2, -100, 1], 'label'), Int32Array.of(1, -100, 0))
})

test('digits with zeros before them are names, and never the number', (t) => {
  const summary = (labels: readonly string[]) => summarizeLabels(labels.map((label) => ({ text: 'x', label })))
  t.deepEqual(summary(['01', '1', '02']), { kind: 'classification', numLabels: 3, labels: ['01', '02', '1'] })
  t.deepEqual(summary(['00501', '10001']), { kind: 'classification', numLabels: 2, labels: ['00501', '10001'] })
  t.deepEqual(summary(['0x10', '16']), { kind: 'classification', numLabels: 2, labels: ['0x10', '16'] })
  t.deepEqual(summary(['0', '1', '0.0']), { kind: 'classification', numLabels: 2, labels: null })
  t.deepEqual(summary(['0.25', '-0.5']), { kind: 'regression', numLabels: 1, labels: null })
  const both = classificationHead({ labels: ['01', '1'] })
  t.deepEqual(encodeLabel(both, '01', 'label'), Int32Array.of(0))
  for (const one of ['1', 1, '1.0']) t.deepEqual(encodeLabel(both, one, 'label'), Int32Array.of(1))
  t.throws(() => encodeLabel(sentiment, '01', 'label'), { message: /unknown label '01'/ })
  // A number would be another class's id.
  const codes = classificationHead({ labels: ['01', '02'] })
  for (const one of ['1', 1]) t.throws(() => encodeLabel(codes, one, 'label'), { message: /unknown label/ })
  t.throws(() => encodeLabel(classificationHead(), '01', 'label'), { message: /an id from 0 to 1, got '01'/ })
  t.throws(() => encodeLabel(classificationHead(), 'LABEL_01', 'label'), { message: /got 'LABEL_01'/ })
})

test('values', (t) => {
  t.deepEqual(encodeLabel(regressionHead(), 2.5, 'label'), Float32Array.of(2.5))
  t.deepEqual(encodeLabel(regressionHead(), '-3', 'label'), Float32Array.of(-3))
  t.throws(() => encodeLabel(regressionHead(), 'much', 'label'), { message: /finite number/ })
})

test('several labels: numbers or names', (t) => {
  const head = multiLabelHead({ labels: ['a', 'b', 'c'] })
  t.deepEqual(encodeLabel(head, [0, 1, 0.5], 'label'), Float32Array.of(0, 1, 0.5))
  t.deepEqual(encodeLabel(head, ['c', 'a'], 'label'), Float32Array.of(1, 0, 1))
  t.deepEqual(encodeLabel(head, [], 'label'), Float32Array.of(0, 0, 0))
  t.throws(() => encodeLabel(head, 'a', 'label'), { message: /the names that apply/ })
  for (const wrong of [[0, 2], [1], [1, 0, 0, 0, 1], [0, 'a', 1]]) {
    const message =
      /^labels: expected a list of the names that apply \(ids as texts: \["0", "2"\]\), or of \d numbers from/
    t.throws(() => encodeLabel(head, wrong as number[], 'labels'), { message })
  }
})

test('labels of words go to their first token', (t) => {
  const head = taggingHead({ labels: ['O', 'B'] })
  const labels = encodeLabel(head, ['B', 'O', 'B'], 'label') as Int32Array
  const wordIds = Int32Array.of(-1, 0, 0, 1, 2, 2, -1)
  t.deepEqual([...spreadWordLabels(labels, wordIds)], [-100, 1, -100, 0, 1, -100, -100])
  t.throws(() => rowLabel({ words: ['a', 'b'], labels: ['B'] }, head, 'rows[4]'), {
    message: /rows\[4\]\.labels: 1 labels for 2 words/
  })
  t.deepEqual(encodeLabel(head, [-100, 1], 'label'), Int32Array.of(-100, 1))
})

test('wrong labels', (t) => {
  t.throws(() => encodeLabel(sentiment, 2, 'label'), { message: /integer from 0 up to 1, got 2/ })
  t.throws(() => encodeLabel(sentiment, 'positiv', 'rows[3].label'), {
    message: /rows\[3\].*Did you mean 'positive'\?/
  })
  const unnamed = { message: /has no label names: expected an id from 0 to 1, got '1\.5'/ }
  t.throws(() => encodeLabel(classificationHead(), '1.5', 'label'), unnamed)
  // A number is one however it is written: the head has been made for it.
  t.deepEqual(encodeLabel(classificationHead({ numLabels: 1001 }), '1e3', 'label'), Int32Array.of(1000))
  const versions = classificationHead({ labels: ['2.0', '2'] })
  t.deepEqual(encodeLabel(versions, '2.0', 'label'), Int32Array.of(0))
  t.throws(() => encodeLabel(taggingHead(), 1, 'label'), { message: /one label a token/ })
})

test('a dataset tells which head it needs', (t) => {
  const kinds = (labels: unknown[], row: object = { text: 'x' }) => {
    return summarizeLabels(labels.map((label) => ({ ...row, label })) as never)
  }
  t.deepEqual(kinds(['b', 'a', 'b']), { kind: 'classification', numLabels: 2, labels: ['a', 'b'] })
  t.deepEqual(kinds([0, 3]), { kind: 'classification', numLabels: 4, labels: null })
  t.deepEqual(kinds(['0', '1']), { kind: 'classification', numLabels: 2, labels: null })
  t.deepEqual(kinds([0.5, 1]), { kind: 'regression', numLabels: 1, labels: null })
  t.deepEqual(kinds([-1, 1]), { kind: 'regression', numLabels: 1, labels: null })
  t.deepEqual(kinds([['a'], ['b', 'c']]), { kind: 'multilabel_classification', numLabels: 3, labels: ['a', 'b', 'c'] })
  t.deepEqual(kinds([[0, 1, 1]]), { kind: 'multilabel_classification', numLabels: 3, labels: null })
  // A gap among values makes no classes of them; beside names, or whole numbers, it is a name.
  for (const one of ['nan', 'NaN', 'inf', '-Infinity', 'N/A', 'null']) {
    const message = new RegExp(`some labels are values, such as '0.5', and some are '${one}'\\. Leave`)
    t.throws(() => kinds(['0.5', '1', one]), { message })
  }
  t.deepEqual(kinds(['1', '2', 'none']), { kind: 'classification', numLabels: 3, labels: ['1', '2', 'none'] })
  t.deepEqual(kinds(['0.5', '1', 'unknown']).kind, 'classification')
  // Texts that spell numbers are ids.
  t.deepEqual(kinds([['1', '0'], ['2']]), { kind: 'multilabel_classification', numLabels: 3, labels: null })
  t.deepEqual(kinds([['O', 'B']], { words: ['x', 'y'] }), { kind: 'tagging', numLabels: 2, labels: ['B', 'O'] })
  t.deepEqual(kinds([[0, -100]], { inputIds: [5, 6] }), { kind: 'tagging', numLabels: 2, labels: null })
  t.throws(() => kinds(['a', 'a']), { message: /every row has the label 'a'; a classifier needs two/ })
  t.throws(() => kinds([true, false]), { message: /dataset\[0\]\.label: expected a name, a number.*got true/ })
  const mixed =
    /some labels are names and some numbers: dataset\[1\]\.label is 'a', dataset\[0\]\.label is 1 .*Write all/
  t.throws(() => kinds([1, 'a']), { message: mixed })
  t.throws(() => kinds(['a', ['b']]), { message: /some a list/ })
  t.throws(() => kinds([[], []]), { message: /no row has a label: all their lists are empty/ })
  t.throws(() => summarizeLabels([{ text: 'a', labels: [true] } as unknown as Row]), {
    message: /dataset\[0\]\.labels: expected a name, a number.*got true/
  })
  t.throws(() => kinds(['a', null]), { message: /dataset\[1\]: this row has no label/ })
})
