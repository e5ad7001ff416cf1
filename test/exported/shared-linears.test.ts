import test from 'ava'
import { BatchSplit } from '../../lib/index.js'
import { type Adapters, fillLoras, statesOf } from './own-networks.js'
import { distance, open } from './support.js'

// Linears that read what all rows share (positions), or tokens of some rows alone (experts): one setup has one value there.
for (const [name, targetModules] of [
  ['deberta-v2', ['query_proj', 'key_proj']],
  ['mixture-of-experts', ['layers.*.experts.*']]
] as const)
  test(`${name}: adapters at Linears that rows share answer in a mixed batch as alone, and learn so`, async (t) => {
    const { model } = await open(t, name)
    for (const adapter of ['x', 'y']) model.addAdapter(adapter, { architecture: 'lora', targetModules, r: 2 })
    fillLoras(model, /\.loras\.x\./, 1 / 4)
    fillLoras(model, /\.loras\.y\./, 1 / 3)
    const rows = [
      [5, 9, 3, 11, 7],
      [2, 8, 4],
      [6, 6],
      [5, 9, 3, 11, 7],
      [2, 8, 4]
    ]
    const setups = ['x', 'y', null, 'y', 'x']
    const together = await statesOf(model, rows, setups as Adapters)
    const base = await statesOf(model, rows)
    for (const [i, row] of rows.entries()) {
      const [alone = []] = await statesOf(model, [row], setups[i] as Adapters)
      t.true(distance(together[i] ?? [], { data: alone as never }) < 1e-5, `row ${i}`)
      t.is(distance(alone, { data: base[i] as never }) > 1e-3, setups[i] !== null, `row ${i}`)
    }
    const split = await statesOf(model, rows, BatchSplit('x', 'y', { batchSizes: [2, 3] }))
    const [last = []] = await statesOf(model, rows.slice(4), 'y')
    t.true(distance(split[4] ?? [], { data: last as never }) < 1e-5)
    model.addClassificationHead('h', { numLabels: 2, layers: 1 })
    const both = BatchSplit('x', 'y', { batchSizes: [2, 3] })
    model.trainAdapter(both)
    const labels = [0, 1, 1, 0, 1]
    const { gradients } = await model.gradients({ inputIds: rows, labels }, { head: 'h' })
    for (const [adapter, first, last] of [
      ['x', 0, 2],
      ['y', 2, 5]
    ] as const) {
      model.trainAdapter(adapter)
      const given = { inputIds: rows.slice(first, last), labels: labels.slice(first, last) }
      const alone = await model.gradients(given, { head: 'h' })
      const own = [...alone.gradients].filter(([one]) => one.includes(`.loras.${adapter}.`))
      t.true(own.some(([, { data }]) => data.some((value) => value !== 0)))
      for (const [name, { data }] of own) {
        const share = Float32Array.from(data, (value) => (value * (last - first)) / rows.length)
        t.true(distance(gradients.get(name)?.data ?? [], { data: share }) < 1e-6, name)
      }
    }
  })
