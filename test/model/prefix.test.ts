import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterConfig,
  AdapterTrainer,
  AutoModel,
  Average,
  BatchSplit,
  type Model,
  Parallel,
  Split,
  Stack
} from '../../lib/index.js'
import { editTensors, readTensors } from './safetensors-file.js'
import {
  lastHiddenState as answer,
  hidden,
  unevenRows as inputIds,
  largestDifference,
  layers,
  load,
  make,
  moved,
  quiet,
  scratch,
  snapshot,
  tiny,
  tinyRows,
  trainableNames
} from './support.js'

const small = 'prefix_tuning[prefix_length=3, bottleneck_size=4]'
const flat = 'prefix_tuning_flat[prefix_length=2]'
const gated = 'prefix_tuning[prefix_length=2, bottleneck_size=4, use_gating=True]'

/** The states of each row alone, one after the other. */
async function rowsAlone(model: Model, setups: readonly Parameters<typeof answer>[1][]): Promise<number[]> {
  const rows = await Promise.all(
    inputIds.map((ids, i) => model.forward({ inputIds: [ids] }, { ...setups[i], head: null }))
  )
  const width = Math.max(...inputIds.map((ids) => ids.length)) * hidden
  return rows.flatMap(({ lastHiddenState }) => {
    const values = [...(lastHiddenState?.data ?? [])]
    return [...values, ...Array<number>(width - values.length).fill(0)]
  })
}

test('the counts of BERT-base are the library’s, and parameters have its names', async (t) => {
  const model = await load(t)
  model.addAdapter('p', small)
  model.addAdapter('g', gated)
  const [p, g] = model.adapterSummary().adapters
  const network = 3 * hidden + (hidden + 1) * 4 + 5 * 2 * layers * hidden
  t.like(p, { architecture: 'prefix_tuning', parameters: network })
  t.like(g, { parameters: network - hidden + layers * (hidden + 1) })
  t.deepEqual(
    model.namedParameters().flatMap(({ name, shape }) => (/\.p\.|gates/.test(name) ? [[name, ...shape]] : [])),
    [
      ...[0, 1].flatMap((layer) => {
        const key = `bert.encoder.layer.${layer}.attention.self.prefix_tuning.prefix_gates.g`
        return [
          [`${key}.weight`, 1, hidden],
          [`${key}.bias`, 1]
        ]
      }),
      ['bert.prefix_tuning.prefix_tunings.p.self_prefix.wte.weight', 3, hidden],
      ['bert.prefix_tuning.prefix_tunings.p.self_prefix.control_trans.0.weight', 4, hidden],
      ['bert.prefix_tuning.prefix_tunings.p.self_prefix.control_trans.0.bias', 4],
      ['bert.prefix_tuning.prefix_tunings.p.self_prefix.control_trans.2.weight', 2 * layers * hidden, 4],
      ['bert.prefix_tuning.prefix_tunings.p.self_prefix.control_trans.2.bias', 2 * layers * hidden]
    ]
  )
})

test('what trains is the prefix with its gates; the base model keeps every bit', async (t) => {
  for (const config of [small, flat, gated]) {
    const model = await load(t)
    model.addAdapter('a', config)
    model.addClassificationHead('a')
    model.trainAdapter('a')
    const before = snapshot(model)
    await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 3 } }).train()
    t.deepEqual(moved(before, snapshot(model)).sort(), trainableNames(model).sort(), config)
  }
})

test('each row has its own: lists, BatchSplit and Parallel give what each gives alone', async (t) => {
  const model = await load(t)
  model.addAdapter('p', small)
  model.addAdapter('f', flat)
  model.addAdapter('g', gated)
  model.addAdapter('u', `${flat}|seq_bn`)
  const mixed = ['p', null, 'g'] as const
  t.true(
    largestDifference(
      await answer(model, { adapters: [...mixed] }),
      await rowsAlone(
        model,
        mixed.map((adapters) => ({ adapters }))
      )
    ) < 1e-5
  )
  const split = ['f', 'u', 'u'].map((adapters) => ({ adapters }))
  t.true(
    largestDifference(
      await answer(model, { adapters: BatchSplit('f', 'u', { batchSizes: [1, 2] }) }),
      await rowsAlone(model, split)
    ) < 1e-5
  )
  const both = await answer(model, { adapters: Parallel('p', Stack('f', 'g')) })
  t.true(largestDifference(both.slice(0, both.length / 2), await answer(model, { adapters: 'p' })) < 1e-5)
  t.true(largestDifference(both.slice(both.length / 2), await answer(model, { adapters: Stack('f', 'g') })) < 1e-5)
})

test('the last layer that answers for one token gives the same logits', async (t) => {
  const model = await load(t)
  model.addAdapter('g', gated)
  model.addClassificationHead('g')
  model.setActiveAdapters('g')
  const { logits } = await model.forward({ inputIds })
  const all = await model.forward({ inputIds }, { outputHiddenStates: true })
  t.true(largestDifference(logits?.data ?? [], all.logits?.data ?? [1]) < 1e-5)
})

test('dropout acts on keys and values while training alone', async (t) => {
  const key = 'bert.prefix_tuning.prefix_tunings.a.self_prefix.control_trans'
  const runs = await Promise.all(
    [0, 0.5].map(async (dropout) => {
      const model = await make(t)
      model.addAdapter('a', `prefix_tuning_flat[prefix_length=4, dropout=${dropout}]`)
      model.addClassificationHead('a')
      model.trainAdapter('a')
      const before = await answer(model)
      await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 1 } }).train()
      return { before, after: model.parameter(key).data }
    })
  )
  t.deepEqual(runs[0]?.before, runs[1]?.before)
  t.true(largestDifference(runs[0]?.after ?? [], runs[1]?.after ?? []) > 1e-3)
})

test('blocks that have no meaning for a prefix are refused by name', async (t) => {
  const model = await load(t)
  model.addAdapter('p', flat)
  model.addAdapter('s', 'seq_bn')
  for (const [block, name] of [
    [Average('p', 's'), 'Average'],
    [Split('p', 's', { splits: [2, 3] }), 'Split'],
    [Stack('s', Average('p', 's')), 'Average']
  ] as const) {
    await t.throwsAsync(answer(model, { adapters: block }), {
      code: 'ERR_UNSUPPORTED',
      message: new RegExp(`${name}.*keys and values of a prefix`, 's')
    })
  }
  t.throws(() => model.addAdapterFusion(['p', 's']), { code: 'ERR_UNSUPPORTED', message: /adds keys and values/ })
  t.throws(() => model.mergeAdapter('p'), { code: 'ERR_UNSUPPORTED', message: /not all of it is a change of a weight/ })
})

test('ejectPrefixTuning leaves the answers as they are, flat and smaller', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  for (const [name, config] of [
    ['a', gated],
    ['u', `${small}|seq_bn`]
  ] as const) {
    model.addAdapter(name, config)
    model.addClassificationHead(name)
    model.trainAdapter(name)
    const before = await answer(model, { adapters: name })
    model.ejectPrefixTuning(name)
    t.true(largestDifference(await answer(model, { adapters: name }), before) < 1e-6, name)
    t.true(trainableNames(model).includes(`bert.prefix_tuning.prefix_tunings.${name}.self_prefix.control_trans`))
    model.ejectPrefixTuning(name)
    await model.saveAdapter(join(folder, name), name)
    const again = await model.loadAdapter(join(folder, name), { as: `${name}2` })
    t.true(largestDifference(await answer(model, { adapters: again }), before) < 1e-6, name)
    await new AdapterTrainer({ model, trainDataset: tinyRows(4), args: { ...quiet, maxSteps: 1 } }).train()
  }
  t.like(model.adapters.get('a'), { flat: true, useGating: true })
  model.addAdapter('s')
  t.throws(() => model.ejectPrefixTuning('s'), { message: /'s' has no prefix/ })
  t.throws(() => model.ejectPrefixTuning('none'), { message: /no 'none' here/ })
})

test('a folder holds a prefix once; copies in every layer, as Python writes them, are read', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  for (const config of [small, flat, gated, `${gated}|double_seq_bn|lora`]) {
    model.addAdapter('a', config, { overwriteOk: true })
    const expected = await answer(model, { adapters: 'a' })
    for (const format of ['safetensors', 'bin', 'pt'] as const) {
      await model.saveAdapter(join(folder, format), 'a', { format, dialect: format === 'pt' ? 'plain' : 'adapterhub' })
      const name = await model.loadAdapter(join(folder, format), { as: 'b', overwriteOk: true })
      t.deepEqual(model.adapters.get(name), AdapterConfig.load(config))
      t.deepEqual(await answer(model, { adapters: name }), expected, `${config} ${format}`)
    }
  }
  const file = join(folder, 'safetensors', 'adapter.safetensors')
  const key = 'bert.prefix_tuning.prefix_tunings.a.self_prefix.wte.weight'
  const copy = 'bert.encoder.layer.1.attention.self.prefix_tuning.pool.prefix_tunings.a.self_prefix.wte.weight'
  t.false(readTensors(file).has(copy))
  editTensors(file, (tensors) => {
    const tensor = tensors.get(key)
    if (tensor !== undefined) tensors.set(copy, tensor)
  })
  await t.notThrowsAsync(model.loadAdapter(join(folder, 'safetensors'), { as: 'c' }))
  editTensors(file, (tensors) => {
    const tensor = tensors.get(key)
    if (tensor !== undefined) tensors.set(copy, { ...tensor, bytes: Buffer.alloc(tensor.bytes.length) })
  })
  await t.throwsAsync(model.loadAdapter(join(folder, 'safetensors'), { as: 'd' }), {
    code: 'ERR_STATE_DICT',
    message: /not what another layer has of it/
  })
})

async function gpt2(t: ExecutionContext): Promise<Model> {
  const model = await AutoModel.fromPretrained(tiny.replace('bert-tiny', 'gpt2-tiny'))
  t.teardown(() => model.dispose())
  return model
}

test('generation goes on from a prefix as the whole text gives it', async (t) => {
  const model = await gpt2(t)
  model.addAdapter('p', small)
  model.addAdapter('f', flat)
  const setups = ['p', null, Stack('f', 'p')]
  const rows = [[7], [9, 8, 30], [20, 21]]
  const fresh = await model.generate(
    rows.map((ids) => ({ inputIds: ids })),
    { adapters: setups, maxNewTokens: 4, eosTokenId: null }
  )
  for (const [i, row] of rows.entries()) {
    const text = [...row]
    for (const token of fresh[i]?.ids ?? []) {
      const { lastHiddenState } = await model.forward({ inputIds: [text] }, { adapters: setups[i] ?? null, head: null })
      const state = Array.from(lastHiddenState?.data.slice(-model.config.hiddenSize) ?? [])
      const { data, shape } = model.parameter('transformer.wte.weight')
      const scores = Array.from({ length: shape[0] ?? 0 }, (_, word) =>
        state.reduce((sum, x, j) => sum + x * (data[word * (shape[1] ?? 0) + j] ?? 0), 0)
      )
      t.is(token, scores.indexOf(Math.max(...scores)), `row ${i}, after ${text.length} tokens`)
      text.push(token)
    }
  }
})
