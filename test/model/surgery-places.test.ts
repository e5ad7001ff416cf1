// Adapters in front of, beside and behind modules that match, one for all of them, and in other families than BERT.
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterConfig,
  AutoModel,
  adapterLayer,
  addAdaptersToModel,
  addSharedAdapter,
  bottleneck,
  freezeBaseModel,
  fusedAdapters,
  type Model,
  parallel,
  sequential
} from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import { hidden, largestDifference, load, moved, snapshot } from './support.js'
import { adapter, fill, inputIds, inserted, labels, logits, names, withHead } from './surgery-support.js'

const layer = (i: number) => `bert.encoder.layer.${i}`
const dense = 'bert.encoder.layer.*.attention.output.dense'

test('in front of a layer is behind the one before it', async (t) => {
  const model = await withHead(t)
  const first = await logits(model)
  const before = addAdaptersToModel(model, { pattern: layer(1), adapterSize: 6, position: 'before' })
  t.true(names(model).includes(`${layer(1)}.0.down_project.weight`))
  t.true(names(model).includes(`${layer(1)}.1.output.dense.weight`))
  fill(model)
  const answer = await logits(model)
  before.undo()
  addAdaptersToModel(model, { pattern: layer(0), adapterSize: 6 })
  fill(model)
  t.deepEqual(await logits(model), answer)
  t.true(largestDifference(answer, first) > 1e-3)
})

test('beside modules is what parallel makes of each', async (t) => {
  const model = await withHead(t)
  const done = addAdaptersToModel(model, { pattern: dense, adapterSize: 6, position: 'parallel', scale: 2 })
  t.is(done.paths.length, 2)
  t.true(done.paths.every((path) => names(model).includes(`${path}.adapter.up_project.weight`)))
  t.true(done.paths.every((path) => names(model).includes(`${path}.module.weight`)))
  fill(model)
  const answer = await logits(model)
  done.undo()
  model.replaceModules(dense, (module) => parallel(module, adapter(), { scale: 2 }))
  fill(model)
  t.deepEqual(await logits(model), answer)
})

test('one adapter for all that matches: one set of tensors, whose gradients are the sum of those of its places', async (t) => {
  const batch = { inputIds, labels }
  const of = async (model: Model) => {
    model.freezeBaseModel()
    return await model.gradients(batch)
  }
  const [shared, apart] = [await withHead(t), await withHead(t)]
  addSharedAdapter(shared, { pattern: dense, adapterSize: 6 })
  addAdaptersToModel(apart, { pattern: dense, adapterSize: 6 })
  t.is(inserted(shared).length, 4)
  t.is(inserted(apart).length, 8)
  fill(shared)
  const [one] = inserted(shared)
  const place = (one as string).replace('down_project.weight', '')
  const values = inserted(apart).map((name) => {
    const own = `${place}${name.replace(/^.*\.1\./, '')}`
    return [name, shared.parameter(own)] as const
  })
  apart.loadStateDict(new Map(values))
  const [together, each] = [await of(shared), await of(apart)]
  t.true(Math.abs(together.loss - each.loss) < 1e-6)
  for (const name of inserted(shared)) {
    const parts = [...each.gradients].filter(([other]) => other.endsWith(`.1.${name.slice(place.length)}`))
    t.is(parts.length, 2)
    const sum = Float32Array.from(parts[0]?.[1].data ?? [], (value, i) => value + (parts[1]?.[1].data[i] ?? 0))
    t.true(largestDifference(together.gradients.get(name)?.data ?? [], sum) < 1e-5, name)
  }
})

test('the weights of a fusion in the document’s form start alike, and sum to one', async (t) => {
  const model = await load(t)
  const adapters = [1, 2, 3, 4].map((adapterSize) => bottleneck({ hiddenSize: hidden, adapterSize }))
  model.replaceModule(layer(1), (module) => sequential(module, fusedAdapters({ hiddenSize: hidden, adapters })))
  const name = names(model).find((one) => one.endsWith('.fusion_weights'))
  t.deepEqual([...model.parameter(name ?? '').data], [0.25, 0.25, 0.25, 0.25])
})

async function open(t: ExecutionContext, name: string): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models', name), { withHead: false })
  t.teardown(() => model.dispose())
  return model
}

for (const [family, first, second] of [
  ['electra-tiny', 'electra.encoder.layer.0', 'electra.encoder.layer.1'],
  ['vit-tiny', 'vit.encoder.layer.0', 'vit.encoder.layer.1']
] as const) {
  test(`${family}: a replaced module starts as it was, counts, stands where PyTorch’s would, and comes off`, async (t) => {
    const model = await open(t, family)
    const pixels = Float32Array.from({ length: 2 * 4 * 6 }, (_, i) => Math.sin(i))
    const input = family === 'vit-tiny' ? { pixelValues: [pixels] } : { inputIds: [[5], [6, 7, 8, 9, 2]] }
    const states = async () => (await model.forward(input)).lastHiddenState?.data ?? new Float32Array()
    const [before, start] = [snapshot(model), await states()]
    const size = model.config.hiddenSize
    const make = () => adapterLayer({ hiddenSize: size, adapterSize: 4 })
    model.replaceModule(first, (module) => sequential(module, make()))
    t.true(names(model).includes(`${first}.1.down_project.weight`))
    t.true(largestDifference(await states(), start) < 1e-6)
    fill(model)
    const behind = await states()
    t.true(largestDifference(behind, start) > 1e-3)
    model.undo()
    model.replaceModule(second, (module) => sequential(make(), module))
    fill(model)
    t.deepEqual(await states(), behind)
    model.undo()
    t.deepEqual(moved(before, snapshot(model)), [])
    t.deepEqual(await states(), start)
  })
}

test('the document’s lines for AdapterHub, on a bare model', async (t) => {
  const model = await load(t)
  // AdapterConfig.load("pfeiffer", reduction_factor=16, non_linearity="relu")
  const adapterConfig = AdapterConfig.load('pfeiffer', { reductionFactor: 16, nonLinearity: 'relu' })
  model.addAdapter('task_adapter', adapterConfig)
  model.setActiveAdapters('task_adapter')
  model.trainAdapter('task_adapter')
  const trains = model.namedParameters().filter(({ trainable }) => trainable)
  t.true(trains.length > 0 && trains.every(({ name }) => name.includes('.adapters.task_adapter.')))
  t.is(model.activeAdapters, 'task_adapter')
})

test('at a module that does not know its size the first pass names the size that fits', async (t) => {
  const pattern = `${layer(0)}.intermediate.intermediate_act_fn`
  for (const position of ['after', 'before', 'parallel'] as const) {
    const model = await withHead(t)
    const done = addAdaptersToModel(model, { pattern, hiddenSize: hidden / 2, adapterSize: 4, position })
    await t.throwsAsync(logits(model), {
      code: 'ERR_INVALID_ARGUMENT',
      message: new RegExp(
        `does not fit where it stands .*expected ${hidden / 2} features.*Undo it, and give hiddenSize: \\d+`
      )
    })
    done.undo()
    await t.notThrowsAsync(logits(model))
  }
})

test('nothing stands in parallel to a module that gives another number of features than it takes', async (t) => {
  const model = await withHead(t)
  const pattern = `${layer(0)}.intermediate.dense`
  for (const hiddenSize of [hidden, 2 * hidden]) {
    t.throws(() => addAdaptersToModel(model, { pattern, hiddenSize, adapterSize: 4, position: 'parallel' }), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /no adapter can stand in parallel to '.*intermediate\.dense'.*features in, \d+ out.*'before' or 'after'/s
    })
  }
})

test('functions of a model say what is none', (t) => {
  const message = /^model: expected a model made by AutoModel, got undefined/
  for (const call of [freezeBaseModel, addAdaptersToModel, addSharedAdapter])
    t.throws(() => (call as unknown as () => void)(), { instanceOf: TypeError, message })
})
