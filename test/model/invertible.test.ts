import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, AutoModel, Average, Fuse, type Model, Split, Stack } from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import {
  fill,
  hidden,
  unevenRows as inputIds,
  largestDifference,
  load,
  moved,
  quiet,
  scratch,
  snapshot,
  tinyRows
} from './support.js'

const labels = [[9], [8, -100, 7], [-100, -100, 5, -100, 6]]
const kinds = {
  nice: 'seq_bn_inv',
  double: 'houlsby+inv[inv_adapter_reduction_factor=3]',
  glow: "seq_bn[inv_adapter='glow', inv_adapter_reduction_factor=4, leave_out=[0]]"
}

async function filled(t: Parameters<typeof load>[0]): Promise<Model> {
  const model = await load(t)
  model.addMaskedLmHead('words')
  for (const [name, kind] of Object.entries({ ...kinds, seq: 'seq_bn[reduction_factor=8]' })) {
    model.addAdapter(name, kind)
    fill(model, name, { scale: 0.5 })
  }
  return model
}

const logitsOf = async (model: Model, options: Parameters<Model['forward']>[1], rows = inputIds) => {
  const { logits } = await model.forward({ inputIds: rows }, { head: 'words', ...options })
  return { data: logits?.data ?? new Float32Array(), width: (logits?.shape[1] ?? 0) * (logits?.shape[2] ?? 0) }
}

test('names, shapes and the count are those of the library', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'seq_bn_inv')
  const own = model
    .namedParameters()
    .flatMap(({ name, shape }) => (name.includes('_adapters.a.') ? [[name, shape]] : []))
  const net = (part: string) => {
    const at = `bert.invertible_adapters.a.${part}`
    const [inner, half] = [hidden / 4, hidden / 2]
    return [
      [`${at}.0.weight`, [inner, half]],
      [`${at}.0.bias`, [inner]],
      [`${at}.2.weight`, [half, inner]],
      [`${at}.2.bias`, [half]]
    ]
  }
  t.deepEqual(own, [...net('F'), ...net('G')])
  const { parameters } = model.adapterSummary().adapters[0] ?? {}
  t.is(parameters, 2 * (2 * hidden * 2 + 2 + hidden) + 2 * (2 * 16 * 8 + 8 + 16))
})

test('each row has its own way in and out; a row without keeps the embeddings', async (t) => {
  const model = await filled(t)
  const setups = ['glow', null, Stack('nice', 'seq', 'double')]
  const all = await logitsOf(model, { adapters: setups })
  for (const [i, adapters] of setups.entries()) {
    const row = inputIds[i] as number[]
    const alone = await logitsOf(model, { adapters }, [row])
    const got = all.data.slice(i * all.width, i * all.width + alone.data.length)
    t.true(largestDifference(got, alone.data) < 1e-5, `row ${i}`)
  }
  const { hiddenStates } = await model.forward({ inputIds }, { adapters: setups, outputHiddenStates: true, head: null })
  const base = await model.forward({ inputIds }, { adapters: null, outputHiddenStates: true, head: null })
  const width = 5 * hidden
  const embeddings = (states: typeof hiddenStates, row: number) =>
    states?.[0]?.data.slice(row * width, (row + 1) * width) ?? []
  t.deepEqual(embeddings(hiddenStates, 1), embeddings(base.hiddenStates, 1))
  t.true(largestDifference(embeddings(hiddenStates, 0), embeddings(base.hiddenStates, 0)) > 1e-3)
})

test('the loss of labelled tokens alone is that of all tokens, row by row', async (t) => {
  const model = await filled(t)
  const adapters = ['glow', null, Stack('nice', 'double')]
  const whole = await model.forward({ inputIds, labels }, { adapters, head: 'words' })
  model.trainAdapter(Stack('glow', 'nice', 'double'))
  const { loss, gradients } = await model.gradients({ inputIds, labels }, { adapters, head: 'words' })
  t.true(Math.abs((loss as number) - (whole.loss as number)) < 1e-5)
  for (const part of ['glow.s1.0', 'glow.s2.2', 'nice.F.0', 'double.G.2']) {
    const gradient = gradients.get(`bert.invertible_adapters.${part}.weight`)
    t.true(
      gradient?.data.some((value) => value !== 0),
      part
    )
  }
})

test('what trains is the adapter with its invertible part, and the base stands still', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h')
  for (const [name, kind] of Object.entries(kinds)) {
    model.addAdapter(name, kind)
    model.trainAdapter(name)
    model.activeHead = 'h'
    const before = snapshot(model)
    await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 3 } }).train()
    const changed = moved(before, snapshot(model))
    const own = model.namedParameters().flatMap((one) => (one.name.includes(`.${name}.`) ? [one.name] : []))
    t.deepEqual(
      changed.filter((one) => !own.includes(one) && !one.startsWith('heads.h.')),
      []
    )
    t.deepEqual(
      own.filter((one) => !changed.includes(one)),
      [],
      name
    )
  }
})

test('a start that adds nothing leaves the embeddings as they are', async (t) => {
  const model = await load(t)
  const base = await model.forward({ inputIds }, { adapters: null })
  for (const kind of ['nice', 'glow']) {
    for (const init of ['zeros', 'mam_adapter']) {
      const config = `seq_bn[inv_adapter='${kind}', inv_adapter_reduction_factor=2, init_weights='${init}']`
      model.addAdapter('a', config, { overwriteOk: true })
      const { lastHiddenState } = await model.forward({ inputIds }, { adapters: 'a' })
      t.true(largestDifference(lastHiddenState?.data ?? [], base.lastHiddenState?.data ?? [1]) < 2e-6, config)
    }
  }
})

test('folders in every form give the same numbers, and old names are known', async (t) => {
  const folder = scratch(t)
  const model = await filled(t)
  for (const name of Object.keys(kinds)) {
    const expected = await logitsOf(model, { adapters: name })
    for (const format of ['safetensors', 'bin', 'pt'] as const) {
      const target = join(folder, `${name}-${format}`)
      await model.saveAdapter(target, name, { format, dialect: format === 'pt' ? 'plain' : 'adapterhub' })
      const loaded = await model.loadAdapter(target, { as: 'b', overwriteOk: true })
      t.deepEqual(model.adapters.get(loaded), model.adapters.get(name))
      t.deepEqual(await logitsOf(model, { adapters: loaded }), expected, `${name} ${format}`)
    }
  }
})

for (const family of ['distilbert-tiny', 'electra-tiny', 'gpt2-tiny', 'roberta-tiny', 'xlm-roberta-tiny']) {
  test(`${family}: in and out again, trained`, async (t) => {
    using model = await AutoModel.fromPretrained(join(fixtures, 'models', family))
    const rows = { inputIds: [[5], [6, 7, 8]] }
    if (family === 'gpt2-tiny') model.addCausalLmHead('a')
    else model.addMaskedLmHead('a')
    model.addAdapter('a', 'seq_bn_inv[reduction_factor=2]')
    model.trainAdapter('a')
    const { gradients } = await model.gradients({ ...rows, labels: [[5], [6, -100, 7]] })
    t.is([...gradients.keys()].filter((name) => name.includes('.invertible_adapters.a.')).length, 8)
    fill(model, 'a')
    const base = await model.forward(rows, { adapters: null })
    t.true(largestDifference((await model.forward(rows)).logits?.data ?? [], base.logits?.data ?? []) > 1e-4)
  })
}

test('GPT-2 writes with them as it answers with them', async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models', 'gpt2-tiny'))
  model.addCausalLmHead('words', { layers: 1, bias: false })
  model.addAdapter('a', 'seq_bn_inv[reduction_factor=2]')
  fill(model, 'a')
  for (const head of ['words', null]) {
    const written = await model.generate([{ inputIds: [5, 6] }, { inputIds: [9] }], {
      adapters: ['a', null],
      head,
      maxNewTokens: 3,
      eosTokenId: null
    })
    for (const [i, adapters] of ['a', null].entries()) {
      const ids = [...((i === 0 ? [5, 6] : [9]) as number[])]
      for (const next of written[i]?.ids ?? []) {
        const { logits } = await model.forward({ inputIds: [ids] }, { adapters, head: 'words' })
        const last = logits?.data.slice(-37) ?? new Float32Array()
        t.is(last.indexOf(Math.max(...last)), next, `${head} row ${i}`)
        ids.push(next)
      }
    }
  }
})

test('what cannot be is refused with what to do', async (t) => {
  const model = await filled(t)
  model.addAdapter('union', 'seq_bn_inv|lora')
  model.addAdapter('other')
  for (const [inside, name] of [
    [['nice', 'seq'], 'nice'],
    [['seq', 'union'], 'union'],
    [Fuse(Stack('glow', 'other'), 'seq'), 'glow']
  ] as const) {
    t.throws(() => model.addAdapterFusion(inside), {
      code: 'ERR_UNSUPPORTED',
      message: new RegExp(`no meaning for '${name}', which has an invertible part.*Stack`)
    })
  }
  t.is(model.adapterFusions.size, 0)
  // A block may name another fusion than that of its children.
  model.addAdapterFusion(['other', 'seq'], 'static', { name: 'f' })
  for (const adapters of [
    Average('nice', 'seq'),
    Split('nice', 'seq', { splits: [1, 2] }),
    Fuse('nice', 'seq', { name: 'f' })
  ]) {
    await t.throwsAsync(model.forward({ inputIds: [[5, 6, 7]] }, { adapters, head: null }), {
      code: 'ERR_UNSUPPORTED',
      message: /neither fused, averaged nor split.*Stack/
    })
  }
  t.throws(() => model.addAdapter('x', "seq_bn[inv_adapter='nice']"), {
    message: /invAdapterReductionFactor: must be given with invAdapter/
  })
  t.throws(() => model.addAdapter('x', 'seq_bn_inv[inv_adapter_reduction_factor=100]'), {
    code: 'ERR_OUT_OF_RANGE',
    message: /inner width.*0 for embeddings of 32.*invAdapterReductionFactor/
  })
  t.false(model.adapters.has('x'))
})
