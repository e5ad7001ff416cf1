import test from 'ava'
import {
  AdapterTrainer,
  Fuse,
  type Model,
  MultiTaskTrainer,
  type TaskOptions,
  type TrainingArguments
} from '../../lib/index.js'
import { load, quiet, tinyRows } from '../model/support.js'
import * as chosen from '../training/choice-rows.js'
import { distance, valuesOf } from './support.js'

const methods = {
  bn: 'double_seq_bn',
  phm: 'compacter[reduction_factor=2]',
  inv: 'seq_bn_inv',
  lora: 'lora',
  dora: 'dora',
  vera: 'vera',
  ia3: 'ia3',
  prefix: 'prefix_tuning',
  prompt: 'prompt_tuning',
  reft: 'loreft',
  mam: 'mam',
  unipelt: 'unipelt'
}

test('tasks of every method share a pass, and each learns what it would learn alone', async (t) => {
  const args: TrainingArguments = { ...quiet, maxSteps: 4, learningRate: 5e-3, perDeviceTrainBatchSize: 3 }
  const rows = Object.fromEntries(Object.keys(methods).map((name, i) => [name, tinyRows(12, { seed: i })]))
  const add = (model: Model, name: string, preset: string) => {
    model.addAdapter(name, preset)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  const model = await load(t)
  for (const [name, preset] of Object.entries(methods)) add(model, name, preset)
  const tasks = Object.fromEntries(Object.entries(rows).map(([name, dataset]) => [name, { dataset }]))
  await new MultiTaskTrainer({ model, tasks, args, sampler: 'round_robin' }).train()
  for (const [name, preset] of Object.entries(methods)) {
    const alone = await load(t)
    add(alone, name, preset)
    alone.trainAdapter(name)
    await new AdapterTrainer({ model: alone, trainDataset: rows[name] ?? [], args }).train()
    const apart = distance(valuesOf(alone, name), valuesOf(model, name))
    t.true(apart < 1e-3, `${name}: ${apart}`)
  }
})

test('heads that choose, tag and fuse are tasks of one pass', async (t) => {
  const args: TrainingArguments = { ...quiet, maxSteps: 3, learningRate: 5e-3, perDeviceTrainBatchSize: 4 }
  const withAll = async () => {
    const model = await chosen.load(t)
    for (const name of ['qa', 'mc', 'parse', 'x', 'y', 'f']) model.addAdapter(name)
    model.addAdapterFusion(['x', 'y'])
    model.addQuestionAnsweringHead('qa')
    model.addMultipleChoiceHead('mc')
    model.addDependencyParsingHead('parse', { labels: chosen.relations })
    model.addClassificationHead('f', { numLabels: 2 })
    return model
  }
  const tasks: Record<string, TaskOptions> = {
    qa: { dataset: chosen.questions },
    mc: { dataset: chosen.choices },
    parse: { dataset: chosen.parses },
    f: { dataset: tinyRows(12, { from: 2 }), adapter: Fuse('x', 'y'), head: 'f' }
  }
  const model = await withAll()
  const frozen = valuesOf(model, 'x')
  // A bias that all choices of a question get alike changes no answer: AdamW makes steps of its gradient's rounding.
  const trained = (of: Model, name: string) =>
    new Map([...valuesOf(of, name)].filter(([parameter]) => parameter !== 'heads.mc.4.bias'))
  await new MultiTaskTrainer({ model, tasks, args, sampler: 'round_robin' }).train()
  t.is(distance(frozen, valuesOf(model, 'x')), 0, 'what a fusion reads stays as it is')
  for (const [name, { dataset, adapter }] of Object.entries(tasks)) {
    const alone = await withAll()
    if (adapter === undefined) alone.trainAdapter(name)
    else alone.trainAdapterFusion(adapter as ReturnType<typeof Fuse>)
    alone.activeHead = name
    if (adapter !== undefined) alone.freeze((parameter) => !/adapter_fusion_layer|^heads\.f\./.test(parameter))
    await new AdapterTrainer({ model: alone, trainDataset: dataset, args }).train()
    const own = adapter === undefined ? name : 'x,y'
    const apart = distance(trained(alone, own), trained(model, own))
    t.true(apart < 1e-3, `${name}: ${apart}`)
  }
})

test('MTL-LoRA adapters that share A train it for both tasks, each its own rest', async (t) => {
  const model = await load(t)
  for (const name of ['x', 'y']) {
    model.addAdapter(name, 'mtl_lora')
    model.addClassificationHead(name, { numLabels: 2 })
  }
  model.shareParameters(['x', 'y'])
  const before = new Map(model.namedParameters().map(({ name }) => [name, model.parameter(name).data.slice()]))
  const tasks = { x: { dataset: tinyRows(8, { seed: 1 }) }, y: { dataset: tinyRows(8, { seed: 2 }) } }
  await new MultiTaskTrainer({ model, tasks, args: { ...quiet, numTrainEpochs: 2 } }).train()
  const moved = [...before].flatMap(([name, values]) => {
    const now = model.parameter(name).data
    return values.some((value, i) => value !== now[i]) ? [name] : []
  })
  for (const part of ['.x.lora_A', '.x.lora_B', '.x.task_specific', '.y.task_specific', 'heads.x.', 'heads.y.']) {
    t.true(
      moved.some((name) => name.includes(part)),
      `${part}: ${moved.join(' ')}`
    )
  }
})
