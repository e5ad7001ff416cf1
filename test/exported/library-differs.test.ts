// What an archive's adapters are called in Python's adapters, and where that library has them at another place.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterConfig } from '../../lib/config/adapter-config.js'
import { checkExported } from '../../lib/config/lora-targets.js'
import { warnOfDifference } from '../../lib/exchange/library-differs.js'
import { peftPromptJson } from '../../lib/exchange/peft-prompt.js'
import { PrefixTuningConfig } from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { readTensors } from '../model/safetensors-file.js'
import { scratch } from '../model/support.js'
import { open } from './support.js'

/** As adapters 1.3 has them in its own models. */
const keys = [
  ['clip-text', 'seq_bn_inv', 'text_model.invertible_adapters.x.F.0.weight'],
  ['clip-text', 'prefix_tuning_flat', 'prefix_tuning.prefix_tunings.x.clip_text_model_self_prefix.control_trans'],
  ['clip-vision', 'prefix_tuning_flat', 'prefix_tuning.prefix_tunings.x.clip_vision_model_self_prefix.control_trans'],
  ['t5', 'seq_bn_inv', 'encoder.invertible_adapters.x.F.0.weight'],
  ['t5', 'prefix_tuning_flat', 'prefix_tuning.prefix_tunings.x.self_prefix.control_trans'],
  ['deberta-v2', 'prefix_tuning_flat', 'prefix_tuning.prefix_tunings.x.self_prefix.control_trans'],
  ['t5', 'seq_bn_inv', 'decoder.block.1.layer.2.adapters.x.adapter_up.weight'],
  ['bert', 'seq_bn_inv', 'invertible_adapters.x.F.0.weight']
] as const

for (const [network, config, key] of keys) {
  test(`${network}: a file of ${config} has ${key}, and comes back`, async (t) => {
    const { model } = await open(t, network)
    model.addAdapter('x', `${config}[${config === 'seq_bn_inv' ? 'reduction_factor=4' : 'prefix_length=3'}]`)
    const folder = scratch(t)
    await model.saveAdapter(folder, 'x')
    const file = [...readTensors(join(folder, 'adapter.safetensors')).keys()]
    t.true(
      file.some((one) => one === key || one.endsWith(`model.${key}`)),
      file.join('\n')
    )
    await model.loadAdapter(folder, { as: 'y' })
  })
}

test('Gemma 2: a bottleneck for Python is written with a warning, and one of Python is refused', async (t) => {
  const { model } = await open(t, 'gemma2')
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_OTHER_PLACE')
  const folder = scratch(t)
  for (const config of ['lora[r=2]', 'seq_bn[reduction_factor=4]', 'seq_bn[reduction_factor=4]']) {
    model.addAdapter('x', config, { overwriteOk: true })
    await model.saveAdapter(folder, 'x')
  }
  await soon()
  t.is(warnings.length, 1)
  t.regex(warnings[0] ?? '', /in front of the norm behind each block.*for Python train LoRA/)
  await model.loadAdapter(folder, { as: 'y' })
  const file = join(folder, 'adapter_config.json')
  const { torch_adapters: _, ...ofPython } = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify(ofPython))
  await t.throwsAsync(model.loadAdapter(folder, { as: 'z' }), {
    code: 'ERR_UNSUPPORTED',
    message: /other answers here than in Python.*in front of the norm/
  })
})

test('Llama: VeRA over queries and the smaller values is refused for Python, and goes to PEFT', async (t) => {
  const { model } = await open(t, 'llama')
  const folder = scratch(t)
  model.addAdapter('x', 'vera')
  await t.throwsAsync(model.saveAdapter(folder, 'x'), {
    code: 'ERR_UNSUPPORTED',
    message: /no VeRA at Linears of different sizes.*library: 'peft'/
  })
  await model.saveAdapter(folder, 'x', { library: 'peft' })
  model.addAdapter('q', "vera[r=4,attn_matrices=['q']]")
  await t.notThrowsAsync(model.saveAdapter(scratch(t), 'q'))
})

test('prefixes of families that Python knows by a description alone are written for it with a warning', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_FAILS_IN_PYTHON')
  for (const network of ['qwen2', 'modernbert', 'llama', 'bert'] as const) {
    const { model } = await open(t, network)
    for (const config of [
      'prefix_tuning_flat[prefix_length=3]',
      'lora[r=2]',
      'prefix_tuning_flat[prefix_length=3]|lora[r=2]'
    ]) {
      model.addAdapter('x', config, { overwriteOk: true })
      await model.saveAdapter(scratch(t), 'x')
    }
  }
  await soon()
  t.deepEqual(
    warnings.map((warning) => /has no prefixes for (\w+), or for any family/.exec(warning)?.[1]),
    ['Qwen2Model', 'ModernBertModel']
  )
})

test("a prefix of PEFT's in a network of windows is read and written with a warning", async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_PREFIX_WINDOW')
  for (const network of ['llama', 'mistral']) {
    const { model } = await open(t, network)
    model.addAdapter('x', 'prefix_tuning_flat[prefix_length=3]')
    const folder = scratch(t)
    await model.saveAdapter(folder, 'x', { library: 'peft' })
    await model.loadAdapter(folder, { as: 'y' })
  }
  await soon()
  t.is(warnings.length, 2)
  for (const warning of warnings)
    t.regex(warning, /windows of 4 tokens.*Rows of more than 1 tokens? give other answers/)
})

test('embeddings narrower than the layers have no place for an invertible adapter', async (t) => {
  const { config } = (await open(t, 'bert')).model
  const narrow = { ...config, embeddingSize: config.hiddenSize / 2 }
  t.notThrows(() => checkExported(AdapterConfig.load('seq_bn'), narrow))
  t.notThrows(() => checkExported(AdapterConfig.load('seq_bn_inv'), config))
  t.throws(() => checkExported(AdapterConfig.load('seq_bn_inv'), narrow), {
    code: 'ERR_UNSUPPORTED',
    message: /has embeddings of \d+ and layers of \d+ features/
  })
})

test('a prefix of an encoder and a decoder is not written for PEFT', async (t) => {
  const { config } = (await open(t, 'llama')).model
  const prefix = new PrefixTuningConfig({ flat: true, prefixLength: 3 })
  t.notThrows(() => peftPromptJson(prefix, config, {}))
  const exported = { ...config.exported, decoder: { startTokenId: 0 } } as typeof config.exported
  t.throws(() => peftPromptJson(prefix, { ...config, exported }, {}), {
    code: 'ERR_UNSUPPORTED',
    message: /a prefix of an encoder and a decoder/
  })
})

test.serial('ALBERT: bottlenecks and ReFT for Python are written with a warning, LoRA without one', async (t) => {
  const { model } = await open(t, 'bert')
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_OTHER_PLACE')
  for (const [config, count] of [
    ['lora', 0],
    ['prefix_tuning', 0],
    ['double_seq_bn', 1],
    ['lora|loreft', 2]
  ] as const) {
    warnOfDifference('x', AdapterConfig.load(config), { ...model.config, modelType: 'albert' })
    await soon()
    t.is(warnings.length, count, config)
  }
  t.regex(warnings[0] ?? '', /has bottleneck adapters and ReFT of \w+ under other names/)
})

test.serial(
  'a prefix is written for Python with a warning where its heads are not hidden size by heads wide',
  async (t) => {
    const { config } = (await open(t, 'llama')).model
    const warnings = warningsOf(t, 'TORCH_ADAPTERS_FAILS_IN_PYTHON')
    warnOfDifference('x', AdapterConfig.load('prefix_tuning'), config)
    await soon()
    t.deepEqual(warnings, [])
    const { exported } = config
    const wide = { ...config, exported: exported && { ...exported, keyFeatures: exported.keyHeads * 12 } }
    warnOfDifference('x', AdapterConfig.load('mam'), wide)
    warnOfDifference('y', AdapterConfig.load('lora'), wide)
    await soon()
    t.is(warnings.length, 1)
    t.regex(
      warnings[0] ?? '',
      /'x': the adapter library makes prefixes of \d+ features a head .*have 12 \(head_dim\).*train LoRA instead/
    )
  }
)
