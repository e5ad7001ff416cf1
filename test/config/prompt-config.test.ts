import test from 'ava'
import { AdapterConfig, adapterConfigFromObject } from '../../lib/config/adapter-config.js'
import { PromptTuningConfig } from '../../lib/config/prompt-config.js'
import { countAdapterParameters, nativeAdapterConfigs } from '../../lib/config/size.js'

const base = { hiddenSize: 768, numHiddenLayers: 12, embeddingSize: 768 }

test('parameter counts, as adapter_summary prints them; the prompt is as wide as the embeddings', (t) => {
  t.is(countAdapterParameters(AdapterConfig.load('prompt_tuning'), base), 7_680)
  t.is(countAdapterParameters(AdapterConfig.load('prompt_tuning'), { ...base, embeddingSize: 128 }), 1_280)
})

test('fields in either spelling, as JSON, and as overrides', (t) => {
  const config = AdapterConfig.load("prompt_tuning[prompt_length=5, combine='prefix_after_bos']")
  t.true(config instanceof PromptTuningConfig)
  t.like(config, { method: 'prompt_tuning', promptLength: 5, combine: 'prefix_after_bos', randomUniformScale: 0.5 })
  t.deepEqual(AdapterConfig.load(JSON.parse(JSON.stringify(config))), config)
  t.deepEqual(AdapterConfig.load('prompt_tuning', { promptLength: 5, combine: 'prefix_after_bos' }), config)
  const scaled = AdapterConfig.load('prompt_tuning[random_uniform_scale=0.1]')
  t.deepEqual(adapterConfigFromObject(JSON.parse(JSON.stringify(scaled))), scaled)
})

test('the core gets the ids that a prompt starts with', (t) => {
  const config = AdapterConfig.load("prompt_tuning[prompt_init='from_string', prompt_init_text='a b']")
  t.like(nativeAdapterConfigs(config, base, (text) => [text.length, 7])[0], { length: 10, start_ids: [3, 7] })
  t.like(nativeAdapterConfigs(AdapterConfig.load('prompt_tuning'), base)[0], { after_first: false, start_ids: [] })
})

test('wrong fields are refused by name', (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => AdapterConfig.load('prompt_tuning[prompt_length=0]'), /prompt_length: expected a positive integer/],
    [() => AdapterConfig.load("prompt_tuning[prompt_init='from_string']"), /promptInitText: must be given/],
    [() => AdapterConfig.load("prompt_tuning[combine='suffix']"), /expected one of 'prefix', 'prefix_after_bos'/],
    [() => AdapterConfig.load('prompt_tuning[length=8]'), /unknown field 'length'/],
    [() => AdapterConfig.load('prompt_tuning|prompt_tuning'), /two parts are both 'prompt_tuning'/]
  ]
  for (const [load, message] of cases) t.throws(load, { message })
})
