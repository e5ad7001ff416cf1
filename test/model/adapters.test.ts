import test from 'ava'
import {
  type AdapterSetup,
  Average,
  adapterSetup,
  BatchSplit,
  Fuse,
  type Model,
  MultiTask,
  Parallel,
  Split,
  Stack
} from '../../lib/index.js'
import { hidden, largestDifference, layers, load, moved, snapshot, tinyRows } from './support.js'

const inputIds = tinyRows(4).map((row) => row.inputIds)
const count = (model: Model, name: string) =>
  model.adapterSummary().adapters.find((adapter) => adapter.name === name)?.parameters

test('names: a second of the same, an empty one, one with a point', async (t) => {
  const model = await load(t)
  model.addAdapter('sst2')
  const before = snapshot(model)
  t.throws(() => model.addAdapter('sst2'), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /adapter 'sst2' exists already; pass overwriteOk: true/
  })
  t.throws(() => model.addAdapter(''), { message: /name/ })
  t.throws(() => model.addAdapter('a.b'), { message: /cannot hold a point.*'a\.b'/ })
  t.throws(() => model.addClassificationHead('a.b'), { message: /cannot hold a point.*'a\.b'/ })
  t.throws(() => model.addAdapter(3 as never), { instanceOf: TypeError })
  model.addClassificationHead('sst2')
  t.throws(() => model.addRegressionHead('sst2'), { message: /head 'sst2' exists already/ })
  t.deepEqual([...model.adapters.keys()], ['sst2'])
  t.deepEqual([...model.heads.keys()], ['sst2'])
  t.deepEqual(moved(before, snapshot(model, /^(?!heads)/)), [])
})

test('overwriteOk replaces an adapter and a head', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'seq_bn[reduction_factor=8]')
  model.addAdapter('a', 'double_seq_bn[reduction_factor=8]', { overwriteOk: true })
  t.is(model.namedModules('bert.encoder.layer.*.attention.output.adapters.a').length, layers)
  model.addClassificationHead('a', { numLabels: 2 })
  model.addClassificationHead('a', { numLabels: 5, overwriteOk: true })
  t.is(model.heads.size, 1)
  t.deepEqual((await model.forward({ inputIds }, { head: 'a' })).logits?.shape, [4, 5])
})

test('an adapter or a head that cannot be made leaves everything as it was', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'seq_bn[reduction_factor=8]')
  model.addClassificationHead('a')
  model.setActiveAdapters('a')
  model.trainAdapter('a')
  const before = snapshot(model, /./)
  const trainable = model.adapterSummary().trainableParameters
  const tooLarge = { mhAdapter: false, outputAdapter: true, reductionFactor: 1e-7, nonLinearity: 'relu' } as const
  for (const options of [{ overwriteOk: true }, {}]) {
    const name = options.overwriteOk ? 'a' : 'b'
    t.throws(() => model.addAdapter(name, tooLarge, options), { message: /too large.*reductionFactor/ })
    t.throws(() => model.addAdapter(name, { ...tooLarge, reductionFactor: 8, leaveOut: [0, 1] }, options), {
      message: /leaveOut: all 2 layers are left out/
    })
    t.throws(() => model.addAdapter(name, { ...tooLarge, reductionFactor: 8, leaveOut: [1, 2] }, options), {
      message: /leaveOut: expected layers from 0 to 1, got 2/
    })
  }
  t.throws(() => model.addClassificationHead('a', { numLabels: 1e12, overwriteOk: true }))
  t.deepEqual([...model.adapters.keys()], ['a'])
  t.deepEqual([...model.heads.keys()], ['a'])
  t.is(model.activeAdapters, 'a')
  t.is(model.adapterSummary().trainableParameters, trainable)
  t.deepEqual(moved(before, snapshot(model, /./)), [])
  model.trainAdapter('a')
  model.addAdapter('b')
  t.is((await model.forward({ inputIds })).logits?.shape[0], 4)
})

test('an unknown name brings the nearest known one', async (t) => {
  const model = await load(t)
  t.throws(() => model.deleteAdapter('a'), { message: /no 'a' here; there is none yet/ })
  model.addAdapter('sentiment')
  model.addAdapter('paraphrase')
  model.addClassificationHead('sentiment')
  const near = { code: 'ERR_INVALID_ARG_VALUE', message: /no 'sentimant' here.*Did you mean 'sentiment'\?/ }
  t.throws(() => model.deleteAdapter('sentimant'), near)
  t.throws(() => model.deleteHead('sentimant'), near)
  t.throws(() => model.setActiveAdapters('sentimant'), near)
  t.throws(() => model.trainAdapter('sentimant'), near)
  t.throws(() => model.trainHead('sentimant'), near)
  t.throws(() => {
    model.activeHead = 'sentimant'
  }, near)
  await t.throwsAsync(model.forward({ inputIds }, { adapters: 'sentimant' }), near)
  await t.throwsAsync(model.forward({ inputIds }, { head: 'sentimant' }), near)
  await t.throwsAsync(model.predict([{ inputIds: [5] }], { adapters: ['sentimant'] }), near)
  t.is(model.activeAdapters, null)
})

test('a deleted adapter is gone from names, from the setup and from what trains; the rest keeps its bits', async (t) => {
  const model = await load(t)
  const base = snapshot(model)
  model.addAdapter('a')
  model.addAdapter('b')
  model.addClassificationHead('a')
  model.trainAdapter({ type: 'Stack', children: ['a', 'b'] })
  const b = snapshot(model, /adapters\.b\./)
  model.deleteAdapter('a')
  t.is(model.activeAdapters, 'b')
  t.deepEqual(moved(b, snapshot(model, /adapters\.b\./)), [])
  t.false(model.namedModules().some((path) => path.includes('adapters.a')))
  t.deepEqual(
    model.adapterSummary().adapters.map(({ name, trains }) => [name, trains]),
    [['b', true]]
  )
  model.setActiveAdapters('b')
  t.truthy((await model.forward({ inputIds })).logits)
  model.deleteHead('a')
  t.is(model.activeHead, null)
  model.deleteAdapter('b')
  t.deepEqual(moved(base, snapshot(model)), [])
})

test('what stays active of a setup without the adapter that is deleted', async (t) => {
  const cases: [AdapterSetup, AdapterSetup][] = [
    ['x', null],
    ['a', 'a'],
    [Stack('x'), null],
    [Stack(null, 'x'), null],
    [Stack('a', 'x', 'b', 'x'), Stack('a', 'b')],
    [Parallel(Stack('x', 'a'), Stack('b', 'x')), Parallel('a', 'b')],
    [Stack('a', Parallel('x', Stack('x'))), 'a'],
    [Stack('x', Average('a', 'b')), Average('a', 'b')],
    // Nothing of these is the same without it.
    [Average('a', 'x'), null],
    [Stack('b', Split('a', 'x', { splits: 2 })), null],
    [BatchSplit('a', Stack('b', 'x'), { batchSizes: 1 }), null],
    [MultiTask('x', 'a'), null]
  ]
  const model = await load(t)
  for (const name of ['a', 'b']) model.addAdapter(name)
  for (const [active, left] of cases) {
    model.addAdapter('x')
    model.setActiveAdapters(active)
    model.deleteAdapter('x')
    t.deepEqual(model.activeAdapters, left)
  }
})

test('setActiveAdapters: a name, a Stack, null; the last one brings its head', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name)
    model.addClassificationHead(name)
  }
  t.is(model.activeHead, 'a')
  const stack = { type: 'Stack', children: ['a', 'b'] } as const
  model.setActiveAdapters(stack)
  t.deepEqual(model.activeAdapters, stack)
  t.is(model.activeHead, 'b')
  model.setActiveAdapters('a')
  t.is(model.activeAdapters, 'a')
  t.is(model.activeHead, 'a')
  const withA = (await model.forward({ inputIds })).logits
  model.setActiveAdapters(null)
  t.is(model.activeAdapters, null)
  const without = (await model.forward({ inputIds })).logits
  t.true(largestDifference(withA?.data ?? [], without?.data ?? []) > 0)
  t.throws(() => model.setActiveAdapters({ type: 'Fuse', children: ['a', 'b'], name: null }), {
    instanceOf: TypeError,
    message: /no fusion 'a,b'.*addAdapterFusion\(\['a', 'b'\]\)/
  })
  const named = Fuse('a', 'b', { name: 'f' })
  const toAdd = /no fusion 'f'.*addAdapterFusion\(\['a', 'b'\], 'dynamic', \{ name: 'f' \}\)/
  t.throws(() => model.setActiveAdapters(named), { message: new RegExp(`${toAdd.source}\\.$`) })
  model.addAdapterFusion(['a', 'b'])
  t.throws(() => model.setActiveAdapters(named), { message: new RegExp(`${toAdd.source}, or .*: Fuse\\('a', 'b'\\)`) })
  model.deleteAdapterFusion(['a', 'b'])
  t.is(model.activeAdapters, null)
  for (const [setup, message] of [
    [['a', 'b'], /^setActiveAdapters: expected a block, .*: Stack\('a', 'b'\), Parallel\('a', 'b'\)/],
    ["Stack('a', 'b')", /^setActiveAdapters: 'Stack.*' is a text: a block is made by its function/]
  ] as const) {
    t.throws(() => model.setActiveAdapters(setup as string), { message })
  }
  t.throws(() => model.shareParameters('a' as never), { message: /adapters: expected an array, got 'a'/ })
  for (const name of ['a,b', 'b,a']) model.addAdapterFusion(name)
  t.throws(() => model.deleteAdapter('a'), { message: /the fusions 'a,b', 'b,a' read 'a'; delete them first/ })
  await t.throwsAsync(model.loadAdapter('nowhere', { loadAs: 'x' } as object), {
    message: /'loadAs' is called 'as' here/
  })
})

const size = hidden / 8
const one = hidden * size + size + size * hidden + hidden

for (const [config, expected] of [
  ['seq_bn[reduction_factor=8]', layers * one],
  ['double_seq_bn[reduction_factor=8]', 2 * layers * one],
  ['par_bn[reduction_factor=8]', layers * one],
  ['scaled_par_bn[reduction_factor=8]', layers * (one + 1)],
  ['adapter_plus[reduction_factor=8]', layers * (one + hidden)],
  ['seq_bn[reduction_factor=8, use_gating=True]', layers * (one + hidden + 1)],
  ['seq_bn[reduction_factor=8, ln_before=True, ln_after=True]', layers * (one + 4 * hidden)],
  ['seq_bn[reduction_factor=8, leave_out=[0]]', one],
  ['seq_bn[reduction_factor=0.5]', layers * (2 * hidden * 2 * hidden + 3 * hidden)],
  ["seq_bn[reduction_factor={'0': 8, 'default': 32}]", one + 2 * hidden + 1 + hidden],
  ['attn_bn[reduction_factor=8]|seq_bn[reduction_factor=8]', 2 * layers * one]
] as const) {
  test(`${config} has ${expected} parameters`, async (t) => {
    const model = await load(t)
    model.addAdapter('a', config)
    t.is(count(model, 'a'), expected)
    const { baseParameters, adapters } = model.adapterSummary()
    t.is(adapters[0]?.percent, (100 * expected) / baseParameters)
  })
}

test('configs that cannot be are refused by field', async (t) => {
  const model = await load(t)
  t.throws(() => model.addAdapter('a', 'seq_bm'), { message: /Did you mean 'seq_bn'/ })
  t.throws(() => model.addAdapter('a', { mhAdaptor: true } as never), {
    message: /mhAdaptor.*Did you mean 'mh_?[aA]dapter'/
  })
  t.throws(() => model.addAdapter('a', 'seq_bn|seq_bn'), { message: /seq_bn|place|layer/ })
  // Only the model knows that two layers left out leave a third to both.
  t.throws(() => model.addAdapter('a', 'seq_bn[leave_out=[0]]|par_bn'), {
    message: /two parts .* want the same place .*behind the feed-forward network, layer 1.*stack them/s
  })
  t.throws(() => model.addClassificationHead('h', { numLabels: 0 }), { message: /numLabels/ })
  t.throws(() => model.addClassificationHead('h', { numlabels: 2 } as never), { message: /Did you mean 'numLabels'/ })
  t.is(model.adapters.size + model.heads.size, 0)
})

test('maps of parts are there to be read, and a setup of plain data is taken as it was', async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  model.addClassificationHead('a')
  for (const map of [model.adapters, model.heads, model.adapterFusions] as unknown as Map<string, never>[]) {
    for (const change of [() => map.delete('a'), () => map.clear(), () => map.set('b', {} as never)])
      t.throws(change, { instanceOf: TypeError, message: /there to be read; add.* and delete/ })
  }
  t.deepEqual([[...model.adapters.keys()], [...model.heads.keys()]], [['a'], ['a']])
  const setup = { type: 'Stack' as const, children: ['a'] }
  model.setActiveAdapters(setup)
  setup.children.push('b')
  t.deepEqual(model.activeAdapters, Stack('a'))
  const scoped = { type: 'Stack' as const, children: ['a'] }
  adapterSetup(scoped, () => {
    scoped.children.push('b')
    t.deepEqual(model.activeAdapters, Stack('a'))
  })
})
