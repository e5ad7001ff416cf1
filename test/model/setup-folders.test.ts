import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { Fuse, type Model, Stack } from '../../lib/index.js'
import { alone, inputIds, withFour } from './four-adapters.js'
import { editTensors, floats } from './safetensors-file.js'
import { fill, load, moved, scratch, snapshot, trainableNames } from './support.js'

test('folders of fusions: every format, the adapters under other names, strict', async (t) => {
  const model = await withFour(t)
  const folder = scratch(t)
  const setup = Fuse('a', 'd', { name: 'f' })
  const before = await alone(model, 0, setup)
  const values = snapshot(model, /adapter_fusion_layer\.f\./)
  for (const format of ['safetensors', 'bin', 'pt'] as const) {
    await model.saveAdapterFusion(join(folder, format), 'f', { format })
    t.is(await model.loadAdapterFusion(join(folder, format), { as: 'g' }), 'g')
    const loaded = snapshot(model, /adapter_fusion_layer\.g\./)
    t.deepEqual(
      moved(values, new Map([...loaded].map(([name, data]) => [name.replace('layer.g.', 'layer.f.'), data]))),
      []
    )
    t.deepEqual(await alone(model, 0, Fuse('a', 'd', { name: 'g' })), before)
    model.deleteAdapterFusion('g')
  }
  const saved = join(folder, 'bin')
  await t.throwsAsync(model.loadAdapterFusion(saved), { message: /the fusion 'f' exists already/ })
  await model.loadAdapterFusion(saved, { overwriteOk: true, setActive: true })
  t.deepEqual(model.activeAdapters, setup)
  const other = await load(t)
  await t.throwsAsync(other.loadAdapterFusion(saved), { message: /no 'a', 'd' here, which the fusion of/ })
  other.addAdapter('x')
  other.addAdapter('y', 'seq_bn[leave_out=[0]]')
  await other.loadAdapterFusion(saved, { adapters: { a: 'x', d: 'y' } })
  t.deepEqual(other.adapterFusions.get('f')?.adapters, ['x', 'y'])
  // Of two adapters that stand in one layer alone the fusion has no part in the other. Python makes and saves it there, too.
  for (const [layer, as] of [
    [0, 'h'],
    [1, 'i']
  ] as const) {
    const config = `seq_bn[leave_out=[${layer}]]`
    for (const name of ['y', 'z']) other.addAdapter(name, config, { overwriteOk: true })
    await other.loadAdapterFusion(saved, { as, adapters: { a: 'y', d: 'z' } })
    const here = snapshot(other, new RegExp(`adapter_fusion_layer\\.${as}\\.`))
    t.true(here.size > 0)
    for (const [name, data] of here) {
      t.true(name.includes(`layer.${1 - layer}.`), name)
      t.deepEqual(data, values.get(name.replace(`layer.${as}.`, 'layer.f.')))
    }
    other.deleteAdapterFusion(as)
  }
  // What no layer of the model holds is unexpected as ever.
  const odd = join(folder, 'odd')
  cpSync(join(folder, 'safetensors'), odd, { recursive: true })
  const [file = ''] = readdirSync(odd).filter((name) => name.endsWith('.safetensors'))
  editTensors(join(odd, file), (tensors) => {
    for (const [name, tensor] of [...tensors]) tensors.set(name.replace('layer.0.', 'layer.7.'), tensor)
  })
  await t.throwsAsync(other.loadAdapterFusion(odd, { as: 'h', adapters: { a: 'y', d: 'z' } }), {
    code: 'ERR_STATE_DICT',
    message: /got one whose last layer is 7/
  })
  t.false(other.adapterFusions.has('h'))
  await t.throwsAsync(model.loadAdapterFusion(join(folder, 'nothing-here')), { code: 'ERR_FILE_NOT_FOUND' })
})

test('a fusion without query, key and value: the Linear that Python makes for none of them is passed over', async (t) => {
  const model = await withFour(t)
  const folder = join(scratch(t), 'f')
  model.addAdapterFusion(['a', 'd'], { query: false, key: false, value: false })
  await model.saveAdapterFusion(folder, 'a,d')
  const file = join(folder, readdirSync(folder).find((name) => name.endsWith('.safetensors')) ?? '')
  editTensors(file, (tensors) => {
    const idle = 'bert.encoder.layer.0.output.adapter_fusion_layer.a,d.dense'
    tensors.set(`${idle}.weight`, floats([1, 2, 3, 4], [2, 2]))
    tensors.set(`${idle}.bias`, floats([1, 2]))
  })
  t.is(await model.loadAdapterFusion(folder, { overwriteOk: true }), 'a,d')
  editTensors(file, (tensors) => {
    tensors.set('bert.encoder.layer.0.output.adapter_fusion_layer.a,d.density.bias', floats([1]))
  })
  await t.throwsAsync(model.loadAdapterFusion(folder, { as: 'g' }), { code: 'ERR_STATE_DICT' })
})

test('folders of whole setups: each part in its own folder, loaded and run as before', async (t) => {
  const model = await withFour(t)
  const folder = scratch(t)
  const setup = Stack('b', Fuse('a', 'd', { name: 'f' }))
  const before = await alone(model, 1, setup)
  await model.saveAdapterSetup(folder, setup, { format: 'bin' })
  t.deepEqual(readdirSync(folder).sort(), ['a', 'adapter_setup.json', 'b', 'd', 'f'])
  const other = await load(t)
  t.deepEqual(await other.loadAdapterSetup(folder, { setActive: true }), setup)
  t.deepEqual(other.activeAdapters, setup)
  t.is(other.activeHead, 'd')
  other.activeHead = 'a'
  t.deepEqual((await other.forward({ inputIds: [inputIds[1] ?? []] })).logits?.data, before)
  await t.throwsAsync(other.loadAdapterSetup(join(folder, 'a')), {
    code: 'ERR_FILE_NOT_FOUND',
    message: /holds no setup.*loadAdapter/
  })
})

test('a fusion and one of its adapters may have one name, and one folder', async (t) => {
  const model = await withFour(t)
  const setup = Fuse('a', 'd', { name: 'a' })
  model.addAdapterFusion(setup)
  const folder = scratch(t)
  for (const head of ['a', 'd']) {
    await model.saveAdapterSetup(folder, setup, { head })
    const one = { inputIds: [inputIds[0] ?? []] }
    const before = (await model.forward(one, { adapters: setup, head })).logits?.data
    const other = await load(t)
    await other.loadAdapterSetup(folder, { setActive: true })
    t.is(other.activeHead, head)
    t.deepEqual((await other.forward(one)).logits?.data, before)
  }
})

test("a fusion keeps the name of its folder, which Python's setup does not tell", async (t) => {
  const model = await withFour(t)
  const folder = scratch(t)
  const setup = Stack('b', Fuse('a', 'd', { name: 'f' }))
  await model.saveAdapterSetup(folder, setup)
  const file = join(folder, 'adapter_setup.json')
  const told = JSON.parse(readFileSync(file, 'utf8'))
  delete told.adapter_setup.children[1].kwargs
  writeFileSync(file, JSON.stringify(told))
  const other = await load(t)
  t.deepEqual(await other.loadAdapterSetup(folder, { setActive: true }), setup)
  t.deepEqual([...other.adapterFusions.keys()], ['f'])
  t.deepEqual(await alone(other, 0, other.activeAdapters), await alone(model, 0, setup))
})

test('a fusion goes into a setup with all adapters that it was made for', async (t) => {
  const model = await withFour(t)
  model.addAdapterFusion(Fuse('a', 'b', { name: 'x' }))
  const less = Fuse('a', 'd', { name: 'x' })
  await t.throwsAsync(model.saveAdapterSetup(scratch(t), less), {
    code: 'ERR_UNSUPPORTED',
    message: /the fusion 'x' reads 'b', which the setup leaves out/
  })
})

test('a setup of which a part is missing or damaged leaves the model as it was, new or replaced', async (t) => {
  const model = await withFour(t)
  const whole = join(scratch(t), 'whole')
  await model.saveAdapterSetup(whole, Stack('b', Fuse('a', 'd', { name: 'f' })))
  const broken = (change: (folder: string) => void) => {
    const folder = join(scratch(t), 'broken')
    cpSync(whole, folder, { recursive: true })
    change(folder)
    return folder
  }
  const folders = [
    broken((folder) => rmSync(join(folder, 'd'), { recursive: true })),
    broken((folder) => truncateSync(join(folder, 'd', 'adapter.safetensors'), 300)),
    broken((folder) => truncateSync(join(folder, 'd', 'model_head.safetensors'), 200)),
    broken((folder) => rmSync(join(folder, 'f'), { recursive: true })),
    broken((folder) => truncateSync(join(folder, 'f', 'model_adapter_fusion.safetensors'), 300))
  ]
  const state = (one: Model) => ({
    parts: [[...one.adapters.keys()], [...one.heads.keys()], [...one.adapterFusions.keys()]],
    active: [one.activeAdapters, one.activeHead],
    trains: trainableNames(one)
  })
  const empty = await load(t)
  const partly = await load(t)
  partly.addAdapter('a')
  partly.addClassificationHead('x')
  partly.trainAdapter('a')
  partly.activeHead = null
  const taken = await withFour(t)
  taken.trainAdapterFusion(Fuse('a', 'd', { name: 'f' }))
  for (const [i, folder] of folders.entries()) {
    for (const one of [empty, partly, taken]) {
      const [before, values] = [state(one), snapshot(one)]
      await t.throwsAsync(one.loadAdapterSetup(folder, { overwriteOk: true, setActive: true }), undefined, `${i}`)
      t.deepEqual(state(one), before)
      t.deepEqual(moved(values, snapshot(one)), [])
      t.is(snapshot(one).size, values.size)
    }
  }
  // Without overwriteOk a name that is taken stops it.
  await t.throwsAsync(partly.loadAdapterSetup(whole), {
    message: /^loadAdapterSetup: the adapter 'a' exists already; pass overwriteOk: true .* or load the parts one by one/
  })
  t.deepEqual(state(partly).parts, [['a'], ['x'], []])
  for (const one of [empty, partly, taken]) {
    await one.loadAdapterSetup(whole, { overwriteOk: true, withHead: true })
    const loaded = /\.adapters\.[abd]\.|^heads\.[abd]\.|fusion/
    t.deepEqual(moved(snapshot(model, loaded), snapshot(one, loaded)), [])
  }
})

test('what is merged cannot be replaced by a setup, and is said before anything is', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) model.addAdapter(name, 'lora')
  const folder = scratch(t)
  await model.saveAdapterSetup(folder, Stack('a', 'b'))
  fill(model, 'a')
  model.mergeAdapter('b')
  const before = snapshot(model)
  const message = /'b' is merged.*resetAdapter/
  await t.throwsAsync(model.loadAdapterSetup(folder, { overwriteOk: true }), { message })
  t.deepEqual(moved(before, snapshot(model)), [])
})

test('a fusion is named by its name, by its adapters or by its block', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) model.addAdapter(name)
  for (const fusion of ['a,b', ['a', 'b'], Fuse('a', 'b')]) {
    model.addAdapterFusion(fusion)
    model.trainAdapterFusion(typeof fusion === 'string' ? ['a', 'b'] : fusion)
    t.deepEqual(model.activeAdapters, Fuse('a', 'b'))
    const folder = scratch(t)
    await model.saveAdapterFusion(folder, fusion)
    model.deleteAdapterFusion(fusion)
    t.is(model.adapterFusions.size, 0)
    t.is(await model.loadAdapterFusion(folder), 'a,b')
    model.deleteAdapterFusion(fusion)
  }
  model.addAdapterFusion(['a', 'b'], 'dynamic', { name: 'f' })
  model.deleteAdapterFusion(Fuse('a', 'b', { name: 'f' }))
  t.throws(() => model.deleteAdapterFusion(['a', 'b']), { message: /deleteAdapterFusion/ })
  model.addAdapterFusion('a,b')
  t.throws(() => model.addAdapter('a', 'lora', { overwriteOk: true }), {
    message: /the fusion 'a,b' reads 'a', and has no/
  })
  model.addAdapter('a', 'double_seq_bn', { overwriteOk: true })
  t.throws(() => model.trainAdapterFusion(Stack('a', 'b') as never), { message: /expected a setup with a Fuse block/ })
})
