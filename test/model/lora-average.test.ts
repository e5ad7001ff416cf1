import test, { type ExecutionContext } from 'ava'
import { AutoModel, Average, type Model, MultiTask, Parallel, type RowAdapters, Split, Stack } from '../../lib/index.js'
import { open as openArchive, textModels } from '../exported/support.js'
import { fill, largestDifference } from './support.js'

/** Weights whose sum is not 1. */
const weights = { weights: [2, -0.5], normalizeWeights: false } as const
const inputIds = [
  [7, 9, 8, 30, 11],
  [20, 21, 22, 23, 24],
  [5, 6, 7, 8, 9]
]
const additive = ['lora', 'lora[use_gating=True]', 'vera', 'mtl_lora', 'dora', "lora[use_dora='peft']", 'dvora']

const places = ['bert-tiny', 'gpt2-tiny', ...textModels.slice(0, 1)]

async function open(t: ExecutionContext, name: string): Promise<Model> {
  if (!name.endsWith('-tiny')) return (await openArchive(t, name)).model
  const model = await AutoModel.fromPretrained(`test/parity/fixtures/models/${name}`)
  t.teardown(() => model.dispose())
  return model
}

const answer = async (model: Model, adapters: RowAdapters, ids = inputIds): Promise<Float32Array> =>
  (await model.forward({ inputIds: ids }, { adapters, head: null })).lastHiddenState?.data ?? new Float32Array()

/** Adds an adapter with values far from its start; not the matrices that VeRA's layers share. */
function add(model: Model, name: string, config: string): void {
  model.addAdapter(name, config)
  fill(model, name, { scale: 0.5, which: (one) => one.name.includes(`.loras.${name}.`) })
}

for (const place of places) {
  test(`${place}: whatever the weights, the frozen value counts once and each change by its weight`, async (t) => {
    const model = await open(t, place)
    const base = await answer(model, null)
    // Changes nothing, and stands at other places than most.
    model.addAdapter('keys', "lora[attn_matrices=['k']]")
    for (const kind of additive) {
      // What GPT-2's merged product has no form of.
      if (place === 'gpt2-tiny' && kind.includes('peft')) continue
      add(model, 'a', kind)
      model.addAdapter('fresh', kind)
      model.addAdapter('other', kind)
      const own = await answer(model, 'a')
      t.true(largestDifference(own, base) > 1e-3, kind)
      for (const [setup, expected] of [
        [Average('fresh', 'other', weights), base],
        [Average('a', 'fresh', { weights: [1, 3], normalizeWeights: false }), own],
        [Average('a', 'keys', { weights: [1, 3], normalizeWeights: false }), own],
        [Average('a', null, { weights: [1, 1], normalizeWeights: false }), own],
        [Average('a', 'a', { weights: [3, -2], normalizeWeights: false }), own],
        [Stack('fresh', Average('a', Split('other', null, { splits: [2, 3] }), { ...weights, weights: [1, 1] })), own]
      ] as const) {
        const off = largestDifference(await answer(model, setup), expected)
        t.true(off < 2e-5, `${kind} ${JSON.stringify(setup)}: ${off}`)
      }
      for (const name of ['a', 'fresh', 'other']) model.deleteAdapter(name)
    }
  })
}

test('two LoRAs by such weights are the one that averageAdapter makes of their changes, and so are its gradients', async (t) => {
  const model = await open(t, 'bert-tiny')
  add(model, 'a', 'lora[r=4, alpha=8]')
  add(model, 'b', 'lora[r=4]')
  const strategy = { combineStrategy: 'lora_delta_w_svd', svdRank: 8, normalizeWeights: false } as const
  model.averageAdapter('one', { a: 2, b: -0.5 }, strategy)
  const setup = Average('a', 'b', weights)
  const expected = await answer(model, 'one')
  t.true(largestDifference(await answer(model, setup), expected) < 2e-5)
  // Through the blocks one by one, where a Split keeps it from being one product.
  const apart = Split(setup, setup, { splits: [2, 3] })
  t.true(largestDifference(await answer(model, apart), expected) < 2e-5)
  model.addClassificationHead('h')
  model.freeze((name) => !name.includes('.loras.'))
  const labels = [0, 1, 0]
  const [whole, parts] = await Promise.all(
    [setup, apart].map((adapters) => model.gradients({ inputIds, labels }, { adapters, head: 'h' }))
  )
  let count = 0
  for (const [name, { data }] of whole?.gradients ?? []) {
    if (name.includes('.one.')) continue
    count++
    t.true(largestDifference(parts?.gradients.get(name)?.data ?? [], data) < 1e-5, name)
  }
  t.is(count, 16)
  // A's learn through twice, B's through minus one half: by the change of the loss.
  const name = 'bert.encoder.layer.1.attention.self.value.loras.b.lora_B'
  const { data, shape } = model.parameter(name)
  const gradient = whole?.gradients.get(name)?.data ?? new Float32Array()
  const at = gradient.reduce((best, value, i) => (Math.abs(value) > Math.abs(gradient[best] ?? 0) ? i : best), 0)
  const lossAt = async (step: number) => {
    const moved = data.slice()
    moved[at] = (moved[at] ?? 0) + step
    model.loadStateDict({ [name]: { data: moved, shape } })
    return (await model.forward({ inputIds, labels }, { adapters: setup, head: 'h' })).loss ?? Number.NaN
  }
  const slope = ((await lossAt(0.01)) - (await lossAt(-0.01))) / 0.02
  t.true(Math.abs(slope - (gradient[at] ?? 0)) < 0.02 * Math.abs(slope), `${slope} and ${gradient[at]}`)
})

test('such averages in a batch of other rows, and for some rows of a block, are what they are alone', async (t) => {
  const model = await open(t, 'bert-tiny')
  add(model, 'a', 'lora')
  add(model, 'b', 'lora[r=2]')
  add(model, 'd', 'dora')
  const [average, nested] = [Average('a', 'b', weights), Average('d', Stack('a', 'b'), weights)]
  const alone = async (setup: RowAdapters) => Promise.all(inputIds.map((ids) => answer(model, setup, [ids])))
  const [one, other, a] = await Promise.all([alone(average), alone(nested), alone('a')])
  const check = async (adapters: RowAdapters, expected: (Float32Array | undefined)[], what: string) => {
    const got = await answer(model, adapters)
    const size = got.length / expected.length
    expected.forEach((values, i) => {
      t.true(largestDifference(got.slice(i * size, (i + 1) * size), values ?? []) < 2e-5, `${what} ${i}`)
    })
  }
  await check([average, 'a', nested], [one[0], a[1], other[2]], 'rows')
  await check(Parallel(average, nested), [...one, ...other], 'Parallel')
  const { lastHiddenState } = await model.forward(
    { inputIds },
    { adapters: MultiTask(average, 'a'), taskIds: [0, 1, 0], head: null }
  )
  const size = (one[0] ?? []).length
  for (const [i, expected] of [one[0], a[1], one[2]].entries()) {
    const got = lastHiddenState?.data.slice(i * size, (i + 1) * size) ?? []
    t.true(largestDifference(got, expected ?? []) < 2e-5, `MultiTask ${i}`)
  }
})

test('(IA)³ is what it scales by: the weighted sum of that, as in averageAdapter', async (t) => {
  const model = await open(t, 'bert-tiny')
  add(model, 'a', 'ia3')
  add(model, 'b', 'ia3')
  model.averageAdapter('one', { a: 2, b: -0.5 }, { normalizeWeights: false })
  t.true(largestDifference(await answer(model, Average('a', 'b', weights)), await answer(model, 'one')) < 2e-5)
})
