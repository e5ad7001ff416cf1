import type { ExecutionContext } from 'ava'
import test from 'ava'
import { AutoModel, type Model, Stack } from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import { fill as fillAdapter, largestDifference, moved, scratch, snapshot } from './support.js'

const rows = [[7], [9, 8, 30], [20, 21, 22, 23, 24]]
const kinds = [
  'lora',
  "lora[attn_matrices=['k'], intermediate_lora=True, output_lora=True]",
  "lora[attn_matrices=['qkv', 'o']]",
  'ia3[alpha=2]',
  'dora',
  "dora[attn_matrices=['q', 'k', 'v'], output_lora=True]",
  "lora[attn_matrices=['qkv'], use_dora='peft']",
  'vera',
  'dvora[intermediate_lora=True]',
  'mtl_lora[n_up_projection=2]',
  "mtl_lora[task_specific_matrix_type='linear', attn_matrices=['q', 'o']]"
]

async function gpt2(t: ExecutionContext): Promise<Model> {
  const model = await AutoModel.fromPretrained(`${fixtures}/models/gpt2-tiny`)
  t.teardown(() => model.dispose())
  return model
}

const fill = (model: Model, adapter: string) =>
  fillAdapter(model, adapter, { scale: 0.5, which: ({ name }) => name.includes(`.loras.${adapter}.`) })

async function answer(model: Model, adapters: Parameters<Model['setActiveAdapters']>[0]): Promise<Float32Array> {
  const { lastHiddenState } = await model.forward({ inputIds: rows }, { adapters, head: null })
  return lastHiddenState?.data ?? new Float32Array()
}

test('each kind starts as the base model, is counted right, merges, and comes out again bit for bit', async (t) => {
  const model = await gpt2(t)
  const base = await answer(model, null)
  for (const kind of kinds) {
    model.addAdapter('a', kind)
    if (!kind.startsWith('ia3')) t.true(largestDifference(await answer(model, 'a'), base) < 1e-5, kind)
    const held = model.namedParameters().filter(({ name }) => name.includes('.a.'))
    const count = held.reduce((sum, { shape }) => sum + shape.reduce((n, size) => n * size, 1), 0)
    t.is(model.adapterSummary().adapters[0]?.parameters, count, kind)
    fill(model, 'a')
    const before = snapshot(model)
    const alone = await answer(model, 'a')
    t.true(largestDifference(alone, base) > 1e-3, kind)
    model.mergeAdapter('a')
    t.true(largestDifference(await answer(model, null), alone) < 2e-5, kind)
    t.true(moved(before, snapshot(model)).some((name) => name.endsWith('c_attn.weight')))
    model.resetAdapter()
    t.deepEqual(moved(before, snapshot(model)), [], kind)
    t.deepEqual(await answer(model, 'a'), alone)
    model.deleteAdapter('a')
  }
})

test('folders come back as they were', async (t) => {
  const model = await gpt2(t)
  const folder = scratch(t)
  for (const kind of ['lora', 'ia3', 'vera', 'dora', "lora[attn_matrices=['qkv']]"]) {
    model.addAdapter('a', kind, { overwriteOk: true })
    fill(model, 'a')
    const library = kind.includes('qkv') ? 'peft' : 'adapters'
    await model.saveAdapter(folder, 'a', { library })
    await model.loadAdapter(folder, { as: 'b', overwriteOk: true })
    t.deepEqual(model.adapters.get('b'), model.adapters.get('a'))
    t.deepEqual(await answer(model, 'b'), await answer(model, 'a'), kind)
  }
})

test('generation with a cache is what whole rows give', async (t) => {
  const model = await gpt2(t)
  for (const [name, kind] of [
    ['a', 'lora'],
    ['b', "dora[attn_matrices=['k', 'v'], output_lora=True]"]
  ] as const) {
    model.addAdapter(name, kind)
    fill(model, name)
  }
  model.addCausalLmHead('words')
  for (const adapters of ['a', Stack('a', 'b')]) {
    const row = [7, 8, 9]
    for (let step = 0; step < 4; step++) {
      const { logits } = await model.forward({ inputIds: [row] }, { adapters, head: 'words' })
      const last = [...(logits?.data.slice(-37) ?? [])]
      row.push(last.indexOf(Math.max(...last)))
    }
    const [written] = await model.generate([{ inputIds: row.slice(0, 3) }], {
      ...{ adapters, maxNewTokens: 4, eosTokenId: null, head: 'words' }
    })
    t.deepEqual([...(written?.ids ?? [])], row.slice(3))
  }
})

test('the base model trains beside one that starts: its gradients are those without it', async (t) => {
  const model = await gpt2(t)
  model.addClassificationHead('h', { numLabels: 3 })
  model.trainAll()
  const input = { inputIds: rows, labels: [0, 1, 2] }
  const { gradients: without } = await model.gradients(input, { adapters: null, head: 'h' })
  model.addAdapter('a', 'lora[intermediate_lora=True, output_lora=True]')
  const { gradients } = await model.gradients(input, { adapters: 'a', head: 'h' })
  for (const [name, { data }] of without) t.true(largestDifference(gradients.get(name)?.data ?? [], data) < 1e-5, name)
})

test('averages by singular values are those of each of the three matrices', async (t) => {
  const model = await gpt2(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name, 'lora[r=2, alpha=3]')
    fill(model, name)
  }
  model.averageAdapter(
    'c',
    { a: 1, b: 2 },
    { combineStrategy: 'lora_delta_w_svd', svdRank: 4, normalizeWeights: false }
  )
  model.mergeAdapter('c')
  const name = 'transformer.h.0.attn.c_attn.weight'
  const both = model.parameter(name).data
  model.resetAdapter()
  const base = model.parameter(name).data
  const change = (adapter: string) => {
    model.mergeAdapter(adapter)
    const { data } = model.parameter(name)
    model.resetAdapter()
    return data.map((value, i) => value - (base[i] ?? 0))
  }
  const [a, b] = [change('a'), change('b')]
  t.true(
    largestDifference(
      both,
      base.map((value, i) => value + (a[i] ?? 0) + 2 * (b[i] ?? 0))
    ) < 1e-5
  )
})

test('what has no meaning at a merged product, or without one, is refused', async (t) => {
  const model = await gpt2(t)
  t.throws(() => model.addAdapter('a', "lora[r=1, composition_mode='scale_input']"), {
    code: 'ERR_UNSUPPORTED',
    message: /query, key and value of this model read one input.*\['qkv'\]/s
  })
  t.throws(() => model.addAdapter('a', "lora[attn_matrices=['q', 'qkv']]"), { message: /leave out 'q' beside it/ })
  using bert = await AutoModel.fromPretrained(`${fixtures}/models/bert-tiny`)
  t.throws(() => bert.addAdapter('a', "lora[attn_matrices=['qkv']]"), {
    code: 'ERR_UNSUPPORTED',
    message: /'qkv', a merged product, where query, key and value are Linears/
  })
  for (const config of ["lora[attn_matrices=['qkv'], use_gating=True]", "vera[attn_matrices=['qkv']]"]) {
    model.addAdapter('a', config, { overwriteOk: true })
    await t.throwsAsync(model.saveAdapter(scratch(t), 'a'), { message: /no attnMatrices with 'qkv'/ })
  }
  for (const config of ["lora[use_dora='peft']", 'vera']) {
    model.addAdapter('a', config, { overwriteOk: true })
    await t.throwsAsync(model.saveAdapter(scratch(t), 'a', { library: 'peft' }), { message: /\['qkv'\]/ })
  }
})

test('each library gets its own form of the same: one LoRA over three matrices, and three side by side', async (t) => {
  const model = await gpt2(t)
  const folder = scratch(t)
  for (const [config, library] of [
    ["lora[r=2, alpha=3, attn_matrices=['qkv'], intermediate_lora=True]", 'adapters'],
    ["ia3[attn_matrices=['qkv']]", 'adapters'],
    ["lora[r=2, alpha=3, attn_matrices=['q', 'v', 'o'], output_lora=True]", 'peft'],
    ["ia3[attn_matrices=['k']]", 'peft']
  ] as const) {
    model.addAdapter('a', config, { overwriteOk: true })
    fill(model, 'a')
    await model.saveAdapter(folder, 'a', { library })
    await model.loadAdapter(folder, { as: 'b', overwriteOk: true })
    t.notDeepEqual(model.adapters.get('b'), model.adapters.get('a'))
    t.true(largestDifference(await answer(model, 'b'), await answer(model, 'a')) < 1e-6, config)
  }
})
