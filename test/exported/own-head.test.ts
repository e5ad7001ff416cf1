import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterConfig, AdapterTrainer } from '../../lib/index.js'
import { readTensors, writeTensors } from '../model/safetensors-file.js'
import { fill, quiet, scratch } from '../model/support.js'
import { cases, type HeadCase, openHead } from './head-archives.js'
import { distance } from './support.js'

const headTypes: Readonly<Record<string, string>> = {
  'gpt2-lm': 'causal_lm',
  't5-lm': 'causal_lm',
  'llama-classifier': 'classification',
  'bert-classifier': 'classification',
  'bert-mlm': 'masked_lm',
  'bert-answers': 'question_answering'
}

test('without an active head gradients say so, and which there are', async (t) => {
  const model = await openHead(t, 'bert-classifier')
  model.addAdapter('x', 'lora')
  model.trainAdapter('x')
  const batch = { inputIds: [[3, 4, 5]], labels: [1] }
  t.true((await model.gradients(batch)).gradients.size > 0)
  const without = (options: object, message: RegExp) =>
    t.throwsAsync(model.gradients(batch, options), { code: 'ERR_NO_HEAD', message })
  await without({ head: null }, /^gradients: head is null, and a loss is a head's\. Name one of 'default'/)
  model.addClassificationHead('own')
  model.activeHead = 'own'
  model.deleteHead('own')
  t.is<string | null, null>(model.activeHead, null)
  await without({}, /^gradients: the model has no active head\. Set model\.activeHead to one of 'default', or add one/)
  t.true((await model.gradients(batch, { head: 'default' })).loss > 0)
  model.deleteHead('default')
  await without({}, /^gradients: the model has no active head\. Add one, such as model\.addClassificationHead\(name/)
})

for (const [name, one] of Object.entries(cases)) {
  test(`${name}: the network's own head answers, and its loss teaches LoRA, as in PyTorch`, async (t) => {
    const model = await openHead(t, name)
    t.deepEqual([model.config.hiddenSize, model.config.vocabSize], [8, 20])
    t.is(model.activeHead, 'default')
    t.is<string | undefined, string | undefined>(model.heads.get('default')?.headType, headTypes[name])
    model.addAdapter('x', AdapterConfig.load('lora', { r: one.r, alpha: one.r, targetModules: one.targetModules }))
    model.trainAdapter('x')
    const trained = model.namedParameters().filter(({ trainable }) => trainable)
    t.is(trained.length, Object.keys(one.factors).length)
    // `<module>.loras.x.lora_A`
    const theirs = (ours: string) => ours.replace('.loras.x', '')
    model.native.setParameters(
      new Map(
        trained.map(({ name: ours, shape }) => [
          ours,
          { shape, data: Float32Array.from(one.factors[theirs(ours)] ?? []) }
        ])
      )
    )
    const { logits, lastHiddenState } = await model.forward({ inputIds: one.ids })
    t.is(lastHiddenState, undefined)
    const width = logits?.shape.at(-1) ?? 0
    const rows = logits?.shape.length === 3 ? one.ids.map(({ length }) => length) : [one.ids.length]
    const longest = Math.max(...rows)
    const told = rows.flatMap((count, row) =>
      Array.from(logits?.data.subarray(row * longest * width, (row * longest + count) * width) ?? [])
    )
    t.true(distance(told, { data: Float32Array.from(one.logits) }) < 1e-6)
    const labels = one.labels as number[][]
    const { loss, gradients } = await model.gradients({ inputIds: one.ids, labels })
    t.true(Math.abs(loss - one.loss) < 1e-6 * Math.max(1, one.loss), `${loss}, not ${one.loss}`)
    t.is(gradients.size, trained.length)
    for (const [ours, { data }] of gradients)
      t.true(distance(data, { data: Float32Array.from(one.gradients[theirs(ours)] ?? []) }) < 1e-6, ours)
  })

  test(`${name}: methods that read the stream stand in it, with the width of the base model`, async (t) => {
    const model = await openHead(t, name)
    for (const method of ['seq_bn', 'double_seq_bn', 'par_bn', 'seq_bn_inv', 'loreft', 'lora', 'prefix_tuning_flat']) {
      model.addAdapter(method, method)
      model.trainAdapter(method)
      const { gradients } = await model.gradients({ inputIds: one.ids, labels: one.labels as number[][] })
      const moved = [...gradients.values()].some(({ data }) => data.some((value) => value !== 0))
      t.true(moved && [...gradients.values()].every(({ data }) => data.every(Number.isFinite)), method)
    }
  })
}

test('rows of a batch pass through adapters of their own in the head, too', async (t) => {
  const model = await openHead(t, 'gpt2-lm')
  const { ids, r, targetModules } = cases['gpt2-lm'] as HeadCase
  for (const [i, name] of ['x', 'y'].entries()) {
    model.addAdapter(name, AdapterConfig.load('lora', { r, targetModules }))
    const own = model.namedParameters().filter((one) => one.name.includes(`.loras.${name}.`))
    const values = (size: number) => Float32Array.from({ length: size }, (_, j) => Math.sin(i + j))
    model.native.setParameters(
      new Map(own.map((one) => [one.name, { shape: one.shape, data: values(one.shape.reduce((a, b) => a * b)) }]))
    )
  }
  const together = await model.forward({ inputIds: ids }, { adapters: ['x', 'y'] })
  for (const [row, adapters] of ['x', 'y'].entries()) {
    const alone = await model.forward({ inputIds: [ids[row] ?? []] }, { adapters })
    const start = row * 5 * 20
    const part = together.logits?.data.subarray(start, start + (ids[row]?.length ?? 0) * 20) ?? []
    t.true(distance(part, { data: Float32Array.from(alone.logits?.data ?? []) }) < 1e-6, adapters)
  }
})

test('a trainer takes an archive with a head as it is: nothing is added but the adapter', async (t) => {
  const model = await openHead(t, 'gpt2-lm')
  model.addAdapter('x', 'seq_bn')
  model.trainAdapter('x')
  const rows = [5, 6, 7, 8].map((first) => ({ inputIds: [first, first + 1, first + 2, first + 3] }))
  const before = model.parameter('lm_head.weight').data
  const trainer = new AdapterTrainer({
    model,
    trainDataset: rows,
    args: { ...quiet, maxSteps: 30, learningRate: 0.03, perDeviceTrainBatchSize: 4 }
  })
  const losses: number[] = []
  for await (const event of trainer.run()) if (event.type === 'step') losses.push(event.loss)
  t.true((losses.at(-1) ?? 9) < 0.8 * (losses[0] ?? 0), losses.join())
  t.deepEqual(model.parameter('lm_head.weight').data, before)
})

test('heads that are added read the states of the base model, and take the place of its own', async (t) => {
  const model = await openHead(t, 'bert-classifier')
  model.addTaggingHead('tags', { numLabels: 4 })
  t.is(model.activeHead, 'tags')
  const inputIds = [[5, 6, 7]]
  t.deepEqual((await model.forward({ inputIds })).logits?.shape, [1, 3, 4])
  t.deepEqual((await model.forward({ inputIds }, { head: null })).lastHiddenState?.shape, [1, 3, 8])
  t.deepEqual((await model.forward({ inputIds }, { head: 'default' })).logits?.shape, [1, 3])
  model.addClassificationHead('rows', { usePooler: true })
  t.deepEqual((await model.forward({ inputIds }, { head: 'rows' })).logits?.shape, [1, 2])
})

test('the own head is in the archive: folders of adapters and of runs leave it out, saveHead refuses it', async (t) => {
  const model = await openHead(t, 'bert-classifier')
  const folder = scratch(t)
  await t.throwsAsync(model.saveHead(join(folder, 'head'), 'default'), {
    code: 'ERR_UNSUPPORTED',
    message: /the head 'default' is the network's own.*Its weights are in the archive/s
  })
  t.false(existsSync(join(folder, 'head')))
  model.addAdapter('default', 'lora[r=2]')
  model.trainAdapter('default')
  for (const library of ['adapters', 'peft'] as const) {
    const saved = join(folder, library)
    await model.saveAdapter(saved, 'default', { library })
    t.false(existsSync(join(saved, 'head_config.json')))
    t.is(await model.loadAdapter(saved, { as: library }), library)
  }
  for (const library of ['adapters', 'peft', 'default']) model.deleteAdapter(library)
  model.addAdapter('x', 'lora[r=2]')
  model.trainAdapter('x')
  const outputDir = join(folder, 'run')
  const trainDataset = [1, 2, 3, 4].map((id) => ({ inputIds: [id, 5], label: id % 3 }))
  await new AdapterTrainer({
    model,
    trainDataset,
    args: { ...quiet, outputDir, saveStrategy: 'steps', saveSteps: 1, maxSteps: 1 }
  }).train()
  t.true(existsSync(join(outputDir, 'checkpoint-1', 'x')))
  t.false(existsSync(join(outputDir, 'checkpoint-1', 'default')))
})

test('another pooling than that of the own head is refused', async (t) => {
  await t.throwsAsync(openHead(t, 'bert-classifier', { pooling: 'mean' }), {
    message: /the network's own head reads one token of each row.*AutoModel/s
  })
})

test('tied weights come from a file that has them once, under one of their names', async (t) => {
  const model = await openHead(t, 'gpt2-lm')
  const doubled = model.parameter('transformer.wte.weight').data.map((value) => 2 * value)
  const file = join(scratch(t), 'model.safetensors')
  const stored = model
    .namedParameters()
    .filter(({ name }) => name !== 'lm_head.weight')
    .map(({ name, shape }) => {
      const values = name === 'transformer.wte.weight' ? doubled : model.parameter(name).data
      return [name, { dtype: 'F32', shape, bytes: Buffer.from(Float32Array.from(values).buffer) }] as const
    })
  writeTensors(file, new Map(stored))
  const other = await openHead(t, 'gpt2-lm', { weights: file })
  for (const name of ['lm_head.weight', 'transformer.wte.weight']) t.deepEqual(other.parameter(name).data, doubled)
})

/** As adapters 1.3 has them in the class. */
const once = {
  'bert-classifier': [
    ['seq_bn_inv[reduction_factor=2]', 'bert.invertible_adapters.x.F.0.weight'],
    ['prefix_tuning_flat[prefix_length=3]', 'bert.prefix_tuning.prefix_tunings.x.self_prefix.control_trans'],
    ['compacter[reduction_factor=2,phm_dim=2]', 'bert.shared_parameters.x.phm_rule']
  ],
  't5-lm': [
    ['seq_bn_inv[reduction_factor=2]', 'encoder.invertible_adapters.x.F.0.weight'],
    ['prefix_tuning_flat[prefix_length=3]', 'prefix_tuning.prefix_tunings.x.self_prefix.control_trans'],
    ['compacter[reduction_factor=2,phm_dim=2]', 'shared_parameters.x.phm_rule']
  ]
} as const

for (const [network, places] of Object.entries(once)) {
  test(`${network}: what an adapter has once for all layers stands in the base model, as in the adapter library`, async (t) => {
    const model = await openHead(t, network)
    for (const [config, key] of places) {
      model.addAdapter('x', config, { overwriteOk: true })
      const folder = scratch(t)
      await model.saveAdapter(folder, 'x')
      const keys = [...readTensors(join(folder, 'adapter.safetensors')).keys()]
      t.true(keys.includes(key), keys.join('\n'))
      t.true(network === 't5-lm' || keys.every((one) => one.startsWith('bert.')))
      await model.loadAdapter(folder, { as: 'y', overwriteOk: true })
    }
  })
}

test("t5-lm: PEFT's folder is for the class that was exported, whose names have nothing in front", async (t) => {
  const model = await openHead(t, 't5-lm')
  model.addAdapter('x', { architecture: 'lora', targetModules: ['q', 'wo'] })
  for (const withHead of [true, false]) {
    const folder = scratch(t)
    await model.saveAdapter(folder, 'x', { library: 'peft', withHead })
    const config = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    t.is(config.task_type, 'SEQ_2_SEQ_LM')
    t.is(config.auto_mapping.base_model_class, 'T5ForConditionalGeneration')
    const keys = [...readTensors(join(folder, 'adapter_model.safetensors')).keys()]
    t.true(keys.includes('base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight'), keys.join('\n'))
    t.true(keys.every((key) => /^base_model\.model\.(encoder|decoder)\./.test(key)))
    await model.loadAdapter(folder, { as: 'y', overwriteOk: true })
  }
})

test("t5-lm: LoRA that Python's adapters trained at the attention across is refused with the reason", async (t) => {
  const model = await openHead(t, 't5-lm')
  model.addAdapter('x', 'lora[r=2]')
  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { withHead: false })
  const file = join(folder, 'adapter.safetensors')
  const tensors = readTensors(file)
  const [name = '', factor] = [...tensors].find(([key]) => key.includes('.SelfAttention.')) ?? []
  if (factor === undefined) return t.fail([...tensors.keys()].join())
  const across = name.replace('encoder.block.0.layer.0.SelfAttention', 'decoder.block.0.layer.1.EncDecAttention')
  writeTensors(file, new Map([...tensors, [across, factor]]))
  await t.throwsAsync(model.loadAdapter(folder, { as: 'y' }), { message: /attention to the encoder.*target_modules/s })
})

test("LoRA in the network's own head: a PEFT folder holds it, and not the head whole beside it", async (t) => {
  const model = await openHead(t, 'bert-classifier')
  model.addAdapter('x', { architecture: 'lora', r: 2, targetModules: ['query', 'classifier'] })
  model.addAdapter('y', { architecture: 'lora', r: 2, targetModules: ['query'] })
  fill(model, 'x')
  const saved = async (name: string) => {
    const folder = scratch(t)
    await model.saveAdapter(folder, name, { library: 'peft' })
    return [folder, JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))] as const
  }
  const [folder, config] = await saved('x')
  t.like(config, { task_type: null, modules_to_save: null, target_modules: ['query', 'classifier'] })
  const tensors = [...readTensors(join(folder, 'adapter_model.safetensors')).keys()]
  t.true(tensors.includes('base_model.model.classifier.lora_A.weight'))
  t.false(tensors.includes('base_model.model.classifier.weight'))
  t.like((await saved('y'))[1], { task_type: 'SEQ_CLS', modules_to_save: ['classifier'] })
  const other = await openHead(t, 'bert-classifier')
  await other.loadAdapter(folder, { as: 'x' })
  const batch = { inputIds: [[3, 4, 5], [6]] }
  t.deepEqual(await other.forward(batch, { adapters: 'x' }), await model.forward(batch, { adapters: 'x' }))
  model.trainAll()
  await t.throwsAsync(model.saveAdapter(scratch(t), 'x', { library: 'peft' }), {
    code: 'ERR_UNSUPPORTED',
    message: /'classifier\.\w+' trains, and has LoRA beside it/
  })
})
