import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, Fuse, type Model } from '../../lib/index.js'
import { fill, hidden, largestDifference, load, quiet, tinyRows } from './support.js'

const tolerance = 1e-5
const rows = tinyRows(5, { from: 4, to: 4 })
const inputIds = rows.map((row) => row.inputIds)

async function withFusions(t: ExecutionContext): Promise<Model> {
  const own = await load(t)
  own.addAdapter('a', 'seq_bn[reduction_factor=8]')
  own.addAdapter('b', 'seq_bn[reduction_factor=16]')
  own.addAdapter('low', 'seq_bn[reduction_factor=8, leave_out=[1]]')
  own.addAdapter('both', 'double_seq_bn[reduction_factor=8]')
  for (const name of ['a', 'b', 'low', 'both']) fill(own, name, { scale: 0.6 })
  own.addAdapterFusion(['a', 'b'], 'dynamic', { name: 'f' })
  own.addAdapterFusion(['a', 'low', 'both'], 'static', { name: 'g' })
  own.addClassificationHead('h')
  disturb(own)
  return own
}

function disturb(model: Model): void {
  const names = model.namedParameters().filter(({ name }) => name.includes('adapter_fusion_layer'))
  const moved = names.map(({ name, shape }, i) => {
    const { data } = model.parameter(name)
    return [name, { data: data.map((value, j) => value + Math.sin(j * 13 + i) / 8), shape }] as const
  })
  model.loadStateDict(new Map(moved))
}

const f = Fuse('a', 'b', { name: 'f' })
const g = Fuse('a', 'low', 'both', { name: 'g' })

for (const [name, setup] of [
  ['one activation, two sizes', f],
  ['a child that is not everywhere', g]
] as const) {
  test(`the folded form gives the values of the plain one, and follows every change of a weight: ${name}`, async (t) => {
    const model = await withFusions(t)
    const options = { adapters: setup, outputHiddenStates: true }
    const pass = async () => {
      const { lastHiddenState } = await model.forward({ inputIds }, options)
      return [...(lastHiddenState?.data ?? [])]
    }
    /** The first pass after a change cannot be folded; once enough tokens have come all are. */
    const check = async (what: string) => {
      const plain = await pass()
      t.is(plain.length, 20 * hidden)
      for (let i = 0; i < 4; i++) t.true(largestDifference(await pass(), plain) < tolerance, `${what}, pass ${i}`)
      return plain
    }
    let before = await check('at the start')
    const changed = async (what: string) => {
      const now = await check(what)
      t.true(largestDifference(now, before) > 100 * tolerance, `${what} changes the values`)
      before = now
    }
    disturb(model)
    await changed('another fusion')
    fill(model, 'a', { scale: 0.5, which: ({ name: parameter }) => /adapter_up/.test(parameter) })
    await changed('another up-projection')
    fill(model, 'both', { scale: 0.3 })
    fill(model, 'b', { scale: 0.3, which: ({ name: parameter }) => /adapter_down.*bias/.test(parameter) })
    await changed('another down-projection')
    model.trainAdapterFusion(setup, { unfreezeAdapters: true })
    const args = { ...quiet, learningRate: 0.05, maxSteps: 2 }
    await new AdapterTrainer({ model, trainDataset: rows, args }).train()
    await changed('steps of training')
    model.addAdapter('a', 'seq_bn[reduction_factor=8]', { overwriteOk: true })
    fill(model, 'a', { scale: 0.7 })
    await changed('another adapter of the name')
  })
}
