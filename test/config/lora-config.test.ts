import test from 'ava'
import { AdapterConfig, type ConfigUnion } from '../../lib/config/adapter-config.js'
import { adapterConfigHash } from '../../lib/config/config-hash.js'
import { LoraConfig, MtlLoraConfig } from '../../lib/config/lora-config.js'
import { countAdapterParameters, nativeAdapterConfigs } from '../../lib/config/size.js'

const base = { hiddenSize: 768, numHiddenLayers: 12, intermediateSize: 3072 }

test('hashes are those of the library', (t) => {
  // get_adapter_config_hash in adapters 1.3.0; lora's is that of its own test fixtures.
  t.is(adapterConfigHash(AdapterConfig.load('lora')), '625403edad0bf919')
  t.is(adapterConfigHash(AdapterConfig.load('ia3')), '1ebb5af107e576c0')
  t.is(adapterConfigHash(AdapterConfig.load('vera')), '2be4e8738bf1b672')
  t.is(adapterConfigHash(AdapterConfig.load('lora|seq_bn')), 'dc3d54556ed39dd0')
})

test('fields in either spelling, as JSON, and as overrides', (t) => {
  const config = AdapterConfig.load("lora[r=4, alpha=16, attn_matrices=['k', 'k']]")
  t.true(config instanceof LoraConfig)
  t.like(config, { method: 'lora', r: 4, alpha: 16, attnMatrices: ['k'], outputLora: false })
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(config))), config)
  t.deepEqual(AdapterConfig.load('lora', { r: 4, alpha: 16, attnMatrices: ['k'] }), config)
  const mtl = AdapterConfig.load('mtl_lora', { nUpProjection: 3 })
  t.true(mtl instanceof MtlLoraConfig)
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(mtl))), mtl)
  t.deepEqual(
    AdapterConfig.load({ architecture: 'lora', vera_d: 0.1, vera_b: 0, init_weights: 'vera' }),
    AdapterConfig.load('vera')
  )
  t.throws(() => Object.assign(config, { r: 1 }), { instanceOf: TypeError })
})

test('a union holds one at a place', (t) => {
  const union = AdapterConfig.load('lora[r=4]|seq_bn') as ConfigUnion
  t.deepEqual(
    union.configs.map(({ method }) => method),
    ['lora', 'bottleneck']
  )
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(union))), union)
  t.is(countAdapterParameters(union, base), 294_912 / 2 + 894_528)
  t.throws(() => AdapterConfig.load('lora|dora'), {
    message:
      /part 1 \('lora'\) and part 2 \('dora'\) put something at the same place of a layer: query; .*attnMatrices.*leaveOut/
  })
  t.notThrows(() => AdapterConfig.load("lora|lora[r=4, attn_matrices=['k', 'o']]"))
  t.notThrows(() => AdapterConfig.load('lora[leave_out=[0]]|lora[intermediate_lora=True]'))
})

test('VeRA counts two vectors a place, and A and B once', (t) => {
  t.is(countAdapterParameters(AdapterConfig.load('vera'), base), 24 * (8 + 768) + 2 * 8 * 768)
  const wide = AdapterConfig.load('vera[selfattn_lora=False, intermediate_lora=True, output_lora=True]')
  t.is(countAdapterParameters(wide, base), 12 * (8 + 3072 + 8 + 768) + 2 * 8 * 3072)
  t.throws(() => countAdapterParameters(wide, { hiddenSize: 8, numHiddenLayers: 1 }), { message: /intermediateSize/ })
})

test('the core gets the places, the rank, and the layers without it', (t) => {
  const [native] = nativeAdapterConfigs(AdapterConfig.load('ia3[leave_out=[1]]'), { ...base, numHiddenLayers: 3 })
  t.like(native, {
    method: 'lora',
    query: false,
    key: true,
    value: true,
    intermediate: true,
    output: false,
    scales: 'output'
  })
  t.like(native, { rank: 1, leave_out: [1], linears: [], mtl: null })
})

test('what does not go together is refused, with the field', (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => AdapterConfig.load('ia3[r=2]'), /r: expected 1 with compositionMode 'scale', got 2/],
    [() => AdapterConfig.load('ia3[dropout=0.1]'), /dropout: compositionMode 'scale' \(IA³\) has none/],
    [() => AdapterConfig.load('ia3[use_dora=True]'), /useDora: .*IA³/],
    [() => AdapterConfig.load('ia3[use_rslora=True]'), /useRslora: .*IA³/],
    [() => AdapterConfig.load('vera[use_rslora=True]'), /useRslora: VeRA has two vectors, and no scale/],
    [() => AdapterConfig.load('lora[use_rslora=True, use_gating=True]'), /useRslora: a gate stands for what/],
    [() => AdapterConfig.load('lora[vera_d=0.1]'), /both veraD and veraB/],
    [() => AdapterConfig.load("mtl_lora[composition_mode='scale', r=1]"), /compositionMode: MTL-LoRA/],
    [() => AdapterConfig.load('mtl_lora[vera_d=0.1, vera_b=0]'), /veraD: MTL-LoRA/],
    [() => AdapterConfig.load('lora[selfattn_lora=False]'), /or there is no adapter/],
    [() => AdapterConfig.load('lora[attn_matrices=[]]'), /or there is no adapter/],
    [() => AdapterConfig.load("lora[attn_matrices=['x']]"), /attn_matrices\[0\]: expected one of 'q', 'k', 'v', 'o'/],
    [() => AdapterConfig.load('lora[r=0]'), /r: expected a positive integer/],
    [() => AdapterConfig.load('lora[rank=4]'), /'rank' is called 'r' here/],
    [() => AdapterConfig.load('lora', { reductionFactor: 4 }), /unknown field 'reductionFactor'/],
    [() => AdapterConfig.load('mtl_lora[weights_sharpness=0]'), /above 0/]
  ]
  for (const [load, message] of cases) t.throws(load, { message })
})

test('an alpha of 0 would leave nothing to learn', (t) => {
  for (const config of ['lora[alpha=0]', 'mtl_lora[alpha=0]', 'dora[alpha=0]', 'ia3[alpha=0]']) {
    t.throws(() => AdapterConfig.load(config), {
      code: 'ERR_OUT_OF_RANGE',
      message: /^alpha: expected a number other than 0/
    })
  }
  // The gate stands in its place.
  t.is(AdapterConfig.load('lora[alpha=0, use_gating=True]').method, 'lora')
  t.is((AdapterConfig.load('lora[alpha=-8]') as LoraConfig).alpha, -8)
})

test('useRslora: alpha counts alpha / √r, and is a field of its own where it is on', (t) => {
  const config = AdapterConfig.load('lora[r=4, alpha=6, use_rslora=True]') as LoraConfig
  t.like(config, { r: 4, alpha: 6, useRslora: true })
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(config))), config)
  t.deepEqual(AdapterConfig.load('lora', { r: 4, alpha: 6, useRslora: true }), config)
  t.false('use_rslora' in AdapterConfig.load('lora').toJSON())
  // The core divides by r.
  t.like(nativeAdapterConfigs(config, base)[0], { alpha: 12 })
  t.like(nativeAdapterConfigs(config.replace({ useRslora: false }), base)[0], { alpha: 6 })
})
