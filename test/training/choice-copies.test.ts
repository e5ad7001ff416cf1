import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, evaluate, Fuse, type Model, Parallel, type Row, setNumThreads } from '../../lib/index.js'
import { fill, largestDifference } from '../model/support.js'
import { args, choices, parses, questions, relations, withAll } from './choice-rows.js'

// Rows that are several for the core, windows, choices or words, under blocks that copy them.

test.before(() => setNumThreads(1))

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
          // A parser's logits reach a hundred here.
          const scale = Math.max(1, ...alone.logits.map(Math.abs))
          t.true(largestDifference(got?.logits ?? [], alone.logits) < 1e-5 * scale, what)
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
    finite(got).length === expected.length &&
    largestDifference(finite(got), expected) < 1e-6 * Math.max(1, ...expected.map(Math.abs))
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
