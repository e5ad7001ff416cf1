import test, { type ExecutionContext } from 'ava'
import { AdapterConfig, AdapterTrainer, AutoModel, Fuse, type Model, Stack } from '../../lib/index.js'
import { moved, quiet, snapshot, trainableNames } from '../model/support.js'
import type { ExportedCase, ExportedGroup, ExportedInputs } from '../parity/support/exported.js'
import { casesOf, distance, open } from './support.js'
import { awayByStep, setTrained } from './training-case.js'

/** As forward takes it: padding behind rows of both, with its masks. */
function pairsOf(given: ExportedInputs | undefined) {
  const rows = (name: string) => given?.[name] as number[][]
  return {
    inputIds: rows('input_ids'),
    attentionMask: rows('attention_mask'),
    decoderInputIds: rows('decoder_input_ids'),
    decoderAttentionMask: rows('decoder_attention_mask')
  }
}

/** A parameter's values by name, with the shapes that the model has. */
function setWeights(model: Model, group: ExportedGroup, one: ExportedCase, nameOf: (part: string) => string) {
  const shapes = new Map(model.namedParameters().map(({ name, shape }) => [name, [...shape]]))
  const values = Object.entries(one.weights ?? {}).map(([part, reference]) => {
    const name = nameOf(part)
    return [name, { data: group.tensor(reference).data, shape: shapes.get(name) ?? [] }] as const
  })
  model.native.setParameters(new Map(values))
}

async function awayFrom(model: Model, group: ExportedGroup, one: ExportedCase): Promise<number> {
  const { lastHiddenState } = await model.forward(pairsOf(one.inputs), { head: null })
  return distance(lastHiddenState?.data ?? [], group.tensor(one.expected.output ?? ''))
}

test("T5: the decoder's states are PyTorch's, whatever the lengths of both rows", async (t) => {
  const { group, model } = await open(t, 't5')
  for (const one of casesOf(group, 'forward')) {
    const away = await awayFrom(model, group, one)
    t.true(away < 1e-6, `${one.name}: ${away}`)
  }
  t.deepEqual(model.config.exported?.outputs, ['last_hidden_state', 'encoder_last_hidden_state'])
  const given = pairsOf(casesOf(group, 'forward')[3]?.inputs)
  const { hiddenStates, lastHiddenState } = await model.forward(given, { head: null, outputHiddenStates: true })
  t.is(hiddenStates?.length, 3)
  t.deepEqual(hiddenStates?.at(-1), lastHiddenState)
})

test("T5: prefixes stand in front of the encoder's keys and of the decoder's, at no distance", async (t) => {
  const { group, model } = await open(t, 't5')
  const [one] = casesOf(group, 'prefix')
  if (one?.config === undefined) return void t.fail()
  model.addAdapter('x', AdapterConfig.load('prefix_tuning', one.config))
  setWeights(model, group, one, (name) => name)
  const away = await awayFrom(model, group, one)
  t.true(away > 1e-2)
  model.setActiveAdapters('x')
  t.true((await awayFrom(model, group, one)) < 1e-6)
})

test('T5: its encoder is a model of its own, by the name of its output', async (t) => {
  const { group } = await open(t, 't5')
  const model = await AutoModel.fromExported(group.archive, { output: 'encoder_last_hidden_state', pooling: 'mean' })
  t.teardown(() => model.dispose())
  t.deepEqual(model.config.exported?.inputs, ['input_ids', 'attention_mask'])
  t.is(model.config.exported?.decoder, null)
  t.is(model.config.numHiddenLayers, 2)
  const rows = [
    { inputIds: [5, 6, 7, 8], label: 0 },
    { inputIds: [9, 8], label: 1 },
    { inputIds: [7, 7, 7], label: 2 }
  ]
  for (const config of ['seq_bn', 'lora', 'prefix_tuning', 'all-linear']) {
    const all = { architecture: 'lora', r: 2, targetModules: 'all-linear' } as const
    model.addAdapter('x', config === 'all-linear' ? all : config, { seed: 1 })
    model.addClassificationHead('x', { numLabels: 3, layers: 1, seed: 1 })
    model.trainAdapter('x')
    const trained = trainableNames(model)
    t.true(trained.some((name) => name.includes('.x.') && !name.startsWith('heads.')))
    t.false(trained.some((name) => name.includes('decoder.')))
    const before = snapshot(model)
    const args = { ...quiet, maxSteps: 2, weightDecay: 0 }
    await new AdapterTrainer({ model, trainDataset: rows, args }).train()
    const changed = moved(before, snapshot(model))
    t.true(changed.some((name) => !name.startsWith('heads.')))
    t.deepEqual(
      changed.filter((name) => !trained.includes(name)),
      []
    )
    model.deleteAdapter('x')
    model.deleteHead('x')
  }
})

test("T5: adapters stand in the encoder's and in the decoder's sub-layers, none across", async (t) => {
  const { group, model } = await open(t, 't5')
  const wanted = casesOf(group, 'training')[0]?.subLayers ?? []
  model.addAdapter('x', AdapterConfig.load('seq_bn', { mhAdapter: true, reductionFactor: 2 }))
  const sites = model
    .namedParameters()
    .filter(({ name }) => name.endsWith('.x.adapter_up.weight'))
    .map(({ name }) => name.replace(/^transformer\.|\.adapters\.x\..*$/g, ''))
  t.is(sites.length, wanted.filter(({ location }) => location !== 'cross').length)
  // As the adapter library calls them.
  t.deepEqual(sites.slice(0, 2), ['encoder.block.0.layer.0', 'encoder.block.0.layer.1'])
  t.deepEqual(sites.slice(-2), ['decoder.block.1.layer.0', 'decoder.block.1.layer.2'])
  t.true(model.explainPlacement().some((line) => /left out: .*cross-attention/.test(line)))
})

test('T5: LoRA at a Linear of the encoder', async (t) => {
  const { group, model } = await open(t, 't5')
  for (const one of casesOf(group, 'lora')) {
    const path = one.path ?? ''
    // The encoder's two layers come first.
    const layer = Number(/\.block\.(\d+)\./.exec(path)?.[1]) + (path.startsWith('decoder') ? 2 : 0)
    model.addAdapter(one.kind, {
      architecture: 'lora',
      targetModules: [path],
      leaveOut: [0, 1, 2, 3].filter((other) => other !== layer),
      ...{ r: 2, alpha: 8 }
    })
    const names = model.namedParameters().map(({ name }) => name)
    const placed = names.filter((name) => name.includes(`.loras.${one.kind}.`))
    t.is(placed.length, 2)
    setWeights(model, group, one, (part) => placed.find((name) => name.endsWith(part)) ?? '')
    model.setActiveAdapters(one.kind)
    const away = await awayFrom(model, group, one)
    t.true(away < 1e-6, `${one.name}: ${away}`)
  }
})

test('T5: twenty steps of adapters in both and a head on the decoder are those of PyTorch', async (t) => {
  const { group, model } = await open(t, 't5')
  const away = await awayByStep(model, group, (inputs) => pairsOf(inputs))
  t.true(away.losses < 1e-6, `losses: ${away.losses}`)
  t.true(away.final < 1e-5, `parameters: ${away.final}`)
})

async function ready(t: ExecutionContext): Promise<{ group: ExportedGroup; model: Model }> {
  const opened = await open(t, 't5')
  setTrained(opened.model, opened.group)
  return opened
}

test('T5: rows of one batch answer as they do alone, each with its own adapters', async (t) => {
  const { model } = await ready(t)
  model.addAdapter('b', 'seq_bn[reduction_factor=2]', { seed: 3 })
  model.addAdapter('c', { architecture: 'lora', targetModules: ['SelfAttention.v'], r: 2 }, { seed: 4 })
  const rows = [
    { inputIds: [5, 6, 7, 8], decoderInputIds: [0, 9] },
    { inputIds: [3], decoderInputIds: [0, 4, 5, 6, 7] },
    { inputIds: [12, 5, 6], decoderInputIds: [0] },
    { inputIds: [12, 5, 6, 9, 8, 7], decoderInputIds: [0, 30, 31] }
  ]
  const setups = ['x', null, 'c', Stack('b', 'x')]
  const together = await model.predict(rows, { adapters: setups as never, head: 'x' })
  for (const [i, row] of rows.entries()) {
    const [alone] = await model.predict([row], { adapters: setups[i] as never, head: 'x' })
    t.true(distance(together[i]?.logits ?? [], { data: alone?.logits ?? new Float32Array() }) < 1e-6, `row ${i}`)
  }
})

test("T5: what the decoder reads is the row's own ids, shifted right, where nothing says it", async (t) => {
  const { model } = await ready(t)
  const ids = [
    [5, 6, 7, 8],
    [9, 3]
  ]
  const given = {
    decoderInputIds: [
      [0, 5, 6, 7],
      [0, 9]
    ],
    inputIds: ids
  }
  t.deepEqual(await model.forward({ inputIds: ids }, { head: 'x' }), await model.forward(given, { head: 'x' }))
  const [row] = await model.predict([{ inputIds: [9, 3] }], { head: 'x' })
  const [same] = await model.predict([{ inputIds: [9, 3], decoderInputIds: [0, 9] }], { head: 'x' })
  t.deepEqual(row, same)
})

test('T5: a language-modelling head learns to write its labels', async (t) => {
  const { model } = await open(t, 't5')
  model.addAdapter('w', 'seq_bn[reduction_factor=2]', { seed: 1 })
  model.addCausalLmHead('w', { layers: 1, bias: false })
  model.trainAdapter('w')
  const labels = [
    [7, 8, 1],
    [9, 1, -100]
  ]
  const inputIds = [
    [5, 6, 7, 8],
    [9, 3, 4]
  ]
  const { loss, logits } = await model.forward({ inputIds, labels }, { head: 'w' })
  t.deepEqual(logits?.shape, [2, 3, 37])
  // Cross entropy of what stands at each token of labels shifted right, by hand.
  const shifted = await model.forward(
    {
      inputIds,
      decoderInputIds: [
        [0, 7, 8],
        [0, 9, 1]
      ]
    },
    { head: 'w' }
  )
  const losses = labels.flatMap((row, i) =>
    row.flatMap((label, c) => {
      if (label < 0) return []
      const own = shifted.logits?.data.subarray((3 * i + c) * 37, (3 * i + c + 1) * 37) ?? new Float32Array()
      const top = Math.max(...own)
      return [Math.log(own.reduce((sum, x) => sum + Math.exp(x - top), 0)) + top - (own[label] ?? Number.NaN)]
    })
  )
  t.true(Math.abs((loss ?? 0) - losses.reduce((a, b) => a + b) / losses.length) < 1e-6)
  const rows = [
    { inputIds: [5, 6, 7, 8], labels: [7, 8, 1] },
    { inputIds: [9, 3, 4], decoderInputIds: [0, 9, 1] }
  ]
  const run = async (maxSteps: number) => {
    const args = { ...quiet, maxSteps, learningRate: 1e-2, perDeviceTrainBatchSize: 2 }
    return (await new AdapterTrainer({ model, trainDataset: rows, args }).train()).loss
  }
  const [first, last] = [await run(1), await run(30)]
  t.true(last < first, `${last}, at first ${first}`)
})

test('T5: what does not fit is said by name', async (t) => {
  const { model } = await ready(t)
  await t.throwsAsync(model.forward({ inputIds: [[3, 4]], decoderInputIds: [[0], [0]] }), {
    message: /decoderInputIds: expected 1 rows as in inputIds, got 2/
  })
  await t.throwsAsync(model.forward({ inputIds: [[3, 40]], decoderInputIds: [[0]] }), { message: /vocabulary/ })
  for (const [decoderInputIds, decoderAttentionMask, message] of [
    [[[0, 99]], undefined, /^decoderInputIds\[0\]\[1\]: expected an id of the vocabulary/],
    [[[0, 4]], [[1, 2]], /^decoderAttentionMask\[0\]\[1\]: expected 1 for a token or 0/],
    [[[0, 4]], [[1]], /^decoderAttentionMask\[0\]: expected 2 values as in decoderInputIds, got 1/]
  ] as const) {
    const inputs = { inputIds: [[3]], decoderInputIds, ...(decoderAttentionMask && { decoderAttentionMask }) }
    await t.throwsAsync(model.forward(inputs), { message })
  }
  await t.throwsAsync(model.forward({ inputIds: [[3]], decoderAttentionMask: [[1]] }), { message: /decoderInputIds/ })
  const { model: bert } = await open(t, 'bert')
  await t.throwsAsync(bert.forward({ inputIds: [[3]], decoderInputIds: [[3]] }), { message: /decoder/ })
  bert.addClassificationHead('h', { numLabels: 2 })
  await t.throwsAsync(bert.predict([{ inputIds: [3], decoderInputIds: [3] }], { head: 'h' }), {
    message: /the model has no decoder/
  })
})

test("T5: fusions are told of the decoder's layers alone, for its tokens, and stand in the encoder, too", async (t) => {
  const { model } = await open(t, 't5')
  for (const name of ['a', 'b']) model.addAdapter(name, AdapterConfig.load('seq_bn', { reductionFactor: 2 }))
  model.addAdapterFusion(['a', 'b'])
  const inputs = { inputIds: [[3, 4, 5, 6]], decoderInputIds: [[0, 7]] }
  const options = { adapters: Fuse('a', 'b'), head: null, outputAdapterFusionAttentions: true }
  const { adapterFusionAttentions } = await model.forward(inputs, options)
  const layers = adapterFusionAttentions?.['a,b'] ?? {}
  const half = model.config.numHiddenLayers / 2
  t.deepEqual(
    Object.keys(layers).map(Number),
    Array.from({ length: half }, (_, i) => half + i)
  )
  for (const { outputAdapter } of Object.values(layers)) t.deepEqual(outputAdapter?.shape, [1, 2, 2])
  t.true(model.namedParameters().some(({ name }) => /encoder\..*adapter_fusion/.test(name)))
})
