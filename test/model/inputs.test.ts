import test from 'ava'
import type { ForwardInputs, Model } from '../../lib/index.js'
import { hidden, largestDifference, load, positions, vocabulary } from './support.js'

const long = (length: number) => Array.from({ length }, (_, i) => 5 + (i % 80))

interface Wrong {
  readonly inputs: unknown
  readonly message: RegExp
}

const wrong: Readonly<Record<string, Wrong>> = {
  'no batch': { inputs: undefined, message: /inputs/ },
  'no ids': { inputs: {}, message: /inputs\.inputIds/ },
  'an empty batch': { inputs: { inputIds: [] }, message: /at least one row, got an empty batch/ },
  'a row without tokens': { inputs: { inputIds: [[5], []] }, message: /inputIds\[1\].*no tokens/ },
  'a row that is masked altogether': {
    inputs: { inputIds: [[5], [6]], attentionMask: [[1], [0]] },
    message: /inputIds\[1\].*mask leaves this row without a token/
  },
  'a row longer than the positions': {
    inputs: { inputIds: [long(positions + 1)] },
    message: /inputIds\[0\]: expected at most 24 tokens, got 25/
  },
  'an id beyond the vocabulary': {
    inputs: { inputIds: [[5, vocabulary]] },
    message: /inputIds\[0\]\[1\]: expected an id of the vocabulary, from 0 to 98, got 99/
  },
  'an id below 0': { inputs: { inputIds: [[5, -1]] }, message: /-1/ },
  'a huge id': { inputs: { inputIds: [[2 ** 40]] }, message: /inputIds\[0\]\[0\].*whole number/ },
  'a fraction as id': { inputs: { inputIds: [[5.5]] }, message: /inputIds\[0\]\[0\].*whole number/ },
  'NaN as id': { inputs: { inputIds: [[Number.NaN]] }, message: /inputIds\[0\]\[0\].*whole number/ },
  'a string as ids': { inputs: { inputIds: ['hello'] }, message: /inputIds\[0\]/ },
  'one row without its brackets': { inputs: { inputIds: [5, 6, 7] }, message: /inputIds\[0\]/ },
  'a row that is not there': {
    inputs: { inputIds: Object.assign(new Array(2), { 1: [5] }) },
    message: /inputIds\[0\]: nothing is there \(a hole\)/
  },
  'a shape of strings': {
    inputs: { inputIds: { data: new Int32Array(2), shape: ['1', '2'] } },
    message: /inputIds\.shape\[0\]: expected an integer from 0, got '1'/
  },
  'a shape that does not fit': {
    inputs: { inputIds: { data: new Int32Array(5), shape: [2, 3] } },
    message: /2 × 3 = 6 values/
  },
  'a mask of other rows': {
    inputs: { inputIds: [[5], [6]], attentionMask: [[1]] },
    message: /attentionMask.*2 rows.*got 1/
  },
  'a mask of another length': {
    inputs: { inputIds: [[5, 6]], attentionMask: [[1]] },
    message: /attentionMask\[0\].*2 values.*got 1/
  },
  'a mask of fractions': {
    inputs: { inputIds: [[5, 6]], attentionMask: [[1, 0.5]] },
    message: /attentionMask\[0\]\[1\]: expected 1 for a token or 0 for padding, got 0\.5/
  },
  'an additive mask': {
    inputs: { inputIds: [[5], [6]], attentionMask: { data: Float32Array.of(1, -10000), shape: [2, 1] } },
    message: /attentionMask\[1\]\[0\].*got -10000/
  },
  'a mask of NaN': { inputs: { inputIds: [[5]], attentionMask: [[Number.NaN]] }, message: /attentionMask\[0\]\[0\]/ },
  'a token type that is none': { inputs: { inputIds: [[5]], tokenTypeIds: [[2]] }, message: /2/ },
  'a position that is none': { inputs: { inputIds: [[5]], positionIds: [[positions]] }, message: /24/ },
  'a misspelled input': { inputs: { input_ids: [[5]] }, message: /input_ids.*Did you mean 'inputIds'/ },
  'a label beyond the classes': {
    inputs: { inputIds: [[5]], labels: [2] },
    message: /labels\[0\].* from 0 to 1.*got 2/
  },
  'null as id': { inputs: { inputIds: [[5, null]] }, message: /inputIds\[0\]\[1\]: expected a whole number, got null/ },
  'a text as id': { inputs: { inputIds: [['5']] }, message: /inputIds\[0\]\[0\]: expected a whole number, got '5'/ },
  'null in a mask': { inputs: { inputIds: [[5, 6]], attentionMask: [[1, null]] }, message: /got null/ },
  'null as token type': {
    inputs: { inputIds: [[5]], tokenTypeIds: [[null]] },
    message: /tokenTypeIds\[0\]\[0\]: expected a whole number, got null/
  },
  'null as label': {
    inputs: { inputIds: [[5], [6]], labels: [0, null] },
    message: /labels\[1\]: expected a number, got null/
  },
  'true as label': { inputs: { inputIds: [[5]], labels: [true] }, message: /labels\[0\]: expected a number, got true/ },
  'nothing as label': {
    inputs: { inputIds: [[5], [6]], labels: [0, undefined] },
    message: /labels\[1\]: expected a number, got undefined/
  },
  'null as labels': { inputs: { inputIds: [[5]], labels: null }, message: /^labels: expected numbers, .* got null/ },
  'NaN as label': { inputs: { inputIds: [[5]], labels: [Number.NaN] }, message: /^labels\[0\]: expected an integer/ },
  'a name as label': { inputs: { inputIds: [[5]], labels: ['x'] }, message: /labels\[0\]: expected a number \(names/ },
  'one row for rows': {
    inputs: { inputIds: Int32Array.of(5, 6) },
    message: /inputIds: expected rows of numbers, or \{ data, shape: \[rows, columns\] \}, got an Int32Array/
  },
  'more labels than rows': { inputs: { inputIds: [[5]], labels: [0, 1] }, message: /1 labels.*got 2/ }
}

async function withHead(model: Promise<Model>): Promise<Model> {
  const ready = await model
  ready.addAdapter('a')
  ready.addClassificationHead('a', { numLabels: 2 })
  ready.trainAdapter('a')
  return ready
}

for (const [name, { inputs, message }] of Object.entries(wrong)) {
  test(`${name} is a clear error, and the model goes on`, async (t) => {
    const model = await withHead(load(t))
    const good = { inputIds: [long(positions), [5]], labels: [0, 1] }
    const before = await model.forward(good)
    const error = await t.throwsAsync(model.forward(inputs as ForwardInputs), { message })
    t.true(error instanceof TypeError || error instanceof RangeError)
    t.regex((error as Error & { code?: string }).code ?? '', /^ERR_/)
    await t.throwsAsync(model.gradients(inputs as ForwardInputs), { message })
    t.deepEqual(await model.forward(good), before)
  })
}

test('regression and multi-label: labels must be finite numbers, as many as outputs', async (t) => {
  const model = await load(t)
  model.addRegressionHead('value')
  model.addMultiLabelClassificationHead('many', { numLabels: 3 })
  const inputIds = [[5], [6]]
  for (const label of [Number.NaN, Number.POSITIVE_INFINITY]) {
    await t.throwsAsync(model.forward({ inputIds, labels: [0.5, label] }, { head: 'value' }), {
      message: /labels\[1\].*finite/
    })
    await t.throwsAsync(
      model.forward(
        {
          inputIds,
          labels: [
            [0, 1, 0],
            [1, label, 0]
          ]
        },
        { head: 'many' }
      ),
      { message: /^labels\[1\]\[1\]: expected a number at least 0 and at most 1/ }
    )
  }
  await t.throwsAsync(
    model.forward(
      {
        inputIds,
        labels: [
          [0, 1],
          [1, 0]
        ]
      },
      { head: 'many' }
    ),
    { message: /labels/ }
  )
  const { loss } = await model.forward({ inputIds, labels: [0.5, 1.5] }, { head: 'value' })
  t.true(Number.isFinite(loss))
})

test('padding, on either side and of any id, changes nothing', async (t) => {
  const model = await withHead(load(t))
  const rows = [[5, 6, 7, 8], [9], [10, 11]]
  const plain = await model.forward({ inputIds: rows }, { outputHiddenStates: true })
  const data = BigInt64Array.from([5n, 6n, 7n, 8n, 9n, 98n, 98n, 98n, 10n, 11n, 0n, 0n])
  const mask = Uint8Array.from([1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0])
  const shape = [3, 4]
  const padded = await model.forward(
    { inputIds: { data, shape }, attentionMask: { data: mask, shape } },
    { outputHiddenStates: true }
  )
  t.deepEqual(padded.logits, plain.logits)
  t.deepEqual(padded.lastHiddenState?.shape, [3, 4, hidden])
  t.deepEqual(padded.lastHiddenState, plain.lastHiddenState)
  t.is(padded.hiddenStates?.length, 3)
  t.true(padded.lastHiddenState?.data.subarray(5 * hidden, 8 * hidden).every((value) => value === 0))

  // Left padding with Hugging Face's rule: BERT's positions are the columns.
  const left = await model.forward({ inputIds: [[0, 0, 9]], attentionMask: [[0, 0, 1]] })
  const shifted = await model.forward({ inputIds: [[9]], positionIds: [[2]] })
  t.true(largestDifference(left.logits?.data ?? [], shifted.logits?.data ?? [1]) === 0)
})

test('a row of one token and a row of the greatest length', async (t) => {
  const model = await withHead(load(t))
  const { logits, loss } = await model.forward({ inputIds: [[5], long(positions)], labels: [0, 1] })
  t.deepEqual(logits?.shape, [2, 2])
  t.true(Number.isFinite(loss))
})

test('what is for other calls, other heads or another place says so', async (t) => {
  const model = await load(t)
  model.addClassificationHead('classes', { labels: ['x', 'y'] })
  model.addMultipleChoiceHead('choices')
  const inputIds = [[5, 6], [7]]
  for (const [inputs, options, message] of [
    [{ text: 'a' }, {}, /'text' is for predict, evaluate and training: forward reads inputIds/],
    [{ inputIds, startPositions: [0, 0] }, {}, /'startPositions' stands in labels here: \[first token, last token\]/],
    [
      { inputIds, labels: ['x', 'y'] },
      { head: 'classes' },
      /labels\[0\]: expected a number \(names of labels are read .*got 'x'/
    ],
    [{ inputIds, choices: [2] }, { head: 'classes' }, /inputs\.choices: a head of kind classification reads none/],
    [{ inputIds, choices: 2 }, { head: 'choices' }, /choices: expected for each question how many .*\[2, 3\]/],
    [{ inputIds }, { outputHiddenStates: 'yes' }, /outputHiddenStates: expected true or false/]
  ] as const) {
    await t.throwsAsync(model.forward(inputs as never, options as object), { message })
  }
})
