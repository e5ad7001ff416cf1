import test, { type ExecutionContext } from 'ava'
import {
  type AdapterSetup,
  AdapterTrainer,
  adapterSetup,
  BatchSplit,
  evaluate,
  Fuse,
  type Model,
  Parallel,
  Stack
} from '../../lib/index.js'
import { fill, largestDifference, load, moved, quiet, snapshot, tinyRows, trainableNames } from './support.js'

// One rule in every call: model.activeHead says it.

const rows = tinyRows(4)
const inputIds = rows.map((row) => row.inputIds)
const labels = { a: 2, b: 3, own: 4 }

async function open(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  for (const name of ['a', 'b', 'bare']) model.addAdapter(name)
  for (const [name, numLabels] of Object.entries(labels)) model.addClassificationHead(name, { numLabels })
  return model
}

/** Labels of the head that answered each call, which tell heads apart. */
async function widths(model: Model, options: object = {}): Promise<(number | undefined)[]> {
  const { logits } = await model.forward({ inputIds }, options)
  const [answer] = await model.predict(rows, options)
  return [logits?.shape[1], answer?.logits.length]
}

test('heads follow the row’s adapter until one is set by hand', async (t) => {
  const model = await open(t)
  model.setActiveAdapters('b')
  t.deepEqual(await widths(model), [3, 3])
  t.deepEqual(await widths(model, { adapters: 'a' }), [2, 2])
  t.deepEqual(await widths(model, { adapters: 'bare' }), [3, 3], 'an adapter without a head takes the active one')
  t.deepEqual(await widths(model, { adapters: null }), [3, 3])
  model.activeHead = 'own'
  t.deepEqual(await widths(model), [4, 4])
  t.deepEqual(await widths(model, { adapters: 'a' }), [2, 2], 'adapters that a call names bring their heads')
  t.deepEqual(await widths(model, { adapters: 'bare' }), [4, 4])
  t.deepEqual(await widths(model, { adapters: 'a', head: 'b' }), [3, 3], 'a call’s head comes first')
  const mixed = ['a', 'b', null, 'bare']
  const { headOutputs } = await model.forward({ inputIds }, { adapters: mixed })
  t.deepEqual(
    headOutputs?.map(({ head, rows: own }) => [head, own]),
    [
      ['a', [0]],
      ['b', [1]],
      ['own', [2, 3]]
    ],
    'also row by row'
  )
  const answers = await model.predict(rows, { adapters: mixed })
  t.deepEqual(
    answers.map(({ logits }) => logits.length),
    [2, 3, 4, 4]
  )
  model.setActiveAdapters('bare')
  t.deepEqual(await widths(model), [4, 4], 'an adapter without a head leaves the choice as it is')
  model.setActiveAdapters('a')
  t.deepEqual(await widths(model), [2, 2])
  t.deepEqual(await widths(model, { adapters: 'b' }), [3, 3])
})

test('evaluation and training take the same head as forward and predict', async (t) => {
  const model = await open(t)
  const used = async () => {
    const before = snapshot(model, /^heads\./)
    const { loss } = await model.forward({ inputIds, labels: rows.map((row) => row.label) })
    t.true(Math.abs((loss ?? 0) - (await evaluate(model, rows)).loss) < 1e-6)
    await new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 1 } }).train()
    return [...new Set(moved(before, snapshot(model, /^heads\./)).map((name) => name.split('.')[1]))]
  }
  model.trainAdapter('b')
  t.deepEqual(await used(), ['b'])
  model.activeHead = 'own'
  model.trainAdapter('bare')
  t.deepEqual(await used(), ['own'])
  model.trainHead('a')
  t.deepEqual(await used(), ['a'])
})

test('the head that answers trains, also where it was chosen or added after what trains', async (t) => {
  const model = await open(t)
  const trained = () => [
    ...new Set(trainableNames(model).flatMap((name) => (name.startsWith('heads.') ? [name.split('.')[1]] : [])))
  ]
  model.trainAdapter('b')
  model.activeHead = 'own'
  t.deepEqual(trained(), ['own'])
  model.trainAdapter('bare')
  t.deepEqual(trained(), ['own'])
  model.addClassificationHead('bare', { numLabels: 2 })
  model.setActiveAdapters('bare')
  t.deepEqual(trained(), ['bare'])
  model.setActiveAdapters(Stack('bare', 'a'))
  t.deepEqual(trained(), ['a'])
  model.deleteHead('a')
  t.deepEqual([model.activeHead, trained()], [null, []])
  model.addAdapterFusion(['a', 'b'])
  model.trainAdapterFusion(Fuse('a', 'b'))
  t.deepEqual(trained(), ['b'])
  model.activeHead = 'own'
  t.deepEqual(trained(), ['own'])
  t.true(
    trainableNames(model).some((name) => name.includes('.adapter_fusion_layer.')),
    'and all else as before'
  )
  model.trainAll()
  model.activeHead = 'bare'
  t.deepEqual(trained(), ['bare'])
  // By name it is the caller's affair.
  model.trainHead('own')
  model.activeHead = 'bare'
  t.deepEqual(trained(), ['own'])
})

test('no head by hand: hidden states from forward, and predict says what to do', async (t) => {
  const model = await open(t)
  model.setActiveAdapters('b')
  model.activeHead = null
  t.truthy((await model.forward({ inputIds })).lastHiddenState)
  const message = /activeHead is null; set activeHead to one of 'a', 'b', 'own', or name one with head/
  await t.throwsAsync(model.predict(rows), { message })
  await t.throwsAsync(model.predict(rows, { head: null as never }), {
    message: /head is null, and an answer needs one/
  })
  const train = new AdapterTrainer({ model, trainDataset: rows, args: quiet }).train()
  await t.throwsAsync(train, { code: 'ERR_NO_HEAD', message: /Set model.activeHead to one of 'a', 'b', 'own'/ })
  t.is((await model.predict(rows, { head: 'b' })).length, 4)
  model.activeHead = 'own'
  model.deleteHead('own')
  await t.throwsAsync(model.predict(rows, { adapters: 'bare' }), {
    message: /none of the heads belongs to these adapters/
  })
})

test('inside adapterSetup heads follow its adapters, whatever was set outside', async (t) => {
  const model = await open(t)
  model.activeHead = 'own'
  t.deepEqual(await adapterSetup('b', () => widths(model)), [3, 3])
  t.deepEqual(await adapterSetup('bare', () => widths(model)), [4, 4])
  t.deepEqual(await adapterSetup('b', () => widths(model), { head: 'a' }), [2, 2])
  const message = /adapterSetup: head.*no 'owm' here.*Did you mean 'own'/
  const calls = [() => model.forward({ inputIds }), () => model.predict(rows), () => evaluate(model, rows)]
  for (const use of calls as (() => Promise<unknown>)[]) {
    await t.throwsAsync(async () => await adapterSetup('b', use, { head: 'owm' }), { message })
  }
  t.throws(() => adapterSetup('b', () => model.activeHead, { head: 'owm' }), { message })
})

test('under blocks each row has its own head in forward as in predict (the peer’s defects D8 and D9)', async (t) => {
  const model = await open(t)
  const outputs = async (adapters: Parameters<Model['forward']>[1]) =>
    (await model.forward({ inputIds }, adapters)).headOutputs?.map(({ head, rows: own }) => [head, own])
  t.deepEqual(await outputs({ adapters: BatchSplit('a', 'b', { batchSizes: [3, 1] }) }), [
    ['a', [0, 1, 2]],
    ['b', [3]]
  ])
  t.deepEqual(await adapterSetup(Parallel('b', 'a'), () => outputs({})), [
    ['b', [0, 1, 2, 3]],
    ['a', [4, 5, 6, 7]]
  ])
  model.deleteHead('a')
  await t.throwsAsync(model.forward({ inputIds }, { adapters: ['a', 'b', 'b', 'b'] }), {
    message: /row 0 has no head and others have/
  })
})

for (const config of [
  'lora[r=4]',
  'lora[r=4]|seq_bn',
  'dora',
  'ia3',
  'prefix_tuning_flat[prefix_length=2]',
  'noreft'
]) {
  test(`mixed batches of ${config}: each head reads its own rows alone (the peer’s defects D4, D5 and D8)`, async (t) => {
    const model = await load(t)
    for (const [name, numLabels] of Object.entries({ a: 2, b: 3 })) {
      model.addAdapter(name, config)
      model.addClassificationHead(name, { numLabels })
      fill(model, name, { scale: 0.4 })
    }
    const alone = async (row: number, adapter: string) =>
      (await model.forward({ inputIds: [inputIds[row] ?? []] }, { adapters: adapter })).logits?.data ?? []
    const check = async (setup: AdapterSetup, expected: readonly (readonly [number, string])[]) => {
      const answers = await adapterSetup(setup, () => model.predict(rows))
      const { headOutputs = [] } = await adapterSetup(setup, () => model.forward({ inputIds }))
      for (const [i, [row, adapter]] of expected.entries()) {
        const own = await alone(row, adapter)
        t.true(largestDifference(answers[i]?.logits ?? [], own) < 2e-5, `predict, answer ${i}`)
        const output = headOutputs.find(({ head }) => head === adapter)
        const at = output?.rows.indexOf(i) ?? -1
        const logits = output?.logits.data.subarray(at * own.length, (at + 1) * own.length) ?? []
        t.true(largestDifference(logits, own) < 2e-5, `forward, answer ${i}`)
      }
    }
    const split = ['a', 'b', 'b', 'b'].map((name, row) => [row, name] as const)
    await check(BatchSplit('a', 'b', { batchSizes: [1, 3] }), split)
    const both = ['b', 'a'].flatMap((name) => rows.map((_, row) => [row, name] as const))
    await check(Parallel('b', 'a'), both)
  })
}
