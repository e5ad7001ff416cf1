import test, { type ExecutionContext } from 'ava'
import { type AdapterSetup, AdapterTrainer, type Model, Stack } from '../../lib/index.js'
import { fill, hidden, largestDifference, load, quiet, tinyRows } from './support.js'

const tolerance = 2e-5
/** Each with values that are made of parameters before rows meet them, or with a product for each adapter. */
const methods = {
  par_bn: 'par_bn[reduction_factor=2]',
  mam: 'mam',
  unipelt: 'unipelt',
  prefix: 'prefix_tuning[prefix_length=2, bottleneck_size=6]',
  loreft: 'loreft',
  compacter: 'compacter[phm_dim=2, reduction_factor=4]',
  dora: 'dora',
  'dora as PEFT has it': "dora[use_dora='peft']",
  vera: 'vera'
}

const rows = tinyRows(9, { seed: 6, from: 1, to: 7 })
const inputIds = rows.map((row) => row.inputIds)
/** No two neighbours have one setup. */
const inTurns: AdapterSetup[] = rows.map((_, i) => ['a', null, 'bb'][i % 3] ?? null)

/** What an orthogonal matrix is made of stays as it starts: its diagonal are signs. */
const vary = (model: Model, adapter: string, scale: number): void =>
  fill(model, adapter, { scale, which: ({ name }) => !name.endsWith('.original') })

async function withTwo(t: ExecutionContext, method: string): Promise<Model> {
  const model = await load(t)
  for (const name of ['a', 'bb']) {
    model.addAdapter(name, method)
    vary(model, name, 0.3)
  }
  model.addClassificationHead('h', { numLabels: 2 })
  return model
}

/** Every row's last hidden state and logits, in one pass. */
async function together(model: Model, adapters: readonly AdapterSetup[]): Promise<Float32Array[]> {
  const options = { adapters, head: 'h', outputHiddenStates: true }
  const { logits, lastHiddenState } = await model.forward({ inputIds }, options)
  const columns = Math.max(...inputIds.map((row) => row.length)) * hidden
  return inputIds.map((row, i) => {
    const last = lastHiddenState?.data.subarray(i * columns, i * columns + row.length * hidden) ?? []
    return Float32Array.from([...(logits?.data.subarray(2 * i, 2 * i + 2) ?? []), ...last])
  })
}

/** The same, each row in a pass of its own. */
async function alone(model: Model, adapters: readonly AdapterSetup[]): Promise<Float32Array[]> {
  const passes = inputIds.map(async (row, i) => {
    const options = { adapters: adapters[i] ?? null, head: 'h', outputHiddenStates: true }
    const { logits, lastHiddenState } = await model.forward({ inputIds: [row] }, options)
    return Float32Array.from([...(logits?.data ?? []), ...(lastHiddenState?.data ?? [])])
  })
  return await Promise.all(passes)
}

const worst = (a: readonly Float32Array[], b: readonly Float32Array[]): number =>
  Math.max(...a.map((one, i) => largestDifference(one, b[i] ?? [])))

for (const [called, method] of Object.entries(methods)) {
  test(`${called}: rows in turns under two adapters and none are each as alone, and learn as sorted ones`, async (t) => {
    const model = await withTwo(t, method)
    const mixed = await together(model, inTurns)
    t.true(worst(mixed, await alone(model, inTurns)) < tolerance)
    const others = await together(model, [...inTurns.slice(1), null])
    t.true(mixed.every((one, i) => largestDifference(one, others[i] ?? []) > 100 * tolerance))

    model.trainAdapter(Stack('a', 'bb'))
    const order = [...inputIds.keys()].sort((i, j) => (i % 3) - (j % 3))
    const labels = rows.map((row) => row.label)
    const at = <T>(list: readonly T[]) => order.map((i) => list[i] as T)
    const turns = await model.gradients({ inputIds, labels }, { adapters: inTurns, head: 'h' })
    const sorted = await model.gradients(
      { inputIds: at(inputIds), labels: at(labels) },
      { adapters: at(inTurns), head: 'h' }
    )
    for (const [name, { data }] of turns.gradients)
      t.true(largestDifference(data, sorted.gradients.get(name)?.data ?? []) < tolerance, name)
  })

  test(`${called}: what is kept between passes follows the parameters`, async (t) => {
    const model = await withTwo(t, method)
    const first = await together(model, inTurns)
    t.deepEqual(await together(model, inTurns), first)
    // Loaded into.
    vary(model, 'a', 0.2)
    const loaded = await together(model, inTurns)
    const fresh = await withTwo(t, method)
    vary(fresh, 'a', 0.2)
    t.deepEqual(loaded, await together(fresh, inTurns))
    t.true(largestDifference(loaded[0] ?? [], first[0] ?? []) > 100 * tolerance)
    // Trained.
    model.trainAdapter('a')
    model.activeHead = 'h'
    await new AdapterTrainer({ model, args: { ...quiet, maxSteps: 2 }, trainDataset: rows }).train()
    const trained = await together(model, inTurns)
    const values = new Map(
      model.namedParameters().map(({ name, shape }) => [name, { ...model.parameter(name), shape }])
    )
    const again = await withTwo(t, method)
    again.loadStateDict(values)
    t.deepEqual(trained, await together(again, inTurns))
    t.true(largestDifference(trained[0] ?? [], loaded[0] ?? []) > 10 * tolerance)
  })
}
