import test from 'ava'
import { type AdapterSetup, Parallel, Split, Stack } from '../../lib/index.js'
import { f, g, inputIds, tolerance, withFusions } from './fusions.js'
import { largestDifference, make, tinyRows } from './support.js'

test('attentions by fusion, layer and place: probabilities of the children that stand there', async (t) => {
  const model = await withFusions(t)
  const asked = { outputAdapterFusionAttentions: true }
  const { adapterFusionAttentions: none } = await model.forward({ inputIds }, { adapters: f })
  t.is(none, undefined)
  const { adapterFusionAttentions: all, logits } = await model.forward({ inputIds }, { adapters: g, ...asked })
  const plain = await model.forward({ inputIds }, { adapters: g })
  t.true(largestDifference(logits?.data ?? [], plain.logits?.data ?? []) < tolerance)
  t.deepEqual(Object.keys(all ?? {}), ['g'])
  t.deepEqual(Object.keys(all?.['g'] ?? {}), ['0', '1'])
  for (const [layer, place, zeros] of [
    [0, 'outputAdapter', []],
    [1, 'outputAdapter', [1]],
    [1, 'mhAdapter', [0, 1]]
  ] as const) {
    const { data, shape } = all?.['g']?.[layer]?.[place] ?? { data: [], shape: [] }
    t.deepEqual(shape, [5, 4, 3])
    for (let token = 0; token < 20; token++) {
      const p = [...data.slice(token * 3, token * 3 + 3)]
      t.true(Math.abs(p.reduce((sum, value) => sum + value, 0) - 1) < 1e-6)
      p.forEach((value, i) => {
        t.is(value === 0, (zeros as readonly number[]).includes(i), `layer ${layer}, ${place}, child ${i}`)
      })
    }
  }
})

test('attentions in mixed batches, on several threads, under blocks and beside prompts are those of rows alone', async (t) => {
  const model = await withFusions(t, await make(t, { hidden_size: 256, intermediate_size: 512, num_hidden_layers: 2 }))
  model.addAdapter('prompt', 'prompt_tuning[prompt_length=3]')
  const many = tinyRows(24, { from: 3, to: 8, seed: 9 })
  const ids = many.map((row) => row.inputIds)
  const setups: AdapterSetup[] = many.map(
    (_, i) => [f, null, g, 'a', Stack('prompt', f), Stack('low', g)][i % 6] ?? null
  )
  const asked = { outputAdapterFusionAttentions: true, head: 'h' }
  const together = await model.forward({ inputIds: ids }, { adapters: setups, ...asked })
  const answers = await model.predict(many, { adapters: setups, ...asked, batchSize: 7 })
  const columns = Math.max(...ids.map((row) => row.length))
  for (const [i, row] of ids.entries()) {
    const alone = await model.forward({ inputIds: [row] }, { adapters: setups[i], ...asked })
    for (const [name, width] of [
      ['f', 2],
      ['g', 3]
    ] as const) {
      for (const layer of [0, 1]) {
        const at = together.adapterFusionAttentions?.[name]?.[layer]?.outputAdapter
        const got = at?.data.subarray(i * columns * width, (i * columns + row.length) * width) ?? []
        const expected = alone.adapterFusionAttentions?.[name]?.[layer]?.outputAdapter?.data
        t.true(
          largestDifference(got, expected ?? new Float32Array(row.length * width)) < tolerance,
          `row ${i}, ${name}`
        )
        const own = answers[i]?.adapterFusionAttentions?.[name]?.[layer]?.outputAdapter
        t.true(largestDifference(own?.data ?? new Float32Array(row.length * width), got) < tolerance, `answer ${i}`)
      }
    }
  }
  const split = Split(f, 'a', { splits: [1, 3] })
  const parallel = await model.forward({ inputIds }, { adapters: Parallel('a', split), ...asked })
  const first = await model.forward({ inputIds }, { adapters: f, ...asked })
  const { data, shape } = parallel.adapterFusionAttentions?.['f']?.[0]?.outputAdapter ?? { data: [], shape: [] }
  t.deepEqual(shape, [10, 4, 2])
  for (let token = 0; token < 40; token++) {
    const p = data.slice(token * 2, token * 2 + 2)
    const isIn = token >= 20 && token % 4 === 0
    const own = first.adapterFusionAttentions?.['f']?.[0]?.outputAdapter?.data.subarray((token - 20) * 2)
    t.true(largestDifference(p, isIn ? (own?.subarray(0, 2) ?? []) : [0, 0]) < tolerance, `token ${token}`)
  }
})
