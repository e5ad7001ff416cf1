import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, type Model, Parallel, Stack } from '../../lib/index.js'
import { largestDifference } from './support.js'

const models = 'test/parity/fixtures/models'
const rows = {
  inputIds: [
    [7, 8, 9, 10],
    [11, 12]
  ]
}

async function hidden(model: Model, options: Parameters<Model['forward']>[1] = {}): Promise<unknown> {
  const { lastHiddenState } = await model.forward(rows, { ...options, outputHiddenStates: true })
  return lastHiddenState
}

/** The same values with and without the layers that leave_out names, whatever random numbers they started from. */
async function pair(base: string, config: string, out: number): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(models, base))
  model.addAdapter('whole', config)
  const own = model.namedParameters().filter(({ name }) => /\.(adapters|loras)\.whole\./.test(name))
  const moved = own.map(({ name, shape }, n) => {
    const size = shape.reduce((product, count) => product * count, 1)
    return [name, { data: Float32Array.from({ length: size }, (_, i) => Math.sin(n + i) / 4), shape }] as const
  })
  model.loadStateDict(new Map(moved))
  const parts = config
    .split('|')
    .map((part) => part.replace(/\]?$/, `${part.endsWith(']') ? ', ' : '['}leave_out=[${out}]]`))
  model.addAdapter('part', parts.join('|'))
  const names = new Set(model.namedParameters().map(({ name }) => name))
  const copied = moved.map(([name, value]) => [name.replace('.whole.', '.part.'), value] as const)
  model.loadStateDict(new Map(copied.filter(([name]) => names.has(name))))
  return model
}

const cases = [
  ['bert-tiny', 'double_seq_bn'],
  ['bert-tiny', 'lora[r=2, output_lora=True]'],
  ['bert-tiny', 'ia3'],
  ['bert-tiny', 'lora[r=2]|par_bn'],
  ['distilbert-tiny', 'seq_bn[reduction_factor=2]'],
  ['gpt2-tiny', 'seq_bn[reduction_factor=2]']
] as const

for (const [base, config] of cases) {
  for (const layer of [0, 1]) {
    test(`a skipped layer is one that was left out: ${base}, ${config}, layer ${layer}`, async (t) => {
      using model = await pair(base, config, layer)
      const expected = await hidden(model, { adapters: 'part' })
      t.notDeepEqual(await hidden(model, { adapters: 'whole' }), expected)
      t.deepEqual(await hidden(model, { adapters: 'whole', skipLayers: [layer] }), expected)
      t.deepEqual(await hidden(model, { adapters: 'whole', skipLayers: [0, 1] }), await hidden(model))

      model.setActiveAdapters('whole', { skipLayers: [layer, layer] })
      t.deepEqual(model.skippedLayers, [layer])
      t.deepEqual(await hidden(model), expected)
      t.deepEqual(await hidden(model, { skipLayers: [] }), await hidden(model, { adapters: 'whole' }))

      const folder = mkdtempSync(join(tmpdir(), 'drop-'))
      t.teardown(() => rmSync(folder, { recursive: true, force: true }))
      await model.saveAdapter(folder, 'whole')
      await model.loadAdapter(folder, { as: 'loaded', leaveOut: [layer] })
      t.deepEqual(await hidden(model, { adapters: 'loaded', skipLayers: [] }), expected)
      t.deepEqual(model.adapters.get('loaded'), model.adapters.get('part'))
      t.deepEqual([...model.adapters.keys()], ['whole', 'part', 'loaded'])
    })
  }
}

test('ReFT is left out of layers, too, alone and in a union (the peer’s defect D52)', async (t) => {
  using model = await AutoModel.fromPretrained(join(models, 'bert-tiny'))
  for (const [i, config] of ['loreft[r=2]', 'noreft[r=2]|lora'].entries()) {
    const name = `r${i}`
    model.addAdapter(name, config)
    const own = model
      .namedParameters()
      .filter((one) => one.name.includes(`.${name}.`) && !one.name.includes('projection'))
    const values = own.map(({ name: each, shape }) => {
      const size = shape.reduce((product, count) => product * count, 1)
      return [each, { data: Float32Array.from({ length: size }, (_, at) => Math.sin(at) / 2), shape }] as const
    })
    model.loadStateDict(new Map(values))
    const folder = mkdtempSync(join(tmpdir(), 'drop-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    await model.saveAdapter(folder, name)
    await model.loadAdapter(folder, { as: `${name}-part`, leaveOut: [0] })
    const expected = await hidden(model, { adapters: name, skipLayers: [0] })
    t.notDeepEqual(await hidden(model, { adapters: name }), expected)
    t.deepEqual(await hidden(model, { adapters: `${name}-part` }), expected)
  }
})

test('logits, gradients, predict and blocks skip, too', async (t) => {
  using model = await pair('bert-tiny', 'seq_bn', 1)
  model.addClassificationHead('whole', { numLabels: 2 })
  const options = { adapters: 'whole', skipLayers: [1] }
  const labelled = { ...rows, labels: [0, 1] }
  model.trainAdapter('whole')
  t.deepEqual(model.skippedLayers, [])
  const { gradients, loss } = await model.gradients(labelled, options)
  t.is(loss, (await model.gradients(labelled, { adapters: 'part', head: 'whole' })).loss)
  t.deepEqual(
    [...gradients.keys()].filter((name) => name.includes('layer.1.') && gradients.get(name)?.data.some((x) => x !== 0)),
    []
  )
  t.true([...gradients.keys()].some((name) => name.includes('layer.0.')))
  const asked = rows.inputIds.map((inputIds) => ({ inputIds }))
  const [skipped, left] = [
    await model.predict(asked, options),
    await model.predict(asked, { adapters: 'part', head: 'whole' })
  ]
  t.deepEqual(skipped, left)
  t.deepEqual(
    await hidden(model, { adapters: Stack('whole', 'whole'), skipLayers: [1] }),
    await hidden(model, { adapters: Stack('part', 'part') })
  )
  // One adapter for all rows, and one for each half of them, are products of other sizes.
  const [both, twice] = [
    await model.forward(rows, { adapters: Parallel('whole', 'part'), skipLayers: [1], outputHiddenStates: true }),
    await model.forward(rows, { adapters: Parallel('part', 'part'), outputHiddenStates: true })
  ]
  const [got, expected] = [both, twice].map(({ lastHiddenState }) => Array.from(lastHiddenState?.data ?? []))
  t.is(expected?.length, 4 * 4 * 32)
  t.true(largestDifference(got ?? [], expected ?? []) < 5e-6)
})

for (const config of [
  'prefix_tuning_flat[prefix_length=2]',
  'prefix_tuning[prefix_length=2, bottleneck_size=4, use_gating=True]',
  'noreft',
  'direft'
]) {
  test(`prefixes and interventions skip, too: ${config}`, async (t) => {
    using model = await AutoModel.fromPretrained(join(models, 'bert-tiny'))
    model.addAdapter('a', config)
    model.addAdapter('b', 'double_seq_bn')
    const own = model.namedParameters().filter(({ name }) => /\.[ab]\./.test(name))
    const values = own.map(({ name, shape }, n) => {
      const { data } = model.parameter(name)
      return [name, { data: data.map((value, i) => value + Math.sin(n + i) / 2), shape }] as const
    })
    model.loadStateDict(new Map(values))
    const none = await hidden(model)
    const [both, first, second] = [
      await hidden(model, { adapters: 'a' }),
      await hidden(model, { adapters: 'a', skipLayers: [1] }),
      await hidden(model, { adapters: 'a', skipLayers: [0] })
    ]
    const all = [none, both, first, second].map((one) => JSON.stringify(one))
    t.is(new Set(all).size, 4, 'each layer has a part in the values')
    t.deepEqual(await hidden(model, { adapters: 'a', skipLayers: [0, 1] }), none)
    const { hiddenStates } = await model.forward(rows, { adapters: 'a', skipLayers: [0], outputHiddenStates: true })
    const plain = await model.forward(rows, { outputHiddenStates: true })
    t.deepEqual(hiddenStates?.[1], plain.hiddenStates?.[1], 'a skipped layer is that of the base model')
    const stacked = { adapters: Stack('a', 'b'), skipLayers: [0, 1] }
    t.deepEqual(await hidden(model, stacked), none)
  })
}

test('generation skips, too', async (t) => {
  using model = await pair('gpt2-tiny', 'seq_bn[reduction_factor=2]', 0)
  const asked = [{ inputIds: [7, 8] }]
  t.deepEqual(
    await model.generate(asked, { adapters: 'whole', skipLayers: [0], maxNewTokens: 8 }),
    await model.generate(asked, { adapters: 'part', maxNewTokens: 8 })
  )
})

test('what is no layer is refused', async (t) => {
  using model = await pair('bert-tiny', 'seq_bn', 1)
  t.throws(() => model.setActiveAdapters('whole', { skipLayers: [2] }), { message: /skipLayers\[0\].*2/ })
  t.throws(() => model.setActiveAdapters('whole', { skipLayer: [1] } as object), { message: /skipLayers/ })
  await t.throwsAsync(model.forward(rows, { skipLayers: [-1] }), { message: /skipLayers\[0\]/ })
  await t.throwsAsync(model.loadAdapter('nowhere', { leaveOut: [5] }), { message: /leaveOut\[0\]/ })
})
