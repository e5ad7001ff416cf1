import test from 'ava'
import { AdapterTrainer, AutoModel, type Model, MultiTask, Stack } from '../../lib/index.js'
import {
  lastHiddenState as answer,
  fill as fillAdapter,
  hidden,
  unevenRows as inputIds,
  largestDifference,
  load,
  moved,
  quiet,
  sameBits,
  scratch,
  snapshot,
  tinyRows,
  trainableNames
} from './support.js'

const query = 'bert.encoder.layer.0.attention.self.query'
const config = 'mtl_lora[r=2, alpha=4, n_up_projection=2, weights_sharpness=0.3]'

const fill = (model: Model, adapter: string) => fillAdapter(model, adapter, { scale: 0.5 })

async function two(t: Parameters<typeof load>[0]): Promise<Model> {
  const model = await load(t)
  for (const name of ['first', 'other']) {
    model.addAdapter(name, config)
    fill(model, name)
  }
  return model
}

/** s Σ pi Bi Λ A of one place, by hand. */
function change(model: Model, adapter: string): number[] {
  const values = (name: string) => [...model.parameter(`${query}.loras.${adapter}.${name}`).data]
  const [a, b, weights, task] = ['lora_A', 'lora_B', 'weights', 'task_specific.values'].map(values) as number[][]
  const shares = (weights ?? []).map((weight) => Math.exp(weight / 0.3))
  const total = shares.reduce((sum, one) => sum + one, 0)
  const product = new Array<number>(hidden * hidden).fill(0)
  for (let out = 0; out < hidden; out++) {
    for (let i = 0; i < hidden; i++) {
      for (let up = 0; up < 2; up++) {
        for (let k = 0; k < 2; k++) {
          const factor = ((shares[up] ?? 0) / total) * (b?.[(up * hidden + out) * 2 + k] ?? 0) * (task?.[k] ?? 0)
          product[out * hidden + i] = (product[out * hidden + i] ?? 0) + 2 * factor * (a?.[k * hidden + i] ?? 0)
        }
      }
    }
  }
  return product
}

test('A and the up-projections are one tensor, the task’s matrix and the weights are each one’s own', async (t) => {
  const model = await two(t)
  const before = snapshot(model)
  const count = model.namedParameters().length
  t.is(model.shareParameters(['first', 'other']), 'first,other')
  t.deepEqual([...model.sharedParameters], [['first,other', ['first', 'other']]])
  // 4 Linears, of which each has two tensors less.
  t.is(model.namedParameters().length, count - 8)
  const after = (name: string) => model.parameter(`${query}.loras.${name}`).data
  for (const part of ['lora_A', 'lora_B']) {
    t.true(sameBits(after(`first.${part}`), before.get(`${query}.loras.first.${part}`)))
  }
  t.true(sameBits(after('other.weights'), before.get(`${query}.loras.other.weights`)))
  // What the shared factors and each one's own make, by hand.
  const base = model.parameter(`${query}.weight`).data
  for (const name of ['first', 'other']) {
    const own = model.namedParameters().some((one) => one.name === `${query}.loras.${name}.lora_A`)
    t.is(own, name === 'first')
    if (!own) continue
    const expected = change(model, name).map((value, i) => value + (base[i] ?? 0))
    model.mergeAdapter(name)
    t.true(largestDifference(model.parameter(`${query}.weight`).data, expected) < 1e-5)
    model.resetAdapter()
  }
})

test('answers are those of copies, and so are gradients, which add up', async (t) => {
  const model = await two(t)
  const copies = await two(t)
  model.shareParameters(['first', 'other'], { name: 'tasks', reference: 'other' })
  const shared = copies.namedParameters().filter(({ name }) => /\.loras\.other\.lora_[AB]$/.test(name))
  copies.loadStateDict(new Map(shared.map(({ name }) => [name.replace('.other.', '.first.'), copies.parameter(name)])))
  const setups = ['first', 'other', Stack('first', 'other')] as const
  for (const adapters of setups) t.deepEqual(await answer(model, { adapters }), await answer(copies, { adapters }))
  const taskIds = ['other', 'first', 'other']
  const adapters = MultiTask('first', 'other')
  t.deepEqual(await answer(model, { adapters, taskIds }), await answer(copies, { adapters, taskIds }))
  const both = []
  for (const one of [model, copies]) {
    one.addClassificationHead('h')
    one.activeHead = 'h'
    one.trainAdapter(Stack('first', 'other'))
    const options = { adapters, taskIds, head: 'h' }
    both.push((await one.gradients({ inputIds, labels: [0, 1, 1] }, options)).gradients)
  }
  const [ours, apart] = both
  let checked = 0
  for (const [name, { data }] of ours ?? []) {
    const own = apart?.get(name)?.data ?? []
    const twin = /\.first\.lora_[AB]$/.test(name) ? apart?.get(name.replace('.first.', '.other.'))?.data : undefined
    const sum = Array.from(own, (value, i) => value + (twin?.[i] ?? 0))
    t.true(largestDifference(data, sum) < 1e-6, name)
    checked += twin === undefined ? 0 : 1
  }
  t.is(checked, 8)
})

test('they train while one of the adapters does, and folders hold them', async (t) => {
  const model = await two(t)
  model.addClassificationHead('h')
  model.activeHead = 'h'
  model.trainAdapter('other')
  model.shareParameters(['first', 'other'])
  const before = snapshot(model)
  await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 2 } }).train()
  const names = moved(before, snapshot(model))
  t.deepEqual(names.sort(), trainableNames(model).sort())
  t.true(names.includes(`${query}.loras.first.lora_A`) && !names.includes(`${query}.loras.first.weights`))
  const trained = await Promise.all(['first', 'other'].map((adapters) => answer(model, { adapters })))
  const folder = scratch(t)
  for (const name of ['first', 'other']) await model.saveAdapter(`${folder}/${name}`, name)
  const again = await load(t)
  for (const name of ['first', 'other']) await again.loadAdapter(`${folder}/${name}`)
  t.deepEqual([...again.sharedParameters], [...model.sharedParameters])
  t.is(again.shareParameters(MultiTask('first', 'other')), 'first,other', 'it is so already')
  for (const [i, adapters] of ['first', 'other'].entries()) t.deepEqual(await answer(again, { adapters }), trained[i])
})

/** Shared, with values of their own, and a fresh model that loads them. */
async function saved(t: Parameters<typeof load>[0], save: (model: Model, folder: string) => Promise<void>) {
  const model = await two(t)
  fillAdapter(model, 'other', { scale: 0.3 })
  model.shareParameters(['other', 'first'], { name: 'tasks', reference: 'other' })
  const folder = scratch(t)
  await save(model, folder)
  const logits = (one: Model) => {
    return Promise.all(['first', 'other'].map((adapters) => answer(one, { adapters })))
  }
  return { model, folder, logits, groups: [['tasks', ['other', 'first']]] }
}

test('a setup that was saved shares again when it is loaded', async (t) => {
  const setup = MultiTask('first', 'other')
  const { model, folder, logits, groups } = await saved(t, (one, to) => one.saveAdapterSetup(to, setup))
  const again = await load(t)
  await again.loadAdapterSetup(folder)
  t.deepEqual([...again.sharedParameters], groups as never)
  t.is(again.namedParameters().length, model.namedParameters().length)
  t.deepEqual(await logits(again), await logits(model))
})

test('a whole model that was saved shares again when it is loaded', async (t) => {
  const { model, folder, logits, groups } = await saved(t, (one, to) => one.save(to))
  using again = await AutoModel.fromPretrained(folder)
  t.deepEqual([...again.sharedParameters], groups as never)
  t.is(again.namedParameters().length, model.namedParameters().length)
  t.deepEqual(await logits(again), await logits(model))
})

test('what no longer has the same values, or other names, stays apart', async (t) => {
  const { model, folder, logits } = await saved(t, async (one, to) => {
    for (const name of ['first', 'other']) await one.saveAdapter(`${to}/${name}`, name)
  })
  const renamed = await load(t)
  await renamed.loadAdapter(`${folder}/first`, { as: 'other' })
  await renamed.loadAdapter(`${folder}/other`, { as: 'first' })
  t.is(renamed.sharedParameters.size, 0)
  const expected = (await logits(model))[0] as Float32Array
  t.deepEqual(await answer(renamed, { adapters: 'other' }), expected)
  // Saved again after it has learned alone.
  model.unshareParameters('tasks')
  fillAdapter(model, 'first', { scale: 0.25 })
  model.shareParameters(['first', 'other'], { name: 'tasks' })
  await model.saveAdapter(`${folder}/first`, 'first')
  const apart = await load(t)
  for (const name of ['first', 'other']) await apart.loadAdapter(`${folder}/${name}`)
  t.is(apart.sharedParameters.size, 0)
  t.notDeepEqual(await answer(apart, { adapters: 'first' }), expected)
})

test('unshareParameters gives each its own again; before that, none of them goes', async (t) => {
  const model = await two(t)
  model.shareParameters(['first', 'other'], { name: 'tasks' })
  t.throws(() => model.deleteAdapter('other'), { message: /shares parameters.*unshareParameters\('tasks'\)/s })
  t.throws(() => model.addAdapter('first', 'lora', { overwriteOk: true }), { message: /shares parameters/ })
  t.throws(() => model.shareParameters(['first', 'other']), { message: /shares parameters/ })
  const one = await answer(model, { adapters: 'other' })
  model.trainAdapter('other')
  model.unshareParameters('tasks')
  t.is(model.sharedParameters.size, 0)
  t.deepEqual(new Set(trainableNames(model).map((name) => name.split('.loras.')[1]?.split('.')[0])), new Set(['other']))
  t.deepEqual(await answer(model, { adapters: 'other' }), one)
  fill(model, 'first')
  t.deepEqual(await answer(model, { adapters: 'other' }), one)
  model.deleteAdapter('first')
  t.deepEqual(await answer(model, { adapters: 'other' }), one)
})

test('only MTL-LoRA adapters of one config share', async (t) => {
  const model = await two(t)
  model.addAdapter('lora', 'lora')
  model.addAdapter('wide', 'mtl_lora[r=4]')
  const refuses = (names: readonly string[], message: RegExp, options = {}) =>
    t.throws(() => model.shareParameters(names, options), { message })
  refuses(['first', 'lora'], /'lora' is not MTL-LoRA/)
  refuses(['first', 'wide'], /'first' and 'wide' have different configs/)
  refuses(['first'], /two or more names/)
  refuses(['first', 'nobody'], /no 'nobody' here/)
  refuses(['first', 'other'], /reference/, { reference: 'lora' })
  t.throws(() => model.unshareParameters('none'), { message: /no 'none' here/ })
})
