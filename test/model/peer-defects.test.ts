import { join } from 'node:path'
import test from 'ava'
import { fusionConfig, nativeFusionConfig } from '../../lib/config/fusion-config.js'
import { BatchSplit } from '../../lib/index.js'
import { open } from '../exported/support.js'
import { readTensors } from './safetensors-file.js'
import { fill, load, scratch } from './support.js'

// What Python's adapters gets wrong and no other test holds; docs/python-defects.md names the other tests.

test('a tagging head under BatchSplit takes labels and a mask (D10)', async (t) => {
  const model = await load(t)
  const labels = { a: 3, b: 2 }
  for (const [name, numLabels] of Object.entries(labels)) {
    model.addAdapter(name, 'double_seq_bn[reduction_factor=8]')
    model.addTaggingHead(name, { numLabels })
    fill(model, name)
  }
  const rows = [
    { ids: [7, 8, 9], labels: [0, 2, 1], adapter: 'a' },
    { ids: [10], labels: [1], adapter: 'b' },
    { ids: [11, 12], labels: [0, 1], adapter: 'b' }
  ]
  const padded = (values: readonly number[], filler: number) => [...values, filler, filler, filler].slice(0, 3)
  const inputs = {
    inputIds: rows.map(({ ids }) => padded(ids, 0)),
    attentionMask: rows.map(({ ids }) =>
      padded(
        ids.map(() => 1),
        0
      )
    ),
    labels: rows.map((row) => padded(row.labels, -100))
  }
  const { headOutputs = [], loss } = await model.forward(inputs, {
    adapters: BatchSplit('a', 'b', { batchSizes: [1, 2] })
  })
  t.deepEqual(
    headOutputs.map(({ head, rows: own }) => [head, own]),
    [
      ['a', [0]],
      ['b', [1, 2]]
    ]
  )
  let sum = 0
  for (const [i, name] of ['a', 'b'].entries()) {
    const own = rows.filter(({ adapter }) => adapter === name)
    const alone = { inputIds: own.map(({ ids }) => ids), labels: own.map((row) => row.labels) }
    const answer = await model.forward(alone, { adapters: name })
    t.true(Math.abs((answer.loss ?? Number.NaN) - (headOutputs[i]?.loss ?? 0)) < 1e-6)
    sum += answer.loss ?? Number.NaN
  }
  t.true(Math.abs((loss ?? Number.NaN) - sum) < 1e-6)
})

test('a folder holds what has its name, and nothing whose name begins alike (D15)', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b', 'bc', 'ab']) model.addAdapter(name, 'seq_bn[reduction_factor=8]')
  model.addAdapterFusion(['a', 'b'])
  model.addAdapterFusion(['a', 'bc'])
  for (const name of ['h', 'h2']) model.addClassificationHead(name, { numLabels: 2 })
  const folder = scratch(t)
  const keys = (file: string) => [...readTensors(join(folder, file)).keys()]
  await model.saveAdapterFusion(join(folder, 'fusion'), 'a,b')
  const fusion = keys('fusion/model_adapter_fusion.safetensors')
  t.true(fusion.length > 0 && fusion.every((key) => key.includes('.adapter_fusion_layer.a,b.')))
  await model.saveHead(join(folder, 'head'), 'h')
  const head = keys('head/model_head.safetensors')
  t.true(head.length > 0 && head.every((key) => key.startsWith('heads.h.')))
  await model.saveAdapter(join(folder, 'adapter'), 'a')
  const adapter = keys('adapter/adapter.safetensors')
  t.true(adapter.length > 0 && adapter.every((key) => key.includes('.adapters.a.')))
})

test('in a Llama the inner LoRA stands where feed-forward begins, the outer one where it ends (D23)', async (t) => {
  const { model } = await open(t, 'llama')
  const linears = (name: string, config: string) => {
    model.addAdapter(name, config)
    const own = model.namedParameters().filter((parameter) => parameter.name.includes(`.loras.${name}.`))
    return [...new Set(own.map((parameter) => parameter.name.replace(/\.loras\..*/, '').replace(/.*\./, '')))].sort()
  }
  t.deepEqual(linears('inner', 'lora[selfattn_lora=False, intermediate_lora=True]'), ['gate_proj', 'up_proj'])
  t.deepEqual(linears('outer', 'lora[selfattn_lora=False, output_lora=True]'), ['down_proj'])
})

test("a fusion's dropout of 0 is 0, not the model's attention dropout (D25)", (t) => {
  t.is(nativeFusionConfig(fusionConfig({ dropoutProb: 0 }), 0.3).dropout_prob, 0)
  t.is(nativeFusionConfig(fusionConfig({}), 0.3).dropout_prob, 0.3)
})
