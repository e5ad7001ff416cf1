import test from 'ava'
import {
  AdapterConfig,
  type AdapterConfigSource,
  BottleneckConfig,
  ConfigUnion,
  LoraConfig,
  MtlLoraConfig,
  OutputAdapterConfig,
  PrefixTuningConfig,
  PromptTuningConfig,
  ReftConfig
} from '../../lib/index.js'

// As in Python: `model.add_adapter("x", LoRAConfig(r=4))`.
test('every config class makes what its preset and fields make', (t) => {
  const pairs: readonly (readonly [AdapterConfigSource, AdapterConfigSource, object])[] = [
    [new LoraConfig({ r: 4, attnMatrices: ['k'] }), 'lora', { r: 4, attnMatrices: ['k'] }],
    [new MtlLoraConfig({ nUpProjection: 3 }), 'mtl_lora', { nUpProjection: 3 }],
    [new PrefixTuningConfig({ prefixLength: 5 }), 'prefix_tuning', { prefixLength: 5 }],
    [new PromptTuningConfig({ promptLength: 5 }), 'prompt_tuning', { promptLength: 5 }],
    [
      new BottleneckConfig({
        ...{ mhAdapter: false, outputAdapter: true, reductionFactor: 8, nonLinearity: 'relu' },
        originalLnBefore: true
      }),
      'seq_bn',
      { reductionFactor: 8 }
    ]
  ]
  for (const [made, preset, fields] of pairs) {
    t.deepEqual(AdapterConfig.load(made), AdapterConfig.load(preset as string, fields as never))
    t.is(AdapterConfig.load(made), made as AdapterConfig)
  }
  const reft = AdapterConfig.load('loreft')
  t.true(reft instanceof ReftConfig && OutputAdapterConfig !== undefined)
  const parts = [new LoraConfig({ r: 4 }), AdapterConfig.load('seq_bn') as BottleneckConfig] as const
  const union = new ConfigUnion(...parts)
  t.deepEqual(new ConfigUnion(parts), union)
  for (const wrong of [['lora'], [undefined], ['lora', parts[0]]])
    t.throws(() => new ConfigUnion(...(wrong as never[])), { message: /union\[0\]: expected the config of a method/ })
  t.throws(() => new ConfigUnion(), { message: /union: expected at least one config/ })
  t.deepEqual(AdapterConfig.load(union), AdapterConfig.load('lora[r=4]|seq_bn'))
  t.throws(() => new LoraConfig({ rank: 4 } as never), { message: /rank/ })
})
