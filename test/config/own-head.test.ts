import test from 'ava'
import { ownHead } from '../../lib/config/own-head.js'

const headOf = (ownLabels: number, config: object) =>
  ownHead(
    { ownLabels, ownHeadReadsRows: true, ownHeadGivesSpans: false, vocabulary: 0 } as never,
    { config } as never,
    { imageSize: null, tieWordEmbeddings: true } as never
  )

test('an archive whose head gives several values a row is refused: there is none like it', (t) => {
  t.throws(() => headOf(3, { problem_type: 'regression' }), {
    code: 'ERR_UNSUPPORTED',
    message: /no head here gives 3 values a row.*problem_type "regression".*Export the model without its head/
  })
  t.like(headOf(1, { problem_type: 'regression' }), { headType: 'classification', numLabels: 1 })
  t.like(headOf(3, { problem_type: 'multi_label_classification' }), { headType: 'multilabel_classification' })
  t.like(headOf(3, {}), { headType: 'classification', numLabels: 3 })
})
