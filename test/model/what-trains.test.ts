import test, { type ExecutionContext } from 'ava'
import { AdapterError, AdapterTrainer, type Model, MultiTaskTrainer, Stack } from '../../lib/index.js'
import { isBaseParameter } from '../../lib/model/summary.js'
import { load, moved, quiet, snapshot, tinyRows, trainableNames } from './support.js'

const rows = tinyRows(16)

async function withTwo(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name, 'double_seq_bn[reduction_factor=4]')
    model.addClassificationHead(name, { numLabels: 2 })
  }
  return model
}

/** Three steps; gives the names of all parameters that changed in any bit. */
async function movedByTraining(model: Model, args = {}): Promise<string[]> {
  const before = snapshot(model)
  await new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 3, ...args } }).train()
  return moved(before, snapshot(model)).sort()
}

const named = (model: Model, pattern: RegExp) => [...snapshot(model, pattern).keys()].sort()

test('trainAdapter: its adapter and head move, the base model and the other adapter keep every bit', async (t) => {
  const model = await withTwo(t)
  model.trainAdapter('a')
  t.is(model.activeAdapters, 'a')
  t.is(model.activeHead, 'a')
  const own = named(model, /\.adapters\.a\.|^heads\.a\./)
  t.deepEqual(trainableNames(model).sort(), own)
  t.deepEqual(await movedByTraining(model), own)
  t.false(model.namedParameters().some((parameter) => own.includes(parameter.name) && isBaseParameter(parameter)))
})

test('a setup without an adapter trains nothing: that is what trainHead is for', async (t) => {
  const model = await withTwo(t)
  t.throws(() => model.trainAdapter(null as never), {
    instanceOf: TypeError,
    message: /trainAdapter: expected a setup/
  })
  t.deepEqual(trainableNames(model), [])
})

test('a merged adapter cannot train until it is taken out, and what trained before still does', async (t) => {
  const model = await withTwo(t)
  for (const name of ['l', 'm']) model.addAdapter(name, 'lora')
  model.trainAdapter('b')
  const before = trainableNames(model)
  model.mergeAdapter('l')
  const message = /expected an adapter that is not merged, got 'l'.*resetAdapter\(\)/
  t.throws(() => model.trainAdapter('l'), { message })
  t.throws(() => model.trainAdapter(Stack('m', 'l')), { message })
  t.deepEqual(trainableNames(model), before)
  t.is(model.activeAdapters, 'b')
  t.notThrows(() => model.trainAdapter('m'))
  model.resetAdapter()
  t.notThrows(() => model.trainAdapter('l'))
})

test('weight decay alone moves nothing that does not train', async (t) => {
  const model = await withTwo(t)
  model.trainAdapter('b')
  t.deepEqual(await movedByTraining(model, { weightDecay: 0.5 }), named(model, /\.adapters\.b\.|^heads\.b\./))
})

test('trainAdapter of a Stack trains all its adapters and the head of the last', async (t) => {
  const model = await withTwo(t)
  model.trainAdapter(Stack('b', 'a'))
  t.deepEqual(await movedByTraining(model), named(model, /\.adapters\.[ab]\.|^heads\.a\./))
})

test('trainHead trains a head alone, on the features of the active adapter', async (t) => {
  const model = await withTwo(t)
  model.setActiveAdapters('a')
  model.trainHead('b')
  t.is(model.activeHead, 'b')
  t.is(model.activeAdapters, 'a')
  t.deepEqual(await movedByTraining(model), named(model, /^heads\.b\./))
})

test('trainAll moves the base model, the active adapter and head, and no other adapter', async (t) => {
  const model = await withTwo(t)
  model.setActiveAdapters('a')
  model.trainAll()
  const expected = named(model, /^(?!heads\.b\.)(?!.*\.adapters\.b\.)/)
  t.deepEqual(trainableNames(model).sort(), expected)
  const changed = await movedByTraining(model)
  t.deepEqual(
    changed.filter((name) => !expected.includes(name)),
    []
  )
  // The head reads no pooler, and a key's bias cancels out in softmax: only these may stand still.
  const still = expected.filter((name) => !changed.includes(name))
  t.deepEqual(
    still.filter((name) => !/\.pooler\.|\.key\.bias$/.test(name)),
    []
  )
})

test('freeze by name: LayerNorms of the base model and the head', async (t) => {
  const model = await withTwo(t)
  const trains = /LayerNorm\.(weight|bias)$|^heads\.a\./
  model.freeze((name) => !trains.test(name))
  const expected = named(model, trains)
  t.true(expected.length > 10)
  t.deepEqual(trainableNames(model).sort(), expected)
  t.deepEqual(await movedByTraining(model), expected)
})

test('freezeBaseModel: all adapters and heads train, what is not active stands still', async (t) => {
  const model = await withTwo(t)
  model.setActiveAdapters('a')
  model.freezeBaseModel()
  t.deepEqual(trainableNames(model).sort(), named(model, /\.adapters\.|^heads\./))
  t.deepEqual(await movedByTraining(model), named(model, /\.adapters\.a\.|^heads\.a\./))
})

test('after full fine-tuning, training an adapter leaves the base model alone again', async (t) => {
  const model = await withTwo(t)
  model.trainAll()
  await movedByTraining(model)
  model.trainAdapter('a')
  t.deepEqual(await movedByTraining(model), named(model, /\.adapters\.a\.|^heads\.a\./))
})

test('freeze takes a function', async (t) => {
  const model = await withTwo(t)
  model.trainAdapter('a')
  const before = trainableNames(model)
  t.throws(() => model.freeze('all' as never), { instanceOf: TypeError })
  t.deepEqual(trainableNames(model), before)
})

test('nothing that trains, or nothing that takes part, is said', async (t) => {
  const model = await withTwo(t)
  const train = () => new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 1 } }).train()
  await t.throwsAsync(train(), { instanceOf: AdapterError, message: /nothing trains.*trainAdapter.*freezeBaseModel/ })
  model.freeze((name) => !/\.adapters\.b\./.test(name))
  model.setActiveAdapters('a')
  await t.throwsAsync(train(), { instanceOf: AdapterError, message: /no trainable parameter takes part/ })
  model.activeHead = null
  await t.throwsAsync(train(), {
    code: 'ERR_NO_HEAD',
    message: /no active head.*Set model.activeHead to one of 'a', 'b'/
  })
})

test('a head that was chosen to train and does not answer, or an adapter that is gone, is said', async (t) => {
  const model = await withTwo(t)
  model.addClassificationHead('own', { numLabels: 2 })
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 1 } })
  const refused = async (message: RegExp) => {
    const before = snapshot(model)
    const error = { instanceOf: AdapterError, code: 'ERR_INVALID_ARGUMENT', message }
    await t.throwsAsync(trainer.train(), error)
    await t.throwsAsync(trainer.plan(), error)
    t.deepEqual(moved(before, snapshot(model)), [])
  }
  model.trainHead('own')
  model.activeHead = 'a'
  await refused(
    /'own' was chosen to train and is not the active head \(expected activeHead 'own', got 'a'\)\. Call trainHead/
  )
  model.setActiveAdapters('b')
  await refused(/'own' was chosen to train and is not the active head.*got 'b'/)
  model.setActiveAdapters('b', { head: 'own' })
  t.deepEqual(await movedByTraining(model), named(model, /^heads\.own\./))
  model.deleteHead('own')
  model.activeHead = 'b'
  await refused(/'own' was chosen to train and deleted/)

  model.trainAdapter('a')
  model.deleteAdapter('a')
  await refused(/'a' was chosen to train and deleted\. Call trainAdapter for another, or trainHead/)
  // Also where another one has its name.
  model.addAdapter('a')
  model.setActiveAdapters('a')
  await refused(/'a' was chosen to train and deleted/)
  model.addAdapterFusion(['a', 'b'])
  model.trainAdapterFusion(['a', 'b'])
  model.deleteAdapterFusion('a,b')
  await refused(/'a,b' was chosen to train and deleted/)
  // What is left of a Stack goes on.
  model.trainAdapter(Stack('a', 'b'))
  model.deleteAdapter('a')
  t.true((await movedByTraining(model)).some((name) => name.includes('.adapters.b.')))
  model.trainHead('b')
  t.deepEqual(await movedByTraining(model), named(model, /^heads\.b\./))
})

test('gradients are those of the heads that answer the call, and what trains stays as it was', async (t) => {
  const model = await withTwo(t)
  model.addClassificationHead('own', { numLabels: 2 })
  const batch = { inputIds: rows.slice(0, 3).map((row) => row.inputIds), labels: [0, 1, 1] }
  for (const choose of [() => model.trainAdapter('a'), () => model.trainAll()]) {
    model.setActiveAdapters('a')
    choose()
    const before = trainableNames(model)
    const of = async (options?: Parameters<Model['gradients']>[1]) => await model.gradients(batch, options)
    const [asked, usual] = await Promise.all([of({ head: 'own' }), of()])
    t.deepEqual(trainableNames(model), before)
    await t.throwsAsync(model.gradients({ inputIds: batch.inputIds }, { head: 'own' }))
    t.deepEqual(trainableNames(model), before)
    t.true([...usual.gradients.keys()].every((name) => !/^heads\.(?!a\.)/.test(name)))
    model.activeHead = 'own'
    t.deepEqual(asked, await of())
    const head = [...asked.gradients].filter(([name]) => name.startsWith('heads.'))
    t.deepEqual(head.map(([name]) => name).sort(), named(model, /^heads\.own\./))
    t.true(head.some(([, { data }]) => data.some((value) => value !== 0)))
  }
  // A head that was chosen by name trains alone.
  model.trainHead('own')
  await t.throwsAsync(model.gradients(batch, { head: 'a' }), { message: /no trainable parameter takes part/ })
  await t.throwsAsync(model.gradients({ inputIds: batch.inputIds }, { head: 'a' }), {
    message: /^inputs\.labels: expected labels: gradients are those of a loss/
  })
})

test('adapterSummary says what is active and what trains', async (t) => {
  const model = await withTwo(t)
  model.trainAdapter('b')
  model.setActiveAdapters('a')
  const { adapters, trainableParameters } = model.adapterSummary()
  t.deepEqual(
    adapters.map(({ name, active, trains }) => ({ name, active, trains })),
    [
      { name: 'a', active: true, trains: false },
      { name: 'b', active: false, trains: true }
    ]
  )
  const sizes = [...snapshot(model, /\.adapters\.b\.|^heads\.b\./).values()].map((values) => values.length)
  t.is(
    trainableParameters,
    sizes.reduce((sum, size) => sum + size, 0)
  )
})

test('a head that comes after trainAdapter trains with the adapter', async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  model.trainAdapter('a')
  model.addClassificationHead('h')
  t.true(trainableNames(model).some((name) => name.startsWith('heads.h.')))
  t.true(trainableNames(model).some((name) => name.includes('.adapters.a.')))
  model.addClassificationHead('other')
  t.false(trainableNames(model).some((name) => name.startsWith('heads.other.')))
})

test("a tied decoder's bias stands still with the word embedding where an adapter trains, as in Python's adapters", async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  model.addMaskedLmHead('a')
  const isOfHead = (name: string) => name.startsWith('heads.')
  const ofHead = (name: string) => named(model, new RegExp(`^heads\\.${name}\\.`))
  const trains = (name: string) => trainableNames(model).filter((one) => one.startsWith(`heads.${name}.`))
  t.true(ofHead('a').includes('heads.a.3.bias'))
  model.trainAdapter('a')
  const rest = ofHead('a').filter((name) => name !== 'heads.a.3.bias')
  t.deepEqual(trains('a').sort(), rest)
  const trainDataset = rows.map(({ inputIds }) => ({ inputIds, labels: inputIds }))
  const args = { ...quiet, maxSteps: 3, weightDecay: 0.1 }
  let before = snapshot(model)
  await new AdapterTrainer({ model, trainDataset, args }).train()
  t.deepEqual(moved(before, snapshot(model)).filter(isOfHead).sort(), rest)
  before = snapshot(model)
  const tasks = { a: { adapter: 'a', head: 'a', dataset: trainDataset } }
  await new MultiTaskTrainer({ model, args, tasks }).train()
  t.deepEqual(moved(before, snapshot(model)).filter(isOfHead).sort(), rest)
  model.trainAdapter('a')
  model.deleteHead('a')
  model.addMaskedLmHead('a', { layers: 3, activationFunction: null })
  t.true(trains('a').includes('heads.a.2.bias'))
  t.false(trains('a').includes('heads.a.4.bias'))
  model.trainHead('a')
  t.deepEqual(trains('a').sort(), ofHead('a'))
  model.trainAll()
  t.deepEqual(trains('a').sort(), ofHead('a'))
})
