import { join } from 'node:path'
import test from 'ava'
import { type AdapterConfigSource, AutoModel, BatchSplit, Stack } from '../../lib/index.js'
import { setupFrom } from './support/compositions.js'
import { fixtures, Group, type Input, type JsonObject, type Tensor } from './support/fixtures.js'
import { Worst } from './support/worst.js'

interface Nested {
  readonly name: string
  readonly model: string
  readonly rows: readonly JsonObject[]
  readonly adapters: { readonly [name: string]: AdapterConfigSource }
  readonly weights: { readonly [name: string]: string }
  readonly input: Input
  readonly expected: { readonly lastHiddenState: string; readonly theirs: string }
}

// A BatchSplit computes nothing: with A(h) = up(relu(down(LN(h + r)))) + h the first row is LN(A_seq(A_seq3(h)) + r), the
// second LN(A_seq3(A_seq2(A_seq3(h))) + r), in which each adapter takes the LayerNorm once. Python's adapters takes it for the
// whole block, and once more for the Stack inside: its second row is LN(A_seq3(A_seq2(LN(A_seq3(h) + r))) + r). That both
// formulas are so was checked with Python where the values were made: scripts/fixtures/cases_nested.py.
test('a Stack inside a BatchSplit inside a Stack: each row what its own Stack gives (D34)', async (t) => {
  const group = new Group<Nested>('nested')
  const [one] = group.cases as readonly [Nested]
  using model = await AutoModel.fromPretrained(join(fixtures, 'models', one.model))
  for (const [name, config] of Object.entries(one.adapters)) model.addAdapter(name, config)
  model.loadStateDict(group.tensors(one.weights))
  const forward = async (adapters: Parameters<typeof model.forward>[1]) => {
    const { lastHiddenState } = await model.forward(one.input, { head: null, outputHiddenStates: true, ...adapters })
    const { data, shape } = lastHiddenState as Tensor
    return { data, shape: [(shape[0] as number) * (shape[1] as number), shape[2] as number] }
  }
  const worst = new Worst()
  const expected = group.tensor(one.expected.lastHiddenState)
  const block = Stack('seq3', BatchSplit('seq', Stack('seq2', 'seq3'), { batchSizes: [1, 1] }))
  const found = await forward({ adapters: block })
  worst.forward('in one block', found, expected)
  worst.forward('each row with its Stack', await forward({ adapters: one.rows.map(setupFrom) }), expected)
  worst.report(t)
  const theirs = group.tensor(one.expected.theirs).data
  const apart = found.data.map((value, i) => Math.abs(value - (theirs[i] as number)))
  const rowSize = apart.length / 2
  t.true(
    apart.subarray(0, rowSize).every((difference) => difference < 1e-5),
    'Python has the first row right'
  )
  t.true(Math.max(...apart.subarray(rowSize)) > 0.1, 'and the second wrong')
})
