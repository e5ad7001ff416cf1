import { join } from 'node:path'
import test from 'ava'
import { labelNamesOf, readAll } from '../../lib/cli/rows.js'
import { headFor } from '../../lib/cli/train-head.js'
import { describeHead } from '../../lib/cli/train-what.js'
import {
  type ClassificationHeadConfig,
  classificationHead,
  maskedLmHead,
  multiLabelHead,
  regressionHead
} from '../../lib/config/head-config.js'
import { encodeLabel } from '../../lib/data/labels.js'

test('the line before training names the kind of head and its labels', (t) => {
  const labels = ['a', 'b', 'c', 'd', 'e', 'f']
  t.is(describeHead(classificationHead({ labels: ['no', 'yes'] })), 'head: classification, 2 labels (no, yes)\n')
  t.is(describeHead(multiLabelHead({ labels })), 'head: multilabel, 6 labels (a, b, c, d, e, …)\n')
  t.is(describeHead(classificationHead({ labels: ['-1', '1'] })), 'head: classification, 2 labels (-1, 1)\n')
  t.is(describeHead(classificationHead({ numLabels: 3 })), 'head: classification, 3 labels\n')
  t.is(describeHead(regressionHead()), 'head: regression, labels are numbers\n')
  t.is(describeHead(maskedLmHead()), 'head: masked_lm\n')
})

test('a head of classes is taken for numbers that are no ids, or refused', async (t) => {
  const heads = (labels: readonly (string | number)[], names?: string) =>
    headFor(
      labels.map((label) => ({ text: 'x', label })),
      'classification',
      names
    )
  // 9 before 10, and names as cells of a CSV file have them.
  const cases: [(string | number)[], string][] = [
    [[1, -1, 1], '-1, 1'],
    [['10', '-1', '9', '-1.0'], '-1, 9, 10'],
    [['+1', '-1'], '-1, +1']
  ]
  for (const [labels, names] of cases) {
    const head = await heads(labels)
    const count = names.split(', ').length
    t.is(describeHead(head), `head: classification, ${count} labels (${names})\n`)
    for (const label of labels) {
      const name = String(label).replace('.0', '')
      t.deepEqual(
        encodeLabel(head as ClassificationHeadConfig, label, 'label'),
        Int32Array.of(names.split(', ').indexOf(name))
      )
    }
  }
  const images = [-1, 1].map((label) => ({ pixelValues: [0.5], label }))
  t.like(await headFor(images, 'classification', undefined), { headType: 'image_classification', numLabels: 2 })
  await t.throwsAsync(heads([1, 0.5]), {
    message: /training rows\[1\]\.label: expected a name or a whole number for a class, got 0\.5.*--head regression/
  })
  await t.throwsAsync(heads(['-1', '0.5']), { message: /training rows\[1\]\.label: .* got '0\.5'/ })
  await t.throwsAsync(heads([-1, -1]), { message: /every row has the label '-1'; a classifier needs two/ })
  t.is(describeHead(await heads([1, 0.5], '0.5,1')), 'head: classification, 2 labels (0.5, 1)\n')
})

test("label names of a Parquet file are the head's, in their order, unless --labels gives others", async (t) => {
  const file = join('test', 'data', 'fixtures', 'parquet', 'texts.parquet')
  const rows = await readAll(file)
  const names = await labelNamesOf(file)
  const found = describeHead(await headFor(rows, undefined, undefined, names))
  t.is(found, 'head: classification, 3 labels (low, high, mid)\n')
  t.is(describeHead(await headFor(rows, undefined, 'a,b,c', names)), 'head: classification, 3 labels (a, b, c)\n')
  t.is(describeHead(await headFor(rows, 'regression', undefined, names)), 'head: regression, labels are numbers\n')
  t.is(await labelNamesOf('rows.jsonl'), null)
  const twice = classificationHead({ id2label: { 0: 'low', 1: 'high', 2: 'low' } })
  t.is(describeHead(twice), 'head: classification, 3 labels (low, high, low)\n')
})

test('labels that begin behind 0 are told to be ids', async (t) => {
  const told: string[] = []
  const listen = (warning: Error) => told.push(warning.message)
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  for (const labels of [
    [1, 2, 3],
    ['1', '2', '3'],
    [0, 1, 2],
    [0.5, 1],
    ['1', 'x']
  ])
    await headFor(
      labels.map((label) => ({ text: 'x', label })),
      undefined,
      undefined
    )
  await headFor([{ text: 'x', label: '1' }], 'classification', '1,2,3')
  await new Promise(setImmediate)
  const own = told.filter((text) => text.startsWith('no training row has'))
  t.is(own.length, 2)
  t.regex(own[0] ?? '', /the label 0: whole numbers are ids from 0, and the head has 4 labels\. .*--labels 1,2,3$/)
})
