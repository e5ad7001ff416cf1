import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  evaluate,
  Fuse,
  type Model,
  Parallel,
  type Row,
  Stack,
  setNumThreads
} from '../../lib/index.js'
import { textScore } from '../../lib/training/answer-metrics.js'
import { fill, largestDifference, quiet, scratch, tiny } from '../model/support.js'

const names = ['paris', 'rome', 'york', 'oslo']
const things = ['tower', 'river', 'park']
const pieces = [
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  ...names,
  ...things,
  'where',
  'is',
  'the',
  'in',
  'and',
  '?',
  '.'
]

async function load(t: ExecutionContext): Promise<Model> {
  const folder = join(scratch(t), 'model')
  mkdirSync(folder, { recursive: true })
  cpSync(tiny, folder, { recursive: true })
  writeFileSync(join(folder, 'vocab.txt'), pieces.join('\n'))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
  const model = await AutoModel.fromPretrained(folder)
  t.teardown(() => model.dispose())
  return model
}

const pick = <T>(list: readonly T[], i: number): T => list[i % list.length] as T
const questions: Row[] = Array.from({ length: 24 }, (_, i) => {
  const answer = pick(names, i)
  const context = i % 2 === 0 ? `The tower is in ${answer}.` : `${answer} and the river. The park is the park.`
  return {
    question: 'where is the tower?',
    context,
    answers: { text: [answer], answer_start: [context.indexOf(answer)] }
  }
})
const choices: Row[] = Array.from({ length: 24 }, (_, i) => {
  const right = pick(names, i)
  const others = [pick(things, i), pick(things, i + 1)].slice(0, 1 + (i % 2))
  return i % 3 === 0
    ? { text: 'where is the park', choices: [right, ...others], label: 0 }
    : { text: 'where is the park', choices: [...others, right], label: others.length }
})
const parses: Row[] = Array.from({ length: 24 }, (_, i) => ({
  words: ['the', pick(things, i), 'is', 'in', pick(names, i)],
  heads: [2, 5, 5, 5, 0],
  relations: ['det', 'nsubj', 'cop', 'case', 'root']
}))
const relations = ['case', 'cop', 'det', 'nsubj', 'root']
const args = { ...quiet, numTrainEpochs: 12, perDeviceTrainBatchSize: 8 }

test.before(() => setNumThreads(1))

test('a question answering head learns, is measured as SQuAD has it, and answers with the words of the context', async (t) => {
  const model = await load(t)
  model.addAdapter('qa', 'double_seq_bn[reduction_factor=2]')
  model.addQuestionAnsweringHead('qa')
  model.trainAdapter('qa')
  await new AdapterTrainer({ model, trainDataset: questions, args }).train()
  const { metrics, rows: count } = await evaluate(model, questions)
  t.is(count, 24)
  t.deepEqual(Object.keys(metrics), ['exactMatch', 'f1'])
  t.true((metrics.exactMatch ?? 0) > 0.9, JSON.stringify(metrics))
  const context = 'The tower is in Rome.'
  const rows: Row[] = [
    { question: 'Where is the tower?', context },
    { text: 'where is the tower?', textPair: context, label: 'ignored' }
  ]
  for (const answer of await model.predict(rows, { answerCount: 3 })) {
    t.like(answer, { answer: 'Rome', start: context.indexOf('Rome'), end: context.indexOf('Rome') + 4 })
    t.is(answer.answers?.length, 3)
  }
  // More tokens than the model has positions: several windows.
  const long = 'The park is the park. '.repeat(8)
  const [found] = await model.predict([{ question: 'Where is the tower?', context: long }])
  t.true((found?.logits.length ?? 0) > 2 * 24)
  t.is(long.slice(found?.start, found?.end), found?.answer ?? '')
})

test('a multiple choice head takes any number of choices a row', async (t) => {
  const model = await load(t)
  model.addAdapter('mc', 'double_seq_bn[reduction_factor=2]')
  model.addMultipleChoiceHead('mc')
  model.trainAdapter('mc')
  await new AdapterTrainer({ model, trainDataset: choices, args }).train()
  const { metrics } = await evaluate(model, choices)
  t.true((metrics.accuracy ?? 0) > 0.9, JSON.stringify(metrics))
  const [answer] = await model.predict([{ text: 'where is the park', choices: ['tower', 'river', 'park', 'oslo'] }])
  t.like(answer, { label: 'oslo', labelId: 3 })
  t.is(answer?.scores?.length, 4)
})

test('a parsing head learns heads and relations of words, and answers with a tree', async (t) => {
  const model = await load(t)
  model.addAdapter('parse', 'double_seq_bn[reduction_factor=2]')
  model.addDependencyParsingHead('parse', { labels: relations })
  model.trainAdapter('parse')
  await new AdapterTrainer({ model, trainDataset: parses, args: { ...args, numTrainEpochs: 20 } }).train()
  const { metrics } = await evaluate(model, parses)
  t.true((metrics.uas ?? 0) > 0.9 && (metrics.las ?? 0) > 0.9, JSON.stringify(metrics))
  const [answer] = await model.predict([{ words: ['the', 'tower', 'is', 'in', 'rome'] }])
  t.deepEqual(
    answer?.tokens?.map(({ head }) => head),
    [2, 5, 5, 5, 0]
  )
  t.deepEqual(
    answer?.tokens?.map(({ label }) => label),
    ['det', 'nsubj', 'cop', 'case', 'root']
  )
})

async function withAll(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  for (const name of ['qa', 'mc', 'parse', 'mood']) model.addAdapter(name, 'seq_bn[reduction_factor=4]')
  model.addQuestionAnsweringHead('qa')
  model.addMultipleChoiceHead('mc')
  model.addDependencyParsingHead('parse', { labels: relations })
  model.addClassificationHead('mood')
  return model
}

test('rows of all heads in one call answer as each does alone', async (t) => {
  const model = await withAll(t)
  const context = 'The tower is in Paris. '.repeat(6)
  const rows: Row[] = [
    { question: 'where?', context },
    { words: ['the', 'tower', 'is'] },
    { text: 'where is the park', choices: ['tower', 'rome in the park', 'oslo'] },
    { text: 'the tower' },
    { question: 'is the tower in the park?', context: 'in Oslo' }
  ]
  const adapters = ['qa', 'parse', 'mc', 'mood', 'qa']
  const together = await model.predict(rows, { adapters, batchSize: 3 })
  for (const [i, row] of rows.entries()) {
    const [alone] = await model.predict([row], { adapters: [adapters[i] as string] })
    t.true(largestDifference(together[i]?.logits ?? new Float32Array(), alone?.logits ?? new Float32Array()) < 1e-5)
    t.is(together[i]?.answer, alone?.answer)
    t.is(together[i]?.label, alone?.label)
  }
})

test('threads share questions, windows and parses without a change of the loss', async (t) => {
  const model = await withAll(t)
  for (const [name, rows] of [
    ['qa', questions],
    ['mc', choices],
    ['parse', parses]
  ] as const) {
    model.setActiveAdapters(Stack('mood', name))
    const losses = []
    for (const threads of [1, 2]) {
      setNumThreads(threads)
      losses.push((await evaluate(model, rows, { batchSize: 24 })).loss)
    }
    setNumThreads(1)
    t.true(Math.abs((losses[0] ?? 0) - (losses[1] ?? 1)) < 1e-5, `${name}: ${losses}`)
  }
})

/** Two adapters and heads of each kind, far from their start; the second of each stands in the last layer alone. */
async function withPairs(t: ExecutionContext): Promise<Model> {
  const model = await withAll(t)
  for (const name of ['qa2', 'mc2', 'parse2']) model.addAdapter(name, 'seq_bn[reduction_factor=4,leave_out=[0]]')
  model.addQuestionAnsweringHead('qa2')
  model.addMultipleChoiceHead('mc2')
  model.addDependencyParsingHead('parse2', { labels: relations })
  for (const name of ['qa', 'qa2', 'mc', 'mc2', 'parse', 'parse2', 'mood']) fill(model, name, { scale: 0.3 })
  const parsers = model.namedParameters().filter(({ name }) => /^heads\.parse2?\./.test(name))
  t.true(parsers.length > 0)
  const values = parsers.map(({ name, shape }) => {
    const length = shape.reduce((product, size) => product * size, 1)
    return [name, { data: Float32Array.from({ length }, (_, i) => Math.sin(i + name.length)), shape }] as const
  })
  model.loadStateDict(new Map(values))
  return model
}

test('Parallel: windows, choices and words are answered by each child’s head as alone', async (t) => {
  const model = await withPairs(t)
  const context = 'The tower is in Paris. '.repeat(6)
  const cases: readonly (readonly [readonly string[], readonly Row[]])[] = [
    [
      ['qa', 'qa2'],
      [
        { question: 'where?', context },
        { question: 'is the tower in the park?', context: 'in Oslo' }
      ]
    ],
    [['mc', 'mc2'], choices.slice(0, 3)],
    [['parse', 'parse2'], parses.slice(0, 3)],
    // Heads that read a row in different ways: its copies pass apart.
    [
      ['qa', 'mood', 'qa2'],
      [
        { text: 'where is the tower?', textPair: context },
        { text: 'where?', textPair: 'in Rome.' }
      ]
    ]
  ]
  for (const [children, rows] of cases) {
    for (const batchSize of [1, 3, 32]) {
      const together = await model.predict(rows, { adapters: Parallel(...children), batchSize })
      t.is(together.length, rows.length * children.length)
      for (const [i, child] of children.entries()) {
        for (const [row, alone] of (await model.predict(rows, { adapters: child })).entries()) {
          const got = together[i * rows.length + row]
          const what = `${children}, ${batchSize} rows a pass, row ${row} by ${child}`
          t.is(got?.logits.length, alone.logits.length, what)
          t.true(largestDifference(got?.logits ?? [], alone.logits) < 1e-5, what)
          t.is(got?.answer, alone.answer, what)
          t.is(got?.label, alone.label, what)
          t.deepEqual(
            got?.tokens?.map(({ head }) => head),
            alone.tokens?.map(({ head }) => head),
            what
          )
        }
      }
    }
  }
})

test('Parallel: outputs and losses of heads that choose are laid out for all copies', async (t) => {
  const model = await withPairs(t)
  const inputIds = [
    [2, 9, 10, 3],
    [2, 11, 3],
    [2, 12, 13, 14, 3],
    [2, 5, 6, 3],
    [2, 7, 3]
  ]
  const wordIds = inputIds.map((row) => row.map((_, i) => (i === 0 ? -1 : Math.floor((i - 1) / 2))))
  const finite = (values: Float32Array | undefined) => Array.from(values ?? []).filter(Number.isFinite)
  const same = (got: Float32Array | undefined, expected: number[]) =>
    finite(got).length === expected.length && largestDifference(finite(got), expected) < 1e-5
  for (const [children, inputs, rows] of [
    [
      ['qa', 'qa2'],
      {
        inputIds,
        labels: [
          [1, 2],
          [0, 0],
          [2, 3],
          [1, 1],
          [-100, -100]
        ]
      },
      5
    ],
    [['mc', 'mc2'], { inputIds, choices: [3, 2], labels: [2, 0] }, 2],
    [['parse', 'parse2'], { inputIds, wordIds, labels: wordIds.map(parseLabels) }, 5]
  ] as const) {
    const [first, second] = children
    // One head for the rows of all copies: its loss is the mean over them.
    const both = await model.forward(inputs, { adapters: Parallel(...children), head: first })
    const each = []
    for (const child of children) each.push(await model.forward(inputs, { adapters: child, head: first }))
    t.is(both.logits?.shape[0], 2 * rows)
    t.true(
      same(
        both.logits?.data,
        each.flatMap(({ logits }) => finite(logits?.data))
      ),
      `logits of ${first}`
    )
    t.true(
      same(
        both.relationLogits?.data,
        each.flatMap(({ relationLogits }) => finite(relationLogits?.data))
      )
    )
    const mean = each.reduce((sum, { loss = Number.NaN }) => sum + loss / 2, 0)
    t.true(Math.abs((both.loss ?? Number.NaN) - mean) < 1e-5, `${first}: ${both.loss}, ${mean}`)
    // A head for each.
    const { labels: _, ...unlabelled } = inputs
    const { headOutputs = [] } = await model.forward(unlabelled, { adapters: Parallel(...children) })
    t.deepEqual(
      headOutputs.map(({ head }) => head),
      [first, second]
    )
    for (const { head, logits, relationLogits } of headOutputs) {
      const alone = await model.forward(unlabelled, { adapters: head })
      t.deepEqual(logits.shape, alone.logits?.shape)
      t.true(same(logits.data, finite(alone.logits?.data)), `logits of ${head} alone`)
      t.true(same(relationLogits?.data, finite(alone.relationLogits?.data)))
    }
  }
})

/** For each word of a row the root and one relation, and the same again: [words × 2]. */
function parseLabels(words: readonly number[]): number[] {
  return Array.from({ length: Math.max(...words) + 1 }, (_, word) => [word, word % 2]).flat()
}

test('Parallel: heads that choose are measured, and learn, as their children alone', async (t) => {
  const model = await withPairs(t)
  for (const [children, rows] of [
    [['qa', 'qa2'], questions],
    [['mc', 'mc2'], choices],
    [['parse', 'parse2'], parses]
  ] as const) {
    const alone = []
    for (const child of children) {
      model.setActiveAdapters(child)
      alone.push(await evaluate(model, rows))
    }
    model.trainAdapter(Parallel(...children))
    for (const batchSize of [5, 24]) {
      const { heads } = await evaluate(model, rows, { batchSize })
      for (const [i, child] of children.entries()) {
        t.true(Math.abs((heads?.[child]?.loss ?? Number.NaN) - (alone[i]?.loss ?? 0)) < 1e-5, `${child}, ${batchSize}`)
        t.deepEqual(heads?.[child]?.metrics, alone[i]?.metrics)
      }
    }
    await new AdapterTrainer({ model, trainDataset: rows, args: { ...args, numTrainEpochs: 3 } }).train()
    const { heads } = await evaluate(model, rows)
    for (const [i, child] of children.entries())
      t.true((heads?.[child]?.loss ?? Number.NaN) < (alone[i]?.loss ?? 0), `${child} has learned`)
  }
})

test('what a fusion attends to is told for all windows of a row', async (t) => {
  const model = await withPairs(t)
  model.addAdapterFusion(['qa', 'qa2'])
  const rows: Row[] = [
    { question: 'where?', context: 'The tower is in Paris. '.repeat(6) },
    { question: 'where?', context: 'in Oslo' }
  ]
  const asked = { adapters: [Fuse('qa', 'qa2'), null], head: 'qa', outputAdapterFusionAttentions: true }
  const [whole, none] = await model.predict(rows, asked)
  const [parted] = await model.predict(rows, { ...asked, batchSize: 1 })
  const of = (one: typeof whole) => one?.adapterFusionAttentions?.['qa,qa2']?.[1]?.outputAdapter
  const tokens = (whole?.logits.length ?? 0) / 2
  t.true(tokens > 24, 'more than one window')
  t.deepEqual(of(whole)?.shape, [tokens, 2])
  t.deepEqual(of(parted)?.shape, [tokens, 2])
  t.true(largestDifference(of(whole)?.data ?? [], of(parted)?.data ?? []) < 1e-5)
  for (let token = 0; token < tokens; token++) {
    const [a = 0, b = 0] = of(whole)?.data.subarray(2 * token, 2 * token + 2) ?? []
    t.true(a > 0 && b > 0 && Math.abs(a + b - 1) < 1e-5)
  }
  t.true(of(none)?.data.every((value) => value === 0))
})

test('rows that a head cannot read are refused with what it needs', async (t) => {
  const model = await withAll(t)
  const fails = (row: Row, head: string, message: RegExp) =>
    t.throwsAsync(model.predict([row], { adapters: head }), { message })
  await fails({ text: 'a' }, 'mc', /expected choices/)
  await fails({ text: 'a', textPair: 'x', choices: ['b', 'c'] } as unknown as Row, 'mc', /got textPair/)
  await fails({ text: 'a' }, 'parse', /expected words, got text or ids/)
  await fails({ question: 'a', context: 'b' }, 'mood', /expected text, words or inputIds/)
  model.trainAdapter('mc')
  const train = (rows: Row[]) => new AdapterTrainer({ model, trainDataset: rows, args: quiet }).train()
  await t.throwsAsync(train([{ text: 'a', choices: ['b', 'c'], label: 2 }]), {
    message: /trainDataset\[0\]\.label.*0 up to 1/
  })
  await t.throwsAsync(train([{ text: 'a', choices: ['b', 'c'] }]), { code: 'ERR_NO_LABELS' })
  model.trainAdapter('parse')
  await t.throwsAsync(train([{ words: ['a', 'b'], heads: [0], relations: ['det', 'det'] }]), {
    message: /1 heads for 2 words/
  })
  await t.throwsAsync(train([{ words: ['a'], heads: [2], relations: ['det'] }]), { message: /heads\[0\].*0 up to 1/ })
  for (const heads of [
    [2, 1, 0],
    [0, 2, 1],
    [2, 3, 2]
  ]) {
    await t.throwsAsync(train([{ words: ['a', 'b', 'c'], heads, relations: ['det', 'det', 'det'] }]), {
      message: /trainDataset\[0\]\.heads: expected a tree, but the heads of word \d go in a circle/
    })
  }
})

// From SQuAD's evaluate-v1.1.py.
test('exact match and F1 set aside case, punctuation and articles', (t) => {
  t.deepEqual(textScore('The Eiffel tower!', 'eiffel  Tower'), [1, 1])
  t.deepEqual(textScore('in Paris', 'Paris'), [0, 2 / 3])
  t.deepEqual(textScore('Rome', 'Paris'), [0, 0])
  t.deepEqual(textScore('', 'Paris'), [0, 0])
  t.deepEqual(textScore('the', 'a'), [1, 1])
})
