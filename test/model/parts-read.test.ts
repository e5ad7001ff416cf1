import test from 'ava'
import { AutoModel, evaluate, type Model } from '../../lib/index.js'
import { tinyConfig } from './support.js'

/** Two adapters with heads of their own, 'a' active. */
async function model(): Promise<Model> {
  const made = await AutoModel.fromConfig(tinyConfig, { seed: 1 })
  for (const name of ['a', 'b']) {
    made.addAdapter(name)
    made.addClassificationHead(name, { labels: ['x', 'y'] })
  }
  made.setActiveAdapters('a')
  return made
}

const rows = Array.from({ length: 24 }, (_, i) => ({ inputIds: [2, 5 + i, 3], label: i % 2 === 0 ? 'x' : 'y' }))
const busy = (part: string) => ({ code: 'ERR_BUSY', message: new RegExp(`a call under way reads the ${part}`) })

test('what a call under way reads is neither deleted nor replaced; the rest is', async (t) => {
  const calls: Record<string, (m: Model) => Promise<unknown>> = {
    predict: (m) => m.predict(rows, { batchSize: 4 }),
    evaluate: (m) => evaluate(m, rows, { batchSize: 4 }),
    gradients: (m) => m.gradients({ inputIds: [[2, 5, 3]], labels: [1] })
  }
  for (const [name, call] of Object.entries(calls)) {
    using m = await model()
    m.trainAdapter('a')
    const before = await call(m)
    const under = call(m)
    t.throws(() => m.deleteHead('a'), busy("head 'a'"), name)
    t.throws(() => m.deleteAdapter('a'), busy("adapter 'a'"), name)
    t.throws(() => m.addAdapter('a', 'seq_bn', { overwriteOk: true }), busy("adapter 'a'"), name)
    t.throws(() => m.addClassificationHead('a', { labels: ['p', 'q'], overwriteOk: true }), busy("head 'a'"), name)
    m.deleteHead('b')
    m.deleteAdapter('b')
    m.addAdapter('c')
    t.deepEqual(withoutTime(await under), withoutTime(before), name)
    m.deleteHead('a')
    m.deleteAdapter('a')
  }
})

const withoutTime = (answer: unknown) => (Array.isArray(answer) ? answer : { ...(answer as object), seconds: 0 })

test('a call that fails lets go of what it read', async (t) => {
  using m = await model()
  await t.throwsAsync(m.predict([...rows, { inputIds: [1e6] }], { batchSize: 4 }))
  await t.throwsAsync(evaluate(m, [{ inputIds: [2], label: 'z' }]))
  m.deleteHead('a')
  m.deleteAdapter('a')
  t.is(m.adapters.size, 1)
})

test('rows of several adapters hold each of them', async (t) => {
  using m = await model()
  const under = m.predict(rows.slice(0, 2), { adapters: ['a', 'b'] })
  t.throws(() => m.deleteAdapter('b'), busy("adapter 'b'"))
  t.throws(() => m.deleteHead('a'), busy("head 'a'"))
  t.is((await under).length, 2)
})
