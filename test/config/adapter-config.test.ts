import { mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  AdapterConfig,
  adapterConfigFromObject,
  adapterFloatKeys,
  ConfigUnion
} from '../../lib/config/adapter-config.js'
import type { BottleneckConfig } from '../../lib/config/bottleneck-config.js'
import { adapterConfigHash } from '../../lib/config/config-hash.js'
import { OutputAdapterConfig } from '../../lib/config/output-adapter-config.js'
import { adapterPresets, presetNames } from '../../lib/config/presets.js'
import { pythonJson } from '../../lib/config/python-json.js'
import { countAdapterParameters } from '../../lib/config/size.js'

interface Reference {
  readonly text: string
  readonly hash: string
  readonly parameters: {
    readonly hidden_size: number
    readonly num_hidden_layers: number
    readonly count: number | null
  }
}

// From fixtures/make_adapter_configs.py.
const references = JSON.parse(readFileSync('test/config/fixtures/adapter-configs.json', 'utf8')) as Record<
  string,
  Reference
>

function bottleneck(...args: Parameters<typeof AdapterConfig.load>): BottleneckConfig {
  const config = AdapterConfig.load(...args)
  if (config.method !== 'bottleneck') throw new Error('a bottleneck config was expected')
  return config
}

for (const [name, reference] of Object.entries(references)) {
  test(`as in Python: ${name}`, (t) => {
    const config = AdapterConfig.load(name)
    t.is(pythonJson(config.toJSON(), { indent: 2, floatKeys: adapterFloatKeys }), reference.text)
    t.is(adapterConfigHash(config), reference.hash)
    const { hidden_size: hiddenSize, num_hidden_layers: numHiddenLayers, count } = reference.parameters
    if (count === null) return
    t.is(countAdapterParameters(config, { hiddenSize, numHiddenLayers, intermediateSize: 8 }), count)
  })
}

test('parameter counts on BERT-base, as adapter_summary prints them', (t) => {
  const shape = { hiddenSize: 768, numHiddenLayers: 12, intermediateSize: 3072 }
  t.is(countAdapterParameters(AdapterConfig.load('seq_bn'), shape), 894_528)
  t.is(countAdapterParameters(AdapterConfig.load('double_seq_bn'), shape), 1_789_056)
  t.is(countAdapterParameters(AdapterConfig.load('par_bn'), shape), 7_091_712)
  t.is(countAdapterParameters(AdapterConfig.load('scaled_par_bn'), shape), 7_091_724)
  t.is(countAdapterParameters(AdapterConfig.load('seq_bn_inv'), shape), 1_190_592)
  t.is(countAdapterParameters(AdapterConfig.load('compacter'), shape), 57_088)
  t.is(countAdapterParameters(AdapterConfig.load('compacter++'), shape), 28_576)
  t.is(countAdapterParameters(AdapterConfig.load('lora'), shape), 294_912)
  t.is(countAdapterParameters(AdapterConfig.load('ia3'), shape), 55_296)
  t.is(countAdapterParameters(AdapterConfig.load('dora'), shape), 313_344)
  t.is(countAdapterParameters(AdapterConfig.load('mtl_lora'), shape), 295_128)
})

test('the places by their plain names', (t) => {
  t.is(AdapterConfig.load('after_ffn'), adapterPresets.seq_bn)
  t.is(AdapterConfig.load('both'), adapterPresets.double_seq_bn)
  const attention = bottleneck('after_attention')
  t.true(attention.mhAdapter)
  t.false(attention.outputAdapter)
  t.true(bottleneck('parallel').isParallel)
})

test('overrides replace fields; undefined leaves them; the preset stays as it is', (t) => {
  const config = bottleneck('pfeiffer', { reductionFactor: 8, nonLinearity: 'gelu', dropout: undefined })
  t.is(config.reductionFactor, 8)
  t.is(config.nonLinearity, 'gelu')
  t.is(config.dropout, 0)
  t.is(adapterPresets.pfeiffer.reductionFactor, 16)
})

test('an object in snake_case or camelCase gives the same config', (t) => {
  const snake = AdapterConfig.load(JSON.parse(JSON.stringify(adapterPresets.adapter_plus)))
  const { method: _, ...fields } = { ...adapterPresets.adapter_plus }
  t.deepEqual(snake, adapterPresets.adapter_plus)
  t.deepEqual(AdapterConfig.load(fields), adapterPresets.adapter_plus)
  t.is(AdapterConfig.load(adapterPresets.par_bn), adapterPresets.par_bn)
})

test('a file holds the config alone or under "config"', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'adapter-config-'))
  const file = join(folder, 'seq_bn.json')
  writeFileSync(file, JSON.stringify(adapterPresets.seq_bn))
  t.deepEqual(AdapterConfig.load(file), adapterPresets.seq_bn)
  writeFileSync(file, JSON.stringify({ name: 'a', config: adapterPresets.par_bn }))
  t.is(bottleneck(file, { scaling: 2 }).scaling, 2)
  writeFileSync(
    file,
    JSON.stringify({ mh_adapter: true, output_adapter: true, reduction_factor: 0, non_linearity: 'relu' })
  )
  t.throws(() => AdapterConfig.load(file), { code: 'ERR_INVALID_FILE', message: /seq_bn\.json: reduction_factor/ })
  renameSync(file, join(folder, 'adapter_config.json'))
  t.throws(() => AdapterConfig.load(folder), {
    code: 'ERR_FILE',
    message: /is a folder.*adapter_config\.json.*loadAdapter/s
  })
  t.throws(() => AdapterConfig.load(join(folder, 'none.json')), { code: 'ERR_FILE_NOT_FOUND', message: /none\.json/ })
})

test("null is Python's None: false where a field says yes or no", (t) => {
  const config = AdapterConfig.load('seq_bn', { original_ln_after: null, residual_before_ln: null } as object)
  t.like(config, { originalLnAfter: false, residualBeforeLn: false, reductionFactor: 16 })
  t.like(AdapterConfig.load('seq_bn[original_ln_after=None]'), { originalLnAfter: false })
  t.like(AdapterConfig.load('lora', { selfattn_lora: null, output_lora: true } as object), { selfattnLora: false })
})

test('configs are frozen', (t) => {
  const config = bottleneck('seq_bn[leave_out=[1]]')
  t.throws(() => Object.assign(config, { dropout: 1 }), { instanceOf: TypeError })
  t.true(Object.isFrozen(config.leaveOut))
  const map = bottleneck('seq_bn', { reductionFactor: { '0': 2, default: 4 } })
  t.true(Object.isFrozen(map.reductionFactor))
})

test('scaling takes an integer', (t) => {
  t.is(bottleneck('seq_bn[scaling=4]').scaling, 4)
  t.regex(pythonJson(bottleneck('seq_bn[scaling=4]').toJSON(), { floatKeys: adapterFloatKeys }), /"scaling": 4\.0/)
})

test('wrong fields name themselves, the expected value and the nearest spelling', (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => AdapterConfig.load('seq_bn[invalid_key=2]'), /unknown field 'invalid_key'\. It has: .*reduction_factor/],
    [() => AdapterConfig.load(5 as never), /adapter config: expected a preset's name, .* got 5/],
    [() => AdapterConfig.load('seq_bn[reduction_facto=2]'), /Did you mean 'reduction_factor'\?/],
    [() => AdapterConfig.load('seq_bm'), /unknown name 'seq_bm'. Did you mean 'seq_bn'\?/],
    [() => AdapterConfig.load('seq_bn|houlsbi[dropout=0.1]'), /unknown name 'houlsbi' at position 8 .*'houlsby'/],
    [() => AdapterConfig.load('seq_bn', { reductionFactor: 0 }), /reductionFactor: expected a number above 0, got 0/],
    [() => AdapterConfig.load('seq_bn[reduction_factor={}]'), /the map of layers is empty/],
    [() => AdapterConfig.load("seq_bn[reduction_factor={'first': 2}]"), /layer numbers and 'default' as keys/],
    [() => AdapterConfig.load("seq_bn[non_linearity='rellu']"), /got 'rellu'. Did you mean 'relu'\?/],
    [() => AdapterConfig.load("seq_bn[scaling='channels']"), /Did you mean 'channel'\?/],
    [
      () => AdapterConfig.load("seq_bn[residual_before_ln='before']"),
      /expected true, false or 'post_add', got 'before'/
    ],
    [() => AdapterConfig.load('seq_bn[leave_out=[-1]]'), /leave_out\[0\]: expected an integer from 0/],
    [() => AdapterConfig.load('seq_bn[stochastic_depth=1]'), /below 1/],
    [() => AdapterConfig.load('seq_bn[output_adapter=False]'), /mhAdapter or outputAdapter must be true/],
    [
      () => AdapterConfig.load({ mh_adapter: true } as never),
      /outputAdapter, reductionFactor, nonLinearity must be given/
    ],
    [
      () => AdapterConfig.load({ ...adapterPresets.seq_bn.toJSON(), mhAdapter: true } as never),
      /given in two spellings/
    ],
    [() => AdapterConfig.load(''), /a name, a file or a shorthand/],
    [() => AdapterConfig.load({ architecture: 'bottelneck' } as never), /unknown architecture/]
  ]
  for (const [load, message] of cases) t.throws(load, { message })
  const error = t.throws(() => AdapterConfig.load(3 as never))
  t.true(error instanceof TypeError)
})

test('PHM layers divide what they multiply, and share one W only where there is one size', (t) => {
  const shape = { hiddenSize: 32, numHiddenLayers: 2 }
  t.throws(() => countAdapterParameters(AdapterConfig.load('compacter'), shape), {
    message: /phmDim: must divide the hidden size and the bottleneck, got 4 for 32 and 1/
  })
  const sizes = "compacter[shared_W_phm=True, reduction_factor={'0': 4, 'default': 8}]"
  t.throws(() => countAdapterParameters(AdapterConfig.load(sizes), shape), { message: /one size, got 8, 4/ })
  t.throws(() => AdapterConfig.load("compacter[hypercomplex_nonlinearity='relu']"), { message: /'glorot-uniform'/ })
  t.throws(() => AdapterConfig.load("compacter[phm_c_init='zeros']"), { message: /'normal', 'uniform'/ })
  t.throws(() => AdapterConfig.load('compacter[phm_rank=0]'), { message: /phm_rank/ })
})

test('a map without a value for a layer says which layer', (t) => {
  const config = AdapterConfig.load("seq_bn[reduction_factor={'0': 2}]")
  t.throws(() => countAdapterParameters(config, { hiddenSize: 8, numHiddenLayers: 2 }), {
    message: /no value for layer 1 and no 'default'; given: 0/
  })
})

test('a config of another library is refused by name', (t) => {
  t.throws(() => AdapterConfig.load({ peft_type: 'LORA', r: 8 } as never), {
    code: 'ERR_UNSUPPORTED',
    message: /PEFT.*loadAdapter.*architecture: 'lora', r: 8/
  })
  for (const fields of [
    { r: 4, lora_alpha: 8, target_modules: ['query'] },
    { r: 4, loraAlpha: 8, targetModules: ['query'] },
    { architecture: 'lora', r: 4, lora_alpha: 8, target_modules: ['query'] }
  ]) {
    t.throws(() => AdapterConfig.load(fields as never), {
      message: /PEFT's config: lora_?alpha is alpha.*Here it is \{ architecture: 'lora', r: 8/i
    })
  }
})

test('fields without their architecture say which one is missing', (t) => {
  const cases: [object, RegExp][] = [
    [{ r: 8, alpha: 16 }, /r, alpha: no field of a bottleneck.*write architecture: 'lora' beside them/],
    [{ architecture: 'seq_bn', leaveOut: [0] }, /'seq_bn'\. 'seq_bn' is a preset: AdapterConfig\.load\('seq_bn', /],
    [{ method: 'zzz' }, /unknown architecture 'zzz'\. Known: bottleneck, lora/],
    [{ method: 'dora' }, /unknown architecture 'dora'\. Write \{ architecture: 'lora', useDora: true \}/],
    [{ method: 'lora', architecture: 'reft' }, /expected one method, got architecture 'reft' and method 'lora'/],
    [{ prefix_length: 4 }, /write architecture: 'prefix_tuning' beside it/],
    [{ r: 8, alfa: 16 }, /unknown field 'r'/]
  ]
  for (const [fields, message] of cases) t.throws(() => AdapterConfig.load(fields as never), { message })
  t.deepEqual(
    AdapterConfig.load({ architecture: 'lora', r: 8, alpha: 16 } as never),
    AdapterConfig.load('lora[r=8, alpha=16]')
  )
})

test('a copy of a config with other fields is that config with them', (t) => {
  for (const [name, changes] of [
    ['pfeiffer', { reductionFactor: 8 }],
    ['lora', { r: 4 }],
    ['mtl_lora', { r: 4 }],
    ['prefix_tuning', { prefixLength: 4 }],
    ['prompt_tuning', { promptLength: 4 }],
    ['loreft', { r: 2 }]
  ] as const) {
    const config = AdapterConfig.load(name)
    t.deepEqual(AdapterConfig.load({ ...config, ...changes } as never), AdapterConfig.load(config, changes as never))
  }
  const output = new OutputAdapterConfig({ adapterSize: 8 })
  t.deepEqual(AdapterConfig.load({ ...output, adapterSize: 4 } as never), output.replace({ adapterSize: 4 }))
  const union = AdapterConfig.load('lora|seq_bn')
  t.deepEqual(AdapterConfig.load({ ...union } as never), union)
  t.deepEqual(new ConfigUnion({ ...AdapterConfig.load('lora') } as never, AdapterConfig.load('seq_bn')), union)
  t.throws(() => new ConfigUnion({ method: 'lora', rank: 3 } as never), { message: /'rank' is called 'r' here/ })
})

test('null is no number, and nothing of what has no default', (t) => {
  for (const field of ['scaling', 'dropout', 'phm_dim', 'phm_rank', 'stochastic_depth', 'reduction_factor']) {
    const written = { ...adapterPresets.seq_bn.toJSON(), [field]: null }
    t.throws(() => AdapterConfig.load(written as never), { instanceOf: TypeError, message: new RegExp(field) })
  }
  const written = { ...adapterPresets.seq_bn.toJSON(), leave_out: null, init_weights: null, ln_before: null }
  t.deepEqual(AdapterConfig.load(written as never), adapterPresets.seq_bn)
})

test('old folders: the invertible pair and the fields that were never read', (t) => {
  const old = { ...adapterPresets.seq_bn.toJSON(), attention_type: 'sent-lvl', new_attention_norm: false }
  t.deepEqual(adapterConfigFromObject({ ...old, invertible_adapter: null }), adapterPresets.seq_bn)
  const invertible = { block_type: 'nice', non_linearity: 'relu', reduction_factor: 2 }
  t.deepEqual(adapterConfigFromObject({ ...old, invertible_adapter: invertible }), adapterPresets.seq_bn_inv)
})

test('a union puts two adapters at different places', (t) => {
  const union = AdapterConfig.load('attn_bn[reduction_factor=2]|seq_bn')
  t.true(union instanceof ConfigUnion)
  t.is(countAdapterParameters(union, { hiddenSize: 8, numHiddenLayers: 1 }), 8 * 4 * 2 + 4 + 8 + (8 * 2 + 1 + 8))
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(union))), union)
  t.throws(() => AdapterConfig.load('seq_bn|double_seq_bn'), {
    message: /part 1 \('seq_bn'\) and part 2 \('double_seq_bn'\) put an adapter at the same place of a layer/
  })
  t.notThrows(() => AdapterConfig.load('seq_bn[leave_out=[0]]|double_seq_bn'))
  t.throws(() => AdapterConfig.load('seq_bn_inv|attn_bn[inv_adapter="nice",inv_adapter_reduction_factor=2]'), {
    message: /part 1 \('seq_bn_inv'\) and part 2 .* both put an invertible adapter .*invAdapter: null/
  })
  t.throws(() => AdapterConfig.load('attn_bn|seq_bn', { dropout: 0.1 }), { message: /a union has several configs/ })
  // get_adapter_config_hash(ConfigUnion(attn_bn, SeqBnConfig())) in adapters 1.3.0.
  t.is(adapterConfigHash(AdapterConfig.load('attn_bn|seq_bn')), '79e4fa217138cb6b')
})

test('a method that is a kind of LoRA, and modules of a bottleneck, are told what they are here', (t) => {
  const refused = (config: unknown, message: RegExp) =>
    t.throws(() => AdapterConfig.load(config as never), { code: 'ERR_INVALID_ARG_VALUE', message })
  refused({ architecture: 'dora' }, /Write \{ architecture: 'lora', useDora: true \}, or the preset 'dora'/)
  refused({ architecture: 'bottelneck' }, /Did you mean 'bottleneck'/)
  refused({ architecture: 'adalora' }, /Known: bottleneck, lora, .*union|Did you mean 'lora'/)
  for (const name of ['dora', 'vera', 'dvora', 'ia3'])
    refused({ architecture: name }, new RegExp(`architecture: 'lora', .*, or the preset '${name}'`))
  refused({ reductionFactor: 4, targetModules: ['q_proj'] }, /bottleneck takes no targetModules.*addAdaptersToModel\(/)
  refused("seq_bn[target_modules=['q_proj']]", /bottleneck takes no targetModules.*addAdaptersToModel\(/)
})

test('the page on methods has every preset in its table', (t) => {
  const table = readFileSync('docs/methods.md', 'utf8').split('## What works where')[0] ?? ''
  t.deepEqual(
    presetNames.filter((name) => !table.includes(`\`${name}\``)),
    []
  )
})

test('a number that is null is refused, as Python refuses None', (t) => {
  const message = /^reduction_factor: expected .*, got null/
  t.throws(() => AdapterConfig.load('seq_bn[reduction_factor=None]'), { message })
  t.throws(() => AdapterConfig.load({ ...AdapterConfig.load('seq_bn').toJSON(), reduction_factor: null } as never), {
    message
  })
})
