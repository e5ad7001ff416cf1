import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, adapterLayer, addAdaptersToModel, type Model, sequential } from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import { readTensors, writeTensors } from './safetensors-file.js'
import { load, moved, scratch, snapshot } from './support.js'

const gpt2 = () => AutoModel.fromPretrained(join(fixtures, 'models/gpt2-tiny'))
const operate = (model: Model) => addAdaptersToModel(model, { adapterSize: 4 })

/** Values that no start gives. */
function disturb(model: Model): void {
  const own = [...model.stateDict()].filter(([name]) => name.includes('.mlp.1.'))
  model.loadStateDict(
    new Map(own.map(([name, { data, shape }]) => [name, { data: data.map((_, i) => Math.sin(i) / 8), shape }]))
  )
}

test('stateDict: every name of every tensor, with values that loadStateDict takes', async (t) => {
  const model = await load(t)
  const shared = adapterLayer({ hiddenSize: model.config.hiddenSize, adapterSize: 4 })
  model.replaceModules('bert.encoder.layer.*.output.dense', (module) => sequential(module, shared))
  const state = model.stateDict()
  const [own, again] = [0, 1].map((layer) => `bert.encoder.layer.${layer}.output.dense.1.down_project.weight`)
  t.deepEqual(state.get(again as string), state.get(own as string))
  t.deepEqual([...state.keys()].filter((name) => name !== own).length, state.size - 1)
  const listed = model.namedParameters().map(({ name }) => name)
  t.true(listed.every((name) => state.has(name)))
  t.is(state.size, listed.length + 4 * (model.config.numHiddenLayers - 1))
  const before = snapshot(model)
  model.loadStateDict(state)
  t.deepEqual(moved(before, snapshot(model)), [])
})

test('of heads that are tied to the word embedding a state has its name there, too, as PyTorch’s', async (t) => {
  const model = await load(t)
  model.addMaskedLmHead('h')
  model.addMaskedLmHead('plain', { activationFunction: null })
  using gpt = await gpt2()
  gpt.addCausalLmHead('c')
  gpt.addCausalLmHead('deep', { layers: 3, layerNorm: false, bias: false })
  gpt.addCausalLmHead('one', { layers: 1, layerNorm: false, bias: false })
  gpt.addClassificationHead('class')
  // As torch 2.13 and adapters 1.3 name them: a module for each layer, its activation and its norm.
  for (const [each, words, names] of [
    [model, 'bert.embeddings.word_embeddings.weight', ['heads.h.3.weight', 'heads.plain.2.weight']],
    [
      gpt,
      'transformer.wte.weight',
      ['heads.default.0.weight', 'heads.c.3.weight', 'heads.deep.4.weight', 'heads.one.0.weight']
    ]
  ] as const) {
    const listed = new Set(each.namedParameters().map(({ name }) => name))
    const state = each.stateDict()
    t.deepEqual(
      [...state.keys()].filter((name) => !listed.has(name)),
      [...names]
    )
    for (const name of names) t.deepEqual(state.get(name), state.get(words))
    const { data, shape } = state.get(words) as { data: Float32Array; shape: readonly number[] }
    const other = { data: data.map((value) => value / 2), shape }
    // Of two names of one tensor the last counts, as in PyTorch.
    each.loadStateDict(
      new Map([
        [words, { data, shape }],
        [names[0], other]
      ])
    )
    t.deepEqual(each.parameter(words).data, other.data)
    t.throws(() => each.loadStateDict({ [`${names[0]}x`]: other }), { code: 'ERR_STATE_DICT' })
    // Python's adapters have it for prompts, too, whether there are any or not.
    const prompts = `${words.split('.')[0]}.prompt_tuning.base_model_embeddings.weight`
    const file = join(scratch(t), 'state.safetensors')
    const inPython = new Map([...state, [prompts, { data, shape }] as const])
    const bytesOf = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength)
    writeTensors(
      file,
      new Map([...inPython].map(([name, one]) => [name, { dtype: 'F32', shape: one.shape, bytes: bytesOf(one.data) }]))
    )
    await each.loadWeights(file)
    t.deepEqual(each.parameter(words).data, data)
  }
})

test('after surgery a state has the names of the class, as the same surgery gives them in PyTorch', async (t) => {
  using model = await gpt2()
  operate(model)
  const words = model.stateDict({ modelClass: 'GPT2LMHeadModel' })
  for (const name of ['transformer.h.0.mlp.0.c_fc.weight', 'transformer.h.0.mlp.1.down_project.weight']) {
    t.true(words.has(name), name)
  }
  t.deepEqual(words.get('lm_head.weight'), words.get('transformer.wte.weight'))
  t.true([...words.keys()].every((name) => name === 'lm_head.weight' || name.startsWith('transformer.')))
  const bare = model.stateDict({ modelClass: 'GPT2Model' })
  t.deepEqual(
    [...bare.keys()],
    [...words.keys()].slice(0, -1).map((name) => name.replace('transformer.', ''))
  )
  const folder = join(scratch(t), 'words')
  await model.savePretrained(folder, { modelClass: 'GPT2LMHeadModel' })
  const file = readTensors(join(folder, 'model.safetensors'))
  t.deepEqual([...file.keys(), 'lm_head.weight'].sort(), [...words.keys()].sort())
  const json = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  t.deepEqual(json.architectures, ['GPT2LMHeadModel'])
})

test('loadWeights: files of a class, of the bare one and of Python’s own names, after the same surgery', async (t) => {
  using model = await gpt2()
  operate(model)
  disturb(model)
  const folder = scratch(t)
  await model.savePretrained(join(folder, 'words'), { modelClass: 'GPT2LMHeadModel' })
  await model.savePretrained(join(folder, 'bare'))
  for (const source of ['words', 'bare', 'bare/model.safetensors']) {
    using other = await gpt2()
    operate(other)
    t.true(moved(snapshot(model), snapshot(other)).length > 0)
    await other.loadWeights(join(folder, source))
    t.deepEqual(moved(snapshot(model), snapshot(other)), [], source)
  }
  using again = await AutoModel.fromPretrained(join(folder, 'words'))
  t.deepEqual(moved(snapshot(model), snapshot(again)), [])
  using other = await gpt2()
  const before = snapshot(other)
  await t.throwsAsync(other.loadWeights(join(folder, 'bare')), {
    code: 'ERR_STATE_DICT',
    message:
      /missing 'transformer\.h\.0\.mlp\.c_fc\.weight'.*unexpected 'h\.0\.mlp\.0\.c_fc\.weight'.*Do the same surgery/
  })
  t.deepEqual(moved(before, snapshot(other)), [])
  await t.throwsAsync(other.loadWeights(join(folder, 'nowhere')), { code: 'ERR_FILE_NOT_FOUND' })
  // Here every name is one of the model's own; PyTorch's format has lm_head.weight beside them.
  operate(other)
  await other.loadWeights(join(folder, 'words/model.safetensors'))
  t.deepEqual(moved(snapshot(model), snapshot(other)), [])
})

test('the head that writes is the class’s own, or refused where the class has no such head', async (t) => {
  const sizes = { vocab_size: 30, n_positions: 16, n_embd: 8, n_head: 2, n_layer: 1 }
  using model = await AutoModel.fromConfig({ model_type: 'gpt2', ...sizes })
  const names = () => [...model.stateDict({ modelClass: 'GPT2LMHeadModel' }).keys()]
  t.true(names().includes('lm_head.weight'))
  model.addCausalLmHead('lm')
  t.throws(names, { code: 'ERR_UNSUPPORTED', message: /the head 'lm' is not what GPT2LMHeadModel has/ })
  model.addCausalLmHead('lm', { layers: 1, bias: false, overwriteOk: true })
  t.true(names().includes('lm_head.weight'))
  // A head with an output layer of its own is that of a class whose words are not tied.
  model.addCausalLmHead('lm', { layers: 1, bias: false, tied: false, overwriteOk: true })
  const weight = model.parameter('heads.lm.0.weight')
  model.loadStateDict({ 'heads.lm.0.weight': { ...weight, data: weight.data.map((_, i) => Math.sin(i)) } })
  const folder = scratch(t)
  await model.savePretrained(folder, { modelClass: 'GPT2LMHeadModel' })
  using again = await AutoModel.fromPretrained(folder)
  t.false(again.config.tieWordEmbeddings)
  t.deepEqual(again.parameter('heads.default.0.weight'), model.parameter('heads.lm.0.weight'))
})

test('tied tensors stand once in safetensors, as transformers writes them, and under each name in PyTorch’s format', async (t) => {
  const model = await load(t)
  const folder = scratch(t)
  model.addMaskedLmHead('words', {})
  const asClass = { modelClass: 'BertForMaskedLM', head: 'words' }
  const all = [...model.stateDict(asClass).keys()]
  const tied = ['cls.predictions.decoder.bias', 'cls.predictions.decoder.weight']
  await model.savePretrained(folder, asClass)
  const names = () => [...readTensors(join(folder, 'model.safetensors')).keys()].sort()
  t.deepEqual(names(), all.filter((name) => !tied.includes(name)).sort())
  t.true(existsSync(join(folder, 'model.safetensors')))
  await model.savePretrained(folder, { ...asClass, format: 'bin' })
  t.false(existsSync(join(folder, 'model.safetensors')))
  const file = join(folder, 'pytorch_model.bin')
  const other = await load(t)
  other.addMaskedLmHead('mine', {})
  const weight = model.parameter('heads.words.0.weight')
  model.loadStateDict({ 'heads.words.0.weight': { ...weight, data: weight.data.map((_, i) => Math.cos(i)) } })
  await model.savePretrained(folder, { ...asClass, format: 'bin' })
  await t.throwsAsync(other.loadWeights(file), {
    code: 'ERR_STATE_DICT',
    message: /unexpected 'cls\.predictions.*read with \{ modelClass: 'BertForMaskedLM' \}, into a head that is here/
  })
  await other.loadWeights(file, { modelClass: 'BertForMaskedLM', head: 'mine' })
  t.deepEqual(other.parameter('heads.mine.0.weight'), model.parameter('heads.words.0.weight'))
  using again = await AutoModel.fromPretrained(folder)
  t.deepEqual(again.parameter('heads.default.0.weight'), model.parameter('heads.words.0.weight'))
  await t.throwsAsync(model.savePretrained(file), {
    code: 'ERR_FILE',
    message: /pytorch_model\.bin is a file, where a folder is needed/
  })
})

test('a class has its head, and what has none of its form is refused by name', async (t) => {
  const model = await load(t)
  const state = (modelClass: string, head?: string) => model.stateDict({ modelClass, head })
  t.throws(() => state('BertForSequenceClassification'), { code: 'ERR_UNSUPPORTED', message: /answers with a head/ })
  model.addClassificationHead('two', { numLabels: 3 })
  t.throws(() => state('BertForSequenceClassification', 'two'), {
    message: /'two' is not what .* has \(expected .*layers/
  })
  const form = { labels: ['x', 'y', 'z'], layers: 1, activationFunction: null, usePooler: true } as const
  model.addClassificationHead('one', form)
  const one = state('BertForSequenceClassification', 'one')
  t.deepEqual(one.get('classifier.weight'), model.parameter('heads.one.1.weight'))
  t.true(one.has('bert.pooler.dense.weight'))
  model.addTaggingHead('tags', { numLabels: 2 })
  t.false(state('BertForTokenClassification', 'tags').has('bert.pooler.dense.weight'))
  t.throws(() => state('BertForTokenClassification', 'one'), { message: /'one' is not what/ })
  model.addMaskedLmHead('words', {})
  const words = state('BertForMaskedLM', 'words')
  t.deepEqual(words.get('cls.predictions.bias'), words.get('cls.predictions.decoder.bias'))
  t.deepEqual(words.get('cls.predictions.decoder.weight'), model.parameter('bert.embeddings.word_embeddings.weight'))
  t.throws(() => state('GPT2LMHeadModel'), { message: /no GPT2LMHeadModel \(expected one of BertModel, BertFor/ })
  t.throws(() => state('BertForMaskedLm', 'words'), { message: /Did you mean 'BertForMaskedLM'/ })
  t.throws(() => model.stateDict({ head: 'one' }), { message: /head: is for a modelClass/ })
  const folder = scratch(t)
  await model.savePretrained(folder, { modelClass: 'BertForSequenceClassification', head: 'one' })
  using again = await AutoModel.fromPretrained(folder)
  t.deepEqual(again.heads.get('default')?.['label2id' as never], { x: 0, y: 1, z: 2 } as never)
  t.deepEqual(again.parameter('heads.default.1.weight'), model.parameter('heads.one.1.weight'))
  // No folder's record has what stands in a head.
  model.replaceModule('heads.one.1', (last) => sequential(last, adapterLayer({ hiddenSize: 3, adapterSize: 2 })))
  t.true(state('BertForSequenceClassification', 'one').has('classifier.1.down_project.weight'))
  const save = model.savePretrained(folder, { modelClass: 'BertForSequenceClassification', head: 'one' })
  await t.throwsAsync(save, { message: /surgery has put 'heads\.one\.1\.1\.\S+' into the head/ })
})

test("ELECTRA's choices: a config that sums a row up otherwise than its class usually does gives no head", async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models/electra-tiny'), { withHead: false })
  model.addMultipleChoiceHead('choices', { activationFunction: 'gelu' })
  const folder = scratch(t)
  await model.savePretrained(folder, { modelClass: 'ElectraForMultipleChoice', head: 'choices' })
  const file = join(folder, 'config.json')
  const json = JSON.parse(readFileSync(file, 'utf8'))
  const headsWith = async (fields: object) => {
    writeFileSync(file, JSON.stringify({ ...json, ...fields }))
    using again = await AutoModel.fromPretrained(folder)
    return [...again.heads.keys()]
  }
  const usual = { summary_type: 'first', summary_use_proj: true, summary_activation: 'gelu', summary_last_dropout: 0.1 }
  t.deepEqual(await headsWith({}), ['default'])
  t.deepEqual(await headsWith(usual), ['default'])
  t.deepEqual(await headsWith({ summary_type: 'mean' }), [])
  t.deepEqual(await headsWith({ summary_activation: 'tanh' }), [])
})
