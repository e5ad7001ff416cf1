import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { AdapterConfig, type Model, Stack } from '../../lib/index.js'
import type { ExportedCase } from '../parity/support/exported.js'
import type { Tensor } from '../parity/support/fixtures.js'
import { AdamW } from './adamw.js'
import { casesOf, distance, inputsOf, nativeTwin, open, textModels } from './support.js'

/** Bottlenecks of four numbers, as the fixtures have them. */
const bothSites = (hidden: number) => ({ mhAdapter: true, reductionFactor: hidden / 4, nonLinearity: 'relu' }) as const

/** The fixture's names of what trains, by ours: adapters in the order in which they run, then the head. */
function namesOf(model: Model, one: ExportedCase): Map<string, string> {
  const ours = model.namedParameters().map(({ name }) => name)
  const parts = ['down.weight', 'down.bias', 'up.weight', 'up.bias']
  const theirs = (one.subLayers ?? []).flatMap(({ layer, location }) =>
    parts.map((part) => `${layer}.${location}.${part}`)
  )
  const adapters = ours.filter((name) => name.includes('.adapters.x.'))
  const head = ours.filter((name) => name.startsWith('heads.x.'))
  return new Map([
    ...theirs.map((name, i): [string, string] => [name, adapters[i] ?? '']),
    ['head.weight', head[0] ?? ''],
    ['head.bias', head[1] ?? '']
  ])
}

for (const name of textModels) {
  test(`${name}: twenty steps of adapters at the sites that were found are PyTorch's`, async (t) => {
    const { group, model } = await open(t, name)
    const [one] = casesOf(group, 'training')
    if (one === undefined) return void t.fail()
    if (one.subLayers?.length === 0) {
      return void t.throws(() => model.addAdapter('x', 'seq_bn'), { message: /no layer was found in this network/ })
    }
    model.addAdapter('x', AdapterConfig.load('seq_bn', bothSites(model.config.hiddenSize)))
    model.addClassificationHead('x', { numLabels: 3, layers: 1 })
    model.trainAdapter('x')
    const names = namesOf(model, one)
    const shapes = new Map(model.namedParameters().map((parameter) => [parameter.name, parameter.shape]))
    let values = new Map<string, Float32Array>()
    for (const [theirs, reference] of Object.entries(one.weights ?? {}))
      values.set(names.get(theirs) ?? '', group.tensor(reference).data)
    t.is(values.size, names.size)
    const optimizer = new AdamW(one.args?.learningRate ?? 0, one.args?.weightDecay ?? 0)
    const losses: number[] = []
    const batches = one.batches ?? []
    for (let step = 0; step < (one.args?.steps ?? 0); step++) {
      const set = [...values].map(([key, data]): [string, Tensor] => [key, { data, shape: shapes.get(key) ?? [] }])
      model.native.setParameters(
        new Map(set.map(([key, tensor]) => [key, { ...tensor, dtype: 'float32' as const, shape: [...tensor.shape] }]))
      )
      const batch = batches[step % batches.length]
      const { loss, gradients } = await model.gradients({ ...inputsOf(batch?.inputs), labels: batch?.labels ?? [] })
      losses.push(loss)
      values = optimizer.next(values, new Map([...gradients].map(([key, { data }]) => [key, data])))
    }
    const away = distance(losses, group.tensor(one.expected.losses ?? ''))
    t.true(away < 2e-5, `losses: ${away}`)
    for (const [theirs, reference] of Object.entries(one.expected.final ?? {})) {
      const apart = distance(values.get(names.get(theirs) ?? '') ?? [], group.tensor(reference))
      t.true(apart < 1e-4, `${theirs}: ${apart}`)
    }
  })
}

const folder = () => mkdtempSync(join(tmpdir(), 'exported-'))
const rows = {
  inputIds: [
    [5, 6, 7, 8, 9],
    [3, 4, 5],
    [9, 8, 7, 6, 5]
  ]
}

const sizes = { hidden_size: 16, num_attention_heads: 2, num_hidden_layers: 2, intermediate_size: 24, vocab_size: 37 }
const twins = {
  bert: { model_type: 'bert', ...sizes, max_position_embeddings: 24 },
  gpt2: {
    model_type: 'gpt2',
    n_embd: 16,
    n_head: 2,
    n_layer: 2,
    vocab_size: 37,
    n_positions: 24,
    n_inner: 24,
    pad_token_id: 0
  }
}
const configs = [
  ...['seq_bn', 'double_seq_bn', 'par_bn', 'compacter[reduction_factor=4]', 'lora', 'ia3', 'loreft', 'mam', 'unipelt'],
  'prefix_tuning_flat[use_gating=True, shared_gating=False]'
]

async function logits(model: Model, adapters: Parameters<Model['setActiveAdapters']>[0]) {
  const { logits } = await model.forward(rows, { adapters, head: 'h' })
  return { data: logits?.data as Float32Array }
}

for (const name of ['bert', 'gpt2'] as const) {
  test(`${name}: adapters of one folder answer alike in the graph and in the native model`, async (t) => {
    const { model } = await open(t, name)
    const native = await nativeTwin(t, twins[name], model)
    model.addClassificationHead('h', { numLabels: 3 })
    native.addClassificationHead('h', { numLabels: 3 })
    const heads = model.namedParameters().filter((parameter) => parameter.name.startsWith('heads.h.'))
    native.native.setParameters(new Map(heads.map((parameter) => [parameter.name, model.parameter(parameter.name)])))
    for (const [i, config] of configs.entries()) {
      const [from, to] = i % 2 === 0 ? [model, native] : [native, model]
      from.addAdapter(config, config, { seed: i })
      // Not where it starts, which may be the identity.
      const own = from
        .namedParameters()
        .filter((parameter) => parameter.name.split('.').includes(config) && parameter.part === 'adapter')
      from.native.setParameters(
        new Map(
          own.map((parameter) => {
            const value = from.parameter(parameter.name)
            return [parameter.name, { ...value, data: value.data.map((x, j) => x + 0.1 * Math.sin(j + i)) }]
          })
        )
      )
      const path = folder()
      await from.saveAdapter(path, config, { withHead: false })
      await to.loadAdapter(path, { withHead: false })
      const away = distance((await logits(to, config)).data, await logits(from, config))
      t.true(away < 1e-5, `${config}: ${away}`)
      t.true(distance((await logits(from, null)).data, await logits(from, config)) > 1e-4, config)
    }
    const mixed = ['seq_bn', null, Stack('double_seq_bn', 'lora')]
    const away = distance((await logits(model, mixed as never)).data, await logits(native, mixed as never))
    t.true(away < 1e-5, `mixed rows: ${away}`)
  })
}

test("bert: PEFT's folder of a head for masked words is the same for the graph and for the native model", async (t) => {
  const { model } = await open(t, 'bert')
  const native = await nativeTwin(t, twins.bert, model)
  for (const [from, to] of [
    [model, native],
    [native, model]
  ] as const) {
    from.addAdapter('m', 'ia3', { overwriteOk: true })
    from.addMaskedLmHead('m', { overwriteOk: true })
    const head = from.namedParameters().filter(({ name }) => name.startsWith('heads.m.'))
    from.native.setParameters(
      new Map(
        head.map(({ name }, i) => {
          const value = from.parameter(name)
          return [name, { ...value, data: value.data.map((x, j) => x + 0.1 * Math.sin(i + j)) }]
        })
      )
    )
    const path = folder()
    await from.saveAdapter(path, 'm', { library: 'peft' })
    await to.loadAdapter(path, { as: 'm', overwriteOk: true })
    t.like(to.heads.get('m'), { headType: 'masked_lm', tied: true })
    const answers = async (one: Model) => (await one.forward(rows, { adapters: 'm', head: 'm' })).logits as Tensor
    t.true(distance((await answers(to)).data, await answers(from)) < 1e-5)
  }
})
