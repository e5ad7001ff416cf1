import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { questionAnsweringHead } from '../../lib/config/choice-heads.js'
import { encodeRow } from '../../lib/data/collate.js'
import type { Row } from '../../lib/data/dataset.js'
import { TextTokenizer } from '../../lib/data/tokenizer.js'
import { windowsOf } from '../../lib/data/windows.js'

interface Found {
  readonly texts: { readonly text: string; readonly unknown: boolean[]; readonly offsets: number[][] }[]
  readonly windows: number[][]
}

const folder = 'test/data/fixtures'
// From fixtures/make_windows.py.
const known = JSON.parse(readFileSync(join(folder, 'windows.json'), 'utf8'))
const names = ['bert', 'roberta', 'xlm-roberta'] as const
const tokenizerOf = (name: string) => TextTokenizer.fromFolder(join(folder, 'tokenizers', name))

for (const name of names) {
  const { texts, windows } = known[name] as Found
  test(`${name}: tokens stand where Hugging Face says`, (t) => {
    const tokenizer = tokenizerOf(name)
    for (const { text, unknown, offsets } of texts) {
      const { spans, tokens } = tokenizer.tokens(text)
      t.is(spans.length, 2 * offsets.length, text)
      offsets.forEach(([start = 0, end = 0], token) => {
        const got = [spans[2 * token] ?? 0, spans[2 * token + 1] ?? 0]
        const [from = 0, to = 0] = got
        const what = `${text}: token ${token}, [${got}] for [${start}, ${end}]`
        // Where a space is a token of its own, Hugging Face gives it the character behind it.
        if (from < 0) t.true(text.slice(start, end).trim() === '' || /^[▁Ġ]+$/.test(tokens[token] ?? ''), what)
        // A space is no part of a token here; what an unknown one stands for reaches at least as far.
        else if (unknown[token]) t.true(from <= start && to >= end, what)
        else t.is(text.slice(from, to), text.slice(start, end).trim(), what)
      })
    }
  })

  test(`${name}: the windows of a long context are those of stride and truncation="only_second"`, (t) => {
    const got = windowsOf(tokenizerOf(name), known.question, known.context, 40).windows
    t.deepEqual(
      got.map(({ inputIds }) => [...inputIds]),
      windows
    )
  })
}

const context = 'The fox jumps. The lazy dog counts birds, and the fox counts dogs.'
const encode = (row: Row, name = 'bert', maxLength = 64) =>
  encodeRow(
    row,
    {
      tokenizer: tokenizerOf(name),
      head: questionAnsweringHead(),
      limits: { maxLength, vocabSize: 1000, typeVocabSize: 2, image: null }
    },
    'row'
  )

test('an answer is the tokens that its characters touch, in every spelling of a row', (t) => {
  const question = 'who counts birds?'
  const rows: Row[] = [
    { question, context, answers: { text: ['lazy dog'], answer_start: [19] } },
    { question, context, answers: [{ text: 'lazy dog', answerStart: 19 }] },
    { text: question, textPair: context, answerText: 'lazy dog', answerStart: 19 }
  ]
  for (const name of names) {
    const tokenizer = tokenizerOf(name)
    for (const row of rows) {
      const { inputIds, label } = encode(row, name)
      const [start = 0, end = 0] = label ?? []
      t.regex(tokenizer.decode(inputIds.subarray(start, end + 1)).trim(), /^lazy dog$/)
    }
  }
})

test('windows without the answer point at their first token, and so do questions without one', (t) => {
  const row = { question: 'who?', context, answers: { text: ['counts dogs'], answer_start: [54] } }
  const { parts, label } = encode(row, 'bert', 16)
  t.true((parts?.length ?? 0) > 2)
  const pairs = Array.from({ length: parts?.length ?? 0 }, (_, i) => [label?.[2 * i], label?.[2 * i + 1]])
  t.deepEqual(pairs[0], [0, 0])
  t.true((pairs.at(-1)?.[0] ?? 0) > 0)
  t.deepEqual([...(encode({ question: 'who?', context, answers: [] }).label ?? [])], [0, 0])
  t.is(encode({ question: 'who?', context }).label, undefined)
})

test('Python counts an emoji as one character: both ways to count find the answer', (t) => {
  const text = '\u{1f600}\u{1f600} the fox jumps'
  for (const start of [7, 9]) {
    const { label } = encode({ question: 'who?', context: text, answers: { text: ['fox'], answer_start: [start] } })
    t.true((label?.[0] ?? 0) > 0)
  }
  t.throws(() => encode({ question: 'who?', context: text, answers: { text: ['fox'], answer_start: [0] } }), {
    message: /row\.answers\[0\]: expected 'fox' in the context at 0, got/
  })
})

test('what is wrong with a question is said', (t) => {
  t.throws(() => encode({ words: ['a'] }), { message: /expected question and context, got words/ })
  t.throws(() => encode({ text: 'a' }), { message: /expected context, got text$/ })
  const row = { question: 'a', context: 'b', answers: { text: ['b'], answer_start: [] } }
  t.throws(() => encode(row), { message: /expected a start for each text/ })
  t.throws(() => encode({ inputIds: [2, 9, 3], startPosition: 2, endPosition: 1 }), { message: /row\.endPosition/ })
})
