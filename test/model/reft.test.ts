import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, AutoModel, BatchSplit, Parallel, Split, Stack } from '../../lib/index.js'
import {
  lastHiddenState as answer,
  fill,
  hidden,
  unevenRows as inputIds,
  largestDifference,
  layers,
  load,
  moved,
  quiet,
  sameBits,
  scratch,
  snapshot,
  tiny,
  tinyRows,
  trainableNames
} from './support.js'

const kinds = [
  'loreft[r=2]',
  `loreft[r=${hidden}, tied_weights=True, suffix_positions=1]`,
  'noreft[suffix_positions=2]',
  "direft[r=2, non_linearity='relu']"
]

const isBase = (name: string): boolean => name.endsWith('.0.base')

test('what trains is what was learned and the projection; an orthogonal one stays orthogonal', async (t) => {
  for (const kind of kinds) {
    const model = await load(t)
    model.addAdapter('a', kind)
    model.addClassificationHead('a')
    model.trainAdapter('a')
    const before = snapshot(model)
    const args = { ...quiet, maxSteps: 4, weightDecay: 0.1 }
    await new AdapterTrainer({ model, trainDataset: tinyRows(8, { from: 4 }), args }).train()
    const changed = moved(before, snapshot(model))
    t.deepEqual(
      changed.filter((name) => !trainableNames(model).includes(name)),
      [],
      kind
    )
    t.true(changed.filter((name) => name.endsWith('units.0.learned_source.weight')).length === layers, kind)
    // Weight decay leaves the signs of an orthogonal weight as they are.
    for (const name of trainableNames(model).filter((each) => each.endsWith('.original'))) {
      const { data, shape } = model.parameter(name)
      const [rows = 0, columns = 0] = shape
      for (let i = 0; i < Math.min(rows, columns); i++) t.is(data[i * columns + i], -1, name)
    }
  }
})

test('the fixed base of an orthogonal weight is no parameter, but in the folder', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'loreft')
  t.deepEqual(
    model.namedParameters().filter(({ name }) => isBase(name)),
    []
  )
  t.is(model.adapterSummary().adapters[0]?.parameters, layers * 2 * (2 * hidden + 1))
})

test('each row has its own: lists, BatchSplit and Parallel give what each gives alone', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'loreft[r=2]')
  model.addAdapter('b', 'direft[suffix_positions=1]')
  model.addAdapter('u', 'noreft|seq_bn')
  const width = 5 * hidden
  const alone = async (adapters: string | null, row: number) => {
    const ids = inputIds[row] ?? []
    const { lastHiddenState } = await model.forward({ inputIds: [ids] }, { adapters, head: null })
    return lastHiddenState?.data ?? new Float32Array()
  }
  const check = async (got: Float32Array, names: (string | null)[]) => {
    for (const [i, name] of names.entries()) {
      const expected = await alone(name, i % 3)
      const own = got.slice(i * width, i * width + expected.length)
      t.true(largestDifference(own, expected) < 1e-5, `row ${i}`)
    }
  }
  await check(await answer(model, { adapters: ['a', null, 'b'] }), ['a', null, 'b'])
  await check(await answer(model, { adapters: BatchSplit('u', 'b', { batchSizes: [1, 2] }) }), ['u', 'b', 'b'])
  await check(await answer(model, { adapters: Parallel('a', 'u') }), ['a', 'a', 'a', 'u', 'u', 'u'])
  model.addClassificationHead('a')
  model.setActiveAdapters(Stack('a', 'b'))
  const { logits } = await model.forward({ inputIds })
  const all = await model.forward({ inputIds }, { outputHiddenStates: true })
  t.true(largestDifference(logits?.data ?? [], all.logits?.data ?? [1]) < 1e-5)
})

test('a row shorter than suffixPositions is all of the last tokens, alone and beside longer ones', async (t) => {
  const model = await load(t)
  model.addAdapter('long', 'noreft[suffix_positions=3]')
  // One unit for all tokens, which is the other's second.
  model.addAdapter('one', 'noreft[prefix_positions=0, suffix_positions=3]')
  const units = model.namedParameters().filter(({ name }) => name.includes('.refts.long.units.1.'))
  model.loadStateDict(
    new Map(units.map(({ name }) => [name.replace('.refts.long.', '.refts.one.'), model.parameter(name)]))
  )
  const states = async (ids: number[][], adapters: string) =>
    (await model.forward({ inputIds: ids }, { adapters, head: null, outputHiddenStates: true })).lastHiddenState?.data
  for (const row of [[5], [5, 6], [5, 6, 7]]) t.deepEqual(await states([row], 'long'), await states([row], 'one'))
  const beside = await states(
    [
      [5, 6],
      [5, 6, 7, 8, 9]
    ],
    'long'
  )
  t.true(largestDifference(beside?.slice(0, 2 * hidden) ?? [], (await states([[5, 6]], 'one')) ?? [1]) < 1e-5)
})

test('beside a prompt the last tokens are the row’s, and the first one the prompt’s', async (t) => {
  const model = await load(t)
  const prompt = 'prompt_tuning[prompt_length=3]'
  model.addAdapter('p', prompt)
  model.addAdapter('u', `${prompt}|noreft[prefix_positions=1, suffix_positions=2, layers=[${layers - 1}]]`)
  for (const name of ['p', 'u']) fill(model, name)
  const start = (name: string) =>
    model.namedParameters().find((one) => one.name.includes(`.prompt_tunings.${name}.`))?.name
  model.loadStateDict(new Map([[start('u') ?? '', model.parameter(start('p') ?? '')]]))
  const rows = [
    [5, 6, 7, 8, 9, 10, 11],
    [5, 6, 7, 8, 9]
  ]
  for (const row of rows) {
    const states = async (adapters: string) =>
      (await model.forward({ inputIds: [row] }, { adapters, head: null })).lastHiddenState
    const [without, having] = [await states('p'), await states('u')]
    const tokens = (having?.data.length ?? 0) / hidden
    // The prompt's own are not among them.
    t.is(tokens, row.length)
    const changed = Array.from({ length: tokens }, (_, i) => i).filter((i) => {
      const of = (from: typeof having) => from?.data.slice(i * hidden, (i + 1) * hidden) ?? []
      return largestDifference(of(having), of(without)) > 1e-6
    })
    t.deepEqual(changed, [tokens - 2, tokens - 1])
  }
})

test('blocks that have no meaning for it are refused by name', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'loreft')
  model.addAdapter('s', 'seq_bn')
  const split = model.forward({ inputIds: [[5, 6, 7, 8, 9]] }, { adapters: Split('a', 's', { splits: [2, 3] }) })
  await t.throwsAsync(split, {
    code: 'ERR_UNSUPPORTED',
    message: /Split.*no meaning for ReFT/s
  })
  t.throws(() => model.addAdapterFusion(['a', 's']), { code: 'ERR_UNSUPPORTED', message: /states of some tokens/ })
  t.throws(() => model.mergeAdapter('a'), { code: 'ERR_UNSUPPORTED' })
})

test('every kind goes through a folder and back, a DiReFT as one', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  for (const [i, kind] of [...kinds, 'loreft|seq_bn|lora'].entries()) {
    model.addAdapter('a', kind, { overwriteOk: true })
    model.addClassificationHead('a', { overwriteOk: true })
    model.trainAdapter('a')
    await new AdapterTrainer({ model, trainDataset: tinyRows(4), args: { ...quiet, maxSteps: 1 } }).train()
    const expected = await answer(model, { adapters: 'a' })
    for (const format of ['safetensors', 'bin', 'pt'] as const) {
      const target = join(folder, `${i}-${format}`)
      await model.saveAdapter(target, 'a', { format, dialect: format === 'pt' ? 'plain' : 'adapterhub' })
      const name = await model.loadAdapter(target, { as: 'b', overwriteOk: true })
      t.deepEqual(model.adapters.get(name), model.adapters.get('a'))
      t.true(sameBits(await answer(model, { adapters: name }), expected), `${kind} ${format}`)
    }
  }
})

test('generation: positions are those of the prompt, what is written is left alone', async (t) => {
  const model = await AutoModel.fromPretrained(tiny.replace('bert-tiny', 'gpt2-tiny'))
  t.teardown(() => model.dispose())
  model.addAdapter('a', 'noreft[prefix_positions=2]')
  const prompt = [9, 8, 30]
  const [written] = await model.generate([{ inputIds: prompt }], { adapters: 'a', maxNewTokens: 3, eosTokenId: null })
  const text = [...prompt]
  for (const token of written?.ids ?? []) {
    const { lastHiddenState } = await model.forward({ inputIds: [text] }, { adapters: 'a', head: null })
    const state = Array.from(lastHiddenState?.data.slice(-model.config.hiddenSize) ?? [])
    const { data, shape } = model.parameter('transformer.wte.weight')
    const scores = Array.from({ length: shape[0] ?? 0 }, (_, word) =>
      state.reduce((sum, x, j) => sum + x * (data[word * (shape[1] ?? 0) + j] ?? 0), 0)
    )
    t.is(token, scores.indexOf(Math.max(...scores)))
    text.push(token)
  }
})
