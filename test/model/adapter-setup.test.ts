import { setTimeout } from 'node:timers/promises'
import test from 'ava'
import { type AdapterSetup, AdapterTrainer, AutoModel, adapterSetup, type Model, Stack } from '../../lib/index.js'

const row = { inputIds: [[7, 8, 9]] }

async function open(): Promise<Model> {
  const model = await AutoModel.fromPretrained('test/parity/fixtures/models/bert-tiny')
  for (const name of ['a', 'b']) {
    model.addAdapter(name, 'double_seq_bn[reduction_factor=4]')
    model.addClassificationHead(name, { numLabels: 2 })
  }
  model.addClassificationHead('own', { numLabels: 2 })
  model.setActiveAdapters('a')
  model.activeHead = 'own'
  return model
}

const logits = async (model: Model, options = {}) => (await model.forward(row, options)).logits

test('inside a scope its adapters and their head answer, outside the model’s own', async (t) => {
  using model = await open()
  const own = await logits(model)
  const inside = await adapterSetup('b', () => logits(model))
  t.deepEqual(inside, await logits(model, { adapters: 'b', head: 'b' }))
  t.notDeepEqual(inside, own)
  t.deepEqual(await logits(model), own)
  t.is(
    adapterSetup(Stack('a', 'b'), () => model.activeHead),
    'b'
  )
  t.is(
    adapterSetup(null, () => model.activeAdapters),
    null
  )
  t.is(
    adapterSetup(null, () => model.activeHead),
    'own'
  )
  t.is(
    adapterSetup('b', () => model.activeHead, { head: 'own' }),
    'own'
  )
  t.is(
    adapterSetup('b', () => model.activeHead, { head: null }),
    null
  )
  t.is(model.activeAdapters, 'a')
})

test('scopes that run at the same time do not see each other, also after an await', async (t) => {
  using model = await open()
  const expected = new Map<AdapterSetup, unknown>()
  for (const name of ['a', 'b', null]) expected.set(name, await logits(model, { adapters: name, head: 'own' }))
  const ask = (name: AdapterSetup, wait: number) =>
    adapterSetup(
      name,
      async () => {
        await setTimeout(wait)
        const first = await logits(model)
        await setTimeout(wait)
        return [name, first, await logits(model)] as const
      },
      { head: 'own' }
    )
  const all = await Promise.all([ask('a', 5), ask('b', 1), ask(null, 3), ask('b', 4)])
  for (const [name, first, second] of all) {
    t.deepEqual(first, expected.get(name) as typeof first)
    t.deepEqual(second, first)
  }
})

test('the inner scope counts, and what a call names counts before it', async (t) => {
  using model = await open()
  await adapterSetup('a', async () => {
    t.is(
      adapterSetup('b', () => model.activeAdapters),
      'b'
    )
    t.is(model.activeAdapters, 'a')
    t.deepEqual(await logits(model, { adapters: 'b', head: 'b' }), await adapterSetup('b', () => logits(model)))
  })
  const skipping = await adapterSetup('b', () => logits(model), { skipLayers: [0] })
  t.deepEqual(skipping, await logits(model, { adapters: 'b', head: 'b', skipLayers: [0] }))
  const asked = [{ inputIds: [7, 8, 9] }]
  t.deepEqual(
    await adapterSetup('b', () => model.predict(asked)),
    await model.predict(asked, { adapters: 'b', head: 'b' })
  )
})

test('a scope ends with an error, and what is no setup is none', async (t) => {
  using model = await open()
  t.throws(
    () =>
      adapterSetup('b', () => {
        throw new Error('inside')
      }),
    { message: 'inside' }
  )
  t.is(model.activeAdapters, 'a')
  await t.throwsAsync(
    adapterSetup('x', () => logits(model)),
    { message: /no 'x' here/ }
  )
  await t.throwsAsync(
    adapterSetup('b', () => logits(model), { head: 'x' }),
    { message: /no 'x' here/ }
  )
  await t.throwsAsync(
    adapterSetup('b', () => logits(model), { skipLayers: [9] }),
    { message: /skipLayers\[0\]/ }
  )
  t.throws(() => adapterSetup(7 as unknown as string, () => 1), { instanceOf: TypeError })
  t.throws(() => adapterSetup('a', 'b' as unknown as () => void), { message: /a function to run/ })
  t.throws(() => adapterSetup('a', () => 1, { skipLayer: [] } as object), { message: /skipLayers/ })
})

test('what would change the model for good is refused inside', async (t) => {
  using model = await open()
  const trainDataset = [{ inputIds: [7, 8], label: 0 }]
  model.trainAdapter('b')
  const trainer = new AdapterTrainer({ model, trainDataset, args: { maxSteps: 1, saveStrategy: 'no' } })
  const message = /inside adapterSetup the scope says what runs; call it outside/
  await t.throwsAsync(
    adapterSetup('a', () => trainer.train()),
    { message }
  )
  for (const change of [() => model.setActiveAdapters('a'), () => model.trainAdapter('a')]) {
    t.throws(() => adapterSetup('a', change), { message })
  }
  t.throws(
    () =>
      adapterSetup('a', () => {
        model.activeHead = null
      }),
    { message }
  )
  t.is(model.activeAdapters, 'b')
})
