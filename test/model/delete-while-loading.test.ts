import { join } from 'node:path'
import test from 'ava'
import { AdapterSwitcher, Fuse, type Model, Stack } from '../../lib/index.js'
import { load, scratch } from './support.js'

const busy = (part: string) => ({ code: 'ERR_BUSY', message: new RegExp(`a call under way loads the ${part}`) })

async function withTwo(model: Promise<Model>): Promise<Model> {
  const made = await model
  for (const name of ['a', 'b']) {
    made.addAdapter(name, 'seq_bn[reduction_factor=4]')
    made.addClassificationHead(name, { numLabels: 2 })
  }
  made.addAdapterFusion(['a', 'b'])
  return made
}

/** Looks wherever something else may run until the promise settles: between microtasks and between events. */
async function until(promise: Promise<unknown>, look: () => void): Promise<void> {
  let settled = false
  const end = () => {
    settled = true
  }
  promise.then(end, end)
  while (!settled) {
    for (let i = 0; i < 50 && !settled; i++) {
      look()
      await null
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('what a call loads is neither deleted nor replaced before it has ended', async (t) => {
  const folder = scratch(t)
  const source = await withTwo(load(t))
  await source.saveAdapter(join(folder, 'a'), 'a')
  await source.saveAdapterFusion(join(folder, 'f'), 'a,b')
  const model = await withTwo(load(t))
  for (const options of [{ as: 'n' }, { as: 'n', leaveOut: [0] }]) {
    let tries = 0
    const loading = model.loadAdapter(join(folder, 'a'), options)
    await until(loading, () => {
      if (!model.adapters.has('n')) return
      tries++
      t.throws(() => model.deleteAdapter('n'), busy("adapter 'n'"))
      t.throws(() => model.addAdapter('n', 'lora', { overwriteOk: true }), busy("adapter 'n'"))
      if (model.heads.has('n')) t.throws(() => model.deleteHead('n'), busy("head 'n'"))
    })
    t.is(await loading, 'n')
    t.true(tries > 0)
    t.true(model.adapters.has('n') && model.heads.has('n'))
    model.deleteHead('n')
    model.deleteAdapter('n')
  }
  const head = model.loadHead(join(folder, 'a'), { as: 'h' })
  await until(head, () => {
    if (model.heads.has('h')) t.throws(() => model.deleteHead('h'), busy("head 'h'"))
  })
  t.is(await head, 'h')
  model.deleteHead('h')
  const fusion = model.loadAdapterFusion(join(folder, 'f'), { as: 'g' })
  await until(fusion, () => {
    if (model.adapterFusions.has('g')) t.throws(() => model.deleteAdapterFusion('g'), busy("fusion 'g'"))
  })
  t.is(await fusion, 'g')
  model.deleteAdapterFusion('g')
  // A second load of one name does not touch what the first brings.
  const [first, second] = await Promise.allSettled([1, 2].map(() => model.loadAdapter(join(folder, 'a'), { as: 'm' })))
  t.is(first?.status, 'fulfilled')
  t.is(second?.status, 'rejected')
  t.true(model.adapters.has('m') && model.heads.has('m'))
})

test('a whole setup stays together until all of it is there, and so do the adapters of a switcher', async (t) => {
  const folder = scratch(t)
  const source = await withTwo(load(t))
  await source.saveAdapterSetup(folder, Fuse('a', 'b'))
  await source.saveAdapterSetup(join(folder, 's'), Stack('a', 'b'))
  const model = await load(t)
  const started = [
    () => model.loadAdapterSetup(folder),
    () => model.loadAdapterSetup(join(folder, 's')),
    () => {
      const adapters = { a: { path: join(folder, 'a') }, b: { path: join(folder, 'b') } }
      return new AdapterSwitcher(model, adapters).ready
    }
  ]
  for (const start of started) {
    const loading = start()
    let tries = 0
    await until(loading, () => {
      if (!model.adapters.has('a') || model.adapterFusions.size > 0) return
      tries++
      t.throws(() => model.deleteAdapter('a'), busy("adapter 'a'"))
      if (model.heads.has('a')) t.throws(() => model.deleteHead('a'), busy("head 'a'"))
    })
    await loading
    t.true(tries > 0)
    t.deepEqual([...model.adapters.keys(), ...model.heads.keys()], ['a', 'b', 'a', 'b'])
    for (const name of [...model.adapterFusions.keys()]) model.deleteAdapterFusion(name)
    for (const name of ['a', 'b']) {
      model.deleteHead(name)
      model.deleteAdapter(name)
    }
  }
  // One that fails lets go of what it had.
  const missing = { a: { path: join(folder, 'a') }, b: { path: join(folder, 'nowhere') } }
  await t.throwsAsync(new AdapterSwitcher(model, missing).ready)
  t.deepEqual([model.adapters.size, model.heads.size], [0, 0])
})
