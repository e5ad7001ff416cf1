import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterError, AutoModel } from '../../lib/index.js'
import { chooseDevice } from '../../lib/model/auto-model.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { temporaryFolder } from '../native/support.js'
import { fixtures } from '../parity/support/fixtures.js'
import { editTensors, readTensors } from './safetensors-file.js'
import { largestDifference, load, make, moved, scratch, snapshot, tiny, tinyConfig } from './support.js'

test('fromPretrained reads the values of the file', async (t) => {
  const model = await load(t)
  const file = readTensors(join(tiny, 'model.safetensors'))
  const name = 'encoder.layer.1.output.dense.weight'
  const stored = file.get(`bert.${name}`) ?? file.get(name)
  t.truthy(stored)
  const { data, shape } = model.parameter(`bert.${name}`)
  t.deepEqual(shape, [...(stored?.shape ?? [])])
  t.true(Buffer.from(data.buffer).equals(stored?.bytes ?? Buffer.alloc(0)))
  t.throws(() => model.parameter(`bert.${name}`.replace('dense', 'dnese')), {
    instanceOf: TypeError,
    message: `name: the model has no parameter 'bert.encoder.layer.1.output.dnese.weight'. Did you mean 'bert.${name}'?`
  })
  t.is(model.source, tiny)
  t.is(model.config.nameOrPath, tiny)
  t.is(model.tokenizer, undefined)
})

test('fromConfig: the same seed gives the same bits, another seed others', async (t) => {
  const [first, again, other] = [await make(t, {}, 3), await make(t, {}, 3), await make(t, {}, 4)]
  t.deepEqual(moved(snapshot(first), snapshot(again)), [])
  const random = /(?<!LayerNorm)\.weight$/
  const names = [...snapshot(first, random).keys()]
  t.true(names.length > 10)
  t.deepEqual(moved(snapshot(first, random), snapshot(other, random)), names)
})

test('fromConfig starts as Hugging Face does: normal of 0.02, zero biases, LayerNorm 1 and 0', async (t) => {
  const model = await make(t, { hidden_size: 64, intermediate_size: 256 })
  const { data } = model.parameter('bert.encoder.layer.0.intermediate.dense.weight')
  const mean = data.reduce((sum, value) => sum + value, 0) / data.length
  const deviation = Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length)
  t.true(Math.abs(mean) < (5 * 0.02) / Math.sqrt(data.length), `mean ${mean}`)
  t.true(Math.abs(deviation - 0.02) < 0.02 * 0.04, `deviation ${deviation}`)
  const every = (name: string, value: number) => model.parameter(name).data.every((x) => x === value)
  t.true(every('bert.encoder.layer.0.intermediate.dense.bias', 0))
  t.true(every('bert.embeddings.LayerNorm.weight', 1))
  t.true(every('bert.embeddings.LayerNorm.bias', 0))
  // Hugging Face's Embedding has zeros where the padding id stands.
  t.true(
    model
      .parameter('bert.embeddings.word_embeddings.weight')
      .data.subarray(0, 64)
      .every((x) => x === 0)
  )
})

test('adapters and heads start from the seed and their name, whatever came before them', async (t) => {
  const [first, second] = [await load(t, { seed: 5 }), await load(t, { seed: 5 })]
  first.addAdapter('x')
  first.addAdapter('y')
  first.addClassificationHead('x')
  second.addClassificationHead('x')
  second.addAdapter('y')
  second.addAdapter('x')
  t.deepEqual(moved(snapshot(first), snapshot(second)), [])
  const other = await load(t, { seed: 6 })
  other.addAdapter('x')
  const weights = /adapters\.x\..*weight/
  t.is(moved(snapshot(first, weights), snapshot(other, weights)).length, snapshot(first, weights).size)
})

test('weights that config.json asks for and the file lacks are listed; a pooler may be missing', async (t) => {
  const folder = join(scratch(t), 'model')
  cpSync(tiny, folder, { recursive: true })
  const file = join(folder, 'model.safetensors')
  editTensors(file, (tensors) => {
    for (const name of tensors.keys()) if (name.includes('pooler')) tensors.delete(name)
  })
  const model = await AutoModel.fromPretrained(folder, { seed: 3 })
  const again = await AutoModel.fromPretrained(folder, { seed: 3 })
  t.true(model.parameter('bert.pooler.dense.weight').data.some((value) => value !== 0))
  t.deepEqual(moved(snapshot(model), snapshot(again)), [])
  const told: string[] = []
  const listen = ({ message }: Error) => told.push(message)
  process.on('warning', listen)
  model.addClassificationHead('first', { numLabels: 2 })
  model.addClassificationHead('pooled', { numLabels: 2, usePooler: true })
  const heads = scratch(t)
  await model.saveHead(heads, 'pooled')
  // Once also where it is tried under another name first.
  await model.loadHead(heads, { overwriteOk: true })
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listen)
  t.deepEqual(
    told.filter((text) => text.includes('pooler')).map((text) => /head '(.+?)'/.exec(text)?.[1]),
    ['pooled', 'pooled']
  )
  model.dispose()
  again.dispose()

  const half = join(scratch(t), 'half')
  cpSync(tiny, half, { recursive: true })
  editTensors(join(half, 'model.safetensors'), (tensors) => {
    for (const name of tensors.keys()) if (name.endsWith('pooler.dense.bias')) tensors.delete(name)
  })
  await t.throwsAsync(AutoModel.fromPretrained(half), { code: 'ERR_STATE_DICT', message: /pooler\.dense\.bias/ })

  editTensors(file, (tensors) => {
    for (const name of tensors.keys()) if (name.includes('layer.1.attention.self.query')) tensors.delete(name)
  })
  const error = await t.throwsAsync(AutoModel.fromPretrained(folder), {
    code: 'ERR_STATE_DICT',
    instanceOf: AdapterError
  })
  t.regex(error?.message ?? '', /layer\.1\.attention\.self\.query\.weight, .*layer\.1\.attention\.self\.query\.bias/)
  // A damaged config may ask for thousands.
  const many = scratch(t)
  cpSync(tiny, many, { recursive: true })
  const config = JSON.parse(readFileSync(join(many, 'config.json'), 'utf8')) as object
  writeFileSync(join(many, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: 1000 }))
  const { message } = (await t.throwsAsync(AutoModel.fromPretrained(many))) as AdapterError
  t.regex(message, /lacks weights .*query\.weight, .* and \d{5} more/)
  t.true(message.length < 2000, `${message.length}`)
})

test('activations that the weights have no numbers for begin to learn, and a warning names them', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_NEW_ACTIVATIONS')
  const begun = {
    prelu: { weight: 0.25 },
    xielu: { alpha_p: Math.log(Math.expm1(0.8)), alpha_n: Math.log(Math.expm1(0.3)), beta: 0.5, eps: -1e-6 }
  }
  for (const [act, values] of Object.entries(begun)) {
    const [whole, half] = [scratch(t), scratch(t)]
    const source = await make(t, { hidden_act: act })
    await source.savePretrained(whole, { modelClass: 'BertModel' })
    const again = await AutoModel.fromPretrained(whole)
    const place = 'encoder.layer.0.intermediate.intermediate_act_fn.'
    const own = [...again.stateDict({ modelClass: 'BertModel' }).keys()].filter((name) => name.startsWith(place))
    t.deepEqual(own.map((name) => name.slice(place.length)).sort(), Object.keys(values).sort())
    again.dispose()
    await soon()
    t.is(warnings.length, 0, 'nothing is missing')

    cpSync(whole, half, { recursive: true })
    editTensors(join(half, 'model.safetensors'), (tensors) => {
      for (const name of tensors.keys()) if (/layer\.1\..*act_fn/.test(name)) tensors.delete(name)
    })
    const model = await AutoModel.fromPretrained(half)
    await soon()
    const names = Object.keys(values).map((name) => `encoder.layer.1.intermediate.intermediate_act_fn.${name}`)
    const [warning = ''] = warnings.splice(0)
    t.regex(
      warning,
      new RegExp(`lacks what its activation '${act}' .*: ${names.map((name) => `bert.${name}`).join(', ')}\\. They`)
    )
    for (const [i, value] of Object.values(values).entries()) {
      const [found = Number.NaN] = model.parameter(`bert.${names[i]}`).data
      t.true(Math.abs(found - value) < 0.005, `${act}: ${found}`)
    }
    model.dispose()
  }
})

test('a tensor of the wrong shape names itself, expected and got', async (t) => {
  const folder = join(scratch(t), 'model')
  cpSync(tiny, folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...tinyConfig, intermediate_size: 48 }))
  const error = await t.throwsAsync(AutoModel.fromPretrained(folder), { code: 'ERR_STATE_DICT' })
  t.regex(error?.message ?? '', /layer\.0\.intermediate\.dense\.weight.*48, 32.*40, 32/)
})

test('a folder without config.json, without weights, or that is not there', async (t) => {
  const folder = join(scratch(t), 'model')
  await t.throwsAsync(AutoModel.fromPretrained(folder), { message: /model/ })
  cpSync(tiny, folder, { recursive: true })
  rmSync(join(folder, 'model.safetensors'))
  await t.throwsAsync(AutoModel.fromPretrained(folder), { instanceOf: AdapterError, message: /model\.safetensors/ })
  cpSync(join(tiny, 'model.safetensors'), join(folder, 'model.safetensors'))
  rmSync(join(folder, 'config.json'))
  await t.throwsAsync(AutoModel.fromPretrained(folder), { message: /config\.json/ })
})

test('a model of no family of ours is told the command that makes an archive of it', async (t) => {
  const folder = join(scratch(t), 'my llama')
  cpSync(tiny, folder, { recursive: true })
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: 'llama' }))
  const error = await t.throwsAsync(AutoModel.fromPretrained(folder), { code: 'ERR_UNSUPPORTED' })
  t.true(
    error?.message.includes(`\`npx torch-adapters-export ${JSON.stringify(folder)} "my llama.pt2"\``),
    error?.message
  )
  t.true(error?.message.includes("AutoModel.fromExported('my llama.pt2')"), error?.message)
  // So is one of a family of ours with other mathematics, but not one whose numbers are no floats.
  const other = (fields: object) => () => AutoModel.fromConfig({ ...tinyConfig, ...fields })
  await t.throwsAsync(other({ position_embedding_type: 'relative_key' }), {
    message: /npx torch-adapters-export MODEL/
  })
  const quantized = await t.throwsAsync(other({ quantization_config: {} }))
  t.false(quantized?.message.includes('torch-adapters-export'), quantized?.message)
})

test.serial('the environment names a device where nothing else does', (t) => {
  const before = process.env['TORCH_ADAPTERS_DEVICE']
  t.teardown(() => {
    if (before === undefined) delete process.env['TORCH_ADAPTERS_DEVICE']
    else process.env['TORCH_ADAPTERS_DEVICE'] = before
  })
  const seen = () => ['cpu', 'cuda:0']
  process.env['TORCH_ADAPTERS_DEVICE'] = 'cuda'
  t.is(chooseDevice(undefined, seen), 'cuda:0')
  t.is(chooseDevice('cpu', seen), 'cpu')
  t.throws(() => chooseDevice(undefined, () => ['cpu']), { message: /got cuda, which TORCH_ADAPTERS_DEVICE says/ })
  process.env['TORCH_ADAPTERS_DEVICE'] = 'tpu'
  t.throws(() => chooseDevice(undefined, seen), { message: /TORCH_ADAPTERS_DEVICE: expected 'cpu'/ })
  delete process.env['TORCH_ADAPTERS_DEVICE']
  t.is(chooseDevice(undefined, seen), 'cpu')
})

test('devices: what is no device, and what is not here', async (t) => {
  await t.throwsAsync(AutoModel.fromPretrained(tiny, { device: 'tpu' as never }), {
    instanceOf: RangeError,
    code: 'ERR_OUT_OF_RANGE',
    message: /device: expected 'cpu', 'cuda'.*got 'tpu'/
  })
  await t.throwsAsync(AutoModel.fromConfig(tinyConfig, { device: 'cuda:99' }), {
    code: 'ERR_DEVICE',
    message: /no cuda:99 here.*expected one of cpu.*doctor/
  })
  t.throws(() => chooseDevice('cuda:99', () => ['cpu']), { message: /expected one of cpu, got cuda:99/ })
  const model = await load(t, { device: 'auto' })
  t.regex(model.device, /^(cpu|cuda:\d+)$/)
})

test('wrong options are refused by name before anything is loaded', async (t) => {
  const wrong = (options: object) => AutoModel.fromPretrained(tiny, options)
  await t.throwsAsync(wrong({ devise: 'cpu' }), { message: /devise.*[Dd]id you mean 'device'/ })
  await t.throwsAsync(wrong({ seed: -1 }), { message: /seed: expected an integer from 0, got -1/ })
  await t.throwsAsync(wrong({ seed: 1.5 }), { instanceOf: RangeError })
  await t.throwsAsync(AutoModel.fromPretrained(''), { message: /source/ })
  await t.throwsAsync(AutoModel.fromPretrained(undefined as never), { instanceOf: TypeError })
  await t.throwsAsync(AutoModel.fromConfig(null as never), { instanceOf: TypeError })
  await t.throwsAsync(AutoModel.fromConfig({ model_type: 'albert' }), { code: 'ERR_UNSUPPORTED', message: /albert/ })
  await t.throwsAsync(AutoModel.fromConfig({ ...tinyConfig, position_embedding_type: 'relative_key' }), {
    code: 'ERR_UNSUPPORTED',
    message: /position_embedding_type/
  })
})

test('savePretrained and fromPretrained give the same bits back', async (t) => {
  const model = await make(t)
  const folder = join(scratch(t), 'saved')
  await model.savePretrained(folder)
  const again = await AutoModel.fromPretrained(folder)
  t.deepEqual(moved(snapshot(model), snapshot(again)), [])
  again.dispose()
  t.is(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).hidden_size, 32)
})

test('an output layer apart from the word embedding is refused only where a head of words would be built', async (t) => {
  const untied = (fields: object) => {
    const folder = scratch(t)
    cpSync(join(fixtures, 'models/gpt2-tiny'), folder, { recursive: true })
    const file = join(folder, 'config.json')
    const json = JSON.parse(readFileSync(file, 'utf8'))
    writeFileSync(file, JSON.stringify({ ...json, tie_word_embeddings: false, ...fields }))
    return folder
  }
  const refusal = {
    code: 'ERR_UNSUPPORTED',
    message: /output layer of its own.*tie_word_embeddings: true.*got tie_word_embeddings: false.*withHead: false/
  }
  // Its weights hold no output layer, as those of a bare GPT2Model.
  const writes = untied({})
  using base = await AutoModel.fromPretrained(writes)
  t.is(base.heads.size, 0)
  await t.throwsAsync(base.generate([{ inputIds: [5] }], { maxNewTokens: 1 }), {
    code: 'ERR_UNSUPPORTED',
    message: /an output layer of its own.*and it is not here.*withHead: true/
  })
  using tied = await AutoModel.fromPretrained(join(fixtures, 'models/gpt2-tiny'), { withHead: false })
  const [one, other] = await Promise.all([base, tied].map((model) => model.forward({ inputIds: [[5, 6, 7]] })))
  t.deepEqual(one?.lastHiddenState, other?.lastHiddenState)
  t.throws(() => base.addCausalLmHead('words'), refusal)
  t.notThrows(() => base.addClassificationHead('labels', { numLabels: 2 }))
  // A class without words does not read the field.
  using plain = await AutoModel.fromPretrained(untied({ architectures: ['GPT2ForSequenceClassification'] }))
  t.false(plain.config.tieWordEmbeddings)
})

test("an untied GPT2LMHeadModel answers and writes with its own output layer, and PEFT's folders are for it", async (t) => {
  const folder = scratch(t)
  cpSync(join(fixtures, 'models/gpt2-tiny'), folder, { recursive: true })
  const config = join(folder, 'config.json')
  const json = { ...JSON.parse(readFileSync(config, 'utf8')), architectures: ['GPT2LMHeadModel'] }
  writeFileSync(config, JSON.stringify({ ...json, tie_word_embeddings: false }))
  const count = json.vocab_size * json.n_embd
  const layer = Float32Array.from({ length: count }, (_, i) => Math.sin(i * 3 + 1))
  editTensors(join(folder, 'model.safetensors'), (tensors) => {
    tensors.set('lm_head.weight', {
      dtype: 'F32',
      shape: [json.vocab_size, json.n_embd],
      bytes: Buffer.from(layer.buffer)
    })
  })
  using model = await AutoModel.fromPretrained(folder)
  t.deepEqual(model.parameter('heads.default.0.weight').data, layer)
  const inputIds = [5, 6, 7]
  const { logits, lastHiddenState } = await model.forward({ inputIds: [inputIds] }, { outputHiddenStates: true })
  const hidden = (lastHiddenState as { data: Float32Array }).data.slice(-json.n_embd)
  const scores = Array.from({ length: json.vocab_size }, (_, word) =>
    hidden.reduce((sum, value, i) => sum + value * (layer[word * json.n_embd + i] as number), 0)
  )
  t.true(largestDifference((logits as { data: Float32Array }).data.slice(-json.vocab_size), scores) < 1e-4)
  const [answer] = await model.generate([{ inputIds }], { maxNewTokens: 1 })
  t.is(answer?.ids.at(-1), scores.indexOf(Math.max(...scores)))
  await t.throwsAsync(model.generate([{ inputIds }], { maxNewTokens: 1, head: null }), { code: 'ERR_UNSUPPORTED' })
  model.addAdapter('l', 'lora')
  await model.saveAdapter(join(folder, 'l'), 'l', { library: 'peft' })
  const { task_type } = JSON.parse(readFileSync(join(folder, 'l/adapter_config.json'), 'utf8'))
  t.is(task_type, 'CAUSAL_LM')
})

test('a wrong field of config.json is told with the file', async (t) => {
  const folder = join(scratch(t), 'model')
  cpSync(tiny, folder, { recursive: true })
  for (const [fields, message] of [
    [{ vocab_size: '99' }, /config\.json: vocab_size: expected a positive integer up to \d+, got '99'$/],
    [{ num_attention_heads: 5 }, /config\.json: hidden_size: 32 cannot be divided by num_attention_heads 5$/],
    [{ model_type: undefined }, /config\.json: model_type: the file does not say what the model is/]
  ] as const) {
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...tinyConfig, ...fields }))
    await t.throwsAsync(AutoModel.fromPretrained(folder), { code: 'ERR_INVALID_FILE', message })
  }
})

test.serial('a config with fewer layers than the weights warns', async (t) => {
  const seen = warningsOf(t, 'TORCH_ADAPTERS_UNUSED_LAYERS')
  for (const [name, field] of [
    ['bert-tiny', 'num_hidden_layers'],
    ['gpt2-tiny', 'n_layer']
  ] as const) {
    const folder = join(temporaryFolder(t), name)
    cpSync(`test/parity/fixtures/models/${name}`, folder, { recursive: true })
    const whole = await AutoModel.fromPretrained(folder)
    await soon()
    t.deepEqual(seen.splice(0), [])
    const json = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as object
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...json, [field]: 1 }))
    const less = await AutoModel.fromPretrained(folder)
    await soon()
    const layers = whole.config.numHiddenLayers
    t.regex(seen.splice(0).join(), new RegExp(`have ${layers} layers, and by config\\.json .* the model has 1`))
    for (const model of [whole, less]) model.dispose()
  }
  // A head may be called as layers are.
  const named = await AutoModel.fromPretrained('test/parity/fixtures/models/gpt2-tiny')
  named.addClassificationHead('h', { layers: 2, numLabels: 2 })
  const folder = scratch(t)
  await named.save(folder)
  await AutoModel.fromPretrained(folder)
  await soon()
  t.deepEqual(seen, [])
})
