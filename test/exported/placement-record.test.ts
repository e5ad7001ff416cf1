import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import test from 'ava'
import { AdapterTrainer, AutoModel, type Placement } from '../../lib/index.js'
import { quiet, scratch } from '../model/support.js'
import { ExportedGroup } from '../parity/support/exported.js'

async function open(t: ExecutionContext, placement: Placement) {
  const { archive } = await ExportedGroup.read('llama')
  const model = await AutoModel.fromExported(archive, { placement })
  t.teardown(() => model.dispose())
  return model
}

const bottleneck = 'seq_bn[reduction_factor=4]'
const swapped = { attention: 'layers.*.mlp', feedForward: 'layers.*.self_attn' }

test('a folder goes where the same sites are, whatever the patterns, and is refused by name elsewhere', async (t) => {
  const folder = scratch(t)
  const model = await open(t, 'auto')
  model.addAdapter('x', bottleneck)
  model.addAdapter('y', bottleneck)
  model.addAdapterFusion(['x', 'y'])
  await model.saveAdapter(folder, 'x')
  await model.saveAdapterFusion(join(folder, 'fusion'), 'x,y')
  const same = await open(t, { attention: 'layers.*.self_attn', feedForward: 'layers.*.mlp' })
  t.is(await same.loadAdapter(folder), 'x')
  same.addAdapter('y', bottleneck)
  await same.loadAdapterFusion(join(folder, 'fusion'))

  // Its tensors have the very names that they have under 'auto', and would stand at the other sub-layer.
  const other = await open(t, swapped)
  const message =
    /saved under another placement \(expected placement \{"attention":"layers.*"\}, got placement 'auto'\)/
  await t.throwsAsync(other.loadAdapter(folder), { code: 'ERR_WRONG_MODEL', message })
  t.deepEqual([...other.adapters.keys()], [])
  for (const name of ['x', 'y']) other.addAdapter(name, bottleneck)
  await t.throwsAsync(other.loadAdapterFusion(join(folder, 'fusion')), { code: 'ERR_WRONG_MODEL', message })

  await other.saveAdapter(join(folder, 'other'), 'x')
  const { torch_adapters: own } = JSON.parse(readFileSync(join(folder, 'other', 'adapter_config.json'), 'utf8'))
  t.deepEqual(own.placement.placement, swapped)
  await t.throwsAsync(model.loadAdapter(join(folder, 'other'), { as: 'z' }), { message: /Open the archive with .*mlp/ })
})

test('LoRA depends on the Linears that its places are, and on nothing where they have names', async (t) => {
  const folder = scratch(t)
  const model = await open(t, 'auto')
  model.addAdapter('query', 'lora[attn_matrices=["q"]]')
  model.addAdapter('named', { architecture: 'lora', targetModules: ['layers.0.mlp.gate_proj'] })
  await model.saveAdapter(join(folder, 'query'), 'query')
  await model.saveAdapter(join(folder, 'named'), 'named', { library: 'peft' })
  const other = await open(t, { feedForward: null })
  for (const as of ['query', 'named']) t.is(await other.loadAdapter(join(folder, as), { as }), as)
  const without = await open(t, { attention: null })
  await t.throwsAsync(without.loadAdapter(join(folder, 'query')), { message: /saved under another placement/ })
  t.is(await without.loadAdapter(join(folder, 'named'), { as: 'named' }), 'named')
})

test('a run resumes under its own placement, which the error names', async (t) => {
  const outputDir = scratch(t)
  const dataset = [
    [3, 7, 8],
    [4, 9],
    [12, 3, 5, 6],
    [2, 7]
  ].map((inputIds, i) => ({ inputIds, label: i % 2 }))
  const run = async (placement: Placement, args: object) => {
    const model = await open(t, placement)
    model.addAdapter('x', 'lora[r=2]')
    model.addClassificationHead('x', { numLabels: 2 })
    model.trainAdapter('x')
    const all = { ...quiet, ...args, outputDir, saveStrategy: 'steps', saveSteps: 1 } as const
    return await new AdapterTrainer({ model, trainDataset: dataset, args: all }).train()
  }
  await run('auto', { maxSteps: 1 })
  await run({ attention: 'auto' }, { maxSteps: 1, resumeFromCheckpoint: true })
  await t.throwsAsync(run({ feedForward: null }, { maxSteps: 1, resumeFromCheckpoint: true }), {
    code: 'ERR_RESUME',
    message: /expected .*placement "auto", got .*placement \{"feedForward":null\}/
  })
})

test('what would stand nowhere but where the placement has null says so', async (t) => {
  const model = await open(t, { feedForward: null })
  const message = /feed-forward block, where the model's placement leaves no place \(feedForward: null\)/
  for (const config of ['seq_bn', 'par_bn', 'loreft', 'lora[selfattn_lora=False,output_lora=True]', 'mam'])
    t.throws(() => model.addAdapter('x', config), { message }, config)
  for (const config of ['double_seq_bn', 'lora', 'ia3', 'prefix_tuning_flat']) model.addAdapter(config, config)
  t.true(model.explainPlacement().includes('left out: feedForward: null in your placement'))
  const other = await open(t, { attention: null })
  for (const config of ['lora', 'prefix_tuning_flat'])
    t.throws(() => other.addAdapter('x', config), { message: /attention.*\(attention: null\)/ }, config)
  other.addAdapter('x', 'seq_bn')
  const { archive } = await ExportedGroup.read('llama')
  const placement = { attention: null, feedForward: null }
  await t.throwsAsync(AutoModel.fromExported(archive, { placement }), {
    message: /null for both kinds leaves adapters no place/
  })
})
