import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, Average, BatchSplit, Fuse, type Model, Parallel, Split, Stack } from '../../lib/index.js'
import { editTensors, readTensors, type StoredTensor } from './safetensors-file.js'
import {
  lastHiddenState as answer,
  fill as fillAdapter,
  hidden,
  unevenRows as inputIds,
  largestDifference,
  load,
  moved,
  quiet,
  scratch,
  snapshot,
  tinyRows,
  trainableNames
} from './support.js'

/** Not the matrices that VeRA's layers share. */
const fill = (model: Model, adapter: string) =>
  fillAdapter(model, adapter, { which: ({ name }) => name.includes(`.loras.${adapter}.`) })

const kinds = ['lora', 'ia3', 'dora', 'vera', 'dvora', 'mtl_lora']

test('each of them starts as the base model, and says what it is', async (t) => {
  const model = await load(t)
  const base = await answer(model)
  for (const kind of kinds) {
    model.addAdapter(kind, kind)
    t.true(largestDifference(await answer(model, { adapters: kind }), base) < 1e-5, kind)
    fill(model, kind)
    t.true(largestDifference(await answer(model, { adapters: kind }), base) > 1e-3, kind)
  }
  const { adapters, baseParameters } = model.adapterSummary()
  t.deepEqual(
    adapters.map(({ name, architecture, parameters }) => [name, architecture, parameters]),
    [
      ['lora', 'lora', 4 * 2 * 8 * hidden],
      ['ia3', 'lora', 2 * (2 * hidden + 40)],
      ['dora', 'lora', 4 * (2 * 8 * hidden + hidden)],
      ['vera', 'lora', 4 * (8 + hidden) + 2 * 8 * hidden],
      ['dvora', 'lora', 4 * (8 + 2 * hidden) + 2 * 8 * hidden],
      ['mtl_lora', 'mtl_lora', 4 * (2 * 8 * hidden + 1 + 8)]
    ]
  )
  t.is(baseParameters, (await load(t)).adapterSummary().baseParameters)
})

test('what trains is the adapter, of VeRA its vectors alone; the base model keeps every bit', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h')
  for (const kind of kinds) {
    model.addAdapter(kind, kind)
    model.trainAdapter(kind)
    model.activeHead = 'h'
    model.trainAdapter(kind)
    const before = snapshot(model)
    await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 3 } }).train()
    const changed = moved(before, snapshot(model))
    t.deepEqual(
      changed.filter((name) => !name.includes(`.loras.${kind}.`) && !name.startsWith('heads.h.')),
      []
    )
    const trains = trainableNames(model).filter((name) => name.includes(`.loras.${kind}.`))
    // The one weight of a mean over one B has no gradient.
    t.deepEqual(
      trains.filter((name) => !changed.includes(name) && !name.endsWith('.weights')),
      [],
      kind
    )
    t.is(
      trains.some((name) => name.includes('shared_parameters')),
      false
    )
  }
})

test('mergeAdapter gives the same answers, resetAdapter every bit', async (t) => {
  for (const kind of kinds) {
    const model = await load(t)
    model.addAdapter('a', `${kind}${kind === 'ia3' ? '' : '[alpha=12]'}`)
    fill(model, 'a')
    model.addAdapter('b', 'lora')
    fill(model, 'b')
    const before = snapshot(model)
    const [alone, stacked] = [
      await answer(model, { adapters: 'a' }),
      await answer(model, { adapters: Stack('a', 'b') })
    ]
    model.setActiveAdapters('a')
    t.is(model.mergedAdapter, null)
    model.mergeAdapter('a')
    t.is(model.mergedAdapter, 'a')
    t.is(model.activeAdapters, null)
    t.true(largestDifference(await answer(model), alone) < 2e-5, kind)
    t.true(largestDifference(await answer(model, { adapters: 'b' }), stacked) < 2e-5, `${kind} below another`)
    t.true(moved(before, snapshot(model)).length > 0)
    model.resetAdapter()
    t.is(model.mergedAdapter, null)
    t.deepEqual(moved(before, snapshot(model)), [], kind)
    t.deepEqual(await answer(model, { adapters: 'a' }), alone)
  }
})

test('of what is active others stay while one is merged, and all of it comes back with it', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'lora')
  model.addAdapter('b', 'lora')
  model.addAdapter('c', 'seq_bn')
  for (const name of ['a', 'b']) fill(model, name)
  for (const [setup, left] of [
    ['a', null],
    [Stack('a', 'c'), 'c'],
    [Average('a', 'b'), null],
    ['c', 'c']
  ] as const) {
    model.setActiveAdapters(setup)
    const before = [model.activeAdapters, await answer(model)] as const
    model.mergeAdapter('a')
    t.is(model.activeAdapters, left)
    if (setup !== 'c' && left !== null) t.true(largestDifference(await answer(model), before[1]) < 2e-5)
    model.resetAdapter()
    t.deepEqual([model.activeAdapters, await answer(model)], before)
  }
  // What the caller chose meanwhile stays, and what has gone does not come back.
  model.setActiveAdapters('a')
  model.mergeAdapter('a')
  model.setActiveAdapters('b')
  model.resetAdapter()
  t.is(model.activeAdapters, 'b')
  model.setActiveAdapters('a')
  model.mergeAdapter('a')
  model.setActiveAdapters(null)
  model.resetAdapter()
  t.is(model.activeAdapters, null)
  model.setActiveAdapters(Average('a', 'b'))
  model.mergeAdapter('a')
  model.deleteAdapter('b')
  model.resetAdapter()
  t.is(model.activeAdapters, null)
})

test('a merged adapter is left alone until it is taken out', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h')
  model.addAdapter('a', 'lora')
  model.addAdapter('b', 'lora')
  fill(model, 'a')
  model.mergeAdapter('a')
  const query = 'bert.encoder.layer.0.attention.self.query.weight'
  const lora = 'bert.encoder.layer.0.attention.self.query.loras.a.lora_B'
  await t.throwsAsync(answer(model, { adapters: Stack('b', 'a') }), { message: /'a' is merged into the base model/ })
  t.throws(() => model.mergeAdapter('b'), { message: /'a' is merged already/ })
  t.throws(() => model.deleteAdapter('a'), { message: /Call resetAdapter\(\) first/ })
  t.throws(() => model.addAdapter('a', 'lora', { overwriteOk: true }), { message: /merged into the base model/ })
  t.throws(() => model.trainAll(), { message: /merged into the base model/ })
  for (const name of [query, lora]) {
    t.throws(() => model.loadStateDict(new Map([[name, model.parameter(name)]])), { message: /resetAdapter/ }, name)
  }
  model.resetAdapter()
  const apart = snapshot(model)
  t.notThrows(() => model.resetAdapter(), 'with nothing merged it changes nothing')
  t.deepEqual(moved(apart, snapshot(model)), [])
  model.deleteAdapter('a')
  model.trainAll()
  t.throws(() => model.mergeAdapter('b'), { message: /the base model trains/ })
})

test('what is no change of weights cannot be merged', async (t) => {
  const model = await load(t)
  model.addAdapter('seq', 'seq_bn')
  model.addAdapter('both', 'lora|seq_bn')
  model.addAdapter('gated', 'lora[use_gating=True]')
  for (const [name, message] of [
    ['seq', /not all of it is a change of a weight/],
    ['both', /not all of it is a change of a weight/],
    ['gated', /its gate depends on the row/],
    ['none', /no 'none' here/]
  ] as const) {
    t.throws(() => model.mergeAdapter(name), { message }, name)
  }
})

test('AdapterFusion refuses what changes weights', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'seq_bn')
  model.addAdapter('b', 'seq_bn')
  model.addAdapter('l', 'lora')
  model.addAdapter('u', 'lora|seq_bn')
  for (const other of ['l', 'u']) {
    t.throws(() => model.addAdapterFusion(['a', other]), {
      code: 'ERR_UNSUPPORTED',
      message: /AdapterFusion has no meaning/
    })
  }
  model.addAdapterFusion(['a', 'b'], 'dynamic', { name: 'f' })
  await t.throwsAsync(answer(model, { adapters: Fuse('a', 'l', { name: 'f' }) }), {
    code: 'ERR_UNSUPPORTED',
    message: /AdapterFusion has no meaning for LoRA/
  })
})

test('each row has its own: BatchSplit, Parallel and lists give what each gives alone', async (t) => {
  const model = await load(t)
  for (const [name, config] of [
    ['d', 'dora'],
    ['e', 'dora[r=2, alpha=4]'],
    ['i', 'ia3']
  ] as const) {
    model.addAdapter(name, config)
    fill(model, name)
  }
  const size = hidden
  const rowOf = async (name: string | null, ids: number[]) => {
    const { lastHiddenState } = await model.forward({ inputIds: [ids] }, { adapters: name, head: null })
    return lastHiddenState?.data.slice(0, ids.length * size) ?? new Float32Array()
  }
  const check = async (adapters: Parameters<Model['forward']>[1], names: (string | null)[], what: string) => {
    const { lastHiddenState } = await model.forward({ inputIds }, { ...adapters, head: null })
    for (const [i, name] of names.entries()) {
      const ids = inputIds[i % inputIds.length] as number[]
      const width = lastHiddenState?.shape[1] ?? 0
      const got = lastHiddenState?.data.slice(i * width * size, (i * width + ids.length) * size) ?? []
      t.true(largestDifference(got, await rowOf(name, ids)) < 1e-5, `${what}, row ${i}`)
    }
  }
  await check({ adapters: BatchSplit('d', 'e', { batchSizes: [1, 2] }) }, ['d', 'e', 'e'], 'BatchSplit')
  await check({ adapters: Parallel('d', 'e') }, ['d', 'd', 'd', 'e', 'e', 'e'], 'Parallel')
  await check({ adapters: ['i', null, 'd'] }, ['i', null, 'd'], 'a list')
})

test('a split that does not fit the rows is an error at a Linear, too', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'lora')
  await t.throwsAsync(answer(model, { adapters: Split('a', null, { splits: [2, 3] }) }), {
    code: 'ERR_OUT_OF_RANGE',
    message: /rows of 5 tokens/
  })
})

test('every kind goes through a folder and back', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  for (const kind of [
    ...kinds,
    'lora[use_gating=True, use_dora=True]',
    "mtl_lora[task_specific_matrix_type='linear']"
  ]) {
    model.addAdapter('a', kind, { overwriteOk: true })
    fill(model, 'a')
    const expected = await answer(model, { adapters: 'a' })
    for (const format of ['safetensors', 'bin', 'pt'] as const) {
      const target = join(folder, `${kinds.indexOf(kind)}-${format}`)
      await model.saveAdapter(target, 'a', { format, dialect: format === 'pt' ? 'plain' : 'adapterhub' })
      const name = await model.loadAdapter(target, { as: 'b', overwriteOk: true })
      t.deepEqual(model.adapters.get(name), model.adapters.get('a'))
      t.deepEqual(await answer(model, { adapters: name }), expected, `${kind} ${format}`)
    }
  }
})

const values = ({ bytes }: StoredTensor): number[] =>
  Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))

test('a folder of before 1.1.0 counts what it trained: alpha is r', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  model.addAdapter('a', 'lora[r=4, alpha=16]')
  await model.saveAdapter(folder, 'a')
  const file = join(folder, 'adapter_config.json')
  const text = readFileSync(file, 'utf8')
  for (const [version, alpha] of [
    ['adapters.0.2.1', 4],
    ['adapters.1.0.1', 4],
    ['adapters.1.1.0', 16],
    ['adapters.2.0.0', 16]
  ] as const) {
    writeFileSync(file, text.replace(/adapters\.\d+\.\d+\.\d+/, version))
    const name = await model.loadAdapter(folder, { as: 'b', overwriteOk: true })
    t.like(model.adapters.get(name), { r: 4, alpha }, version)
  }
})

test('VeRA in files: a diagonal matrix for AdapterHub, a vector in the plain dialect, nothing else', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  model.addAdapter('a', 'vera[r=2]')
  fill(model, 'a')
  await model.saveAdapter(join(folder, 'plain'), 'a', { dialect: 'plain' })
  await model.saveAdapter(join(folder, 'hub'), 'a')
  const key = 'bert.encoder.layer.0.attention.self.query.loras.a.vera_D'
  const weights = (name: string) => join(folder, name, 'adapter.safetensors')
  const [d0, d1] = values(readTensors(weights('plain')).get(key) as StoredTensor)
  const whole = readTensors(weights('hub')).get(key) as StoredTensor
  t.deepEqual(whole.shape, [2, 2])
  t.deepEqual([...values(whole)], [d0, 0, 0, d1])
  editTensors(weights('hub'), (tensors) => {
    const bytes = Buffer.from(whole.bytes)
    bytes.writeFloatLE(0.5, 4)
    tensors.set(key, { ...whole, bytes })
  })
  await t.throwsAsync(model.loadAdapter(join(folder, 'hub'), { as: 'b' }), {
    code: 'ERR_UNSUPPORTED',
    message: /vera_D is a whole matrix that has been trained/
  })
})

test('useRslora is the alpha of the same sum: alone, in a batch, merged and averaged', async (t) => {
  const model = await load(t)
  model.addAdapter('rs', 'lora[r=4, alpha=3, use_rslora=True]')
  model.addAdapter('plain', 'lora[r=4, alpha=6]')
  fill(model, 'rs')
  const own = model.namedParameters().filter(({ name }) => name.includes('.loras.rs.'))
  model.loadStateDict(
    new Map(own.map(({ name }) => [name.replace('.loras.rs.', '.loras.plain.'), model.parameter(name)] as const))
  )
  const expected = await answer(model, { adapters: 'plain' })
  t.deepEqual(await answer(model, { adapters: 'rs' }), expected)
  model.mergeAdapter('rs')
  const merged = await answer(model, { adapters: null })
  model.resetAdapter()
  model.mergeAdapter('plain')
  t.deepEqual(await answer(model, { adapters: null }), merged)
  model.resetAdapter()
  const strategy = { combineStrategy: 'lora_delta_w_svd', svdRank: 8, normalizeWeights: false } as const
  model.averageAdapter('one', { rs: 1 }, strategy)
  model.averageAdapter('other', { plain: 1 }, strategy)
  t.true(largestDifference(await answer(model, { adapters: 'one' }), expected) < 1e-4)
  t.true(largestDifference(await answer(model, { adapters: 'other' }), expected) < 1e-4)
})
