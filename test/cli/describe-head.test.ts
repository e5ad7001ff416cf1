import test from 'ava'
import { describeHead } from '../../lib/cli/train-what.js'
import { classificationHead, maskedLmHead, multiLabelHead, regressionHead } from '../../lib/config/head-config.js'

test('the line before training names the kind of head and its labels', (t) => {
  const labels = ['a', 'b', 'c', 'd', 'e', 'f']
  t.is(describeHead(classificationHead({ labels: ['no', 'yes'] })), 'head: classification, 2 labels (no, yes)\n')
  t.is(describeHead(multiLabelHead({ labels })), 'head: multilabel, 6 labels (a, b, c, d, e, …)\n')
  t.is(describeHead(classificationHead({ numLabels: 3 })), 'head: classification, 3 labels\n')
  t.is(describeHead(regressionHead()), 'head: regression, labels are numbers\n')
  t.is(describeHead(maskedLmHead()), 'head: masked_lm\n')
})
