import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  Average,
  BatchSplit,
  Fuse,
  type Model,
  Parallel,
  Split,
  Stack
} from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import { readTensors, writeTensors } from './safetensors-file.js'
import {
  lastHiddenState as answer,
  fill,
  hidden,
  unevenRows as inputIds,
  largestDifference,
  load,
  make,
  moved,
  quiet,
  scratch,
  snapshot,
  tinyRows
} from './support.js'

const kinds = {
  both: 'compacter[reduction_factor=8]',
  plus: 'compacter++[reduction_factor=4, phm_dim=2]',
  shared: 'compacter[reduction_factor=8, shared_W_phm=True, factorized_phm_W=False]',
  own: 'compacter++[reduction_factor=8, shared_phm_rule=False, factorized_phm_rule=True, phm_bias=False]'
}

test('names and shapes are those of the library, shared ones beside the layers', async (t) => {
  const model = await load(t)
  model.addAdapter('a', kinds.plus)
  const own = model.namedParameters().flatMap(({ name, shape }) => (name.includes('.a.') ? [[name, shape]] : []))
  const layer = (i: number) => {
    const at = `bert.encoder.layer.${i}.output.adapters.a`
    return [
      [`${at}.adapter_down.0.W_left`, [2, 16, 1]],
      [`${at}.adapter_down.0.W_right`, [2, 1, 4]],
      [`${at}.adapter_down.0.b`, [8]],
      [`${at}.adapter_up.W_left`, [2, 4, 1]],
      [`${at}.adapter_up.W_right`, [2, 1, 16]],
      [`${at}.adapter_up.b`, [hidden]]
    ]
  }
  t.deepEqual(own, [...layer(0), ...layer(1), ['bert.shared_parameters.a.phm_rule', [2, 2, 2]]])
  t.is(
    model.adapterSummary().adapters[0]?.parameters,
    2 * (2 * (hidden + 8) + 8 + hidden - (hidden + 8)) + 8 + 2 * (hidden + 8)
  )
})

test('a start that adds nothing adds nothing', async (t) => {
  const model = await load(t)
  const base = await answer(model)
  for (const init of ['mam_adapter', 'zeros'] as const) {
    for (const kind of Object.values(kinds)) {
      model.addAdapter('a', kind.replace(']', `, init_weights='${init}']`), { overwriteOk: true })
      t.true(largestDifference(await answer(model, { adapters: 'a' }), base) < 2e-6, `${init} ${kind}`)
    }
  }
})

test('what trains is the adapter with what its layers share; learn_phm holds the rule still', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h')
  for (const [name, kind] of Object.entries({ ...kinds, still: 'compacter[reduction_factor=8, learn_phm=False]' })) {
    model.addAdapter(name, kind)
    fill(model, name)
    model.trainAdapter(name)
    model.activeHead = 'h'
    const before = snapshot(model)
    await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 3 } }).train()
    const changed = moved(before, snapshot(model))
    const own = model.namedParameters().flatMap((one) => (one.name.includes(`.${name}.`) ? [one.name] : []))
    t.deepEqual(
      changed.filter((one) => !own.includes(one) && !one.startsWith('heads.h.')),
      [],
      name
    )
    t.deepEqual(
      own.filter((one) => !changed.includes(one)),
      name === 'still' ? ['bert.shared_parameters.still.phm_rule'] : [],
      name
    )
  }
})

test('each row has its own: BatchSplit, Parallel and lists give what each gives alone', async (t) => {
  const model = await load(t)
  for (const [name, kind] of Object.entries({ ...kinds, seq: 'seq_bn[reduction_factor=8]' })) {
    model.addAdapter(name, kind)
    fill(model, name)
  }
  const rowOf = async (adapters: Parameters<Model['forward']>[1], ids: number[]) => {
    const { lastHiddenState } = await model.forward({ inputIds: [ids] }, { ...adapters, head: null })
    return lastHiddenState?.data.slice(0, ids.length * hidden) ?? new Float32Array()
  }
  const check = async (adapters: Parameters<Model['forward']>[1], names: (string | null)[], what: string) => {
    const { lastHiddenState } = await model.forward({ inputIds }, { ...adapters, head: null })
    const width = lastHiddenState?.shape[1] ?? 0
    for (const [i, name] of names.entries()) {
      const ids = inputIds[i % inputIds.length] as number[]
      const got = lastHiddenState?.data.slice(i * width * hidden, (i * width + ids.length) * hidden) ?? []
      t.true(largestDifference(got, await rowOf({ adapters: name }, ids)) < 1e-5, `${what}, row ${i}`)
    }
  }
  await check({ adapters: BatchSplit('both', 'seq', { batchSizes: [1, 2] }) }, ['both', 'seq', 'seq'], 'BatchSplit')
  await check({ adapters: Parallel('plus', 'own') }, ['plus', 'plus', 'plus', 'own', 'own', 'own'], 'Parallel')
  await check({ adapters: ['shared', null, 'shared'] }, ['shared', null, 'shared'], 'a list')
})

test('every composition takes them, and training through one reaches all', async (t) => {
  const model = await load(t)
  model.addClassificationHead('h')
  for (const name of ['both', 'plus'] as const) {
    model.addAdapter(name, kinds[name])
    fill(model, name)
  }
  model.addAdapter('seq')
  model.addAdapterFusion(['both', 'plus', 'seq'], 'dynamic', { name: 'f' })
  const five = { inputIds: [[60, 61, 62, 63, 64]], labels: [1] }
  for (const setup of [
    Stack('both', 'seq', 'plus'),
    Average('both', 'plus'),
    Split('both', 'plus', { splits: [2, 3] }),
    Fuse('both', 'plus', 'seq', { name: 'f' })
  ]) {
    model.trainAdapter(Stack('both', 'plus'))
    const { gradients } = await model.gradients(five, { adapters: setup, head: 'h' })
    for (const name of ['both', 'plus']) {
      const rule = gradients.get(`bert.shared_parameters.${name}.phm_rule`)
      t.true(
        rule?.data.some((value) => value !== 0),
        `${setup.type} ${name}`
      )
    }
  }
})

test('folders in every form, checkpoints, and the same numbers after them', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  for (const [name, kind] of Object.entries(kinds)) {
    model.addAdapter('a', kind, { overwriteOk: true })
    fill(model, 'a')
    const expected = await answer(model, { adapters: 'a' })
    for (const format of ['safetensors', 'bin', 'pt'] as const) {
      const target = join(folder, `${name}-${format}`)
      await model.saveAdapter(target, 'a', { format, dialect: format === 'pt' ? 'plain' : 'adapterhub' })
      const loaded = await model.loadAdapter(target, { as: 'b', overwriteOk: true })
      t.deepEqual(model.adapters.get(loaded), model.adapters.get('a'))
      t.deepEqual(await answer(model, { adapters: loaded }), expected, `${name} ${format}`)
    }
  }
  // Python cannot start PHM layers in this way, so the folder names one that it can, and the true one beside it.
  model.addAdapter('a', 'compacter[reduction_factor=8, init_weights="mam_adapter"]', { overwriteOk: true })
  await model.saveAdapter(join(folder, 'init'), 'a')
  t.like(JSON.parse(readFileSync(join(folder, 'init', 'adapter_config.json'), 'utf8')), {
    config: { init_weights: 'bert' },
    torch_adapters: { init_weights: 'mam_adapter' }
  })
  t.like(model.adapters.get(await model.loadAdapter(join(folder, 'init'), { as: 'b', overwriteOk: true })), {
    initWeights: 'mam_adapter'
  })
})

test('a run that goes on from a checkpoint gives the bits of one that was not interrupted', async (t) => {
  const outputDir = scratch(t)
  const run = async (resumeFromCheckpoint: string | false) => {
    const model = await make(t, { hidden_dropout_prob: 0.1 })
    model.addAdapter('a', kinds.both)
    model.addClassificationHead('a')
    model.trainAdapter('a')
    const saves = { saveStrategy: 'steps', saveSteps: 2 } as const
    const args = { ...quiet, ...saves, outputDir, resumeFromCheckpoint, maxSteps: 4 }
    await new AdapterTrainer({ model, trainDataset: tinyRows(8), args }).train()
    return snapshot(model, /\.a\./)
  }
  const expected = await run(false)
  t.deepEqual(moved(await run(join(outputDir, 'checkpoint-2')), expected), [])
})

for (const family of ['distilbert-tiny', 'electra-tiny', 'gpt2-tiny', 'roberta-tiny', 'xlm-roberta-tiny']) {
  test(`${family}: PHM layers train`, async (t) => {
    using model = await AutoModel.fromPretrained(join(fixtures, 'models', family))
    model.addAdapter('a', 'compacter[reduction_factor=2, phm_dim=2]')
    model.addClassificationHead('a', { numLabels: 2, layers: 1 })
    model.trainAdapter('a')
    const { gradients } = await model.gradients({ inputIds: [[5], [6, 7, 8]], labels: [0, 1] })
    const rule = [...gradients.keys()].filter((name) => name.endsWith('shared_parameters.a.phm_rule'))
    t.is(rule.length, 1)
    t.true(gradients.get(rule[0] ?? '')?.data.some((value) => value !== 0))
  })
}

test('what cannot be is refused, and nothing is left of it', async (t) => {
  const model = await load(t)
  const cases: [string, RegExp][] = [
    ['compacter', /hidden size 32, bottleneck 1, phmDim 4.*Choose another phmDim or reductionFactor/],
    ['compacter[reduction_factor=4, phm_dim=3]', /hidden size 32, bottleneck 8, phmDim 3/],
    [
      "compacter[shared_W_phm=True, reduction_factor={'0': 4, 'default': 8}]",
      /layers that share W need bottlenecks of one size/
    ],
    [
      'compacter[reduction_factor=8, output_adapter=False]|compacter[reduction_factor=8, mh_adapter=False]',
      /two parts of the configuration share parameters under one name/
    ]
  ]
  for (const [config, message] of cases) {
    t.throws(() => model.addAdapter('a', config), { message }, config)
    t.false(model.adapters.has('a'))
  }
  t.false(model.namedParameters().some(({ name }) => name.includes('.a.')))
})

test('a folder of Python’s without what its layers share says where it is whole', async (t) => {
  const model = await load(t)
  for (const [name, config] of [
    ['phm', 'compacter[reduction_factor=4]'],
    ['vera', 'vera[r=2]']
  ] as const) {
    model.addAdapter(name, config)
    const folder = scratch(t)
    await model.saveAdapter(folder, name)
    const file = join(folder, 'adapter.safetensors')
    const kept = [...readTensors(file)].filter(([key]) => !key.includes('shared_parameters'))
    writeTensors(file, new Map(kept))
    const message = /missing .*shared_parameters.*AutoAdapterModel/
    await t.throwsAsync(model.loadAdapter(folder, { as: 'x' }), { code: 'ERR_STATE_DICT', message })
    t.false(model.adapters.has('x'))
  }
})
