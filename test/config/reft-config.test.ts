import test from 'ava'
import { AdapterConfig, adapterConfigFromObject, ConfigUnion } from '../../lib/config/adapter-config.js'
import { ReftConfig } from '../../lib/config/reft-config.js'
import { countAdapterParameters, nativeAdapterConfigs } from '../../lib/config/size.js'

const base = { hiddenSize: 768, numHiddenLayers: 12, intermediateSize: 3072 }

test('parameter counts on BERT-base, as adapter_summary prints them', (t) => {
  for (const [name, count] of [
    ['loreft', 36_888],
    ['noreft', 36_888],
    ['direft', 36_888],
    ['mam', 22_493_984],
    ['unipelt', 11_083_376]
  ] as const) {
    t.is(countAdapterParameters(AdapterConfig.load(name), base), count, name)
  }
})

test('fields in either spelling, as JSON, and as overrides', (t) => {
  const config = AdapterConfig.load('loreft[layers=[1, 1, 3], r=4, suffix_positions=2]')
  t.true(config instanceof ReftConfig)
  t.like(config, { method: 'reft', layers: [1, 3], r: 4, prefixPositions: 3, suffixPositions: 2, orthogonality: true })
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(config))), config)
  t.deepEqual(AdapterConfig.load('loreft', { layers: [1, 3], r: 4, suffixPositions: 2 }), config)
  const [native] = nativeAdapterConfigs(config, { ...base, numHiddenLayers: 4 })
  t.like(native, { method: 'reft', ranks: [0, 4, 0, 4], non_linearity: null, dropout: 0.05 })
})

test('a DiReFT stays one through its JSON; a file without the field is what Python takes it for', (t) => {
  const direft = AdapterConfig.load('direft')
  t.is(direft.toJSON()['subtract_projection'], false)
  t.deepEqual(adapterConfigFromObject(JSON.parse(JSON.stringify(direft))), direft)
  t.false('subtract_projection' in AdapterConfig.load('noreft').toJSON())
  const { subtract_projection: _, ...fields } = direft.toJSON()
  t.deepEqual(adapterConfigFromObject(fields), AdapterConfig.load('noreft'))
})

test('MAM and UniPELT are unions, which stand alone', (t) => {
  const union = AdapterConfig.load('unipelt')
  t.true(union instanceof ConfigUnion)
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(union))), union)
  t.deepEqual(
    AdapterConfig.load('mam'),
    new ConfigUnion(
      ['prefix_tuning[bottleneck_size=800]', 'par_bn'].map((part) => AdapterConfig.load(part) as ReftConfig)
    )
  )
  const parts = 'prefix_tuning[bottleneck_size=800]|par_bn|lora'
  t.deepEqual(AdapterConfig.load('mam|lora'), AdapterConfig.load(parts))
  t.deepEqual(new ConfigUnion(AdapterConfig.load('mam'), AdapterConfig.load('lora')), AdapterConfig.load(parts))
  t.throws(() => AdapterConfig.load('mam[prefix_length=3]|lora'), {
    message: /takes no fields; write its parts: .*\|par_bn/
  })
  t.throws(() => AdapterConfig.load('mam|par_bn'), { message: /part 2 \('par_bn'\) and part 3 \('par_bn'\)/ })
  t.throws(() => AdapterConfig.load('unipelt[r=2]'), { message: /write its parts: prefix_tuning\[prefix_length=10/ })
})

test('what does not go together is refused, with the field', (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => AdapterConfig.load('loreft[prefix_positions=0]'), /prefixPositions or suffixPositions must be above 0/],
    [() => AdapterConfig.load('loreft[output_reft=False]'), /outputReft: ReFT stands nowhere else/],
    [() => AdapterConfig.load("loreft[layers='some']"), /expected 'all' or a list of layers, got 'some'/],
    [() => AdapterConfig.load('loreft[layers=[]]'), /the list is empty/],
    [() => AdapterConfig.load('loreft[ranks=8]'), /unknown field 'ranks'/],
    [() => AdapterConfig.load('loreft[r=0]'), /r: expected a positive integer/],
    [() => AdapterConfig.load('loreft|direft'), /two parts are both 'reft'/]
  ]
  for (const [load, message] of cases) t.throws(load, { message })
  t.notThrows(() => AdapterConfig.load('loreft[layers=[0]]|direft[layers=[1]]'))
})
