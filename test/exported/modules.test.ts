import test from 'ava'
import { AutoModel, addAdaptersToModel, type Model } from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { scratch } from '../model/support.js'
import { distance, open } from './support.js'

const tokens = (features: number) => ['batch', 'sequence', features]

test('every module is told with what it takes and gives', async (t) => {
  const { model } = await open(t, 'llama')
  const [mlp, ...others] = model.namedModules('layers.1.mlp', { shapes: true })
  t.deepEqual(others, [])
  const both = { inputs: [tokens(16)], outputs: [tokens(16)] }
  t.deepEqual(mlp, { path: 'layers.1.mlp', type: 'LlamaMLP', replaceable: true, ...both, calls: 1 })
  const [gate] = model.namedModules('layers.0.mlp.gate_proj', { shapes: true })
  t.deepEqual([gate?.inputs, gate?.outputs], [[tokens(16)], [tokens(24)]])
  // Cosines and sines of the positions.
  const [rotary] = model.namedModules('rotary_emb', { shapes: true })
  t.is(rotary?.outputs.length, 2)
  t.false(rotary?.replaceable)
  t.deepEqual(
    model.namedModules('layers.*', { shapes: true }).map(({ path }) => path),
    model.namedModules('layers.*')
  )

  const { model: images } = await open(t, 'convolutional')
  const [stem] = images.namedModules('stem', { shapes: true })
  t.deepEqual([stem?.inputs, stem?.outputs], [[['batch', 3, 8, 8]], [['batch', 6, 3, 3]]])
  const { model: experts } = await open(t, 'mixture-of-experts')
  const [router] = experts.namedModules('layers.0.experts.router', { shapes: true })
  t.deepEqual([router?.calls, router?.outputs], [2, [tokens(4)]])
})

test('our own layers have rows one after the other', async (t) => {
  const sizes = { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 1, intermediate_size: 12, vocab_size: 9 }
  const model = await AutoModel.fromConfig({ model_type: 'bert', ...sizes })
  t.teardown(() => model.dispose())
  const [dense] = model.namedModules('bert.encoder.layer.0.output.dense', { shapes: true })
  t.deepEqual([dense?.inputs, dense?.outputs], [[['tokens', 12]], [['tokens', 8]]])
  t.throws(() => model.namedModules(undefined, { shape: true } as never), { message: /shape/ })
})

test('where it cannot be told what is meant, the error names what it could be', async (t) => {
  const { model } = await open(t, 'shared')
  const put = (pattern: string) => () => addAdaptersToModel(model, { pattern, adapterSize: 2 })
  t.throws(put('model.block'), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /calls it 2 times, from aten\.linear\.default \(node \d+, block\.0\) and aten\.linear\.default \(node \d+/
  })
  t.throws(put('model.pair'), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /several values, linear_\d+ \[batch, sequence, 8\] and linear_\d+ \[batch, sequence, 8\]/
  })
  t.throws(() => model.addAdapter('x', { architecture: 'lora', targetModules: ['first'] }), {
    message:
      /nothing can stand at 'first': its weight is read by aten\.linear\.default \(.*\) and aten\.linear\.default \(/
  })
  t.throws(put('model.pair**'), {
    message: /matches 'model\.pair' and 'model\.pair\.left' inside of it/
  })
  t.regex(model.explainPlacement().join('\n'), /names begin with 'model\.'/)
  t.is(put('model.pair.*')().paths.length, 2)
})

const rows = {
  inputIds: [
    [5, 6, 7, 8, 9],
    [3, 4, 5],
    [9, 8, 7, 6]
  ]
}

async function states(model: Model, adapters: Parameters<Model['setActiveAdapters']>[0]) {
  const { lastHiddenState } = await model.forward(rows, { adapters, head: null })
  return [...(lastHiddenState?.data ?? [])]
}

test('rows of different adapters, where the graph has tokens first and where it has both as one size', async (t) => {
  const { model } = await open(t, 'transformer-encoder')
  for (const [name, target] of [
    ['in', 'self_attn.in_proj'],
    ['out', 'self_attn.out_proj']
  ] as const) {
    model.addAdapter(name, { architecture: 'lora', targetModules: [target], initWeights: 'bert', r: 2 }, { seed: 3 })
    const own = model.namedParameters().filter((one) => one.name.includes(`.loras.${name}.`))
    t.is(own.length, 4)
    const values = own.map(({ name, shape }, i) => {
      const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => Math.sin(i + j) / 2)
      return [name, { shape, data }] as const
    })
    model.native.setParameters(new Map(values))
  }
  const alone = { in: await states(model, 'in'), out: await states(model, 'out'), none: await states(model, null) }
  const mixed = await states(model, ['in', null, 'out'] as never)
  // Three rows of five tokens of eight numbers each, the last of them padding.
  const expected = [...alone.in.slice(0, 40), ...alone.none.slice(40, 80), ...alone.out.slice(80)]
  t.true(distance(mixed, { data: Float32Array.from(expected) }) < 1e-6)
  t.true(distance(alone.in, { data: Float32Array.from(alone.none) }) > 1e-3)
  t.true(distance(alone.out, { data: Float32Array.from(alone.none) }) > 1e-3)
})

test('LoRA at several Linears of no layer, by a pattern, comes back from its folder', async (t) => {
  const { model } = await open(t, 'shared')
  model.addAdapter('x', { architecture: 'lora', targetModules: ['pair.*', 'block.0'], r: 2 })
  const own = model.namedParameters().filter(({ name }) => name.includes('.loras.x.'))
  t.deepEqual(
    own.map(({ name }) => name),
    ['block.0', 'pair.left', 'pair.right'].flatMap((path) =>
      ['lora_A', 'lora_B'].map((part) => `model.${path}.loras.x.${part}`)
    )
  )
})

test('LoRA without names takes the whole of a Linear that makes query, key and value in an order of its own', async (t) => {
  const placesOf = (model: Model) => [
    ...new Set(model.namedParameters().flatMap(({ name }) => /^(.*)\.loras\.x\./.exec(name)?.[1] ?? []))
  ]
  for (const [name, place] of [
    ['falcon', 'h.*.self_attention.query_key_value'],
    ['transformer-encoder', 'encoder.layers.*.self_attn.in_proj']
  ] as const) {
    const { model } = await open(t, name)
    const { model: named } = await open(t, name)
    const attention = [0, 1].map((layer) => place.replace('*', String(layer)))
    t.regex(
      model.explainPlacement().join(),
      new RegExp(`query, key and value in one ${attention[0]?.replace('in_proj', '')}`)
    )
    for (const preset of ['lora', 'dora', 'vera'] as const) {
      model.addAdapter('x', preset, { overwriteOk: true, seed: 1 })
      t.deepEqual(placesOf(model), attention, preset)
    }
    model.addAdapter('x', 'lora[r=2]', { overwriteOk: true, seed: 1 })
    named.addAdapter('x', { architecture: 'lora', r: 2, targetModules: [place.replace(/^.*\.\*\./, '')] }, { seed: 1 })
    t.deepEqual(placesOf(named), attention)
    const [a, b] = [await states(model, 'x'), await states(named, 'x')]
    t.deepEqual(a, b)
    // Beside it what else a config asks for, and not where it leaves layers out.
    model.addAdapter('x', 'ia3', { overwriteOk: true })
    t.is(placesOf(model).length, 4)
    model.addAdapter('x', 'lora[leave_out=[0]]', { overwriteOk: true })
    t.deepEqual(placesOf(model), attention.slice(1))
    // A part of it alone cannot be told.
    for (const config of ["lora[attn_matrices=['k']]", "lora[attn_matrices=['k','v']]", "ia3[attn_matrices=['v']]"]) {
      t.throws(() => model.addAdapter('y', config), {
        message: /attnMatrices: '\S+' makes query, key and value in an order of its own, and '.*' alone.*\['qkv'\]/
      })
    }
    model.addAdapter('x', "lora[attn_matrices=['q','k','v']]", { overwriteOk: true })
    t.deepEqual(placesOf(model), attention)
    const folder = scratch(t)
    const [first] = attention as [string]
    await t.throwsAsync(model.saveAdapter(folder, 'x'), {
      message: new RegExp(`no targetModules .*\\(${first}, …\\).*library: 'peft'`)
    })
    model.addAdapter('x', 'dora', { overwriteOk: true })
    const works = /in PEFT's form.*"lora\[use_dora='peft'\]"/
    await t.throwsAsync(model.saveAdapter(folder, 'x'), { message: works })
    await t.throwsAsync(model.saveAdapter(folder, 'x', { library: 'peft' }), { message: works })
    model.addAdapter('x', "lora[use_dora='peft']", { overwriteOk: true })
    await model.saveAdapter(folder, 'x', { library: 'peft' })
  }
})

test('LoRA without names, where no layer has its Linears, is told some that there are', async (t) => {
  const { model } = await open(t, 'mixture-of-experts')
  t.throws(() => model.addAdapter('l', 'lora[selfattn_lora=False,intermediate_lora=True]'), {
    code: 'ERR_UNSUPPORTED',
    message: /shows no Linear.*intermediate.*targetModules: \['router', /
  })
  t.notThrows(() => model.addAdapter('l', { architecture: 'lora', targetModules: ['router'] }))
  // One product of query, key and value has what a config asks of each.
  const { model: merged } = await open(t, 'modernbert')
  t.notThrows(() => merged.addAdapter('l', 'lora'))
})

test.serial('what a config asks for beside what there is is told once', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_MISSING_PLACES')
  const { model } = await open(t, 'mixture-of-experts')
  for (const name of ['i', 'j']) model.addAdapter(name, 'lora[intermediate_lora=True]')
  for (const family of ['modernbert', 'llama']) {
    const { model: other } = await open(t, family)
    other.addAdapter('l', 'lora[intermediate_lora=True,output_lora=True]')
  }
  await soon()
  t.is(warnings.length, 1, String(warnings))
  t.regex(
    warnings[0] ?? '',
    /shows no Linear at intermediate; the adapter stands at .*query, value alone.*targetModules/
  )
})

test('MTL-LoRA by names is at places of every layer, or refused with what takes the names', async (t) => {
  const { model } = await open(t, 'llama')
  model.addAdapter('m', { architecture: 'mtl_lora', targetModules: ['q_proj', 'v_proj'] })
  t.like(model.adapters.get('m'), { attnMatrices: ['q', 'v'], targetModules: null })
  t.throws(() => model.addAdapter('n', { architecture: 'mtl_lora', targetModules: ['layers.0.self_attn.q_proj'] }), {
    message: /targetModules: MTL-LoRA takes the same Linears in every layer.*others are LoRA's: architecture: 'lora'/
  })
  const { model: encoder } = await open(t, 'transformer-encoder')
  t.throws(() => encoder.addAdapter('m', 'mtl_lora'), {
    message: /shows no Linear.*Name some of them, for LoRA: \{ architecture: 'lora', targetModules: \['in_proj'/
  })
})

test("modules are the network's own, and what surgery put there, with sizes as Python would write them", async (t) => {
  const { model } = await open(t, 'llama')
  const before = model.namedModules()
  t.false(before.some((path) => /loras|adapters|prefix|reft|heads/.test(path)))
  t.is(model.namedModules('layers', { shapes: true })[0]?.type, 'ModuleList')
  model.addAdapter('x', 'double_seq_bn|lora|loreft|prefix_tuning_flat')
  model.addClassificationHead('x', { numLabels: 2 })
  t.deepEqual(model.namedModules(), before)
  const done = addAdaptersToModel(model, { pattern: 'layers.1.mlp', adapterSize: 2 })
  const added = model.namedModules().filter((path) => !before.includes(path))
  t.deepEqual(
    added,
    [
      ...[
        '0',
        '0.gate_proj',
        '0.up_proj',
        '0.down_proj',
        '0.act_fn',
        '1',
        '1.down_project',
        '1.activation',
        '1.up_project'
      ]
    ].map((path) => `layers.1.mlp.${path}`)
  )
  done.undo()
  t.deepEqual(model.namedModules(), before)

  const { model: sounds } = await open(t, 'wav2vec2')
  const [first] = sounds.namedModules('feature_extractor.conv_layers.0.conv', { shapes: true })
  t.deepEqual(first?.outputs, [['batch', 6, '(sequence - 6) // 4 + 1']])
  const [block] = sounds.namedModules('encoder.layers.0', { shapes: true })
  t.deepEqual(block?.outputs, [['batch', 'tokens', 8]])
  const [padded] = sounds.namedModules('encoder.pos_conv_embed.conv', { shapes: true })
  t.deepEqual(padded?.outputs, [['batch', 8, '((sequence - 6) // 4 - 1) // 2 + 2']])
})

test('a network with a module called heads: what namedModules lists is what placement and targetModules take', async (t) => {
  const { group, model } = await open(t, 'shared')
  t.deepEqual(model.namedModules('model.heads'), ['model.heads'])
  model.addAdapter('x', { architecture: 'lora', targetModules: ['model.heads'] })
  t.true(model.namedParameters().some(({ name }) => name.startsWith('model.heads.loras.x.')))
  const placement = { attention: null, feedForward: 'model.heads' }
  using placed = await AutoModel.fromExported(group.archive, { placement })
  t.regex(placed.explainPlacement().join(), /model\.heads/)
})

test('a module without a place for another says what it takes and gives; one around others names those', async (t) => {
  const { model } = await open(t, 'llama')
  const replace = (one: Model, path: string) => () => one.replaceModule(path, (module) => module)
  t.throws(replace(model, 'embed_tokens'), {
    code: 'ERR_INVALID_ARGUMENT',
    message:
      /^replaceModule 'embed_tokens': 'embed_tokens' \(Embedding\) has no place for another module: it takes \[batch, sequence\] and gives \[batch, sequence, 16\] \(expected a module that takes and gives a value for each token/
  })
  t.throws(replace(model, 'layers'), {
    message: /'layers' \(ModuleList\) does not map tokens.*expected one of 'layers\.0'/
  })
  const { model: images } = await open(t, 'convolutional')
  t.throws(replace(images, 'stem'), { message: /it takes \[batch, 3, 8, 8\] and gives \[batch, 6, 3, 3\]/ })
})
