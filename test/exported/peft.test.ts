import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterConfig } from '../../lib/config/adapter-config.js'
import { peftHeadPlan, peftJson } from '../../lib/exchange/peft-write.js'
import { type Model, Stack, type Tensor } from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { readTensors, writeTensors } from '../model/safetensors-file.js'
import { scratch } from '../model/support.js'
import { distance, open } from './support.js'

test('LoRA on a network that nobody wrote here is a PEFT folder under its own names, and comes back', async (t) => {
  const { model } = await open(t, 'llama')
  model.addAdapter('x', {
    architecture: 'lora',
    targetModules: ['q_proj', 'v_proj', 'gate_proj', 'up_proj'],
    r: 2,
    alpha: 4
  })
  const own = model.namedParameters().filter(({ name }) => name.includes('.loras.x.'))
  t.is(own.length, 2 * 2 * 4)
  model.native.setParameters(
    new Map(
      own.map(({ name, shape }, i) => [
        name,
        { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => Math.sin(i + j) / 4) }
      ])
    )
  )
  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
  const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
  t.deepEqual([...json.target_modules].sort(), ['gate_proj', 'q_proj', 'up_proj', 'v_proj'])
  t.is(json.fan_in_fan_out, false)
  const bytes = readFileSync(join(folder, 'adapter_model.safetensors'))
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0))))
  t.true('base_model.model.layers.1.mlp.gate_proj.lora_A.weight' in header)

  const { model: other } = await open(t, 'llama')
  await other.loadAdapter(folder, { as: 'y' })
  const rows = {
    inputIds: [
      [5, 6, 7, 8],
      [3, 4]
    ]
  }
  const [theirs, ours] = await Promise.all([
    other.forward(rows, { adapters: 'y', head: null }),
    model.forward(rows, { adapters: 'x', head: null })
  ])
  t.deepEqual(theirs.lastHiddenState, ours.lastHiddenState)
  t.notDeepEqual((await model.forward(rows, { adapters: null, head: null })).lastHiddenState, ours.lastHiddenState)
})

test('an (IA)³ of PEFT scales outputs at some Linears and inputs at others', async (t) => {
  const { model } = await open(t, 'llama')
  const ia3 = { architecture: 'lora', r: 1, alpha: 1, init_weights: 'ia3' } as const
  model.addAdapter('x', {
    architecture: 'union',
    configs: [
      { ...ia3, target_modules: ['k_proj', 'v_proj'], composition_mode: 'scale' },
      { ...ia3, target_modules: ['down_proj'], composition_mode: 'scale_input' }
    ]
  })
  const own = model.namedParameters().filter(({ name }) => name.includes('.loras.x.'))
  t.is(own.length, 2 * 3)
  const values = own.map(({ name, shape }, i) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => 1 + Math.sin(i + j) / 4)
    return [name, { shape, data }] as const
  })
  model.native.setParameters(new Map(values))
  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
  const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
  const ends = (names: readonly string[]) => [...new Set(names.map((name) => name.split('.').at(-1)))].sort()
  t.deepEqual(ends(json.target_modules), ['down_proj', 'k_proj', 'v_proj'])
  t.deepEqual(ends(json.feedforward_modules), ['down_proj'])

  const { model: other } = await open(t, 'llama')
  await other.loadAdapter(folder, { as: 'y' })
  const rows = { inputIds: [[5, 6, 7, 8], [3]] }
  const [theirs, ours] = await Promise.all([
    other.forward(rows, { adapters: 'y', head: null }),
    model.forward(rows, { adapters: 'x', head: null })
  ])
  t.deepEqual(theirs.lastHiddenState, ours.lastHiddenState)
  t.notDeepEqual((await model.forward(rows, { adapters: null, head: null })).lastHiddenState, ours.lastHiddenState)
})

test('VeRA at a merged Linear goes to a PEFT folder and back', async (t) => {
  const { model } = await open(t, 'falcon')
  const { model: other } = await open(t, 'falcon')
  model.addAdapter('v', 'vera')
  for (const { name } of model.namedParameters().filter(({ name }) => /loras\.v\.vera_[BD]$/.test(name))) {
    const { data, shape } = model.parameter(name)
    model.loadStateDict({
      [name]: { data: Float32Array.from(data, (value, i) => value + 0.1 * Math.sin(i + 1)), shape }
    })
  }
  const folder = scratch(t)
  await model.saveAdapter(folder, 'v', { library: 'peft' })
  await other.loadAdapter(folder, { as: 'v' })
  const answer = async (of: Model, adapters: string | null) => {
    const { lastHiddenState } = await of.forward({ inputIds: [[1, 2, 3], [4]] }, { adapters, head: null })
    return lastHiddenState as Tensor
  }
  const learned = await answer(model, 'v')
  t.true(distance(learned.data, await answer(model, null)) > 1e-3)
  t.is(distance(learned.data, await answer(other, 'v')), 0)
})

const filled = (model: Model, part: string) =>
  model.loadStateDict(
    new Map(
      model
        .namedParameters()
        .filter(({ name }) => name.includes(part))
        .map(({ name, shape }, i) => [
          name,
          { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => Math.sin(i + j) / 4) }
        ])
    )
  )

test("a head on an exported decoder is its class's: score for labels, lm_head for words", async (t) => {
  const heads = {
    SEQ_CLS: (model: Model) => model.addClassificationHead('x', { numLabels: 3, layers: 1, bias: false }),
    TOKEN_CLS: (model: Model) => model.addTaggingHead('x', { numLabels: 3 }),
    CAUSAL_LM: (model: Model) => model.addCausalLmHead('x', { layers: 1, bias: false, tied: false })
  }
  const rows = { inputIds: [[5, 6, 7, 8], [3]] }
  for (const [task, add] of Object.entries(heads)) {
    const { model } = await open(t, 'llama')
    model.addAdapter('x', { architecture: 'lora', targetModules: ['q_proj', 'down_proj'], r: 2 })
    add(model)
    filled(model, '.x.')
    const folder = scratch(t)
    await model.saveAdapter(folder, 'x', { library: 'peft' })
    const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    t.is(json.task_type, task)
    t.deepEqual(json.modules_to_save, [task === 'CAUSAL_LM' ? 'lm_head' : 'score'])
    const { model: other } = await open(t, 'llama')
    await other.loadAdapter(folder, { as: 'y' })
    const [theirs, ours] = await Promise.all([
      other.forward(rows, { adapters: 'y' }),
      model.forward(rows, { adapters: 'x' })
    ])
    t.truthy(ours.logits, task)
    t.deepEqual(theirs.logits, ours.logits, task)
    if (task === 'CAUSAL_LM') continue
    // PEFT stores the classifier for these tasks, also where modules_to_save does not name it.
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...json, modules_to_save: null }))
    await other.loadAdapter(folder, { as: 'z' })
    t.deepEqual((await other.forward(rows, { adapters: 'z' })).logits, ours.logits, task)
  }
})

test('a folder of an adapter alone names the class that was exported, and a class of another family is refused', async (t) => {
  const { model } = await open(t, 'llama')
  model.addAdapter('x', 'lora')
  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { library: 'peft' })
  const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
  t.is(json.task_type, 'FEATURE_EXTRACTION')
  t.deepEqual(json.auto_mapping, {
    base_model_class: 'LlamaModel',
    parent_library: 'transformers.models.llama.modeling_llama'
  })
  const { model: mistral } = await open(t, 'mistral')
  await t.throwsAsync(mistral.loadAdapter(folder), { code: 'ERR_WRONG_MODEL', message: /base_model_class LlamaModel/ })
})

test('no task is named where its class in PEFT gives the network what it does not take', async (t) => {
  const { model } = await open(t, 'clip-text')
  model.addAdapter('x', 'lora')
  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { library: 'peft' })
  const { task_type, auto_mapping } = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
  t.deepEqual([task_type, auto_mapping.base_model_class], [null, 'CLIPTextModel'])
  t.is(await model.loadAdapter(folder, { as: 'again' }), 'again')
})

test("a head that is no class's, and adapters at a head that the network has not, are refused by name", async (t) => {
  const { model } = await open(t, 'llama')
  model.addAdapter('x', 'lora')
  model.addClassificationHead('x', { numLabels: 3, layers: 2 })
  const folder = scratch(t)
  await t.throwsAsync(model.saveAdapter(folder, 'x', { library: 'peft' }), {
    code: 'ERR_UNSUPPORTED',
    message: /LlamaForSequenceClassification has no head like 'x'/
  })
  await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
  const file = join(folder, 'adapter_model.safetensors')
  const bytes = readFileSync(file)
  const end = 8 + Number(bytes.readBigUInt64LE(0))
  const header = bytes.toString('utf8', 8, end).replaceAll('layers.0.self_attn.q_proj', 'lm_head')
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)))
  writeFileSync(file, Buffer.concat([length, Buffer.from(header), bytes.subarray(end)]))
  await t.throwsAsync(model.loadAdapter(folder, { as: 'y' }), {
    code: 'ERR_UNSUPPORTED',
    message: /adapter at lm_head.*export the class that has the head/s
  })
})

test.serial('a weight that is no module in PyTorch is written for PEFT with one warning, and comes back', async (t) => {
  const { model } = await open(t, 'transformer-encoder')
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_FAILS_IN_PYTHON')
  const folder = scratch(t)
  for (const [name, useDora] of [
    ['lora', false],
    ['dora', 'peft']
  ] as const) {
    model.addAdapter(name, { architecture: 'lora', targetModules: ['self_attn.in_proj'], r: 2, useDora })
    const save = () => model.saveAdapter(join(folder, name), name, { library: 'peft', withHead: false })
    await save()
    await save()
    await soon()
    // PEFT has LoRA at the whole attention, and no DoRA there.
    t.is(warnings.length, name === 'dora' ? 1 : 0)
    t.is(await model.loadAdapter(join(folder, name), { as: `${name} again`, withHead: false }), `${name} again`)
  }
  t.regex(warnings[0] ?? '', /'encoder\.layers\.0\.self_attn\.in_proj' is a weight of a larger module in PyTorch/)
})

test('PEFT has one adapter at an nn.MultiheadAttention, which is one at in_proj and one at out_proj, added twice', async (t) => {
  const { model } = await open(t, 'transformer-encoder')
  const folder = scratch(t)
  const attention = 'encoder.layers.0.self_attn'
  const values = (rows: number, columns: number, seed: number) => ({
    shape: [rows, columns],
    data: Float32Array.from({ length: rows * columns }, (_, i) => Math.sin(seed + i) / 4)
  })
  const h = model.config.hiddenSize
  const factors = {
    [`${attention}.lora_A`]: values(2, h, 1),
    [`${attention}.lora_B`]: values(3 * h, 2, 2),
    [`${attention}.base_layer.out_proj.lora_A`]: values(2, h, 3),
    [`${attention}.base_layer.out_proj.lora_B`]: values(h, 2, 4)
  }
  const tensors = Object.entries(factors).map(([name, { shape, data }]) => {
    const bytes = Buffer.from(data.buffer)
    return [`base_model.model.${name}.weight`, { dtype: 'F32', shape, bytes }] as const
  })
  writeTensors(join(folder, 'adapter_model.safetensors'), new Map(tensors))
  const json = { peft_type: 'LORA', r: 2, lora_alpha: 6, target_modules: [attention], lora_dropout: 0, bias: 'none' }
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(json))
  await model.loadAdapter(folder, { as: 'theirs' })

  const at = (name: string, alpha: number) => {
    model.addAdapter(name, { architecture: 'lora', targetModules: [`${attention}.${name}`], r: 2, alpha })
    const [a, b] = name === 'in_proj' ? [1, 2] : [3, 4]
    const own = [
      [`${attention}.${name}.loras.${name}.lora_A`, values(2, h, a)],
      [`${attention}.${name}.loras.${name}.lora_B`, values(name === 'in_proj' ? 3 * h : h, 2, b)]
    ] as const
    model.native.setParameters(new Map(own))
  }
  at('in_proj', 6)
  at('out_proj', 12)
  const states = async (adapters: Parameters<Model['setActiveAdapters']>[0]) =>
    (await model.forward({ inputIds: [[5, 6, 7]] }, { adapters, head: null })).lastHiddenState?.data ?? []
  const theirs = await states('theirs')
  t.true(distance(theirs, { data: Float32Array.from(await states(Stack('in_proj', 'out_proj'))) }) < 1e-6)
  t.true(distance(theirs, { data: Float32Array.from(await states('in_proj')) }) > 1e-3)
})

/** Some to every factor of a LoRA. */
function giveValues(model: Model, name: string) {
  const own = model.namedParameters().filter((one) => one.name.includes(`.loras.${name}.`))
  const values = own.map(({ name, shape }, i) => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => Math.sin(i + j) / 4)
    return [name, { shape, data }] as const
  })
  model.native.setParameters(new Map(values))
}

test('LoRA at one or both Linears of an nn.MultiheadAttention is written as the one that PEFT has there', async (t) => {
  const { model } = await open(t, 'transformer-encoder')
  const start = 'base_model.model.encoder.layers.0.self_attn'
  const states = async (adapters: string) =>
    (await model.forward({ inputIds: [[5, 6, 7]] }, { adapters, head: null })).lastHiddenState?.data ?? []
  for (const [name, targetModules] of [
    ['in', ['layers.*.self_attn.in_proj']],
    ['out', ['layers.*.self_attn.out_proj', 'linear1']],
    ['both', ['layers.*.self_attn.in_proj', 'layers.*.self_attn.out_proj']]
  ] as const) {
    const paths = targetModules.map((one) => `encoder.${one}`.replace('encoder.linear1', 'linear1'))
    model.addAdapter(name, { architecture: 'lora', targetModules: paths, r: 2, alpha: 6 })
    giveValues(model, name)
    const folder = scratch(t)
    await model.saveAdapter(folder, name, { library: 'peft', withHead: false })
    const { target_modules: targets } = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    t.deepEqual([...targets].sort(), name === 'out' ? ['linear1', 'self_attn'] : ['self_attn'])
    const tensors = readTensors(join(folder, 'adapter_model.safetensors'))
    t.deepEqual(tensors.get(`${start}.lora_B.weight`)?.shape, [3 * model.config.hiddenSize, 2])
    t.true(tensors.has(`${start}.base_layer.out_proj.lora_A.weight`))
    const before = await states(name)
    await model.loadAdapter(folder, { as: `${name} again` })
    t.true(distance(before, { data: Float32Array.from(await states(`${name} again`)) }) < 1e-6)
  }
})

test('LoRA of other ranks and scales at the two Linears of an nn.MultiheadAttention is one of the greater rank', async (t) => {
  const { model } = await open(t, 'transformer-encoder')
  const start = 'base_model.model.encoder.layers.0.self_attn'
  const h = model.config.hiddenSize
  const cases = [
    ['less-out', { r: 3, alpha: 6 }, { r: 2, alpha: 5 }],
    ['less-in', { r: 1, alpha: 6 }, { r: 4, alpha: 5 }],
    ['stabilised', { r: 2, alpha: 6, useRslora: true }, { r: 3, alpha: 5 }]
  ] as const
  for (const [name, ofInput, ofOutput] of cases) {
    const lora = { architecture: 'lora' } as const
    const configs = [
      { ...lora, ...ofInput, targetModules: ['encoder.layers.*.self_attn.in_proj'] },
      { ...lora, ...ofOutput, targetModules: ['encoder.layers.*.self_attn.out_proj'] }
    ]
    model.addAdapter(name, { architecture: 'union', configs })
    giveValues(model, name)
    const folder = scratch(t)
    await model.saveAdapter(folder, name, { library: 'peft', withHead: false })
    const {
      r,
      rank_pattern: ranks,
      target_modules
    } = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    const rank = Math.max(ofInput.r, ofOutput.r)
    t.deepEqual(target_modules, ['self_attn'])
    // PEFT takes a pattern's rank where there is one.
    for (const layer of [0, 1]) t.is(ranks[`encoder.layers.${layer}.self_attn`] ?? r, rank)
    const tensors = readTensors(join(folder, 'adapter_model.safetensors'))
    t.deepEqual(tensors.get(`${start}.lora_A.weight`)?.shape, [rank, h])
    t.deepEqual(tensors.get(`${start}.lora_B.weight`)?.shape, [3 * h, rank])
    t.deepEqual(tensors.get(`${start}.base_layer.out_proj.lora_A.weight`)?.shape, [rank, h])
    t.deepEqual(tensors.get(`${start}.base_layer.out_proj.lora_B.weight`)?.shape, [h, rank])
    const states = async (adapters: string) =>
      (await model.forward({ inputIds: [[5, 6, 7]] }, { adapters, head: null })).lastHiddenState?.data ?? []
    const before = await states(name)
    await model.loadAdapter(folder, { as: `${name} again` })
    t.true(distance(before, { data: Float32Array.from(await states(`${name} again`)) }) < 1e-6, name)
  }
})

test("a head for rows goes to PEFT as that of a decoder's class which transformers has, and as no other", async (t) => {
  const { model } = await open(t, 'llama')
  model.addClassificationHead('x', { numLabels: 2, layers: 1, bias: false })
  const head = model.heads.get('x')
  const { exported } = model.config
  if (head === undefined || exported === null) return void t.fail()
  const planOf = (own: object) => peftHeadPlan('x', head, { ...model.config, exported: { ...exported, ...own } })
  t.is(planOf({}).modelClass, 'LlamaForSequenceClassification')
  t.throws(() => planOf({ className: 'XGLMModel' }), {
    code: 'ERR_UNSUPPORTED',
    message: /a class of transformers, which has no XGLMForSequenceClassification for 'x'.*withHead: false/s
  })
  t.throws(() => planOf({ ofHuggingFace: false, className: 'LlamaModel' }), {
    code: 'ERR_UNSUPPORTED',
    message: /a class of transformers, which LlamaModel has none of for 'x'/
  })
})

test('target_modules name the Linears that have LoRA, and nothing else of the network', async (t) => {
  for (const network of ['llama', 'mixture-of-experts', 'transformer-encoder', 't5']) {
    const { model } = await open(t, network)
    model.addAdapter('x', { architecture: 'lora', targetModules: 'all-linear', r: 1 })
    const folder = scratch(t)
    await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
    const { target_modules: targets } = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    const places = model
      .namedParameters()
      .flatMap(({ name }) => (name.endsWith('.loras.x.lora_A') ? [name.slice(0, -'.loras.x.lora_A'.length)] : []))
      // One of PEFT's at the whole attention.
      .map((path) => (network === 'transformer-encoder' ? path.replace(/\.(in|out)_proj$/, '') : path))
    const own = model.namedModules().filter((name) => !/\.loras(\.|$)/.test(name))
    const named = (names: readonly string[]) =>
      own.filter((name) => names.some((end) => name === end || name.endsWith(`.${end}`)))
    // A weight that is no module is in no list of modules.
    t.deepEqual(
      named(targets),
      own.filter((name) => places.includes(name)),
      network
    )
    t.true(named(targets).length > 0, network)
  }
  // Other modules of the same end, a Dropout or a whole block, are told apart by longer names.
  const { model } = await open(t, 'llama')
  const config = AdapterConfig.load({ architecture: 'lora', targetModules: ['q_proj', 'up_proj'], r: 1 })
  model.addAdapter('x', config)
  const others = [...model.namedModules(), 'drop.q_proj', 'up_proj']
  const json = JSON.parse(peftJson(model.adapters.get('x') ?? config, model.config, null, [], others))
  t.deepEqual([...json.target_modules].sort(), ['mlp.up_proj', 'self_attn.q_proj'])
})
