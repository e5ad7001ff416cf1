import { join } from 'node:path'
import test from 'ava'
import { AdapterConfig, type Model, Stack } from '../../lib/index.js'
import { editTensors } from '../model/safetensors-file.js'
import { fill, scratch } from '../model/support.js'
import { openHead } from './head-archives.js'
import { casesOf, distance, imageModels, inputsOf, open, textModels } from './support.js'

const prefixed = [...textModels, ...imageModels].filter((name) =>
  ['bert', 'llama', 'mistral', 'vit', 'deberta-v2', 'gemma2', 'swin'].includes(name)
)

for (const name of prefixed) {
  test(`${name}: a prefix at the keys and values is Python's, under the adapters library's names`, async (t) => {
    const { group, model } = await open(t, name)
    const [one] = casesOf(group, 'prefix')
    if (one?.config === undefined) return void t.fail()
    model.addAdapter('x', AdapterConfig.load('prefix_tuning', one.config))
    const shapes = new Map(model.namedParameters().map((parameter) => [parameter.name, parameter.shape]))
    const given = Object.entries(one.weights ?? {}).map(([part, reference]) => {
      return [part, { data: group.tensor(reference).data, shape: [...(shapes.get(part) ?? [])] }] as const
    })
    t.deepEqual(given.map(([part]) => part).sort(), [...shapes.keys()].filter((path) => path.includes('.x.')).sort())
    model.native.setParameters(new Map(given))
    const [values] = Object.values(one.inputs ?? {})
    const rows =
      typeof values === 'string'
        ? { pixelValues: [0, 1].map((i) => group.tensor(values).data.subarray(i * 192, (i + 1) * 192)) }
        : inputsOf(one.inputs)
    const { lastHiddenState } = await model.forward(rows, { adapters: 'x', head: null })
    const away = distance(lastHiddenState?.data ?? [], group.tensor(one.expected.output ?? ''))
    t.true(away < 1e-5, `${away}`)
  })
}

const rows = {
  inputIds: [
    [5, 6, 7, 8, 9],
    [3, 4, 5],
    [9, 8, 7, 6],
    [2, 3]
  ]
}

async function states(model: Model, adapters: Parameters<Model['setActiveAdapters']>[0]) {
  const { lastHiddenState } = await model.forward(rows, { adapters, head: null })
  return [...(lastHiddenState?.data ?? [])]
}

for (const name of ['bert', 'llama', 'deberta-v2', 'gemma2'] as const) {
  test(`${name}: rows of one batch have prefixes of different lengths, several, or none`, async (t) => {
    const { model } = await open(t, name)
    model.addAdapter('short', AdapterConfig.load('prefix_tuning_flat', { prefixLength: 2 }), { seed: 1 })
    model.addAdapter('long', AdapterConfig.load('prefix_tuning_flat', { prefixLength: 5 }), { seed: 2 })
    const setups = ['short', null, 'long', Stack('short', 'long')]
    const mixed = await states(model, setups as never)
    const { hiddenSize } = model.config
    for (const [row, setup] of setups.entries()) {
      const from = row * 5 * hiddenSize
      const to = from + (rows.inputIds[row]?.length ?? 0) * hiddenSize
      const alone = (await states(model, setup)).slice(from, to)
      t.true(distance(mixed.slice(from, to), { data: Float32Array.from(alone) }) < 2e-6, `row ${row}`)
      const plain = (await states(model, null)).slice(from, to)
      t.is(distance(plain, { data: Float32Array.from(alone) }) < 1e-4, setup === null)
    }
  })
}

for (const name of ['bert', 'llama', 'deberta-v2', 'gemma2'] as const) {
  test(`${name}: rows of one length see their prefix as rows beside longer ones do`, async (t) => {
    const { model } = await open(t, name)
    model.addAdapter('x', AdapterConfig.load('prefix_tuning_flat', { prefixLength: 2 }), { seed: 1 })
    const of = async (inputIds: number[][]) => {
      const { lastHiddenState } = await model.forward({ inputIds }, { adapters: 'x', head: null })
      return [...(lastHiddenState?.data ?? [])].slice(0, 3 * model.config.hiddenSize)
    }
    const even = await of([
      [5, 6, 7],
      [3, 4, 5]
    ])
    const uneven = await of([
      [5, 6, 7],
      [3, 4, 5, 6, 7]
    ])
    t.true(distance(even, { data: Float32Array.from(uneven) }) < 2e-6)
  })
}

test('llama: the network of a prefix makes as many heads as the keys have, and is the flat one that it makes', async (t) => {
  const { model } = await open(t, 'llama')
  const { keyFeatures = 0 } = model.config.exported ?? {}
  const { hiddenSize, numHiddenLayers } = model.config
  t.true(keyFeatures < hiddenSize)
  model.addAdapter('x', AdapterConfig.load('prefix_tuning', { prefixLength: 3, bottleneckSize: 5 }), { seed: 1 })
  const shapes = new Map(model.namedParameters().map(({ name, shape }) => [name, [...shape]]))
  const own = 'prefix_tuning.prefix_tunings.x.self_prefix'
  t.deepEqual(shapes.get(`${own}.wte.weight`), [3, hiddenSize])
  t.deepEqual(shapes.get(`${own}.control_trans.2.weight`), [2 * numHiddenLayers * keyFeatures, 5])
  const made = await states(model, 'x')
  model.ejectPrefixTuning('x')
  t.deepEqual(model.parameter(`${own}.control_trans`).shape, [3 * 2 * numHiddenLayers * keyFeatures])
  t.true(distance(made, { data: Float32Array.from(await states(model, 'x')) }) < 1e-6)
  t.true(distance(made, { data: Float32Array.from(await states(model, null)) }) > 1e-3)
})

test('what takes no prefix says why', async (t) => {
  const { model } = await open(t, 'convolutional')
  t.throws(() => model.addAdapter('x', 'prefix_tuning'), { code: 'ERR_UNSUPPORTED', message: /takes no prefix/ })
  const { model: llama } = await open(t, 'llama')
  const shifting = AdapterConfig.load('prefix_tuning_flat', { shiftPositions: true })
  t.throws(() => llama.addAdapter('x', shifting), { code: 'ERR_UNSUPPORTED', message: /counts positions itself/ })
})

test("a prefix of Python's, which stands in every layer, goes into an archive of a class with a head", async (t) => {
  const model = await openHead(t, 'gpt2-lm')
  model.addAdapter('x', AdapterConfig.load('prefix_tuning', { prefixLength: 3, bottleneckSize: 4 }))
  fill(model, 'x')
  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { withHead: false })
  editTensors(join(folder, 'adapter.safetensors'), (tensors) => {
    for (const [name, tensor] of [...tensors]) {
      tensors.delete(name)
      for (const layer of [0, 1])
        tensors.set(name.replace('prefix_tuning', `h.${layer}.attn.prefix_tuning.pool`), tensor)
    }
  })
  const other = await openHead(t, 'gpt2-lm')
  await other.loadAdapter(folder, { as: 'x' })
  const batch = { inputIds: [[3, 4, 5], [6]] }
  t.deepEqual(await other.forward(batch, { adapters: 'x' }), await model.forward(batch, { adapters: 'x' }))
})
