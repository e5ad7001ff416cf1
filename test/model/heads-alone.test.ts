import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterError } from '../../lib/index.js'
import { editTensors, floats } from './safetensors-file.js'
import { load, make, moved, scratch, snapshot, tinyRows } from './support.js'

const inputIds = tinyRows(5).map((row) => row.inputIds)

for (const format of ['safetensors', 'bin', 'pt'] as const) {
  test(`${format}: a head without an adapter comes back bit for bit, under its name and another`, async (t) => {
    const model = await load(t, { seed: 3 })
    model.addClassificationHead('a', { labels: ['no', 'yes', 'maybe'] })
    const folder = join(scratch(t), 'a')
    await model.saveHead(folder, 'a', { format })
    t.is(readdirSync(folder).length, 2)
    const other = await load(t, { seed: 4 })
    t.is(await other.loadHead(folder), 'a')
    t.is(await other.loadHead(folder, { as: 'b' }), 'b')
    t.is(other.activeHead, 'a')
    t.deepEqual(moved(snapshot(model, /^heads\./), snapshot(other, /^heads\.a/)), [])
    t.deepEqual(other.heads.get('b'), model.heads.get('a'))
    t.deepEqual(await other.forward({ inputIds }, { head: 'b' }), await model.forward({ inputIds }))
  })
}

test('a head comes alone from the folder of an adapter', async (t) => {
  const model = await load(t, { seed: 3 })
  model.addAdapter('a', 'seq_bn')
  model.addClassificationHead('a', { numLabels: 2 })
  const folder = join(scratch(t), 'a')
  await model.saveAdapter(folder, 'a')
  const other = await load(t)
  await other.loadHead(folder)
  t.is(other.adapters.size, 0)
  t.deepEqual(moved(snapshot(model, /^heads\./), snapshot(other, /^heads\./)), [])
})

test('a taken name, a damaged file, another model, no head', async (t) => {
  const model = await load(t, { seed: 3 })
  model.addClassificationHead('a', { numLabels: 2 })
  const folder = join(scratch(t), 'a')
  await model.saveHead(folder, 'a')
  const before = snapshot(model)
  await t.throwsAsync(model.loadHead(folder), { message: /loadHead: the head 'a' exists already; pass overwriteOk/ })
  const wide = await make(t, { hidden_size: 64 })
  await t.throwsAsync(wide.loadHead(folder), { code: 'ERR_WRONG_MODEL', message: /expected hidden size 64/ })
  editTensors(join(folder, 'model_head.safetensors'), (tensors) => tensors.set('heads.a.4.bias', floats([1])))
  for (const options of [{ as: 'b' }, { overwriteOk: true }]) {
    await t.throwsAsync(model.loadHead(folder, options), { code: 'ERR_STATE_DICT', message: /4\.bias: expected \[2\]/ })
  }
  t.deepEqual(moved(before, snapshot(model)), [])
  t.deepEqual([...model.heads.keys()], ['a'])
  const empty = scratch(t)
  const wrong = { instanceOf: AdapterError, code: 'ERR_FILE_NOT_FOUND' }
  await t.throwsAsync(model.loadHead(empty), { ...wrong, message: /holds no head \(expected head_config\.json/ })
  writeFileSync(join(empty, 'adapter_fusion_config.json'), '{}')
  await t.throwsAsync(model.loadHead(empty), { ...wrong, message: /looks like an AdapterFusion/ })
  await t.throwsAsync(model.saveHead(folder, 'c'), { message: /no 'c' here; there are 'a'/ })
  await t.throwsAsync(model.saveHead(folder, 'a', { formats: 'bin' } as never), { message: /Did you mean 'format'/ })
})

test('a file that lacks a tensor of the head is not taken for one without a head', async (t) => {
  const model = await load(t)
  model.addClassificationHead('a')
  const folder = join(scratch(t), 'a')
  await model.saveHead(folder, 'a')
  const other = await load(t)
  const file = join(folder, 'model_head.safetensors')
  editTensors(file, (tensors) => tensors.delete('heads.a.4.bias'))
  const lacks = await t.throwsAsync(other.loadHead(folder), { code: 'ERR_STATE_DICT', message: /4\.bias/ })
  t.notRegex(lacks?.message ?? '', /holds nothing of the head/)
  editTensors(file, (tensors) => {
    for (const name of tensors.keys()) tensors.delete(name)
  })
  await t.throwsAsync(other.loadHead(folder), { code: 'ERR_STATE_DICT', message: /holds nothing of the head/ })
})

test('a head of every kind comes from a copy of its config', async (t) => {
  const model = await load(t)
  model.addClassificationHead('classes', { id2label: { 0: 'x', 1: 'x', 2: 'y' }, dropoutProb: 0.5 })
  model.addRegressionHead('value', { layers: 1 })
  model.addMultiLabelClassificationHead('labels', { numLabels: 3 })
  model.addTaggingHead('tags', { labels: ['O', 'B'] })
  model.addQuestionAnsweringHead('answer')
  model.addMultipleChoiceHead('choice')
  model.addDependencyParsingHead('tree', { labels: ['subj', 'obj', 'mod'] })
  model.addMaskedLmHead('words', { layers: 1 })
  for (const [name, config] of [...model.heads]) {
    model.addHead(`${name}-again`, { ...config })
    t.deepEqual(model.heads.get(`${name}-again`), config)
  }
})

test('a head of no type that there is, and fields that say nothing, are refused by their names', async (t) => {
  const model = await load(t)
  for (const [config, message] of [
    [
      { headType: 'clasification' },
      /config\.headType: expected one of .*got 'clasification'.*Did you mean 'classification'/
    ],
    [{}, /config\.headType: expected one of .*got undefined/],
    [{ headType: 'classification', numLabels: '2' }, /numLabels: expected a positive integer.*got '2'/],
    [{ headType: 'classification', numLabels: -1 }, /numLabels: expected a positive integer.*got -1/],
    [{ headType: 'classification', numLabels: 5, labels: ['a', 'b'] }, /numLabels: expected 2, as there are labels/],
    [
      { headType: 'classification', numLabels: 1, label2id: { a: 0, b: 1 } },
      /the id of label 'b': expected an integer/
    ],
    [{ headType: 'classification', layers: 17 }, /layers: expected a positive integer up to 16, got 17/],
    [{ headType: 'classification', layers: 0 }, /layers: expected a positive integer up to 16, got 0/],
    [{ headType: 'tagging', layers: 1.5 }, /layers: expected a positive integer up to 16, got 1.5/],
    [{ headType: 'tagging', dropoutProb: 7 }, /dropoutProb: expected a number .*got 7/],
    [{ headType: 'tagging', layers: 1, activationFunction: 'rellu' }, /activationFunction: .*Did you mean 'relu'/],
    [{ headType: 'masked_lm', foo: 1 }, /masked_lm head: unknown option 'foo'/],
    ['classification', /config: expected an object, got 'classification'/]
  ] as const)
    t.throws(() => model.addHead('x', config as never), { message })
})
