import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, AutoModel, bottleneck, type Model, sequential } from '../../lib/index.js'
import type { LoadOptions } from '../../lib/model/options.js'
import { describeTrunk, fasterTrunk } from '../../lib/model/trunk.js'
import { largestDifference, load, moved, quiet, scratch, snapshot, tiny, tinyConfig, tinyRows } from './support.js'

const rows = tinyRows(16)
const inputs = { inputIds: rows.slice(0, 4).map(({ inputIds }) => inputIds) }
const gpt2 = tiny.replace('bert-tiny', 'gpt2-tiny')

async function ready(t: ExecutionContext, options: LoadOptions = {}): Promise<Model> {
  const model = await load(t, options)
  model.addAdapter('a', 'seq_bn[reduction_factor=4,leave_out=[0]]')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

const narrow = { trunk: 'bfloat16' } as const
const args = (outputDir: string) => ({
  ...quiet,
  outputDir,
  numTrainEpochs: 4,
  perDeviceTrainBatchSize: 4,
  learningRate: 1e-2
})

/** What bfloat16 makes of a number: the nearest with 8 bits, ties to the even one. */
function rounded(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)
  const one = bits[0] as number
  bits[0] = (one + 0x7fff + ((one >>> 16) & 1)) & 0xffff0000
  return new Float32Array(bits.buffer)[0] as number
}

test('matrices are rounded once and halved; all else stays as it is', async (t) => {
  const [wide, model] = [await load(t), await load(t, narrow)]
  t.deepEqual([wide.trunk, model.trunk, model.trunkProbe], ['float32', 'bfloat16', null])
  let bytes = 0
  for (const { name, shape, dtype } of model.namedParameters()) {
    t.is(dtype, shape.length === 2 ? 'bfloat16' : 'float32', name)
    const [got, had] = [model.parameter(name).data, wide.parameter(name).data]
    t.deepEqual(got, shape.length === 2 ? had.map(rounded) : had, name)
    bytes += got.length * (shape.length === 2 ? 2 : 4)
  }
  const plan = await new AdapterTrainer({
    model: await ready(t, narrow),
    trainDataset: rows,
    args: args(scratch(t))
  }).plan()
  t.true(plan.parameters.total - plan.parameters.trained === bytes)
  t.true((await AutoModel.fromConfig(tinyConfig, { ...narrow, seed: 3 })).trunk === 'bfloat16')
})

test('a model trains, answers and evaluates, and its base stays', async (t) => {
  const [wide, model] = [await ready(t), await ready(t, narrow)]
  const [expected, got] = [await wide.forward(inputs), await model.forward(inputs)]
  const difference = largestDifference(got.logits?.data ?? [], expected.logits?.data ?? [])
  t.true(difference > 1e-5 && difference < 0.05, `${difference}`)
  const base = model.namedParameters().filter(({ part }) => part === 'base')
  const before = base.map(({ name }) => model.parameter(name).data)
  const end = await new AdapterTrainer({
    model,
    trainDataset: rows,
    evalDataset: rows,
    args: { ...args(scratch(t)), evalStrategy: 'epoch' }
  }).train()
  t.true((end.evaluation?.loss ?? 1) < 0.6, `${end.evaluation?.loss}`)
  base.forEach(({ name }, i) => {
    t.deepEqual(model.parameter(name).data, before[i], name)
  })
  const answers = await model.predict(
    inputs.inputIds.map((inputIds) => ({ inputIds })),
    { batchSize: 1 }
  )
  t.is(answers.length, 4)
})

test('what a float32 trunk gives does not depend on this option', async (t) => {
  const [plain, chosen] = [await ready(t), await ready(t, { trunk: 'float32' })]
  for (const model of [plain, chosen])
    await new AdapterTrainer({ model, trainDataset: rows, args: args(scratch(t)) }).train()
  t.deepEqual(moved(snapshot(plain), snapshot(chosen)), [])
})

test('matrices do not train and nothing is merged into them; biases and LayerNorms train', async (t) => {
  const model = await load(t, narrow)
  model.addAdapter('l', 'lora[r=2]')
  model.addClassificationHead('l', { numLabels: 2 })
  model.trainAdapter('l')
  const unsupported = (message: RegExp) => ({ code: 'ERR_UNSUPPORTED', message })
  t.throws(
    () => model.trainAll(),
    unsupported(/bfloat16 trunk do not train.*word_embeddings\.weight.*trunk: 'float32'/s)
  )
  t.throws(() => model.mergeAdapter('l'), unsupported(/mergeAdapter 'l': in a bfloat16 trunk.*trunk: 'float32'/s))
  // What trained before still does.
  t.true(model.namedParameters().some(({ name, trainable }) => trainable && name.includes('lora_A')))
  model.freeze((name) => !/LayerNorm|bias/.test(name))
  const { gradients } = await model.gradients({ ...inputs, labels: [0, 1, 1, 0] })
  t.true([...gradients.keys()].some((name) => name.endsWith('attention.self.query.bias')))
})

test('every kind of LoRA, and its start, reads matrices of both types', async (t) => {
  // IA³ where a module's input is scaled, and DoRA, which reads the lengths of a matrix's rows, are ways of their own.
  const kinds = ['lora[r=2]', 'ia3', 'dora[r=2]', "lora[r=2,use_dora='peft']", 'vera[r=2]', 'mtl_lora[r=2]']
  const [wide, model] = [await load(t), await load(t, narrow)]
  for (const one of [wide, model]) {
    one.addClassificationHead('h', { numLabels: 2 })
    for (const kind of kinds) one.addAdapter(kind.replace(/\W/g, '_'), kind, { seed: 1 })
  }
  for (const name of model.adapters.keys()) {
    for (const one of [wide, model]) one.trainAdapter(name)
    const labelled = { ...inputs, labels: [0, 1, 1, 0] }
    const [expected, got] = [await wide.gradients(labelled), await model.gradients(labelled)]
    t.true(Math.abs(expected.loss - got.loss) < 0.02, `${name}: ${expected.loss} ${got.loss}`)
    t.deepEqual([...got.gradients.keys()], [...expected.gradients.keys()])
  }
})

test('surgery and its undo, and values that are set', async (t) => {
  const model = await load(t, narrow)
  const before = (await model.forward(inputs, { head: null })).lastHiddenState?.data ?? []
  const path = 'bert.encoder.layer.1.output.dense'
  const replaced = model.replaceModule(path, (dense) =>
    sequential(dense, bottleneck({ hiddenSize: 32, adapterSize: 4 }))
  )
  const changed = (await model.forward(inputs, { head: null })).lastHiddenState?.data ?? []
  t.true(largestDifference(changed, before) < 1)
  const types = new Map(model.namedParameters().map(({ name, dtype }) => [name, dtype]))
  t.is(types.get(`${path}.0.weight`), 'bfloat16')
  t.true([...types].some(([name, dtype]) => name.startsWith(`${path}.1.`) && dtype === 'float32'))
  replaced.undo()
  t.deepEqual((await model.forward(inputs, { head: null })).lastHiddenState?.data, before)
  const name = `${path}.weight`
  const { shape, data } = model.parameter(name)
  model.loadStateDict(new Map([[name, { shape, data: data.map(() => 1.001) }]]))
  t.is(model.parameter(name).dtype, 'bfloat16')
  t.true(model.parameter(name).data.every((value) => value === 1))
})

test('a base that is saved is the rounded one, exactly, in every type', async (t) => {
  const model = await load(t, narrow)
  const expected = (await model.forward(inputs, { head: null })).lastHiddenState?.data
  const folder = scratch(t)
  await model.savePretrained(folder)
  const [again, wide] = [await AutoModel.fromPretrained(folder, narrow), await AutoModel.fromPretrained(folder)]
  t.deepEqual((await again.forward(inputs, { head: null })).lastHiddenState?.data, expected)
  for (const { name, dtype } of wide.namedParameters()) {
    t.is(dtype, 'float32')
    t.deepEqual(wide.parameter(name).data, model.parameter(name).data, name)
  }
  again.dispose()
  wide.dispose()
})

test('GPT-2 writes on, also with an adapter and with the words of a head', async (t) => {
  using model = await AutoModel.fromPretrained(gpt2, narrow)
  model.addAdapter('a', 'seq_bn[reduction_factor=2]|lora[r=1]')
  model.addCausalLmHead('a')
  const options = { maxNewTokens: 4, eosTokenId: null }
  const prompts = [{ inputIds: [5, 6, 7] }, { inputIds: [9] }]
  const written = await model.generate(prompts, options)
  t.deepEqual(
    written.map(({ ids }) => ids.length),
    [4, 4]
  )
  // One token at a time is the same as all at once: the argmax of what forward gives.
  model.setActiveAdapters('a')
  const [first] = await model.generate(prompts.slice(0, 1), { ...options, maxNewTokens: 1 })
  const { logits } = await model.forward({ inputIds: [[5, 6, 7]] })
  const last = [...(logits?.data.subarray(2 * 37, 3 * 37) ?? [])]
  t.is(first?.ids[0], last.indexOf(Math.max(...last)))
})

test('the frozen layers’ cache and checkpoints know the trunk', async (t) => {
  const [cache, outputDir] = [scratch(t), scratch(t)]
  const reads = async (options: LoadOptions) => {
    const model = await ready(t, options)
    const more = { ...args(scratch(t)), frozenLayerCache: { folder: cache } }
    const { frozenLayers } = await new AdapterTrainer({ model, trainDataset: rows, args: more }).train()
    return frozenLayers?.rowsComputed
  }
  const computed = await reads({})
  t.true((computed ?? 0) > 0)
  t.is(await reads({}), 0)
  t.is(await reads(narrow), computed)
  t.is(await reads(narrow), 0)

  const saved = { ...args(outputDir), saveStrategy: 'steps', saveSteps: 4, reportTo: 'jsonl' } as const
  await new AdapterTrainer({ model: await ready(t, narrow), trainDataset: rows, args: saved }).train()
  const start = JSON.parse(readFileSync(join(outputDir, 'events.jsonl'), 'utf8').split('\n')[0] ?? '')
  t.is(start.model.trunk, 'bfloat16')
  const resumed = { ...saved, numTrainEpochs: 4, resumeFromCheckpoint: join(outputDir, 'checkpoint-4') }
  await t.throwsAsync(new AdapterTrainer({ model: await ready(t), trainDataset: rows, args: resumed }).train(), {
    code: 'ERR_RESUME',
    message: /trunk "bfloat16".*trunk "float32"/s
  })
  await t.notThrowsAsync(
    new AdapterTrainer({ model: await ready(t, narrow), trainDataset: rows, args: resumed }).train()
  )
})

test("'auto' measures, and takes bfloat16 where it is faster by a tenth", async (t) => {
  const model = await load(t, { trunk: 'auto' })
  const probe = model.trunkProbe
  if (probe === null) return t.fail()
  t.true(probe.float32 > 0 && probe.bfloat16 > 0)
  t.is(model.trunk, fasterTrunk(probe))
  t.deepEqual((await load(t, { trunk: 'auto' })).trunkProbe, probe)
  t.is(fasterTrunk({ float32: 10, bfloat16: 9.5 }), 'float32')
  t.is(fasterTrunk({ float32: 10, bfloat16: 8.9 }), 'bfloat16')
  t.is(describeTrunk({ trunk: 'float32', trunkProbe: null }), 'trunk float32')
  t.is(
    describeTrunk({ trunk: 'float32', trunkProbe: { float32: 1, bfloat16: 2.345 } }),
    'trunk float32: bfloat16 took 2.35 ms, float32 1.00 ms'
  )
  await t.throwsAsync(load(t, { trunk: 'bf16' as never }), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /trunk.*'bfloat16'/s
  })
  await t.throwsAsync(load(t, { trunc: 'auto' } as never), { message: /trunk/ })
})
