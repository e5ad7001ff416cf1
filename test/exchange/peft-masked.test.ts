import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Model } from '../../lib/index.js'
import { editTensors, readTensors, type StoredTensor } from '../model/safetensors-file.js'
import { fill, make } from '../model/support.js'
import { open, scratch } from './peft-folders.js'

// The head of a class such as BertForMaskedLM, for which PEFT has no name of a task. Python's logits are compared in
// test:python.

const rows = { inputIds: [[2, 3, 4], [5]] }
const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
const tensorsOf = (folder: string) => readTensors(join(folder, 'adapter_model.safetensors'))

async function logits(model: Model, name: string): Promise<Float32Array> {
  const { logits: found } = await model.forward(rows, { adapters: name, head: name })
  return found?.data ?? new Float32Array()
}

/** Values that no start gives, for biases and norms of the head as well. */
function fillAll(model: Model, name: string): void {
  fill(model, name)
  const own = model.namedParameters().filter((parameter) => parameter.name.startsWith(`heads.${name}.`))
  const filled = own.map(({ name: key, shape }, n): [string, { data: Float32Array; shape: readonly number[] }] => {
    const size = shape.reduce((product, side) => product * side, 1)
    return [key, { data: Float32Array.from({ length: size }, (_, i) => Math.sin(n * 31 + i * 7) / 3), shape }]
  })
  model.loadStateDict(new Map(filled))
}

function withMasked(model: Model, options: Parameters<Model['addMaskedLmHead']>[1] = {}): void {
  model.addAdapter('a', 'lora[r=2]')
  model.addMaskedLmHead('a', options)
  fillAll(model, 'a')
}

const classes = {
  'bert-tiny': {
    modelClass: 'BertForMaskedLM',
    saved: ['cls'],
    dense: 'cls.predictions.transform.dense',
    norm: 'cls.predictions.transform.LayerNorm',
    decoder: 'cls.predictions.decoder',
    around: 'cls.predictions'
  },
  'xlm-roberta-tiny': {
    modelClass: 'XLMRobertaForMaskedLM',
    saved: ['lm_head'],
    dense: 'lm_head.dense',
    norm: 'lm_head.layer_norm',
    decoder: 'lm_head.decoder',
    around: 'lm_head'
  },
  'distilbert-tiny': {
    modelClass: 'DistilBertForMaskedLM',
    saved: ['vocab_transform', 'vocab_layer_norm', 'vocab_projector'],
    dense: 'vocab_transform',
    norm: 'vocab_layer_norm',
    decoder: 'vocab_projector',
    around: null
  },
  'electra-tiny': {
    modelClass: 'ElectraForMaskedLM',
    saved: ['generator_predictions', 'generator_lm_head'],
    dense: 'generator_predictions.dense',
    norm: 'generator_predictions.LayerNorm',
    decoder: 'generator_lm_head',
    around: null
  }
} as const

for (const [source, { modelClass, saved, dense, norm, decoder, around }] of Object.entries(classes)) {
  test(`a head for masked words is that of ${modelClass}, its tied decoder a copy of the word embedding`, async (t) => {
    using model = await open(source)
    withMasked(model)
    const folder = scratch(t)
    await model.saveAdapter(folder, 'a', { library: 'peft' })
    t.like(configOf(folder), {
      ...{ task_type: null, auto_mapping: { base_model_class: modelClass }, modules_to_save: saved },
      torch_adapters: { tied: true }
    })
    const tensors = tensorsOf(folder)
    const names = [...tensors.keys()].filter((name) => !/\.lora_[AB]\./.test(name))
    const inClass = [dense, norm, decoder].flatMap((module) => [`${module}.weight`, `${module}.bias`])
    const all = [...inClass, ...(around === null ? [] : [`${around}.bias`])].map((name) => `base_model.model.${name}`)
    t.deepEqual(names.sort(), all.sort())
    const words = model.namedParameters().find(({ name }) => name.endsWith('.word_embeddings.weight'))?.name ?? ''
    t.deepEqual(values(tensors.get(`base_model.model.${decoder}.weight`)), model.parameter(words).data)

    await model.loadAdapter(folder, { as: 'again' })
    t.deepEqual(model.heads.get('again'), model.heads.get('a'))
    t.true(model.heads.get('again')?.headType === 'masked_lm')
    t.deepEqual(await logits(model, 'again'), await logits(model, 'a'))
    const ownWords = model.namedParameters().filter(({ name }) => name === 'heads.again.3.weight')
    t.is(ownWords.length, 0)
  })
}

const values = (tensor: StoredTensor | undefined) =>
  new Float32Array(new Uint8Array(tensor?.bytes ?? Buffer.alloc(0)).buffer)

test('without the note, and in a model of other words, the stored decoder is an output layer of its own', async (t) => {
  using model = await open('bert-tiny')
  withMasked(model)
  const folder = scratch(t)
  await model.saveAdapter(folder, 'a', { library: 'peft' })
  const expected = await logits(model, 'a')
  const noted = configOf(folder)
  const file = join(folder, 'adapter_config.json')
  const write = (own: object | undefined) => writeFileSync(file, JSON.stringify({ ...noted, torch_adapters: own }))
  write(undefined)
  await model.loadAdapter(folder, { as: 'own' })
  t.like(model.heads.get('own'), { headType: 'masked_lm', tied: false })
  t.deepEqual(await logits(model, 'own'), expected)

  write({ tied: true })
  using other = await make(t)
  await t.throwsAsync(other.loadAdapter(folder, { as: 'b' }), {
    code: 'ERR_STATE_DICT',
    message: /decoder is not this model's word embedding/
  })
  t.deepEqual([...other.adapters.keys(), ...other.heads.keys()], [])
  write({ tied: 'yes' })
  await t.throwsAsync(model.loadAdapter(folder, { as: 'b' }), { message: /torch_adapters\.tied/ })

  // One that learned goes both ways, in either format, and a decoder's two biases must be one.
  withOwnWords(model)
  for (const format of ['safetensors', 'bin'] as const) {
    await model.saveAdapter(folder, 'w', { library: 'peft', format })
    t.false('torch_adapters' in configOf(folder))
    await model.loadAdapter(folder, { as: 'back', overwriteOk: true })
    t.deepEqual(model.heads.get('back'), model.heads.get('w'))
    t.deepEqual(await logits(model, 'back'), await logits(model, 'w'))
  }
  await model.saveAdapter(folder, 'w', { library: 'peft' })
  editTensors(join(folder, 'adapter_model.safetensors'), (tensors) => {
    const bias = tensors.get('base_model.model.cls.predictions.bias')
    if (bias !== undefined) tensors.set('base_model.model.cls.predictions.bias', { ...bias, bytes: zeros(bias) })
  })
  await t.throwsAsync(model.loadAdapter(folder, { as: 'torn' }), { message: /one tensor under both names/ })
})

const zeros = ({ bytes }: StoredTensor) => Buffer.alloc(bytes.length)

function withOwnWords(model: Model): void {
  model.addAdapter('w', 'ia3')
  model.addMaskedLmHead('w', { tied: false })
  fillAll(model, 'w')
}

test("BERT's activation is the model's, also where PEFT says nothing of it; RoBERTa's is always gelu", async (t) => {
  using relu = await make(t, { hidden_act: 'relu' })
  const folder = scratch(t)
  withMasked(relu)
  await t.throwsAsync(relu.saveAdapter(folder, 'a', { library: 'peft' }), {
    code: 'ERR_UNSUPPORTED',
    message: /BertForMaskedLM has no head like 'a'.*"activationFunction":"relu".*got .*"gelu".*withHead: false/s
  })
  relu.deleteAdapter('a')
  relu.deleteHead('a')
  withMasked(relu, { activationFunction: 'relu' })
  await relu.saveAdapter(folder, 'a', { library: 'peft' })
  await relu.loadAdapter(folder, { as: 'again' })
  t.deepEqual(await logits(relu, 'again'), await logits(relu, 'a'))
  t.like(relu.heads.get('again'), { activationFunction: 'relu' })

  using learns = await make(t, { hidden_act: 'prelu' })
  withMasked(learns)
  await t.throwsAsync(learns.saveAdapter(folder, 'a', { library: 'peft' }), {
    message: /BertForMaskedLM has no head like 'a'/
  })
  using roberta = await make(t, { model_type: 'roberta', hidden_act: 'relu', pad_token_id: 1 })
  withMasked(roberta)
  await t.notThrowsAsync(roberta.saveAdapter(folder, 'a', { library: 'peft' }))
})

test('a head of other layers, and one behind a prefix or a prompt, are refused with the way out', async (t) => {
  using model = await open('bert-tiny')
  const folder = scratch(t)
  withMasked(model, { layers: 3 })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { library: 'peft' }), {
    code: 'ERR_UNSUPPORTED',
    message: /BertForMaskedLM has no head like 'a'.*"layers":2.*got .*"layers":3/s
  })
  await t.notThrowsAsync(model.saveAdapter(folder, 'a', { library: 'peft', withHead: false }))
  // PEFT's class for tasks without a name passes them by: its logits are those of the base model.
  model.addAdapter('p', 'prefix_tuning_flat[prefix_length=3, shift_positions=True]')
  model.addAdapter('w', "prompt_tuning[prompt_length=2, combine='prefix_words']")
  model.addMaskedLmHead('p')
  model.addMultipleChoiceHead('w', { layers: 1, usePooler: true })
  for (const [name, inClass] of [
    ['p', /a prefix or a prompt in BertForMaskedLM, for whose task it has no name.*withHead: false/s],
    ['w', /a prefix or a prompt in BertForMultipleChoice/]
  ] as const) {
    await t.throwsAsync(model.saveAdapter(folder, name, { library: 'peft' }), {
      code: 'ERR_UNSUPPORTED',
      message: inClass
    })
    await t.notThrowsAsync(model.saveAdapter(folder, name, { library: 'peft', withHead: false }))
  }
})

const choosers = [
  ['bert-tiny', {}, ['pooler', 'classifier']],
  ['roberta-tiny', { layers: 1, usePooler: true, activationFunction: null }, ['classifier']],
  ['electra-tiny', { activationFunction: 'gelu' }, ['sequence_summary', 'classifier']],
  ['distilbert-tiny', { activationFunction: 'relu' }, ['pre_classifier', 'classifier']]
] as const

for (const [source, options, saved] of choosers) {
  test(`choices of ${source}: all layers of the class's head go both ways`, async (t) => {
    using model = await open(source)
    model.addAdapter('a', 'lora[r=2]')
    model.addMultipleChoiceHead('a', options)
    fillAll(model, 'a')
    const folder = scratch(t)
    await model.saveAdapter(folder, 'a', { library: 'peft' })
    t.deepEqual(configOf(folder).modules_to_save, saved)
    await model.loadAdapter(folder, { as: 'again' })
    t.deepEqual(model.heads.get('again'), model.heads.get('a'))
    const scores = async (name: string) =>
      (await model.forward({ inputIds: [[2, 3], [4]], choices: [2] }, { adapters: name, head: name })).logits
    t.deepEqual(await scores('again'), await scores('a'))
  })
}

/** The folder of 'a' with some tensors of its head left out. */
async function without(model: Model, folder: string, left: (name: string) => boolean, fields: object): Promise<void> {
  await model.saveAdapter(folder, 'a', { library: 'peft' })
  editTensors(join(folder, 'adapter_model.safetensors'), (tensors) => {
    for (const name of [...tensors.keys()].filter(left)) tensors.delete(name)
  })
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...configOf(folder), ...fields }))
}

test('modules_to_save may name the decoder alone, without the bias around it; but all layers of the head', async (t) => {
  using model = await open('bert-tiny')
  withMasked(model)
  const folder = scratch(t)
  const decoder = ['cls.predictions.transform', 'cls.predictions.decoder']
  await without(model, folder, (name) => name.endsWith('predictions.bias'), { modules_to_save: decoder })
  await model.loadAdapter(folder, { as: 'again' })
  t.deepEqual(await logits(model, 'again'), await logits(model, 'a'))
  await without(model, folder, (name) => name.includes('.transform.'), { modules_to_save: ['decoder', 'predictions'] })
  await t.throwsAsync(model.loadAdapter(folder, { as: 'b' }), {
    message: /the head of BertForMaskedLM is cls\.predictions\.transform\.dense/
  })
})

test('a folder of such a class that holds nothing of its head stays one of that class', async (t) => {
  using model = await open('bert-tiny')
  withMasked(model)
  const folder = scratch(t)
  await without(model, folder, (name) => name.includes('.cls.'), { modules_to_save: null, torch_adapters: undefined })
  t.is(await model.loadAdapter(folder, { as: 'lora' }), 'lora')
  t.false(model.heads.has('lora'))
  const again = scratch(t)
  await model.saveAdapter(again, 'lora', { library: 'peft' })
  t.like(configOf(again), { task_type: null, auto_mapping: { base_model_class: 'BertForMaskedLM' } })
  t.is(configOf(again).modules_to_save, null)
  t.deepEqual([...tensorsOf(again).keys()].sort(), [...tensorsOf(folder).keys()].sort())
  // Alone it is for the base model.
  await model.saveAdapter(again, 'lora', { library: 'peft', withHead: false })
  t.is(configOf(again).task_type, 'FEATURE_EXTRACTION')
})
