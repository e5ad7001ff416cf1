import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import test from 'ava'
import {
  AdapterConfig,
  AdapterTrainer,
  AutoModel,
  Fuse,
  type Model,
  type Placement,
  type Row,
  Stack
} from '../../lib/index.js'
import { ExportedGroup } from '../parity/support/exported.js'
import { hashedValue } from '../parity/support/hashed.js'
import { rowsOf } from './case-rows.js'
import { casesOf, distance, inputsOf, open } from './support.js'
import { awayByStep, setTrained } from './training-case.js'

async function placed(t: ExecutionContext, name: string, placement: Placement) {
  const group = await ExportedGroup.read(name)
  const model = await AutoModel.fromExported(group.archive, { placement })
  t.teardown(() => model.dispose())
  return { group, model }
}

const own = (model: Model, name: string) => model.namedParameters().filter((one) => one.name.includes(`.${name}.`))

/** Values far from where adapters start. */
function fill(model: Model, name: string): void {
  const values = own(model, name).map(({ name, shape }) => [name, hashedValue(name, shape)] as const)
  model.loadStateDict(new Map(values))
}

async function statesOf(model: Model, rows: readonly Row[], adapters: Parameters<Model['setActiveAdapters']>[0]) {
  const given = rows as readonly { readonly inputIds?: readonly number[]; readonly pixelValues?: Float32Array }[]
  const inputs =
    given[0]?.inputIds === undefined
      ? { pixelValues: given.map(({ pixelValues }) => pixelValues) }
      : { inputIds: given.map(({ inputIds }) => inputIds) }
  const { lastHiddenState } = await model.forward(inputs as never, { adapters, head: null })
  return Array.from(lastHiddenState?.data ?? [])
}

/** Networks, their sub-layers by name, and whether the graph shows the same ones by itself. */
const named: readonly (readonly [name: string, placement: Placement, found: boolean])[] = [
  // What a module gives is added to the stream.
  ['gpt2', { attention: 'h.*.attn', feedForward: 'h.*.mlp' }, true],
  ['mixture-of-experts', { attention: 'layers.*.attention', feedForward: 'layers.*.experts' }, true],
  // The module has the sum, and its LayerNorm, in it.
  ['bert', { attention: 'encoder.layer.*.attention', feedForward: 'encoder.layer.*' }, true],
  ['transformer-encoder', { attention: 'encoder.layers.*.norm1', feedForward: 'encoder.layers.*.norm2' }, true],
  // Attention and feed-forward block meet the stream in one sum.
  ['falcon', { attention: 'h.*.self_attention', feedForward: 'h.*.mlp' }, true]
]

for (const [name, placement] of named) {
  test(`${name}: twenty steps of adapters at sub-layers that were named are PyTorch's`, async (t) => {
    const { group, model } = await placed(t, name, placement)
    const { losses, final } = await awayByStep(model, group, inputsOf)
    t.true(losses < 2e-5, `losses: ${losses}`)
    t.true(final < 1e-4, `parameters: ${final}`)
    const told = model.explainPlacement().join('\n')
    for (const pattern of Object.values(placement)) t.true(told.includes(`'${pattern}') by your placement`), told)
  })
}

test('falcon: the graph shows attention and feed-forward side by side by itself', async (t) => {
  const { model } = await open(t, 'falcon')
  t.regex(model.explainPlacement()[1] ?? '', /^layer 0 \(h\.0\), output: .*behind attention/)
  const { model: one } = await placed(t, 'falcon', { attention: null, feedForward: 'h.*.mlp' })
  one.addAdapter('x', 'double_seq_bn')
  t.deepEqual(
    [...new Set(own(one, 'x').map(({ name }) => name.replace(/\.adapters\.x.*/, '')))],
    ['h.0.output_adapters', 'h.1.output_adapters']
  )
})

test('convolutional: behind a module that is added to nothing stands what the same surgery gives in PyTorch', async (t) => {
  for (const [kind, preset, site] of [
    ['after', 'seq_bn', 'neck'],
    ['parallel', 'par_bn', 'features']
  ] as const) {
    const { group, model } = await placed(t, 'convolutional', { feedForward: site })
    const one = casesOf(group, kind).find(({ path }) => path === site)
    if (one === undefined) return void t.fail()
    model.addAdapter('x', AdapterConfig.load(preset, { reductionFactor: 2, nonLinearity: 'relu' }))
    const names = new Map(own(model, 'x').map(({ name, shape }) => [name, shape]))
    const values = Object.entries(one.weights ?? {}).map(([part, reference]) => {
      const [projection, kind] = part.split('.')
      const place = `${site}.output_adapters.adapters.x.adapter_${projection}.${projection === 'down' ? '0.' : ''}${kind}`
      return [place, { data: group.tensor(reference).data, shape: names.get(place) ?? [] }] as const
    })
    t.is(values.length, names.size)
    model.loadStateDict(new Map(values))
    const {
      data,
      shape: [rows = 1]
    } = group.tensor(String(one.inputs?.['pixel_values']))
    const pixelValues = Array.from({ length: rows }, (_, i) =>
      data.subarray((i * data.length) / rows, ((i + 1) * data.length) / rows)
    )
    const { lastHiddenState } = await model.forward({ pixelValues }, { adapters: 'x', head: null })
    const away = distance(lastHiddenState?.data ?? [], group.tensor(one.expected.output ?? ''))
    t.true(away < 1e-5, `${kind} ${site}: ${away}`)
  }
})

/** Networks in which the graph shows nothing, or something else. */
const elsewhere: readonly (readonly [name: string, placement: Placement])[] = [
  ['convolutional', { feedForward: 'features' }],
  ['falcon', { attention: 'h.*.self_attention', feedForward: 'h.*.mlp' }],
  ['mixture-of-experts', { attention: null, feedForward: 'layers.*.experts' }],
  ['shared', { feedForward: 'model.norm' }]
]

for (const [name, placement] of elsewhere) {
  test(`${name}: presets, blocks, mixed rows and folders at places that were named`, async (t) => {
    const { group, model } = await placed(t, name, placement)
    const rows = rowsOf(group)
    const base = await statesOf(model, rows, null)
    const presets = ['seq_bn', 'double_seq_bn', 'par_bn', 'compacter', 'loreft'] as const
    const alone = new Map<string, number[]>()
    for (const preset of presets) {
      const config =
        preset === 'double_seq_bn' && placement !== 'auto' && placement.attention == null
          ? 'seq_bn[ln_after=True]'
          : preset
      model.addAdapter(preset, preset === 'compacter' ? 'compacter[phm_dim=2,reduction_factor=2]' : config)
      fill(model, preset)
      alone.set(preset, await statesOf(model, rows, preset))
      t.true(distance(alone.get(preset) ?? [], { data: Float32Array.from(base) }) > 1e-4, preset)
    }
    const differ = (a: number[], b: number[]) => distance(a, { data: Float32Array.from(b) })
    const stacked = await statesOf(model, rows, Stack('seq_bn', 'par_bn'))
    t.true(differ(stacked, alone.get('seq_bn') ?? []) > 1e-4 && differ(stacked, alone.get('par_bn') ?? []) > 1e-4)

    // Each row its own, or none.
    const setups = rows.map((_, i) => [...presets.slice(0, 3), null, Stack('seq_bn', 'par_bn')][i % 5] ?? null)
    const mixed = await statesOf(model, rows, setups as never)
    const each = base.length / rows.length
    for (const [i, setup] of setups.entries()) {
      const whole = setup === null ? base : typeof setup === 'string' ? (alone.get(setup) ?? []) : stacked
      t.true(differ(mixed.slice(i * each, (i + 1) * each), whole.slice(i * each, (i + 1) * each)) < 2e-6, `row ${i}`)
    }

    model.addAdapterFusion(['seq_bn', 'par_bn'])
    const fused = await statesOf(model, rows, Fuse('seq_bn', 'par_bn'))
    t.true(fused.every(Number.isFinite) && differ(fused, base) > 1e-4)

    // It trains, and nothing else does.
    const labels = { numLabels: 3, layers: 1 }
    if (model.config.imageSize === null) model.addClassificationHead('seq_bn', labels)
    else model.addImageClassificationHead('seq_bn', { ...labels, usePooler: false })
    model.trainAdapter('seq_bn')
    const before = model.namedParameters().map(({ name }) => [name, model.parameter(name).data] as const)
    const outputDir = mkdtempSync(join(tmpdir(), 'placement-run-'))
    await new AdapterTrainer({ model, trainDataset: rows, args: { outputDir, maxSteps: 3 } }).train()
    const moved = before.filter(([name, data]) => model.parameter(name).data.some((value, i) => value !== data[i]))
    t.true(moved.length > 0)
    for (const [name] of moved) t.regex(name, /\.seq_bn\./)

    // A folder comes back into a model with the same places, and into no other.
    const folder = join(mkdtempSync(join(tmpdir(), 'placement-')), 'x')
    await model.saveAdapter(folder, 'seq_bn')
    const { model: other } = await placed(t, name, placement)
    await other.loadAdapter(folder)
    const [ours, theirs] = [await statesOf(model, rows, 'seq_bn'), await statesOf(other, rows, 'seq_bn')]
    t.deepEqual(theirs, ours)
  })
}

test('names that are none, or not clear, are told what they could be', async (t) => {
  const refused = (name: string, placement: unknown, message: RegExp) =>
    t.throwsAsync(placed(t, name, placement as Placement), { message })
  await refused('falcon', { feedForward: 'h.*.ffn' }, /no module matches 'h\.\*\.ffn'.*such as .*h\.\*\.mlp/s)
  await refused('falcon', { feedForward: 'h.*.mlp**' }, /matches 'h\.0\.mlp' and 'h\.0\.mlp\..*' inside of it/)
  await refused(
    'falcon',
    { feedForward: 'h.0.mlp' },
    /another number of layers.*expected 2 modules, one a layer.*got 1/s
  )
  await refused(
    'falcon',
    { feedForward: 'h.*.mlp.dense_h_to_4h', attention: null },
    /gives 12 features a token.*expected 8/s
  )
  await refused(
    'convolutional',
    { feedForward: 'stem' },
    /does not map tokens to tokens: it takes \[batch, 3, 8, 8\] and gives \[batch, 6, 3, 3\].*such as .*neck/s
  )
  await refused('shared', { feedForward: 'model.block' }, /calls it 2 times.*called once.*Leave it to 'auto'/s)
  await refused('shared', { feedForward: 'model.pair' }, /several values/)
  await refused('bert', { attention: 'encoder.layer.*', feedForward: 'encoder.layer.*.output' }, /end in one place/)
  await refused(
    'bert',
    { attention: 'encoder.layer.*.attention', feedForward: 'encoder.layer.0.output' },
    /different numbers of layers/
  )
  await refused('bert', { attention: 3 }, /placement\.attention/)
  await refused('bert', { attentions: 'x' }, /unknown option 'attentions'.*attention/)
  await refused('bert', 'none', /placement: expected 'auto', or patterns/)
})

test('where tokens are merged on the way, adapters stand in the last stage, and the others say why not', async (t) => {
  const { model } = await placed(t, 'swin', 'auto')
  t.is(model.config.numHiddenLayers, 2)
  const said = model.explainPlacement()
  t.deepEqual(
    said.slice(0, 4).map((line) => /^layer \d \((.*?)\), (\w+)/.exec(line)?.slice(1)),
    [0, 1].flatMap((block) => ['attention', 'output'].map((kind) => [`encoder.layers.1.blocks.${block}`, kind]))
  )
  t.is(said.length, 8)
  for (const line of said.slice(4))
    t.regex(line, /left out: .*encoder\.layers\.0\.blocks\.\d\): it is \[batch, 16, 4\], and .*\[batch, 4, 8\]$/)
})

test('what is named for one kind leaves the other as the graph shows it', async (t) => {
  const { model } = await placed(t, 'bert', { attention: null })
  t.throws(() => model.addAdapter('x', 'seq_bn[mh_adapter=True,output_adapter=False]'), { message: /no place/ })
  model.addAdapter('x', 'seq_bn')
  const { model: auto } = await open(t, 'bert')
  auto.addAdapter('x', 'seq_bn')
  t.deepEqual(
    own(model, 'x').map(({ name }) => name.replace('output_adapters.', '')),
    own(auto, 'x').map(({ name }) => name)
  )
  const { model: both, group } = await placed(t, 'bert', { attention: 'encoder.layer.*.attention' })
  setTrained(both, group)
  t.is(own(both, 'x').length, 16 + 2)
})
