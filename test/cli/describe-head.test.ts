import { join } from 'node:path'
import test from 'ava'
import { labelNamesOf, readAll } from '../../lib/cli/rows.js'
import { headFor } from '../../lib/cli/train-head.js'
import { describeHead } from '../../lib/cli/train-what.js'
import { classificationHead, maskedLmHead, multiLabelHead, regressionHead } from '../../lib/config/head-config.js'

test('the line before training names the kind of head and its labels', (t) => {
  const labels = ['a', 'b', 'c', 'd', 'e', 'f']
  t.is(describeHead(classificationHead({ labels: ['no', 'yes'] })), 'head: classification, 2 labels (no, yes)\n')
  t.is(describeHead(multiLabelHead({ labels })), 'head: multilabel, 6 labels (a, b, c, d, e, …)\n')
  t.is(describeHead(classificationHead({ labels: ['-1', '1'] })), 'head: classification, 2 labels (-1, 1)\n')
  t.is(describeHead(classificationHead({ numLabels: 3 })), 'head: classification, 3 labels\n')
  t.is(describeHead(regressionHead()), 'head: regression, labels are numbers\n')
  t.is(describeHead(maskedLmHead()), 'head: masked_lm\n')
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
})
