import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  AdapterError,
  AdapterTrainer,
  AutoModel,
  addAdaptersToModel,
  dynamicAdapter,
  hierarchical,
  type Model,
  sequential
} from '../../lib/index.js'
import { hidden, load, moved, quiet, scratch, snapshot } from './support.js'
import { adapter, fill, inputIds, inserted, logits, names, rows, withHead } from './surgery-support.js'

test('a run resumes bit for bit, and only after the same surgery', async (t) => {
  const outputDir = scratch(t)
  const args = { ...quiet, outputDir, maxSteps: 6, saveStrategy: 'steps', saveSteps: 3 } as const
  const prepare = async (adapterSize = 5) => {
    const model = await withHead(t, { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 })
    addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', adapterSize })
    model.replaceModule('bert.encoder.layer.1.attention', (attention) =>
      sequential(attention, dynamicAdapter({ hiddenSize: hidden, maxAdapterSize: 6 }))
    )
    model.replaceModule('heads.a.1', (linear) => sequential(linear, adapter()))
    model.freezeBaseModel()
    return model
  }
  const whole = await prepare()
  await new AdapterTrainer({ model: whole, trainDataset: rows, args }).train()
  const resumed = await prepare()
  const resumeFromCheckpoint = join(outputDir, 'checkpoint-3')
  await new AdapterTrainer({ model: resumed, trainDataset: rows, args: { ...args, resumeFromCheckpoint } }).train()
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])

  const other = await prepare(4)
  const failure = { instanceOf: AdapterError, code: 'ERR_RESUME', message: /surgery/ }
  await t.throwsAsync(
    new AdapterTrainer({ model: other, trainDataset: rows, args: { ...args, resumeFromCheckpoint } }).train(),
    failure
  )
  // The checkpoint's own folder of inserted modules stands alone.
  const served = await withHead(t, { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 })
  await served.loadSurgery(join(outputDir, 'checkpoint-6'))
  const own = (model: Model) =>
    new Map([...snapshot(model)].filter(([name]) => inserted(model).includes(name) && name.startsWith('bert.')))
  t.deepEqual(moved(own(served), own(whole)), [])
})

test('a saved model comes back with its surgery, a shared module once on the disk', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  const shared = adapter()
  model.replaceModules('bert.encoder.layer.*.output.dense', (dense) => sequential(dense, shared))
  model.replaceModule('bert.encoder.layer.1.attention.output.dense', (dense) =>
    sequential(dense, hierarchical({ hiddenSize: hidden, adapterSizes: [7, 3], activation: 'gelu' }))
  )
  t.is(inserted(model).length, 12)
  fill(model)
  const before = await model.forward({ inputIds }, { head: null })
  await model.savePretrained(folder)
  const header = readFileSync(join(folder, 'model.safetensors'))
  const { __metadata__: metadata, ...tensors } = JSON.parse(
    header.toString('utf8', 8, 8 + Number(header.readBigUInt64LE(0)))
  )
  const [one, two] = ['0', '1'].map((layer) => `encoder.layer.${layer}.output.dense.1.up_project.weight`) as [
    string,
    string
  ]
  t.true(one in tensors)
  t.false(two in tensors)
  t.is(metadata[two], one)

  const again = await AutoModel.fromPretrained(folder)
  t.teardown(() => again.dispose())
  t.deepEqual(names(again), names(model))
  t.deepEqual(moved(snapshot(model), snapshot(again)), [])
  t.deepEqual((await again.forward({ inputIds }, { head: null })).lastHiddenState, before.lastHiddenState)
  for (const operation of [...again.replacements].reverse()) operation.undo()
  await again.savePretrained(folder)
  t.false(existsSync(join(folder, 'surgery.json')))
})

test('what was inserted travels alone; another surgery is told what does not fit and changes nothing', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*', adapterSize: 5 })
  fill(model)
  await model.saveSurgery(folder)
  const other = await load(t)
  await other.loadSurgery(folder)
  t.deepEqual(moved(snapshot(model), snapshot(other)), [])
  const third = await load(t)
  addAdaptersToModel(third, { pattern: 'bert.encoder.layer.*', adapterSize: 4 })
  const before = snapshot(third)
  await t.throwsAsync(third.loadSurgery(folder), {
    instanceOf: AdapterError,
    code: 'ERR_STATE_DICT',
    message: /wrong shape/
  })
  t.deepEqual(moved(before, snapshot(third)), [])
  const bare = await load(t)
  await t.throwsAsync(bare.saveSurgery(folder), {
    instanceOf: AdapterError,
    message: /replaced nothing.*replaceModule/
  })
})

test('modules that only took other places travel as the record alone', async (t) => {
  const [first, second] = ['0', '1'].map((layer) => `bert.encoder.layer.${layer}.output.dense`) as [string, string]
  const folder = scratch(t)
  const model = await load(t)
  // What an earlier surgery left there is no part of this one.
  addAdaptersToModel(model, { pattern: first, adapterSize: 5 })
  await model.saveSurgery(folder)
  model.undo()
  const before = (await model.forward({ inputIds })).lastHiddenState
  const swap = (one: Model) =>
    one.replaceModules([first, second], (_, path) => one.getSubmodule(path === first ? second : first))
  swap(model)
  const after = (await model.forward({ inputIds })).lastHiddenState
  t.notDeepEqual(after, before)
  await model.saveSurgery(folder)
  t.deepEqual(readdirSync(folder), ['surgery.json'])
  const other = await load(t)
  await other.loadSurgery(folder)
  t.deepEqual((await other.forward({ inputIds })).lastHiddenState, after)
  // Into the same surgery nothing is to be loaded, and another one is told.
  await other.loadSurgery(folder)
  t.is(other.replacements.length, 1)
  const third = await load(t)
  third.replaceModule(first, () => third.getSubmodule(second))
  await t.throwsAsync(third.loadSurgery(folder), { code: 'ERR_STATE_DICT', message: /another surgery.*layer\.0/s })
  const inHead = await withHead(t)
  inHead.replaceModule('heads.a.1', (dense) => sequential(dense, adapter()))
  await t.throwsAsync(inHead.saveSurgery(folder), { message: /replaced nothing in the base model.*stateDict/ })
})

test('a head with other modules has no folder, and a run with it still has its checkpoints', async (t) => {
  const build = async () => {
    const model = await withHead(t)
    model.addAdapter('a')
    model.replaceModule('heads.a.1', (dense) => sequential(dense, adapter()))
    model.trainAdapter('a')
    return model
  }
  const model = await build()
  const folder = scratch(t)
  const problem = { code: 'ERR_UNSUPPORTED', message: /in the head 'a'.*withHead: false/ }
  await t.throwsAsync(model.saveHead(folder, 'a'), problem)
  await t.throwsAsync(model.saveAdapter(folder, 'a'), problem)
  await model.saveAdapter(folder, 'a', { withHead: false })
  const outputDir = join(scratch(t), 'run')
  const args = { ...quiet, outputDir, saveStrategy: 'steps', saveSteps: 1, learningRate: 1e-3 } as const
  const trained = async (one: Model, more: object) => {
    await new AdapterTrainer({ model: one, trainDataset: rows, args: { ...args, ...more } }).train()
    return logits(one)
  }
  const whole = await trained(model, { maxSteps: 4 })
  t.deepEqual(readdirSync(join(outputDir, 'checkpoint-2/a')).sort(), ['adapter.safetensors', 'adapter_config.json'])
  const resumeFromCheckpoint = join(outputDir, 'checkpoint-2')
  t.deepEqual(await trained(await build(), { maxSteps: 4, resumeFromCheckpoint }), whole)
  // One in its place is another.
  model.addClassificationHead('a', { numLabels: 2, overwriteOk: true })
  t.is(model.replacements.length, 0)
  await model.saveHead(folder, 'a')
})
