import test from 'ava'
import { dependencyParsingHead, multipleChoiceHead, questionAnsweringHead } from '../../lib/config/choice-heads.js'
import {
  classificationHead,
  imageClassificationHead,
  maskedLmHead,
  multiLabelHead,
  taggingHead
} from '../../lib/config/head-config.js'
import { rowLabel } from '../../lib/data/collate.js'
import { checkRow, type Row } from '../../lib/data/dataset.js'
import { summarizeLabels } from '../../lib/data/labels.js'
import { missingLabel } from '../../lib/data/missing-label.js'

test('a row without what its head learns from is told what that is, and which of its fields may have been meant', (t) => {
  const classes = classificationHead()
  for (const [head, row, message] of [
    [classes, { text: 'a' }, /rows\[2\] has no label\. A head of kind classification learns from label\. .*masked_lm/],
    [classes, { text: 'a', Label_ID: 1 }, /Did you mean 'label' instead of 'Label_ID'\? predict\(\) .* without\.$/],
    [multiLabelHead(), { text: 'a', category: ['x'] }, /labels, a list .*Did you mean 'labels' instead of 'category'/],
    [taggingHead(), { words: ['a'], ner_tags: [1] }, /one for each word\. Did you mean 'labels' instead of 'ner_tags'/],
    [multipleChoiceHead(), { choices: ['a', 'b'], answer: 1 }, /the number of the right choice .*'answer'/],
    [
      questionAnsweringHead(),
      { question: 'a', context: 'b', answer_text: 'b' },
      /rows\[2\] has no answers\. .*\{ text: \['…'\], answer_start: \[0\] \}.*'answers' instead of 'answer_text'/
    ],
    [
      dependencyParsingHead({ labels: ['a'] }),
      { words: ['a'], head: [0] },
      /has no heads\. .*relations.*'heads' instead/
    ]
  ] as const) {
    const error = missingLabel(row, head, 'rows[2]')
    t.is(error.code, 'ERR_NO_LABELS')
    t.regex(error.message, message)
  }
  t.throws(() => summarizeLabels([{ text: 'a', stars: 5 } as Row]), { message: /'label' instead of 'stars'\?$/ })
})

test('labels, answers and choices of another form name the right one', (t) => {
  const question = { question: 'a', context: 'the dog' }
  const asked = questionAnsweringHead()
  for (const [head, row, message] of [
    [
      classificationHead(),
      { text: 'a', labels: ['x', 'y'] },
      /row\.labels: expected one label for a head of kind classification; .*\(tagging\), reads lists, got an array of 2/
    ],
    [
      maskedLmHead(),
      { text: 'a', label: 'good' },
      /expected no label for a head of kind masked_lm, or the id of a word/
    ],
    [
      asked,
      { ...question, answers: 'dog' },
      /row\.answers: expected \{ text: \[\.\.\.\], answer_start: \[\.\.\.\] \}, got/
    ],
    [asked, { ...question, answers: ['dog'] }, /answers\[0\]: expected \{ text: '…', answer_start: 0 \}, got 'dog'/],
    [multipleChoiceHead(), { choices: ['a', 3] }, /choices\[1\]: expected a text, or a row of text or inputIds, got 3/]
  ] as const) {
    t.throws(() => rowLabel(row as unknown as Row, head, 'row'), { message })
  }
  t.throws(() => checkRow(['a', 'b'], 'row'), { message: /expected a row such as \{ text: '…', textPair: '…' \}/ })
  t.throws(() => checkRow({ context: 'a' }, 'row'), { message: /A context goes with its question\.$/ })
  t.throws(() => classificationHead({ labels: ['good'] }), { message: /one label is no choice.*regression head/ })
  t.throws(() => imageClassificationHead({ labels: ['cat'] }), { message: /one label is no choice/ })
  t.notThrows(() => imageClassificationHead({ labels: ['cat'], multilabel: true }))
  t.throws(() => checkRow({ image: 'cat.png' }, 'row'), { message: /Did you mean 'pixelValues' instead of 'image'/ })
  t.throws(() => classificationHead({ labels: [] }), { message: /names of the labels/ })
})
