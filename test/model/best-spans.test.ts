import test from 'ava'
import type { EncodedQuestion } from '../../lib/data/questions.js'
import { bestSpans } from '../../lib/model/best-spans.js'

const context = 'one two three four'
const spans = Int32Array.of(0, 3, 4, 7, 8, 13, 14, 18)
const window = (first: number, count: number) => {
  const ids = new Int32Array(3 + count + 1)
  return { inputIds: ids, tokenTypeIds: ids, contextAt: 3, first, count }
}
// A first token, two of the question, the context, a last token.
const question: EncodedQuestion = { context, windowed: { windows: [window(0, 3), window(1, 3)], spans }, answers: [] }
const logits = (values: readonly (readonly [number, number])[]) => Float32Array.from(values.flat())
const options = { count: 1, maxLength: 30, allowNone: false }
const none = () => ''

test('the best pair of one window wins: never backwards, never of the question', (t) => {
  const first = logits([
    [1, 1],
    [9, 9],
    [9, 9],
    [0, 5],
    [3, 0],
    [0, 2],
    [9, 9]
  ])
  const second = logits([
    [0, 0],
    [9, 9],
    [9, 9],
    [2, 0],
    [0, 1],
    [0, 1.5],
    [9, 9]
  ])
  const [best] = bestSpans(question, [first, second], options, none)
  // first window: 'two' begins best (3), 'three' ends it (2), 'one' ends better (5) but lies before.
  t.like(best, { answer: 'one', start: 0, end: 3 })
  const answers = bestSpans(question, [first, second], { ...options, count: 3 }, none)
  t.deepEqual(
    answers.map(({ answer }) => answer),
    ['one', 'two three', 'two three four']
  )
  t.true(answers.every(({ score }, i) => score > 0 && score <= (answers[i - 1]?.score ?? 1)))
})

test('scores are probabilities over the tokens of all windows, each token once', (t) => {
  const same = logits([
    [0, 0],
    [0, 0],
    [0, 0],
    [0, 0],
    [0, 0],
    [0, 0],
    [0, 0]
  ])
  const [best] = bestSpans(question, [same, same], options, none)
  t.true(Math.abs((best?.score ?? 0) - 1 / 16) < 1e-7)
  const all = bestSpans(question, [same, same], { ...options, count: 99 }, none)
  // 'one' to 'four' stand in no window together.
  t.is(all.length, 9)
})

test('an answer has a longest length, and may be none where that was learned', (t) => {
  const wide = logits([
    [8, 8],
    [0, 0],
    [0, 0],
    [9, 0],
    [0, 1],
    [0, 9],
    [0, 0]
  ])
  t.is(bestSpans(question, [wide, wide], { ...options, maxLength: 2 }, none)[0]?.answer.split(' ').length, 2)
  t.is(bestSpans(question, [wide, wide], options, none)[0]?.answer, 'one two three')
  const shy = logits([
    [9, 9],
    [0, 0],
    [0, 0],
    [1, 0],
    [0, 0],
    [0, 1],
    [0, 0]
  ])
  t.like(bestSpans(question, [shy, shy], { ...options, allowNone: true }, none)[0], { answer: '', start: 0, end: 0 })
  // One window that knows better is enough.
  t.is(bestSpans(question, [shy, wide], { ...options, allowNone: true }, none)[0]?.answer, 'two three four')
})
