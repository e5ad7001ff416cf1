import test, { type ExecutionContext } from 'ava'
import { type AdapterSetup, AdapterTrainer, Fuse, type Model, Parallel, Split, Stack } from '../../lib/index.js'
import { fill, hidden, largestDifference, load, make, quiet, tinyRows } from './support.js'

const tolerance = 1e-5
const rows = tinyRows(5, { from: 4, to: 4 })
const inputIds = rows.map((row) => row.inputIds)

async function withFusions(t: ExecutionContext, model?: Model): Promise<Model> {
  const own = model ?? (await load(t))
  own.addAdapter('a', 'seq_bn[reduction_factor=8]')
  own.addAdapter('b', 'seq_bn[reduction_factor=16]')
  own.addAdapter('low', 'seq_bn[reduction_factor=8, leave_out=[1]]')
  own.addAdapter('both', 'double_seq_bn[reduction_factor=8]')
  for (const name of ['a', 'b', 'low', 'both']) fill(own, name, { scale: 0.6 })
  own.addAdapterFusion(['a', 'b'], 'dynamic', { name: 'f' })
  own.addAdapterFusion(['a', 'low', 'both'], 'static', { name: 'g' })
  own.addClassificationHead('h')
  disturb(own)
  return own
}

function disturb(model: Model): void {
  const names = model.namedParameters().filter(({ name }) => name.includes('adapter_fusion_layer'))
  const moved = names.map(({ name, shape }, i) => {
    const { data } = model.parameter(name)
    return [name, { data: data.map((value, j) => value + Math.sin(j * 13 + i) / 8), shape }] as const
  })
  model.loadStateDict(new Map(moved))
}

const f = Fuse('a', 'b', { name: 'f' })
const g = Fuse('a', 'low', 'both', { name: 'g' })

test('attentions by fusion, layer and place: probabilities of the children that stand there', async (t) => {
  const model = await withFusions(t)
  const asked = { outputAdapterFusionAttentions: true }
  const { adapterFusionAttentions: none } = await model.forward({ inputIds }, { adapters: f })
  t.is(none, undefined)
  const { adapterFusionAttentions: all, logits } = await model.forward({ inputIds }, { adapters: g, ...asked })
  t.deepEqual(logits?.data, (await model.forward({ inputIds }, { adapters: g })).logits?.data)
  t.deepEqual(Object.keys(all ?? {}), ['g'])
  t.deepEqual(Object.keys(all?.['g'] ?? {}), ['0', '1'])
  for (const [layer, place, zeros] of [
    [0, 'outputAdapter', []],
    [1, 'outputAdapter', [1]],
    [1, 'mhAdapter', [0, 1]]
  ] as const) {
    const { data, shape } = all?.['g']?.[layer]?.[place] ?? { data: [], shape: [] }
    t.deepEqual(shape, [5, 4, 3])
    for (let token = 0; token < 20; token++) {
      const p = [...data.slice(token * 3, token * 3 + 3)]
      t.true(Math.abs(p.reduce((sum, value) => sum + value, 0) - 1) < 1e-6)
      p.forEach((value, i) => {
        t.is(value === 0, (zeros as readonly number[]).includes(i), `layer ${layer}, ${place}, child ${i}`)
      })
    }
  }
})

test('attentions in mixed batches, on several threads, under blocks and beside prompts are those of rows alone', async (t) => {
  const model = await withFusions(t, await make(t, { hidden_size: 256, intermediate_size: 512, num_hidden_layers: 2 }))
  model.addAdapter('prompt', 'prompt_tuning[prompt_length=3]')
  const many = tinyRows(24, { from: 3, to: 8, seed: 9 })
  const ids = many.map((row) => row.inputIds)
  const setups: AdapterSetup[] = many.map(
    (_, i) => [f, null, g, 'a', Stack('prompt', f), Stack('low', g)][i % 6] ?? null
  )
  const asked = { outputAdapterFusionAttentions: true, head: 'h' }
  const together = await model.forward({ inputIds: ids }, { adapters: setups, ...asked })
  const answers = await model.predict(many, { adapters: setups, ...asked, batchSize: 7 })
  const columns = Math.max(...ids.map((row) => row.length))
  for (const [i, row] of ids.entries()) {
    const alone = await model.forward({ inputIds: [row] }, { adapters: setups[i], ...asked })
    for (const [name, width] of [
      ['f', 2],
      ['g', 3]
    ] as const) {
      for (const layer of [0, 1]) {
        const at = together.adapterFusionAttentions?.[name]?.[layer]?.outputAdapter
        const got = at?.data.subarray(i * columns * width, (i * columns + row.length) * width) ?? []
        const expected = alone.adapterFusionAttentions?.[name]?.[layer]?.outputAdapter?.data
        t.true(
          largestDifference(got, expected ?? new Float32Array(row.length * width)) < tolerance,
          `row ${i}, ${name}`
        )
        const own = answers[i]?.adapterFusionAttentions?.[name]?.[layer]?.outputAdapter
        t.true(largestDifference(own?.data ?? new Float32Array(row.length * width), got) < tolerance, `answer ${i}`)
      }
    }
  }
  const split = Split(f, 'a', { splits: [1, 3] })
  const parallel = await model.forward({ inputIds }, { adapters: Parallel('a', split), ...asked })
  const first = await model.forward({ inputIds }, { adapters: f, ...asked })
  const { data, shape } = parallel.adapterFusionAttentions?.['f']?.[0]?.outputAdapter ?? { data: [], shape: [] }
  t.deepEqual(shape, [10, 4, 2])
  for (let token = 0; token < 40; token++) {
    const p = data.slice(token * 2, token * 2 + 2)
    const isIn = token >= 20 && token % 4 === 0
    const own = first.adapterFusionAttentions?.['f']?.[0]?.outputAdapter?.data.subarray((token - 20) * 2)
    t.true(largestDifference(p, isIn ? (own?.subarray(0, 2) ?? []) : [0, 0]) < tolerance, `token ${token}`)
  }
})

for (const [name, setup] of [
  ['one activation, two sizes', f],
  ['a child that is not everywhere', g]
] as const) {
  test(`the folded form gives the values of the plain one, and follows every change of a weight: ${name}`, async (t) => {
    const model = await withFusions(t)
    const options = { adapters: setup, outputHiddenStates: true, outputAdapterFusionAttentions: true }
    const pass = async () => {
      const { lastHiddenState, adapterFusionAttentions } = await model.forward({ inputIds }, options)
      const p = adapterFusionAttentions?.[setup.name ?? '']?.[1]?.outputAdapter?.data
      return [...(lastHiddenState?.data ?? []), ...(p ?? [])]
    }
    /** The first pass after a change cannot be folded; once enough tokens have come all are. */
    const check = async (what: string) => {
      const plain = await pass()
      t.is(plain.length, 20 * hidden + 20 * setup.children.length)
      for (let i = 0; i < 4; i++) t.true(largestDifference(await pass(), plain) < tolerance, `${what}, pass ${i}`)
      return plain
    }
    let before = await check('at the start')
    const changed = async (what: string) => {
      const now = await check(what)
      t.true(largestDifference(now, before) > 100 * tolerance, `${what} changes the values`)
      before = now
    }
    disturb(model)
    await changed('another fusion')
    fill(model, 'a', { scale: 0.5, which: ({ name: parameter }) => /adapter_up/.test(parameter) })
    await changed('another up-projection')
    fill(model, 'both', { scale: 0.3 })
    fill(model, 'b', { scale: 0.3, which: ({ name: parameter }) => /adapter_down.*bias/.test(parameter) })
    await changed('another down-projection')
    model.trainAdapterFusion(setup, { unfreezeAdapters: true })
    const args = { ...quiet, learningRate: 0.05, maxSteps: 2 }
    await new AdapterTrainer({ model, trainDataset: rows, args }).train()
    await changed('steps of training')
    model.addAdapter('a', 'seq_bn[reduction_factor=8]', { overwriteOk: true })
    fill(model, 'a', { scale: 0.7 })
    await changed('another adapter of the name')
  })
}
