import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import test from 'ava'
import { AdapterConfig } from '../../lib/config/adapter-config.js'
import { classificationHead, headConfigFromJson } from '../../lib/config/head-config.js'
import { type ModelConfig, modelConfigFromJson } from '../../lib/config/model-config.js'
import { headOfModel, readAdapterFolder, readHeadFolder } from '../../lib/exchange/adapter-folder.js'
import { checkBaseModel } from '../../lib/exchange/base-model.js'
import { adapterJson, headJson, saveFolder } from '../../lib/exchange/write-folder.js'
import { fixtures, readIndex } from '../parity/support/fixtures.js'

// Folders that `adapters` 1.3.0 wrote: scripts/fixtures/folders.py.
interface Case {
  readonly folder: string
  readonly model: string
  readonly adapter: { readonly name: string; readonly config: Record<string, unknown> }
  readonly head?: { readonly name: string; readonly config: Record<string, unknown> }
}

const { cases } = readIndex<{ cases: Case[] }>('folders')

function modelOf(name: string): ModelConfig {
  const json = JSON.parse(readFileSync(join(fixtures, 'models', name, 'config.json'), 'utf8')) as Record<
    string,
    unknown
  >
  return modelConfigFromJson({ ...json, _name_or_path: name })
}

function fixtureCopy(name: string): string {
  const copy = join(mkdtempSync(join(tmpdir(), 'adapter-folder-')), name)
  cpSync(join(fixtures, 'folders', name), copy, { recursive: true })
  return copy
}

function edit(file: string, change: (json: Record<string, unknown>) => unknown): void {
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>)))
}

for (const { folder, model, adapter, head } of cases) {
  test(`reads what Python wrote: ${folder}`, (t) => {
    const read = readAdapterFolder(join(fixtures, 'folders', folder))
    t.is(read.name, adapter.name)
    t.deepEqual(JSON.parse(JSON.stringify(read.config)), adapter.config)
    t.true(existsSync(read.weightsFile))
    t.is(read.format, read.weightsFile.endsWith('.safetensors') ? 'safetensors' : 'bin')
    t.notThrows(() => checkBaseModel(read, modelOf(model)))
    t.deepEqual(read.head?.config, head && headConfigFromJson(head.config))
    if (head !== undefined) t.is(read.head?.name, read.head?.layers === null ? head.name : null)
  })
}

for (const { folder, model } of cases.filter(({ folder }) => !/legacy|static|bare/.test(folder))) {
  test(`writes what Python writes, letter for letter: ${folder}`, (t) => {
    const read = readAdapterFolder(join(fixtures, 'folders', folder))
    const text = (name: string) =>
      readFileSync(join(read.folder, name), 'utf8').replace('adapters.1.3.0', 'adapters.1.2.0')
    t.is(adapterJson({ name: read.name, config: read.config }, modelOf(model)), text('adapter_config.json'))
    if (read.head !== null) {
      t.is(headJson(read.head.name ?? '', read.head.config, modelOf(model)), text('head_config.json'))
    }
  })
}

test('a static head says where its layers are', (t) => {
  const { head } = readAdapterFolder(join(fixtures, 'folders/bert-static-head'))
  t.deepEqual(head?.layers, { classifier: 1 })
  t.is(head?.name, null)
})

test('the head can be left alone', (t) => {
  const copy = fixtureCopy('bert-seq_bn-bin')
  edit(join(copy, 'head_config.json'), (json) => ({ ...json, config: { head_type: 'biaffine' } }))
  t.throws(() => readAdapterFolder(copy), { code: 'ERR_UNSUPPORTED', message: /'biaffine'/ })
  t.is(readAdapterFolder(copy, false).head, null)
})

test('task adapters of old releases name an invertible adapter that they never had', (t) => {
  const copy = fixtureCopy('bert-legacy')
  const file = join(copy, 'adapter_config.json')
  const pair = { block_type: 'nice', non_linearity: 'relu', reduction_factor: 2 }
  edit(file, (json) => ({ ...json, config: { ...(json['config'] as object), invertible_adapter: pair } }))
  t.is(readAdapterFolder(copy).version, null)
  edit(file, (json) => ({ ...json, type: 'text_lang' }))
  t.like(readAdapterFolder(copy).config, { invAdapter: 'nice', invAdapterReductionFactor: 2 })
})

test('what is no adapter folder', (t) => {
  const copy = fixtureCopy('bert-seq_bn-bin')
  const file = join(copy, 'adapter_config.json')
  const whole = readFileSync(file, 'utf8')
  edit(file, () => ({ peft_type: 'LORA', r: 8 }))
  t.throws(() => readAdapterFolder(copy), { code: 'ERR_UNSUPPORTED', message: /PEFT/ })
  edit(file, () => ({ ...JSON.parse(whole), name: undefined }))
  t.throws(() => readAdapterFolder(copy), {
    code: 'ERR_INVALID_FILE',
    message: /adapter_config\.json: name: expected a string/
  })
  edit(file, () => ({ ...JSON.parse(whole), config: { ...JSON.parse(whole).config, new_field: 1 } }))
  t.throws(() => readAdapterFolder(copy), { code: 'ERR_INVALID_FILE', message: /unknown field 'new_field'/ })
  writeFileSync(file, whole)
  renameSync(join(copy, 'pytorch_adapter.bin'), join(copy, 'adapter_model.bin'))
  t.throws(() => readAdapterFolder(copy), { code: 'ERR_FILE_NOT_FOUND', message: /a PEFT adapter/ })
  rmSync(join(copy, 'adapter_model.bin'))
  t.throws(() => readAdapterFolder(copy), { message: /adapter_config\.json is there, the weights are not/ })
  rmSync(copy, { recursive: true })
  t.throws(() => readAdapterFolder(copy), { code: 'ERR_FILE_NOT_FOUND', message: /does not exist/ })
  // A checkpoint, or any folder of folders.
  const above = join(fixtureCopy('bert-seq_bn-bin'), '..')
  t.throws(() => readAdapterFolder(above), { message: /Its adapter is in .*bert-seq_bn-bin\.$/ })
  cpSync(join(above, 'bert-seq_bn-bin'), join(above, 'other'), { recursive: true })
  t.throws(() => readAdapterFolder(above), {
    message: /Each adapter in it has a folder: .*bert-seq_bn-bin, .*other\.$/
  })
})

test('an adapter of another model is refused by name', (t) => {
  const adapter = readAdapterFolder(join(fixtures, 'folders/bert-seq_bn-bin'))
  t.throws(() => checkBaseModel(adapter, modelConfigFromJson({ model_type: 'bert' })), {
    code: 'ERR_WRONG_MODEL',
    message: /expected hidden size 768, got hidden size 32\)\. .*trained on bert-tiny/
  })
  t.throws(() => checkBaseModel(adapter, modelOf('roberta-tiny')), {
    message: /model type roberta, got model type bert/
  })
})

const model = modelConfigFromJson({ model_type: 'bert', hidden_size: 32, num_attention_heads: 4, vocab_size: 100 })

async function save(folder: string, format: 'safetensors' | 'bin' | 'pt', fail = false): Promise<void> {
  const writeWeights = async (file: string) => {
    if (fail) throw new Error('the disk is full')
    writeFileSync(file, `weights ${format}`)
  }
  const adapter = { name: 'sst2', config: AdapterConfig.load('seq_bn', { initWeights: 'zeros' }), writeWeights }
  const head = { name: 'sst2', config: classificationHead({ labels: ['scaling', 'no'] }), writeWeights }
  await saveFolder(folder, { model, format, adapter, head })
}

test('saving and reading back', async (t) => {
  const folder = join(mkdtempSync(join(tmpdir(), 'adapter-folder-')), 'deep', 'sst2')
  await save(folder, 'safetensors')
  t.deepEqual(readdirSync(folder).sort(), [
    'adapter.safetensors',
    'adapter_config.json',
    'head_config.json',
    'model_head.safetensors'
  ])
  const read = readAdapterFolder(folder)
  t.deepEqual(read.config, AdapterConfig.load('seq_bn', { initWeights: 'zeros' }))
  t.deepEqual(read.head?.config, classificationHead({ labels: ['scaling', 'no'] }))
  t.is(read.version, 'adapters.1.2.0')
  // Python knows neither 'zeros' nor a class id of 0.0.
  const json = readFileSync(join(folder, 'adapter_config.json'), 'utf8')
  t.regex(json, /"init_weights": "mam_adapter"/)
  t.regex(readFileSync(join(folder, 'head_config.json'), 'utf8'), /"scaling": 0\n/)
})

test('a second format replaces the first', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'adapter-folder-'))
  writeFileSync(join(folder, 'README.md'), 'mine')
  await save(folder, 'safetensors')
  await save(folder, 'bin')
  t.deepEqual(readdirSync(folder).sort(), [
    'README.md',
    'adapter_config.json',
    'head_config.json',
    'pytorch_adapter.bin',
    'pytorch_model_head.bin'
  ])
  await save(folder, 'pt')
  t.is(basename(readAdapterFolder(folder).weightsFile), 'adapter.pt')
})

test('a failed save leaves the old adapter and nothing else', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'adapter-folder-'))
  await save(folder, 'safetensors')
  const before = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')])
  await t.throwsAsync(save(folder, 'bin', true), { message: 'the disk is full' })
  t.deepEqual(
    readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]),
    before
  )
})

test('names and places that cannot be', async (t) => {
  const config = AdapterConfig.load('seq_bn')
  const adapter = { name: 'a.b', config, writeWeights: async () => undefined }
  const folder = mkdtempSync(join(tmpdir(), 'adapter-folder-'))
  await t.throwsAsync(saveFolder(folder, { model, format: 'bin', adapter }), { message: /cannot hold a point/ })
  const file = join(folder, 'file')
  writeFileSync(file, '')
  await t.throwsAsync(save(file, 'bin'), { code: 'ERR_FILE', message: /is a file, where a folder is needed/ })
})

test('a head of a class without an activation of its own takes that of the model', (t) => {
  const folder = fixtureCopy('bert-static-head')
  const headOf = (model_class: string, model: ModelConfig) => {
    edit(join(folder, 'head_config.json'), (json) => ({ ...json, model_class }))
    return headOfModel(readHeadFolder(folder), model)?.config
  }
  const model = modelOf('bert-tiny')
  t.like(headOf('BertForMaskedLM', { ...model, hiddenAct: 'gelu_new' }), { activationFunction: 'gelu_new', layers: 2 })
  t.like(headOf('DistilBertForMaskedLM', { ...model, hiddenAct: 'relu' }), { activationFunction: 'relu' })
  t.like(headOf('RobertaForMaskedLM', { ...model, hiddenAct: 'relu' }), { activationFunction: 'gelu' })
  t.like(headOf('RobertaForSequenceClassification', { ...model, hiddenAct: 'relu' }), { activationFunction: 'tanh' })
  t.throws(() => headOf('BertForMaskedLM', { ...model, hiddenAct: 'prelu' }), {
    code: 'ERR_UNSUPPORTED',
    message: /an activation that learns.*prelu/s
  })
})
