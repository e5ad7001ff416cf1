import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  type AdapterSetup,
  AutoModel,
  adapterSetup,
  BatchSplit,
  Fuse,
  type Model,
  MultiTask,
  Parallel,
  type SaveSetupOptions,
  Stack
} from '../../lib/index.js'
import { inputIds, withFour } from './four-adapters.js'
import { load, moved, scratch, snapshot } from './support.js'

const fused = Fuse('a', 'd', { name: 'f' })

/** Beside the adapters' own two heads of other names. */
async function withHeads(t: ExecutionContext): Promise<Model> {
  const model = await withFour(t)
  model.addClassificationHead('both', { numLabels: 2, seed: 7 })
  model.addClassificationHead('other', { numLabels: 3, seed: 8 })
  return model
}

interface SetupJson {
  adapter_setup: unknown
  head_setup: unknown
}
const jsonOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'adapter_setup.json'), 'utf8')) as SetupJson
const setHead = (folder: string, head_setup: unknown) =>
  writeFileSync(join(folder, 'adapter_setup.json'), JSON.stringify({ ...jsonOf(folder), head_setup }))

const answers = async (model: Model, taskIds?: readonly string[]) => {
  const { logits, headOutputs } = await model.forward({ inputIds }, taskIds === undefined ? {} : { taskIds })
  return headOutputs?.map((one) => one.logits?.data) ?? [logits?.data]
}

const saved = async (
  t: ExecutionContext,
  model: Model,
  setup: Exclude<AdapterSetup, null>,
  options?: SaveSetupOptions
) => {
  const folder = scratch(t)
  await model.saveAdapterSetup(folder, setup, options)
  return folder
}

test('the head over a fusion goes with its setup and answers again', async (t) => {
  const model = await withHeads(t)
  model.activeHead = 'both'
  for (const name of 'abcd') model.deleteHead(name)
  model.trainAdapterFusion(fused)
  for (const format of ['safetensors', 'bin'] as const) {
    const folder = await saved(t, model, fused, { format })
    t.deepEqual(readdirSync(folder).sort(), ['a', 'adapter_setup.json', 'both', 'd', 'f'])
    t.is(jsonOf(folder).head_setup, 'both')
    const other = await load(t)
    t.deepEqual(await other.loadAdapterSetup(folder, { setActive: true }), fused)
    t.is(other.activeHead, 'both')
    t.deepEqual(await answers(other), await answers(model))
    // Loaded alone it changes nothing that runs.
    const beside = await load(t)
    beside.addClassificationHead('x')
    await beside.loadAdapterSetup(folder)
    t.deepEqual([[...beside.heads.keys()], beside.activeHead, beside.activeAdapters], [['x', 'both'], 'x', null])
    const without = await load(t)
    await without.loadAdapterSetup(folder, { withHead: false, setActive: true })
    t.deepEqual([[...without.heads.keys()], without.activeHead], [[], null])
  }
})

test('which head a setup is saved with', async (t) => {
  const model = await withHeads(t)
  const headOf = async (setup: Exclude<AdapterSetup, null>, options?: SaveSetupOptions) => {
    const folder = await saved(t, model, setup, options)
    const { head_setup } = jsonOf(folder)
    return [head_setup, ...['both', 'other'].filter((name) => existsSync(join(folder, name)))]
  }
  model.activeHead = 'both'
  // Not active: the head that was chosen for another setup is not its.
  t.deepEqual(await headOf(fused), ['d'])
  model.setActiveAdapters(fused)
  t.deepEqual(await headOf(fused), ['d'])
  model.activeHead = 'both'
  t.deepEqual(await headOf(fused), ['both', 'both'])
  t.deepEqual(await headOf(Stack('b', fused)), ['d'])
  t.deepEqual(await headOf(fused, { head: 'other' }), ['other', 'other'])
  t.deepEqual(await headOf(fused, { head: null }), [null])
  t.deepEqual(await headOf(fused, { withHead: false }), [null])
  t.deepEqual(await headOf(fused, { withHead: false, head: 'both' }), ['both', 'both'])
  model.activeHead = null
  t.deepEqual(await headOf(fused), [null])
  model.deleteHead('a')
  t.deepEqual(await headOf(Parallel('a', 'b')), [null])
  await t.throwsAsync(headOf(fused, { head: 'bot' }), { message: /head: no 'bot' here.*'both'/ })
  await t.throwsAsync(headOf(fused, { head: Parallel('both', null) }), { message: /one for every child/ })
})

for (const [name, setup, taskIds] of [
  ['Parallel', Parallel('a', 'b')],
  ['BatchSplit', Stack('c', BatchSplit('a', 'b', { batchSizes: [2, 3] }))],
  ['MultiTask', MultiTask('a', Stack('b', 'c')), ['a', 'a', 'Stack[b, c]', 'a', 'Stack[b, c]']]
] as const) {
  test(`heads that follow their rows do so again: ${name}`, async (t) => {
    const model = await withHeads(t)
    model.setActiveAdapters(setup)
    const before = await answers(model, taskIds)
    t.is(before.length, 2)
    const folder = await saved(t, model, setup)
    const { head_setup } = jsonOf(folder)
    t.like(head_setup, { type: name })
    const last = taskIds === undefined ? 'b' : 'c'
    // Python writes a list for Parallel.
    for (const given of name === 'Parallel' ? [head_setup, ['a', last]] : [head_setup]) {
      setHead(folder, given)
      const other = await load(t)
      other.addClassificationHead('x')
      other.activeHead = 'x'
      await other.loadAdapterSetup(folder, { setActive: true })
      t.deepEqual(await answers(other, taskIds), before)
    }
  })
}

test('heads of a BatchSplit in another, and one head for all children of Parallel, are written as Python has them', async (t) => {
  const model = await withHeads(t)
  const nested = BatchSplit(BatchSplit('a', 'b', { batchSizes: [1, 2] }), 'b', Stack('a', 'c'), {
    batchSizes: [3, 1, 1]
  })
  model.setActiveAdapters(nested)
  const before = await answers(model)
  const { headOutputs = [] } = await model.forward({ inputIds })
  t.deepEqual(
    headOutputs.map(({ head, rows }) => [head, [...rows]]),
    [
      ['a', [0]],
      ['b', [1, 2, 3]],
      ['c', [4]]
    ]
  )
  const folder = await saved(t, model, nested)
  const single = (name: string) => ({ type: 'single', children: [name] })
  t.deepEqual(jsonOf(folder).head_setup, {
    type: 'BatchSplit',
    children: ['a', 'b', 'c'].map(single),
    kwargs: { batch_sizes: [1, 3, 1] }
  })
  const heads = ['a', 'b', 'b', 'b', 'c'].map(single)
  for (const form of [
    jsonOf(folder).head_setup,
    { type: 'BatchSplit', children: heads, kwargs: { batch_sizes: [1, 1, 1, 1, 1] } }
  ]) {
    setHead(folder, form)
    const other = await load(t)
    await other.loadAdapterSetup(folder, { setActive: true })
    t.deepEqual(await answers(other), before)
  }
  setHead(folder, { type: 'BatchSplit', children: ['a', 'b', 'c'].map(single), kwargs: { batch_sizes: [2, 2, 1] } })
  await t.throwsAsync((await load(t)).loadAdapterSetup(folder, { setActive: true }), { code: 'ERR_UNSUPPORTED' })

  const both = await saved(t, model, Stack('c', Parallel('a', 'b')), { head: 'both' })
  t.deepEqual(jsonOf(both).head_setup, { type: 'Parallel', children: ['both', 'both'].map(single) })
  const other = await load(t)
  await other.loadAdapterSetup(both, { setActive: true })
  t.is(other.activeHead, 'both')
})

test('every form of head_setup that Python writes', async (t) => {
  const model = await withHeads(t)
  const folder = await saved(t, model, fused, { withHead: false, head: 'both' })
  const stack = { type: 'Stack', children: [{ type: 'single', children: ['both'] }] }
  for (const form of ['both', ['both'], ['both', 'both'], stack]) {
    setHead(folder, form)
    const other = await load(t)
    await other.loadAdapterSetup(folder, { setActive: true })
    t.is(other.activeHead, 'both', JSON.stringify(form))
  }
  for (const form of [null, undefined, false, '', []]) {
    setHead(folder, form)
    const other = await load(t)
    await other.loadAdapterSetup(folder, { setActive: true })
    t.deepEqual([...other.heads.keys()], [], JSON.stringify(form))
  }
  // A class with one head of its own has it in the folder itself.
  for (const file of readdirSync(join(folder, 'both'))) renameSync(join(folder, 'both', file), join(folder, file))
  const file = join(folder, 'head_config.json')
  const { name: _, config: __, ...json } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  t.truthy(json['model_class'])
  setHead(folder, true)
  const other = await load(t)
  await other.loadAdapterSetup(folder, { setActive: true })
  t.is(other.activeHead, 'both')
})

for (const [name, setup, heads, taskIds] of [
  ['Parallel', Parallel('a', Stack('c', 'b')), Parallel('both', 'other')],
  [
    'BatchSplit',
    Stack('c', BatchSplit('a', BatchSplit('b', 'a', { batchSizes: [1, 1] }), { batchSizes: [3, 2] })),
    BatchSplit('both', 'both', 'other', 'both', { batchSizes: [1, 2, 1, 1] })
  ],
  ['MultiTask', MultiTask('a', 'b'), MultiTask('both', 'other'), ['a', 'a', 'b', 'a', 'b']]
] as const) {
  test(`heads of other names answer child by child: ${name}`, async (t) => {
    const model = await withHeads(t)
    const own = async () => {
      const answered = await model.forward({ inputIds }, taskIds === undefined ? {} : { taskIds })
      return answered.headOutputs?.map(({ head, rows }) => [head, [...rows]])
    }
    model.setActiveAdapters(setup)
    const rowsOfOwn = await own()
    model.setActiveAdapters(setup, { head: heads })
    // The same rows, each with the head that its adapter was given.
    const given = new Map([
      ['a', 'both'],
      ['b', 'other']
    ])
    t.deepEqual(
      await own(),
      rowsOfOwn?.map(([head, rows]) => [given.get(head as string), rows])
    )
    t.is(model.activeHead, name === 'BatchSplit' ? 'both' : 'other')
    const before = await answers(model, taskIds)
    for (const head of 'ab') model.deleteHead(head)
    t.deepEqual(await answers(model, taskIds), before)
    const folder = await saved(t, model, setup)
    t.like(jsonOf(folder).head_setup, { type: name })

    const other = await load(t)
    await other.loadAdapterSetup(folder, { setActive: true })
    t.deepEqual(await answers(other, taskIds), before)
    // Loaded alone they wait until they are asked for.
    const beside = await load(t)
    await beside.loadAdapterSetup(folder)
    beside.setActiveAdapters(setup, { head: heads })
    t.deepEqual(await answers(beside, taskIds), before)
    // A whole model keeps them, too.
    const whole = join(scratch(t), 'whole')
    await beside.save(whole)
    using again = await AutoModel.fromPretrained(whole)
    t.deepEqual(await answers(again, taskIds), before)
    // So they do in a scope.
    const scoped = await load(t)
    await scoped.loadAdapterSetup(folder)
    await adapterSetup(setup, async () => t.deepEqual(await answers(scoped, taskIds), before), { head: heads })
    // They learn with their adapters, until one of them goes, or an adapter brings its own.
    again.trainAdapter(setup)
    const trained = again.namedParameters().filter(({ name, trainable }) => trainable && name.startsWith('heads.'))
    t.deepEqual([...new Set(trained.map((one) => one.name.split('.')[1]))].sort(), ['both', 'other'])
    again.addClassificationHead('a', { numLabels: 4 })
    again.setActiveAdapters(setup)
    t.is(again.activeHead, name === 'BatchSplit' ? 'a' : 'other')
    beside.deleteHead('other')
    t.is(beside.activeHead, null)
  })
}

test('heads that do not fit their setup are refused, and nothing changes', async (t) => {
  const model = await withHeads(t)
  for (const [setup, head] of [
    ['a', Parallel('both', 'other')],
    [Parallel('a', 'b'), MultiTask('both', 'other')],
    [Parallel('a', 'b'), Parallel('both', 'other', 'a')],
    [Parallel('a', 'a'), Parallel('both', 'other')],
    [BatchSplit('a', 'b', { batchSizes: [2, 3] }), BatchSplit('both', 'other', { batchSizes: [3, 2] })]
  ] as const) {
    t.throws(() => model.setActiveAdapters(setup, { head }), { message: /head: \S.* does not fit / })
  }
  t.throws(() => model.setActiveAdapters(Parallel('b', Stack('a', 'b')), { head: Parallel('both', 'other') }), {
    message: /'b' is the last adapter of two children, and has one head/
  })
  t.throws(() => model.setActiveAdapters(Parallel(null, 'b'), { head: Parallel('both', 'other') }), {
    message: /a child that is null has no adapter to have a head of its own for/
  })
  t.throws(() => model.setActiveAdapters('a', { head: 'bot' }), { message: /head: no 'bot' here/ })
  t.is(model.activeAdapters, null)
  model.setActiveAdapters('a', { head: 'other' })
  model.setActiveAdapters('b', { head: null })
  t.is(model.activeHead, null)
})

test('heads that answer each row several times are loaded, and not made active', async (t) => {
  const model = await withHeads(t)
  const folder = await saved(t, model, fused, { head: Parallel('both', 'other') })
  const other = await load(t)
  await t.throwsAsync(other.loadAdapterSetup(folder, { setActive: true }), {
    code: 'ERR_UNSUPPORTED',
    message: /adapter_setup\.json has heads Parallel\[both, other\] over Fuse\[a, d\].*without setActive/s
  })
  t.deepEqual([...other.adapters.keys()], [])
  await other.loadAdapterSetup(folder)
  t.deepEqual([...other.heads.keys()].sort(), ['a', 'both', 'd', 'other'])
})

test("a head in a fusion's folder comes with the fusion, and answers where none is named", async (t) => {
  const model = await withHeads(t)
  const folder = await saved(t, model, Stack('b', fused), { head: null })
  await model.saveHead(join(folder, 'f'), 'both')
  const other = await load(t)
  await other.loadAdapterSetup(folder, { setActive: true })
  t.is(other.activeHead, 'both')
  setHead(folder, 'd')
  const second = await load(t)
  await second.loadAdapterSetup(folder, { setActive: true })
  t.deepEqual([second.activeHead, second.heads.has('both')], ['d', true])
})

test('heads that are missing, damaged or there already', async (t) => {
  const model = await withHeads(t)
  const whole = await saved(t, model, fused, { head: 'both' })
  const broken = (change: (folder: string) => void) => {
    const folder = join(scratch(t), 'broken')
    cpSync(whole, folder, { recursive: true })
    change(folder)
    return folder
  }
  const other = await load(t)
  other.addClassificationHead('both', { numLabels: 4 })
  for (const [change, code, message] of [
    [
      (f: string) => rmSync(join(f, 'both'), { recursive: true }),
      'ERR_FILE_NOT_FOUND',
      /setup\.json names the head 'both'/
    ],
    [(f: string) => rmSync(join(f, 'both/head_config.json')), 'ERR_FILE_NOT_FOUND', /half of the head in .*both/],
    [(f: string) => truncateSync(join(f, 'both/model_head.safetensors'), 300), 'ERR_FILE_FORMAT', /both.*safetensors/],
    [(f: string) => setHead(f, 'a'.repeat(3)), 'ERR_FILE_NOT_FOUND', /names the head 'aaa'.*\n?.*aaa/],
    [(f: string) => setHead(f, '../x'), 'ERR_INVALID_FILE', /setup\.json.*head_setup/],
    [(f: string) => setHead(f, 7), 'ERR_INVALID_FILE', /setup\.json/],
    [(f: string) => setHead(f, [null]), 'ERR_INVALID_FILE', /setup\.json.*head_setup\[0\]/],
    [(f: string) => rmSync(join(f, 'd/head_config.json')), 'ERR_FILE_NOT_FOUND', /half of the head/]
  ] as const) {
    const values = snapshot(other)
    const options = { overwriteOk: true, setActive: true }
    const error = await t.throwsAsync(other.loadAdapterSetup(broken(change), options), { message })
    t.is((error as { code?: string }).code, code, error?.message)
    t.deepEqual([[...other.adapters.keys()], [...other.heads.keys()], other.activeAdapters], [[], ['both'], null])
    t.deepEqual(moved(values, snapshot(other)), [])
  }
  // An adapter's folder that has lost its head, which answers.
  const lost = broken((folder) => {
    setHead(folder, 'd')
    for (const file of ['head_config.json', 'model_head.safetensors']) rmSync(join(folder, 'd', file))
  })
  await t.throwsAsync(other.loadAdapterSetup(lost), { message: /names the head 'd', which is not there/ })
  await t.throwsAsync(other.loadAdapterSetup(whole), {
    message: /^loadAdapterSetup: the head 'both' exists already; pass overwriteOk: true to replace it, or load/
  })
  t.deepEqual([[...other.adapters.keys()], [...other.heads.keys()]], [[], ['both']])
  await other.loadAdapterSetup(whole, { overwriteOk: true, setActive: true })
  t.is(other.activeHead, 'both')
  t.deepEqual(moved(snapshot(model, /^heads\.both/), snapshot(other, /^heads\.both/)), [])
})
