import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, addAdaptersToModel, BatchSplit } from '../../lib/index.js'
import { scratch } from '../model/support.js'
import { type Adapters, archiveOf, cases, fillLoras, openOwn as open, statesOf } from './own-networks.js'
import { distance, open as openExported } from './support.js'

async function answersAsAlone(t: ExecutionContext, name: string) {
  const { model, rows, answers } = await open(t, name)
  const states = await statesOf(model, rows)
  for (const [i, expected] of answers.entries()) t.true(distance(states[i] ?? [], { data: expected as never }) < 1e-6)
  return model
}

for (const name of ['from-end', 'by-length'])
  test(`${name}: tokens that see how long the batch is answer for rows of several lengths as alone, without a mask`, async (t) => {
    const model = await answersAsAlone(t, name)
    t.regex(
      model.explainPlacement().join(),
      /a pass for those of each length, since a row beside a longer one gives something else than alone$/
    )
  })

test('what keeps a head of the network from running by itself is named: what mixes its tokens, and no view or other output', async (t) => {
  await t.throwsAsync(AutoModel.fromExported(archiveOf(t, 'late-mean')), {
    code: 'ERR_UNSUPPORTED',
    message: /a head that cannot run by itself: it has aten\.mean\.dim \(node \d+/
  })
  const { model, rows } = await open(t, 'flat-mean')
  t.is((await statesOf(model, rows)).length, 2)
})

test('tokens that see those before them alone take rows of any length without a mask', async (t) => {
  await answersAsAlone(t, 'behind')
})

test('a head for rows of an own causal network stays out of PEFT, whose folder of the adapter alone names no class of transformers', async (t) => {
  const { model, rows } = await open(t, 'behind')
  model.addAdapter('x', { architecture: 'lora', targetModules: ['q'], r: 2 })
  fillLoras(model)
  model.addClassificationHead('x', { numLabels: 2, layers: 1, bias: false })
  const folder = join(scratch(t), 'peft')
  await t.throwsAsync(model.saveAdapter(folder, 'x', { library: 'peft' }), {
    code: 'ERR_UNSUPPORTED',
    message: /the head of a class of transformers, which Behind has none of for 'x'.*withHead: false/s
  })
  t.false(existsSync(folder))
  await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
  t.notRegex(readFileSync(join(folder, 'adapter_config.json'), 'utf8'), /For(Sequence|Token)Classification|SEQ_CLS/)
  await model.loadAdapter(folder, { as: 'again' })
  t.deepEqual(await statesOf(model, rows, 'again'), await statesOf(model, rows, 'x'))
})

test('an output with tokens of its own is refused where the archive is opened, with what would do', async (t) => {
  await t.throwsAsync(open(t, 'front'), {
    code: 'ERR_UNSUPPORTED',
    message:
      /gives 4 tokens for a row of 3 \(expected as many tokens as a row has, or one value a row\).*output\[:, 1:\]/
  })
})

test('where one value a row comes out, a stream of other tokens than the rows have has no places, and it says so', async (t) => {
  const model = await answersAsAlone(t, 'front-state')
  t.regex(model.explainPlacement().join(), /stream has other tokens than the rows, and one value a row comes out/)
  for (const config of ['seq_bn', 'loreft', 'prefix_tuning'])
    t.throws(() => model.addAdapter('x', config), { message: /no layer was found|takes no prefix/ })
  model.addAdapter('x', { architecture: 'lora', targetModules: ['q'] })
  await model.forward({ inputIds: cases['front-state']?.rows ?? [] }, { adapters: 'x', head: null })
})

test('a gate at tokens that the rows have not takes rows of one length', async (t) => {
  const { model, rows } = await open(t, 'front-dropped')
  model.addAdapter('plain', { architecture: 'lora', targetModules: ['q'] })
  model.addAdapter('gated', { architecture: 'lora', targetModules: ['q'], useGating: true })
  model.setActiveAdapters('plain')
  t.is((await statesOf(model, rows)).length, 2)
  model.setActiveAdapters('gated')
  t.is((await statesOf(model, rows.slice(0, 1))).length, 1)
  await t.throwsAsync(statesOf(model, rows), {
    code: 'ERR_UNSUPPORTED',
    message: /'block\.attention\.q' reads other tokens than its rows have/
  })
})

test('at tokens that the rows have not, only a gate or a Split of a shorter row is refused', async (t) => {
  const { model, rows } = await open(t, 'front-dropped')
  const q = { architecture: 'lora', targetModules: ['q'] } as const
  model.addAdapter('plain', q)
  model.addAdapter('gated', { ...q, useGating: true })
  fillLoras(model)
  const of = (adapters: Adapters, some: number[][]) => statesOf(model, some, adapters)
  const [long = [], short = []] = rows
  t.true(long.length > short.length)
  const together = await of(['gated', 'plain'], [long, short])
  const alone = [...(await of('gated', [long])), ...(await of('plain', [short]))]
  for (const [i, states] of together.entries())
    t.true(distance(states, { data: Float32Array.from(alone[i] ?? []) }) < 1e-6, `row ${i}`)
  await t.throwsAsync(of(['plain', 'gated'], [long, short]), {
    code: 'ERR_UNSUPPORTED',
    message:
      /'block\.attention\.q' reads other tokens than its rows have.*no gate and no Split there for the shorter ones/
  })
})

test('tokens that attend to what the network keeps, and to no other, are not causal: heads read the first', async (t) => {
  const model = await answersAsAlone(t, 'remembers')
  t.false(model.config.exported?.isCausal)
  model.addClassificationHead('x', { numLabels: 2 })
  const inputIds = [
    [5, 9, 3],
    [5, 8, 4]
  ]
  const { logits } = await model.forward({ inputIds }, { head: 'x' })
  const [one, other] = [logits?.data.slice(0, 2) ?? [], logits?.data.slice(2) ?? []]
  t.true(distance(one, { data: other as never }) < 1e-6)
})

test('ids that the network maps before it looks them up have no limit that is known', async (t) => {
  const model = await answersAsAlone(t, 'mapped')
  t.is(model.config.vocabSize, 0)
  await t.throwsAsync(model.forward({ inputIds: [[200]] }, { head: null }), { message: /aten\.embedding/ })
})

test('one module under two names is one, by the name that named_modules() has', async (t) => {
  const model = await answersAsAlone(t, 'shared-names')
  const { modules = [], rows = [] } = cases['shared-names'] ?? {}
  t.deepEqual([...model.namedModules()].filter((path) => path !== '').sort(), [...modules].sort())
  t.false(model.namedParameters().some(({ name }) => name.startsWith('blocks.2.')))
  const [attention] = model.namedModules('blocks.0.attention', { shapes: true })
  t.is(attention?.calls, 2)
  model.addAdapter('x', { architecture: 'lora', targetModules: ['q'] })
  model.addAdapter('y', 'seq_bn')
  const own = (adapter: string) =>
    model.namedParameters().flatMap(({ name }) => (name.includes(`.${adapter}.`) ? [name.split('.', 2).join('.')] : []))
  t.deepEqual([...new Set([...own('x'), ...own('y')])].sort(), ['blocks.0', 'blocks.1'])
  await model.forward({ inputIds: rows }, { adapters: 'y', head: null })
})

test('an attention in no numbered layer takes no prefix, beside layers that do', async (t) => {
  const { model, rows } = await open(t, 'between')
  model.addAdapter('x', 'prefix_tuning')
  model.setActiveAdapters('x')
  const together = await statesOf(model, rows)
  for (const [i, row] of rows.entries()) {
    const [alone] = await statesOf(model, [row])
    t.true(distance(together[i] ?? [], { data: alone as never }) < 1e-6)
  }
})

test('the gate of a prefix reads its own row where attention has tokens before rows', async (t) => {
  const { model } = await openExported(t, 'transformer-encoder')
  model.addAdapter('x', 'prefix_tuning[use_gating=true]')
  model.setActiveAdapters('x')
  const values = model
    .namedParameters()
    .filter(({ name }) => /prefix_gates/.test(name))
    .map(({ name, shape }) => {
      const data = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i))
      return [name, { shape, data }] as const
    })
  t.true(values.length > 0)
  model.loadStateDict(new Map(values))
  const rows = [
    [5, 9, 3, 11, 7],
    [2, 8, 4],
    [2, 8, 4]
  ]
  const together = await statesOf(model, rows)
  for (const [i, row] of rows.entries()) {
    const [alone] = await statesOf(model, [row])
    t.true(distance(together[i] ?? [], { data: alone as never }) < 1e-5)
  }
})

for (const [name, width, places] of [
  ['writer', 20, 'blocks'],
  ['named', 8, 'blocks'],
  ['both', 8, 'blocks'],
  ['two-layers', 12, 'blocks'],
  ['joined', 5, 'blocks'],
  ['outside', 8, 'blocks'],
  ['parted', 8, 'blocks'],
  ['grouped', 8, 'groups.0']
] as const)
  test(`${name}: a bottleneck has the width of the layers and their names, and goes through a folder`, async (t) => {
    const { model, rows, answers, adapted = [] } = await open(t, name)
    const head = model.heads.has('default') ? 'default' : null
    t.is(head !== null, ['named', 'both', 'two-layers'].includes(name))
    const hasAnswers = async (expected: number[][]) => {
      const states = await statesOf(model, rows, undefined, head)
      for (const [i, data] of expected.entries()) t.true(distance(states[i] ?? [], { data: data as never }) < 2e-6)
    }
    await hasAnswers(answers)
    t.deepEqual([model.config.hiddenSize, model.config.exported?.outputSize], [8, width])
    model.addAdapter('x', 'seq_bn[reduction_factor=4]')
    const own = model.namedParameters().filter(({ name }) => name.includes('.adapters.x.'))
    t.deepEqual(
      [...new Set(own.map(({ name }) => name.slice(0, name.indexOf('.output_adapters.'))))],
      [`${places}.0`, `${places}.1`]
    )
    const sines = ({ shape }: { shape: readonly number[] }) =>
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i))
    model.loadStateDict(new Map(own.map((one) => [one.name, { shape: one.shape, data: sines(one) }])))
    model.setActiveAdapters('x')
    await hasAnswers(adapted)
    const folder = join(scratch(t), 'x')
    await model.saveAdapter(folder, 'x')
    model.deleteAdapter('x')
    await hasAnswers(answers)
    await model.loadAdapter(folder, { setActive: true })
    await hasAnswers(adapted)
    model.addClassificationHead('y', { numLabels: 2 })
    const { logits } = await model.forward({ inputIds: rows }, { head: 'y' })
    t.deepEqual(logits?.shape, [2, 2])
  })

test('heads that are modules of their own have LoRA and (IA)³ each', async (t) => {
  const model = await answersAsAlone(t, 'one-by-one')
  const at = (adapter: string, config: string) => {
    model.addAdapter(adapter, config)
    const own = model.namedParameters().filter(({ name }) => name.includes(`.${adapter}.`))
    return [...new Set(own.map(({ name }) => name.slice(0, name.indexOf('.loras.'))))].sort()
  }
  const everywhere = (...names: string[]) =>
    [0, 1].flatMap((layer) => [0, 1].flatMap((head) => names.map((name) => `layers.${layer}.heads.${head}.${name}`)))
  t.deepEqual(at('a', 'lora'), everywhere('query', 'value').sort())
  t.deepEqual(at('b', 'ia3'), [...everywhere('key', 'value'), 'layers.0.up', 'layers.1.up'].sort())
})

test('attention that stands in another list than what names its layer has prefixes and Linears', async (t) => {
  const placement = { attention: 'attentions.*', feedForward: 'feeds.*' }
  const model = await AutoModel.fromExported(archiveOf(t, 'two-lists'), { placement })
  t.teardown(() => model.dispose())
  const [row = []] = cases['two-lists']?.rows ?? []
  const rows = [row, row, row.slice(1)]
  const [base = []] = await statesOf(model, [row])
  for (const config of ['prefix_tuning_flat[prefix_length=3]', "lora[init_weights='bert']"]) {
    model.addAdapter('x', config)
    model.setActiveAdapters('x')
    const [alone = []] = await statesOf(model, [row])
    t.true(distance(alone, { data: base as never }) > 1e-3, config)
    for (const batch of [rows.slice(0, 2), rows])
      t.true(distance((await statesOf(model, batch))[1] ?? [], { data: alone as never }) < 1e-6, config)
    model.deleteAdapter('x')
  }
})

for (const [kind, config] of [
  ['lora', { architecture: 'lora', r: 2, alpha: 2, targetModules: 'all-linear' }],
  ['dora', { architecture: 'lora', r: 2, alpha: 2, useDora: 'peft', targetModules: 'all-linear' }],
  ['ia3', 'ia3']
] as const)
  test(`a Linear that adds its bias itself has it within: ${kind} there gives what PEFT does, and goes through its folders`, async (t) => {
    const { model, rows, answers, peft } = await open(t, 'biases')
    const expected = peft?.[kind] as number[][]
    const has = async (expected: number[][], adapters?: Adapters) => {
      const states = await statesOf(model, rows, adapters)
      for (const [i, data] of expected.entries()) t.true(distance(states[i] ?? [], { data: data as never }) < 2e-6)
    }
    await has(answers)
    model.addAdapter('x', config)
    fillLoras(model)
    await has(expected, 'x')
    const folder = join(scratch(t), 'peft')
    await model.saveAdapter(folder, 'x', { library: 'peft' })
    await model.loadAdapter(folder, { as: 'again' })
    await has(expected, 'again')
    model.mergeAdapter('x')
    await has(expected)
  })

test('the gate of a prefix reads its row in front of a Linear that adds its bias itself, and that LoRA stands at', async (t) => {
  const { model, rows } = await open(t, 'biases')
  model.addAdapter('x', 'unipelt')
  const names = model.namedParameters().map(({ name }) => name)
  t.true(names.some((name) => name.includes('prefix_gates')) && names.some((name) => name.includes('.q.loras.')))
  fillLoras(model, /\.x\b|prefix/)
  const together = await statesOf(model, rows, 'x')
  const base = await statesOf(model, rows)
  for (const [i, row] of rows.entries()) {
    const [alone] = await statesOf(model, [row], 'x')
    t.true(distance(together[i] ?? [], { data: alone as never }) < 1e-6)
    t.true(distance(together[i] ?? [], { data: base[i] as never }) > 1e-3)
  }
})

test('a LayerNorm behind a sum of rows and tokens as one size is named as one of its own form', async (t) => {
  const { rows, adapted = [] } = cases['parted'] ?? {}
  const placement = { attention: null, feedForward: 'blocks.*.norm2' }
  const model = await AutoModel.fromExported(archiveOf(t, 'parted'), { placement })
  t.teardown(() => model.dispose())
  model.addAdapter('x', 'seq_bn[reduction_factor=4]')
  fillLoras(model, /\.x\./, 1)
  const states = await statesOf(model, rows ?? [], 'x')
  for (const [i, data] of adapted.entries()) t.true(distance(states[i] ?? [], { data: data as never }) < 2e-6)
})

for (const config of ['unipelt', { architecture: 'lora', r: 2, targetModules: ['out', 'up', 'q'] }] as const)
  test(`where a mean of the tokens comes out, rows of any length are mixed: ${typeof config === 'string' ? config : 'LoRA behind it'}`, async (t) => {
    const { model, rows } = await open(t, 'joined')
    for (const name of ['x', 'y']) model.addAdapter(name, config)
    fillLoras(model, /\.x\b|prefix/)
    fillLoras(model, /\.y\b/, 1 / 3)
    const [long = [], short = []] = rows
    t.true(long.length > short.length)
    const given = [long, short, short, long]
    const setups = ['x', 'x', null, 'y'] as const
    const mixed = await statesOf(model, given, setups)
    const base = await statesOf(model, given)
    for (const [i, row] of given.entries()) {
      const [alone = []] = await statesOf(model, [row], setups[i] as string | null)
      t.true(distance(mixed[i] ?? [], { data: alone as never }) < 1e-6, `row ${i}`)
      t.is(distance(alone, { data: base[i] as never }) > 1e-3, setups[i] !== null, `row ${i}`)
    }
    const blocks = await statesOf(model, rows, BatchSplit('x', 'y', { batchSizes: [1, 1] }))
    for (const [i, name] of ['x', 'y'].entries()) {
      const [alone = []] = await statesOf(model, rows.slice(i, i + 1), name)
      t.true(distance(blocks[i] ?? [], { data: alone as never }) < 1e-6, name)
    }
  })

test('where a mean of the tokens comes out, surgery stands at modules of tokens', async (t) => {
  const { model, rows, answers } = await open(t, 'joined')
  addAdaptersToModel(model, { pattern: 'blocks.0', adapterSize: 2 })
  const same = await statesOf(model, rows)
  for (const [i, data] of answers.entries()) t.true(distance(same[i] ?? [], { data: data as never }) < 1e-6)
  fillLoras(model, /^blocks\.0\.1\./)
  const together = await statesOf(model, rows)
  for (const [i, row] of rows.entries()) {
    const [alone = []] = await statesOf(model, [row])
    t.true(distance(together[i] ?? [], { data: alone as never }) < 1e-6)
    t.true(distance(alone, { data: answers[i] as never }) > 1e-3)
  }
})
