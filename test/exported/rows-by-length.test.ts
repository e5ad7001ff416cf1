import test, { type ExecutionContext } from 'ava'
import { AutoModel, Fuse, type Model } from '../../lib/index.js'
import { changeArchive } from './changed-archive.js'
import { archiveOf, cases, fillLoras, type OwnCase, statesOf } from './own-networks.js'
import { distance } from './support.js'

// Networks whose output reads padding, and what PyTorch gives for each row by itself.
const apart = /rows of several lengths: a pass for those of each length/

async function openFor(t: ExecutionContext, name: string, options = {}): Promise<{ model: Model } & OwnCase> {
  const model = await AutoModel.fromExported(archiveOf(t, name), options)
  t.teardown(() => model.dispose())
  return { model, ...(cases[name] as OwnCase) }
}

const answersOf = ({ answers }: OwnCase, output: string) =>
  (answers as unknown as Readonly<Record<string, number[][]>>)[output] ?? []

function near(t: ExecutionContext, states: number[][], expected: readonly number[][], most = 1e-6) {
  t.is(states.length, expected.length)
  for (const [i, data] of expected.entries())
    t.true(distance(states[i] ?? [], { data: data as never }) < most, `row ${i}`)
}

/** All arrays of numbers inside, in their order. */
function scoresIn(value: unknown): Float32Array[] {
  if (value instanceof Float32Array) return [value]
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(scoresIn) : []
}

test('tokens that leave padding out run together, and nothing is said of it', async (t) => {
  const own = await openFor(t, 'reads-padding')
  near(t, await statesOf(own.model, own.rows), answersOf(own, 'states'))
  t.notRegex(own.model.explainPlacement().join(), apart)
})

for (const output of ['centred', 'last', 'mean'])
  test(`${output}: what reads padding under a mask, too, answers for rows of several lengths as for each alone`, async (t) => {
    const own = await openFor(t, 'reads-padding', { output })
    const { model, rows } = own
    t.regex(
      model.explainPlacement().join(),
      /a row beside a longer one gives something else than alone, under its mask/
    )
    const [long = [], short = []] = rows
    const given = [short, long, [9, 2, 2], long]
    const { logits: none } = await model.forward({ inputIds: given }, { head: null })
    t.is(none, undefined)
    model.addAdapter('x', { architecture: 'lora', targetModules: ['q', 'v', 'up'], r: 2 })
    model.addAdapter('y', 'seq_bn[reduction_factor=4]')
    fillLoras(model, /\.[xy]\./)
    model.addClassificationHead('h', { numLabels: 2, layers: 1, bias: false })
    fillLoras(model, /^heads\./, 1)
    const logits = async (some: number[][], adapters: never) => {
      const { logits } = await model.forward({ inputIds: some }, { head: 'h', adapters })
      return some.map((_, i) => Array.from(logits?.data.slice(2 * i, 2 * i + 2) ?? []))
    }
    for (const setups of [
      ['x', 'y', null, 'x'],
      [null, null, null, null]
    ]) {
      const alone = await Promise.all(given.map((row, i) => logits([row], [setups[i]] as never)))
      near(t, await logits(given, setups as never), alone.flat())
    }
    const labels = [1, 0, 1, 1]
    model.trainAdapter('x')
    const { gradients } = await model.gradients({ inputIds: given, labels }, { head: 'h' })
    const each = await Promise.all(
      given.map((row, i) => model.gradients({ inputIds: [row], labels: labels.slice(i, i + 1) }, { head: 'h' }))
    )
    t.true(gradients.size > 1)
    for (const [name, { data }] of gradients) {
      const all = each.map((one) => one.gradients.get(name)?.data ?? [])
      const mean = Float32Array.from(data, (_, i) => all.reduce((sum, one) => sum + (one[i] ?? 0) / given.length, 0))
      t.true(distance(data, { data: mean }) < 1e-6, name)
    }
  })

test("tokens that read padding are PyTorch's of each row, with all layers' states and fusions' attentions in order", async (t) => {
  const own = await openFor(t, 'reads-padding', { output: 'centred' })
  const { model, rows } = own
  near(t, await statesOf(model, rows), answersOf(own, 'centred'))
  near(t, await statesOf(model, rows.toReversed()), answersOf(own, 'centred').toReversed())
  for (const name of ['x', 'y']) model.addAdapter(name, 'seq_bn[reduction_factor=4]')
  fillLoras(model, /\.[xy]\./)
  model.addAdapterFusion(['x', 'y'])
  const options = {
    adapters: Fuse('x', 'y'),
    head: null,
    outputHiddenStates: true,
    outputAdapterFusionAttentions: true
  } as const
  const given = [...rows].reverse()
  const together = await model.forward({ inputIds: given }, options)
  const columns = Math.max(...given.map(({ length }) => length))
  for (const [i, row] of given.entries()) {
    const alone = await model.forward({ inputIds: [row] }, options)
    const part = (all: ArrayLike<number>) => {
      const size = all.length / given.length / columns
      return Array.from(all).slice(i * columns * size, (i * columns + row.length) * size)
    }
    t.true((alone.hiddenStates?.length ?? 0) > 1)
    for (const [layer, { data }] of (alone.hiddenStates ?? []).entries())
      t.true(distance(part(together.hiddenStates?.[layer]?.data ?? []), { data }) < 1e-6, `layer ${layer}`)
    const [all, own] = [scoresIn(together.adapterFusionAttentions), scoresIn(alone.adapterFusionAttentions)]
    t.true(own.length > 0)
    for (const [place, data] of own.entries())
      t.true(distance(part(all[place] ?? []), { data }) < 1e-6, `fusion ${place}`)
  }
})

test('an encoder whose tokens are read without a mask: rows of both sides answer as alone', async (t) => {
  const { model, rows, sources = [], answers } = await openFor(t, 'reads-source')
  t.regex(model.explainPlacement().join(), apart)
  const statesFor = async (some: readonly number[]) => {
    const pick = (all: number[][]) => some.map((i) => all[i] ?? [])
    const given = { inputIds: pick(sources), decoderInputIds: pick(rows) }
    const { lastHiddenState } = await model.forward(given, { head: null })
    const { data = [], shape = [] } = lastHiddenState ?? {}
    const [, columns = 1, features = 1] = shape
    return pick(rows).map(({ length }, i) =>
      Array.from(data.slice(i * columns * features, (i * columns + length) * features))
    )
  }
  near(t, await statesFor([0, 1]), answers)
  near(t, await statesFor([1, 0]), answers.toReversed())
})

test('a norm over all times of a sound reads what stands behind a shorter one: each answers as alone', async (t) => {
  const { model, rows, answers } = await openFor(t, 'sounds')
  t.regex(model.explainPlacement().join(), apart)
  for (const turn of [false, true]) {
    const own = turn ? rows.toReversed() : rows
    const { lastHiddenState } = await model.forward({ inputValues: own }, { head: null })
    const { data = [], shape = [] } = lastHiddenState ?? {}
    const [, columns = 1, features = 1] = shape
    const states = own.map(({ length }, i) =>
      Array.from(data.slice(i * columns * features, (i * columns + length) * features))
    )
    near(t, states, turn ? answers.toReversed() : answers)
  }
})

test('images of several widths, which no mask tells from each other, answer as alone', async (t) => {
  const { model, rows, answers } = await openFor(t, 'strip')
  t.regex(model.explainPlacement().join(), /since the graph has no attention_mask to hide padding with/)
  model.addTaggingHead('tags', { numLabels: 2, layers: 1 })
  const { lastHiddenState } = await model.forward({ inputValues: rows }, { head: null })
  const { data = [], shape = [] } = lastHiddenState ?? {}
  t.deepEqual(shape, [2, 5, 8])
  near(t, [Array.from(data.slice(0, 40)), Array.from(data.slice(40, 64))], answers)
  const tags = await model.predict(rows.map((inputValues) => ({ inputValues })) as never, { head: 'tags' })
  t.deepEqual(
    tags.map(({ tokens }) => tokens?.length),
    [5, 3]
  )
})

test('a row that is shorter than the graph takes is padded under its mask, and refused where it has none', async (t) => {
  const openFrom = async (name: string, symbol: string) => {
    const archive = archiveOf(t, name)
    changeArchive(archive, archive, (text) =>
      text.replace(`"${symbol}": {"min_val": 1,`, `"${symbol}": {"min_val": 4,`)
    )
    const model = await AutoModel.fromExported(archive)
    t.teardown(() => model.dispose())
    return model
  }
  const own = cases['reads-padding'] as OwnCase
  near(t, await statesOf(await openFrom('reads-padding', 's53'), own.rows), answersOf(own, 'states'))
  const [long = [], short = []] = own.rows
  const plain = await openFrom('by-length', 's70')
  t.is((await statesOf(plain, [long, [1, 2, 3, 4]])).length, 2)
  await t.throwsAsync(statesOf(plain, [long, short]), {
    code: 'ERR_UNSUPPORTED',
    message: /a row is shorter than the graph takes, and has no attention_mask.*expected rows of at least 4 tokens/
  })
})

test('images of any height and any width are refused where the archive is opened, with what would do', async (t) => {
  await t.throwsAsync(AutoModel.fromExported(archiveOf(t, 'plane')), {
    code: 'ERR_UNSUPPORTED',
    message:
      /rows of 'pixel_values' differ in more than one size.*got \[batch, 2, .*\].*numbers for the others, as --inputs 'x=float32\[batch,3,32,width\]'/
  })
})
