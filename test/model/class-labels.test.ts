import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, evaluate, type HeadConfig, type Model } from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { load, scratch } from './support.js'

/** A folder of BertForSequenceClassification with two outputs, whose config.json has these fields of its labels. */
async function folderOf(t: ExecutionContext, fields: object): Promise<string> {
  const folder = scratch(t)
  const source = await load(t)
  source.addClassificationHead('x', { numLabels: 2, layers: 1, activationFunction: null, usePooler: true })
  await source.savePretrained(folder, { modelClass: 'BertForSequenceClassification' })
  const file = join(folder, 'config.json')
  const { id2label: _, label2id: __, ...config } = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...config, ...fields }))
  return folder
}

async function modelOf(t: ExecutionContext, fields: object): Promise<Model> {
  const model = await AutoModel.fromPretrained(await folderOf(t, fields))
  t.teardown(() => model.dispose())
  return model
}

const namesOf = (model: Model) => (model.heads.get('default') as { label2id: unknown } | undefined)?.label2id

test('ids that are texts are ids; what is none names the file', async (t) => {
  t.deepEqual(namesOf(await modelOf(t, { label2id: { neg: '0', pos: '1' } })), { neg: 0, pos: 1 })
  const folder = await folderOf(t, { label2id: { neg: 'a', pos: 'b' } })
  await t.throwsAsync(AutoModel.fromPretrained(folder), {
    code: 'ERR_INVALID_FILE',
    message: /config\.json.*label2id\['neg'\]: expected an integer from 0, got 'a'/
  })
})

test('labels are those of id2label, as transformers answers, whatever label2id says', async (t) => {
  const names = ['neg', 'pos']
  const id2label = { 0: 'neg', 1: 'pos' }
  // transformers 4.57.6 writes the first where `model.config.id2label` was set, and answers config.id2label[argmax].
  for (const label2id of [
    { LABEL_0: 0, LABEL_1: 1 },
    { pos: 0, neg: 1 },
    { neg: 0 },
    { neg: 0, pos: 1, other: 2 },
    null
  ]) {
    const model = await modelOf(t, { id2label, label2id, num_labels: 3 })
    const [answer] = await model.predict([{ inputIds: [5, 9, 7] }])
    const [low = 0, high = 0] = answer?.logits ?? []
    t.is(answer?.label, names[Number(high > low)])
    t.deepEqual(namesOf(model), { neg: 0, pos: 1 })
    // Rows are labelled by the same names.
    const accuracies = await Promise.all(
      names.map(async (label) => (await evaluate(model, [{ inputIds: [5, 9, 7], label }])).metrics.accuracy)
    )
    t.deepEqual(
      accuracies,
      names.map((name) => Number(name === answer?.label))
    )
  }
})

test('without id2label the ids of label2id, or as many labels as num_labels says', async (t) => {
  t.deepEqual(namesOf(await modelOf(t, { label2id: { pos: 0, neg: 1 } })), { pos: 0, neg: 1 })
  t.deepEqual(namesOf(await modelOf(t, { id2label: {}, label2id: { pos: 0, neg: 1 } })), { pos: 0, neg: 1 })
  for (const fields of [{}, { num_labels: 2 }, { id2label: null, label2id: null }]) {
    t.is(namesOf(await modelOf(t, fields)), null)
  }
  // Numbers as names, as data sets have them.
  t.deepEqual(namesOf(await modelOf(t, { id2label: { 0: 4, 1: 2 } })), { 4: 0, 2: 1 })
})

test('two ids of one name stay two: answers have both, files keep both, and rows are labelled with ids', async (t) => {
  const model = await modelOf(t, { id2label: { 0: 'neg', 1: 'neg' } })
  const row = { inputIds: [5, 9, 7] }
  const [answer] = await model.predict([row])
  t.is(answer?.label, 'neg')
  t.is(answer?.logits.length, 2)
  const byId = [0, 1].map(async (label) => (await evaluate(model, [{ ...row, label }])).metrics.accuracy)
  t.deepEqual(
    await Promise.all(byId),
    [0, 1].map((id) => Number(id === answer?.labelId))
  )
  await t.throwsAsync(evaluate(model, [{ ...row, label: 'neg' }]), {
    name: 'TypeError',
    message: /label: the head calls 2 ids 'neg': 0, 1\. Give the id in its place \(0 or 1, a number\), or a head whose/
  })
  // Python's libraries read both forms: of label2id its last id, and id2label beside it.
  const [whole, alone] = [scratch(t), scratch(t)]
  await model.savePretrained(whole, { modelClass: 'BertForSequenceClassification' })
  t.like(JSON.parse(readFileSync(join(whole, 'config.json'), 'utf8')), {
    id2label: { 0: 'neg', 1: 'neg' },
    label2id: { neg: 1 }
  })
  model.addAdapter('x', 'lora')
  model.addHead('x', model.heads.get('default') as HeadConfig)
  await model.saveAdapter(alone, 'x')
  const { config } = JSON.parse(readFileSync(join(alone, 'head_config.json'), 'utf8'))
  t.like(config, { id2label: { 0: 'neg', 1: 'neg' }, label2id: { neg: 1 } })
  await model.loadAdapter(alone, { as: 'y' })
  t.deepEqual(model.heads.get('y'), model.heads.get('x'))
})

test('an id2label that cannot be a head’s names the file', async (t) => {
  const cases: [object, RegExp][] = [
    [{ 1: 'neg', 2: 'pos' }, /the id of label 'pos': expected an integer from 0 up to 1, got 2/],
    [{ neg: 0, pos: 1 }, /the id of label '0': expected an integer/],
    [{ 0: null, 1: 'pos' }, /id2label\[0\]: expected a string, got null/]
  ]
  for (const [id2label, message] of cases) {
    const error = await t.throwsAsync(AutoModel.fromPretrained(await folderOf(t, { id2label })), {
      code: 'ERR_INVALID_FILE'
    })
    t.regex(error?.message ?? '', message)
    t.regex(error?.message ?? '', /config\.json/)
  }
})

test('a class that gives several values a row has no head with its like: the base model alone is loaded, and says so', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_HEAD_LEFT_OUT')
  const folder = await folderOf(t, { problem_type: 'regression' })
  const open = async (options: object = {}) => {
    const model = await AutoModel.fromPretrained(folder, options)
    t.teardown(() => model.dispose())
    await soon()
    return model
  }
  const model = await open()
  t.is(model.heads.size, 0)
  t.is(warnings.length, 1)
  t.regex(
    warnings[0] ?? '',
    /BertForSequenceClassification's, which gives 2 values a row \(problem_type "regression"\)/
  )
  await t.throwsAsync(model.predict([{ inputIds: [5, 9, 7] }]), { message: /head/ })
  model.addRegressionHead('own')
  t.is((await model.predict([{ inputIds: [5, 9, 7] }]))[0]?.logits.length, 1)
  await open({ withHead: false })
  t.is(warnings.length, 1)
})
