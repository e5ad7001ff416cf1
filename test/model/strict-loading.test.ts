import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, type Model } from '../../lib/index.js'
import { loadAddon } from '../../lib/native/addon.js'
import { editTensors, floats, type StoredTensor } from './safetensors-file.js'
import { load, moved, quiet, scratch, snapshot, tinyRows, trainableNames } from './support.js'

const config = 'seq_bn[reduction_factor=8, ln_before=True]'

async function saved(t: ExecutionContext, dialect: 'adapterhub' | 'plain' = 'adapterhub'): Promise<string> {
  const model = await load(t, { seed: 3 })
  model.addAdapter('a', config)
  model.addClassificationHead('a', { numLabels: 2 })
  const folder = join(scratch(t), 'a')
  await model.saveAdapter(folder, 'a', { dialect })
  return folder
}

type Edit = (tensors: Map<string, StoredTensor>) => void

/** The error of loading the folder under its own name, another, and over one that is there; all must be the same. */
async function refusal(t: ExecutionContext, folder: string, file: string, edit: Edit): Promise<string> {
  editTensors(join(folder, file), edit)
  const model = await load(t)
  const error = await t.throwsAsync(model.loadAdapter(folder), { code: 'ERR_STATE_DICT' })
  const renamed = await t.throwsAsync(model.loadAdapter(folder, { as: 'b' }), { code: 'ERR_STATE_DICT' })
  model.addAdapter('c', config)
  const over = model.loadAdapter(folder, { as: 'c', overwriteOk: true })
  const replaced = await t.throwsAsync(over, { code: 'ERR_STATE_DICT' })
  t.is(renamed?.message, error?.message)
  t.is(replaced?.message, error?.message)
  return error?.message ?? ''
}

const list = (message: string, what: string) =>
  [...(new RegExp(`${what} ((?:'[^']*'(?:, )?)+)`).exec(message)?.[1] ?? '').matchAll(/'([^']*)'/g)].map(
    ([, name]) => name
  )

test('keys are listed as the file has them, whatever the adapter is called here', async (t) => {
  const folder = await saved(t)
  const message = await refusal(t, folder, 'adapter.safetensors', (tensors) => {
    tensors.delete('bert.encoder.layer.0.output.adapters.a.adapter_up.weight')
    tensors.set('bert.encoder.layer.0.output.adapters.a.other', floats([1]))
    tensors.set('bert.encoder.layer.1.output.adapters.a.adapter_up.bias', floats([1]))
  })
  t.regex(message, /load the adapter 'a' of .*adapter\.safetensors/)
  t.deepEqual(list(message, 'missing'), ['bert.encoder.layer.0.output.adapters.a.adapter_up.weight'])
  t.deepEqual(list(message, 'unexpected'), ['bert.encoder.layer.0.output.adapters.a.other'])
  t.deepEqual(list(message, 'wrong shape'), [
    'bert.encoder.layer.1.output.adapters.a.adapter_up.bias: expected [32], got [1]'
  ])
})

test('however many there are, each is listed', async (t) => {
  const folder = await saved(t)
  const message = await refusal(t, folder, 'adapter.safetensors', (tensors) => {
    for (let i = 0; i < 30; i++) tensors.set(`bert.encoder.layer.0.output.adapters.a.other${i}`, floats([1]))
  })
  t.is(list(message, 'unexpected').length, 30)
})

test('in the plain dialect too, where a norm has one name', async (t) => {
  const folder = await saved(t, 'plain')
  const message = await refusal(t, folder, 'adapter.safetensors', (tensors) => {
    tensors.delete('bert.encoder.layer.0.output.adapters.a.down_project.weight')
    tensors.delete('bert.encoder.layer.1.output.adapters.a.adapter_norm_before.bias')
    tensors.set('bert.encoder.layer.1.output.adapters.a.up_project.scale', floats([1]))
    tensors.set('bert.encoder.layer.0.output.adapters.a.adapter_norm_before.weight', floats([1]))
  })
  t.deepEqual(list(message, 'missing').sort(), [
    'bert.encoder.layer.0.output.adapters.a.down_project.weight',
    'bert.encoder.layer.1.output.adapters.a.adapter_norm_before.bias'
  ])
  t.deepEqual(list(message, 'unexpected'), ['bert.encoder.layer.1.output.adapters.a.up_project.scale'])
  t.deepEqual(list(message, 'wrong shape'), [
    'bert.encoder.layer.0.output.adapters.a.adapter_norm_before.weight: expected [32], got [1]'
  ])
})

test('without the base model’s prefix, and with the names of old releases', async (t) => {
  const folder = await saved(t)
  const rename = (tensors: Map<string, StoredTensor>, change: (name: string) => string) => {
    for (const [name, tensor] of [...tensors]) {
      tensors.delete(name)
      tensors.set(change(name), tensor)
    }
  }
  const message = await refusal(t, folder, 'adapter.safetensors', (tensors) => {
    tensors.delete('bert.encoder.layer.0.output.adapters.a.adapter_up.weight')
    tensors.set('bert.encoder.layer.0.output.adapters.a.other', floats([1]))
    rename(tensors, (name) => name.replace(/^bert\./, '').replace('.adapters.', '.layer_text_task_adapters.'))
  })
  t.deepEqual(list(message, 'missing'), ['encoder.layer.0.output.adapters.a.adapter_up.weight'])
  t.deepEqual(list(message, 'unexpected'), ['encoder.layer.0.output.layer_text_task_adapters.a.other'])
})

test('a head’s keys, and those of a model class with a head of its own', async (t) => {
  const folder = await saved(t)
  const message = await refusal(t, folder, 'model_head.safetensors', (tensors) => {
    tensors.delete('heads.a.4.weight')
    tensors.set('heads.a.1.bias', floats([1]))
  })
  t.regex(message, /load the head 'a' of /)
  t.deepEqual(list(message, 'missing'), ['heads.a.4.weight'])
  t.deepEqual(list(message, 'wrong shape'), ['heads.a.1.bias: expected [32], got [1]'])

  const fixture = 'test/parity/fixtures/folders/bert-static-head'
  const copy = join(scratch(t), 'static')
  cpSync(fixture, copy, { recursive: true })
  const bin = join(copy, 'pytorch_model_head.bin')
  await loadAddon().convertWeights(bin, join(copy, 'model_head.safetensors'), 'safetensors', 'adapterhub', null)
  rmSync(bin)
  const model = await load(t)
  t.is(await model.loadHead(copy), 'default')
  const wrong = await refusal(t, copy, 'model_head.safetensors', (tensors) => {
    tensors.delete('classifier.bias')
    tensors.set('classifier.weight', floats([1]))
  })
  t.deepEqual(list(wrong, 'missing'), ['classifier.bias'])
  t.regex(wrong, /'classifier\.weight: expected \[\d+, 32\], got \[1\]'/)
})

async function active(t: ExecutionContext): Promise<Model> {
  const model = await load(t, { seed: 4 })
  for (const name of ['a', 'b']) {
    model.addAdapter(name, config)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  model.trainAdapter('a')
  return model
}

test('what replaces an active adapter and head is active, and trains where the old ones did', async (t) => {
  const folder = await saved(t)
  const replacements: ((model: Model) => unknown)[] = [
    (model) => model.loadAdapter(folder, { overwriteOk: true }),
    (model) => model.loadHead(folder, { overwriteOk: true }),
    (model) => model.addAdapter('a', 'double_seq_bn[reduction_factor=4]', { overwriteOk: true }),
    (model) => model.addTaggingHead('a', { overwriteOk: true }),
    (model) => model.addClassificationHead('a', { overwriteOk: true, labels: ['x', 'y'] })
  ]
  for (const replace of replacements) {
    const model = await active(t)
    await replace(model)
    t.is(model.activeAdapters, 'a')
    t.is(model.activeHead, 'a')
    const own = [...snapshot(model, /\.adapters\.a\.|^heads\.a\./).keys()]
    t.deepEqual(trainableNames(model).sort(), own.sort())
  }
  const model = await active(t)
  await model.loadAdapter(folder, { overwriteOk: true })
  const before = snapshot(model)
  await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 2 } }).train()
  t.true(moved(before, snapshot(model)).every((name) => /\.adapters\.a\.|^heads\.a\./.test(name)))
  t.true(moved(before, snapshot(model)).length > 8)
})

test('what replaces an adapter that is not active is not, and a null head stays null', async (t) => {
  const folder = await saved(t)
  const model = await active(t)
  await model.loadAdapter(folder, { as: 'b', overwriteOk: true })
  t.is(model.activeAdapters, 'a')
  t.is(model.activeHead, 'a')
  t.true(trainableNames(model).every((name) => !/adapters\.b\.|^heads\.b/.test(name)))
  model.setActiveAdapters(null)
  model.activeHead = null
  await model.loadAdapter(folder, { overwriteOk: true })
  t.is(model.activeAdapters, null)
  t.is(model.activeHead, null)
})

test('a config that is wrong takes nothing away', async (t) => {
  const model = await active(t)
  const before = snapshot(model)
  t.throws(() => model.addAdapter('a', 'seq_bn[reduction_factor=0]', { overwriteOk: true }))
  t.is(model.activeAdapters, 'a')
  t.deepEqual(moved(before, snapshot(model)), [])
})

test('misspelled options are errors that suggest the right one, in the spelling of the call', async (t) => {
  const folder = await saved(t)
  const model = await active(t)
  const said = (message: RegExp) => ({ code: 'ERR_INVALID_ARG_VALUE', message })
  await t.throwsAsync(model.loadAdapter(folder, { overwrite_ok: true } as never), said(/Did you mean 'overwriteOk'/))
  await t.throwsAsync(model.loadAdapter(folder, { with_head: true } as never), said(/Did you mean 'withHead'/))
  await t.throwsAsync(model.loadHead(folder, { ass: 'x' } as never), said(/Did you mean 'as'/))
  t.throws(() => model.addAdapter('x', 'seq_bn', { overwriteOK: true } as never), said(/Did you mean 'overwriteOk'/))
  t.throws(() => model.addClassificationHead('x', { overwriteok: true } as never), said(/Did you mean 'overwriteOk'/))
  t.throws(() => model.addClassificationHead('x', { num_labels: 2 } as never), said(/Did you mean 'numLabels'/))
  await t.throwsAsync(model.savePretrained(folder, { dtpye: 'float32' } as never), said(/Did you mean 'dtype'/))
  t.throws(() => model.addAdapter('x', { reductionFacotr: 2 } as never), said(/Did you mean 'reductionFactor'\?/))
  t.throws(
    () => model.addAdapter('x', { mh_adapter: true, reductionfacotr: 2 } as never),
    said(/Did you mean 'reduction_factor'/)
  )
  t.throws(() => model.addAdapter('x', 'seq_bn[reductionFacotr=2]'), said(/Did you mean 'reduction_factor'/))
  t.is(model.adapters.size, 2)
})

test('an unknown option of a head is told all that the call takes', async (t) => {
  const model = await active(t)
  const labelled = 'numLabels, layers, activationFunction, label2id, dropoutProb'
  const row = `${labelled}, usePooler, bias`
  const language = 'layers, activationFunction'
  const lists = {
    addClassificationHead: `${row}, labels, id2label`,
    addRegressionHead: 'layers, activationFunction, dropoutProb, usePooler, bias',
    addMultiLabelClassificationHead: `${row}, labels, id2label`,
    addImageClassificationHead: `${row}, multilabel, labels, id2label`,
    addTaggingHead: `${labelled}, labels, id2label`,
    addQuestionAnsweringHead: 'layers, activationFunction, dropoutProb',
    addMultipleChoiceHead: 'numChoices, layers, activationFunction, label2id, usePooler, dropoutProb, labels, id2label',
    addDependencyParsingHead: 'numLabels, label2id, labels, id2label',
    addCausalLmHead: `${language}, layerNorm, bias, tied`,
    addMaskedLmHead: `${language}, tied`
  }
  for (const [call, list] of Object.entries(lists)) {
    const add = () => model[call as keyof typeof lists]('x', { zzzzzz: 1 } as never)
    const { message = '' } = t.throws(add, { code: 'ERR_INVALID_ARG_VALUE' }) ?? {}
    t.true(message.endsWith(`unknown option 'zzzzzz'. Known: ${list}, overwriteOk, seed.`), message)
  }
})
