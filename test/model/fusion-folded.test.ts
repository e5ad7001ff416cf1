import test from 'ava'
import { AdapterTrainer } from '../../lib/index.js'
import { disturb, f, g, inputIds, rows, tolerance, withFusions } from './fusions.js'
import { fill, hidden, largestDifference, quiet } from './support.js'

for (const [name, setup] of [
  ['one activation, two sizes', f],
  ['a child that is not everywhere', g]
] as const) {
  const title = 'the folded form gives the values of the plain one, and follows every change of a weight'
  for (const asked of [false, true])
    test(`${title}: ${name}${asked ? ', with attentions' : ''}`, async (t) => {
      const model = await withFusions(t)
      const options = { adapters: setup, outputHiddenStates: true, outputAdapterFusionAttentions: asked }
      const pass = async () => {
        const { lastHiddenState, adapterFusionAttentions } = await model.forward({ inputIds }, options)
        const p = adapterFusionAttentions?.[setup.name ?? '']?.[1]?.outputAdapter?.data
        return [...(lastHiddenState?.data ?? []), ...(p ?? [])]
      }
      /** The first pass after a change cannot be folded; once enough tokens have come all are. */
      const check = async (what: string) => {
        const plain = await pass()
        t.is(plain.length, 20 * hidden + (asked ? 20 * setup.children.length : 0))
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
