import test from 'ava'
import { AdapterConfig, type ConfigUnion } from '../../lib/config/adapter-config.js'
import { PrefixTuningConfig } from '../../lib/config/prefix-config.js'
import { countAdapterParameters, nativeAdapterConfigs } from '../../lib/config/size.js'

const base = { hiddenSize: 768, numHiddenLayers: 12, intermediateSize: 3072 }

test('parameter counts on BERT-base, as adapter_summary prints them', (t) => {
  t.is(countAdapterParameters(AdapterConfig.load('prefix_tuning'), base), 9_872_384)
  t.is(countAdapterParameters(AdapterConfig.load('prefix_tuning_flat'), base), 552_960)
})

test('fields in either spelling, as JSON, and as overrides', (t) => {
  const config = AdapterConfig.load('prefix_tuning_flat[prefix_length=5, leave_out=[1]]')
  t.true(config instanceof PrefixTuningConfig)
  t.like(config, { method: 'prefix_tuning', flat: true, prefixLength: 5, leaveOut: [1], sharedGating: true })
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(config))), config)
  t.deepEqual(AdapterConfig.load('prefix_tuning', { flat: true, prefixLength: 5, leaveOut: [1] }), config)
  t.throws(() => Object.assign(config, { flat: false }), { instanceOf: TypeError })
})

test('the core gets the length in each layer', (t) => {
  const config = AdapterConfig.load('prefix_tuning[leave_out=[0], prefix_length=4]')
  const [native] = nativeAdapterConfigs(config, { ...base, numHiddenLayers: 3 })
  t.like(native, { method: 'prefix_tuning', lengths: [0, 4, 4], bottleneck_size: 512, non_linearity: 'tanh' })
})

test('a union holds one prefix, beside other methods', (t) => {
  const union = AdapterConfig.load('prefix_tuning_flat|seq_bn|lora') as ConfigUnion
  t.deepEqual(
    union.configs.map(({ method }) => method),
    ['prefix_tuning', 'bottleneck', 'lora']
  )
  t.is(countAdapterParameters(union, base), 552_960 + 894_528 + 294_912)
  t.throws(() => AdapterConfig.load('prefix_tuning|prefix_tuning_flat'), { message: /two parts are both/ })
})

test('wrong fields are refused by name', (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => AdapterConfig.load('prefix_tuning[prefix_length=0]'), /prefix_length: expected a positive integer/],
    [() => AdapterConfig.load('prefix_tuning[length=3]'), /unknown field 'length'/],
    [() => AdapterConfig.load("prefix_tuning[non_linearity='tan']"), /Did you mean 'tanh'\?/],
    [() => AdapterConfig.load('prefix_tuning', { dropout: 2 }), /at most 1/],
    [() => AdapterConfig.load('prefix_tuning', { reductionFactor: 2 }), /unknown field 'reductionFactor'/]
  ]
  for (const [load, message] of cases) t.throws(load, { message })
})
