import test from 'ava'
import { largestDifference, load, moved, snapshot, tinyRows } from './support.js'

/** 128 wide, so that each matrix has 4,096 values. */
const wide = { reductionFactor: 0.25 }
const inputIds = tinyRows(4).map((row) => row.inputIds)

function statistics(values: Float32Array) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length)
  const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  return { mean, deviation, largest }
}

const site = 'bert.encoder.layer.1.output.adapters.a'

for (const preset of ['seq_bn', 'double_seq_bn', 'par_bn', 'attn_bn']) {
  for (const init of ['zeros', 'mam_adapter']) {
    test(`${preset} with ${init} changes nothing at the start`, async (t) => {
      const model = await load(t)
      const without = await model.forward({ inputIds })
      model.addAdapter('a', `${preset}[init_weights='${init}']`)
      const withIt = await model.forward({ inputIds }, { adapters: 'a' })
      t.true(largestDifference(without.lastHiddenState?.data ?? [], withIt.lastHiddenState?.data ?? [1]) <= 2e-6)
      t.true(model.parameter(`${siteOf(preset)}.adapter_up.weight`).data.every((value) => value === 0))
      t.true(model.parameter(`${siteOf(preset)}.adapter_down.0.weight`).data.some((value) => value !== 0))
    })
  }
}

const siteOf = (preset: string) => (preset === 'attn_bn' ? 'bert.encoder.layer.1.attention.output.adapters.a' : site)

test('bert: normal of deviation 0.02, biases zero', async (t) => {
  const model = await load(t)
  model.addAdapter('a', { ...wide, mhAdapter: false, outputAdapter: true, nonLinearity: 'relu', initWeights: 'bert' })
  for (const part of ['adapter_down.0', 'adapter_up']) {
    const { mean, deviation, largest } = statistics(model.parameter(`${site}.${part}.weight`).data)
    t.true(Math.abs(mean) < 5 * (0.02 / 64), `mean ${mean}`)
    t.true(Math.abs(deviation - 0.02) < 0.02 * 0.06, `deviation ${deviation}`)
    t.true(largest > 0.05, 'a normal is not cut off')
    t.true(model.parameter(`${site}.${part}.bias`).data.every((value) => value === 0))
  }
})

test('houlsby: normal of deviation 0.01, cut at two deviations, biases zero', async (t) => {
  const model = await load(t)
  model.addAdapter('a', {
    ...wide,
    mhAdapter: false,
    outputAdapter: true,
    nonLinearity: 'relu',
    initWeights: 'houlsby'
  })
  // A normal cut at ±2σ has the deviation σ·√(1 − 4φ(2)/(2Φ(2) − 1)).
  const expected = 0.01 * 0.8796
  for (const part of ['adapter_down.0', 'adapter_up']) {
    const { mean, deviation, largest } = statistics(model.parameter(`${site}.${part}.weight`).data)
    t.true(Math.abs(mean) < 5 * (expected / 64), `mean ${mean}`)
    t.true(Math.abs(deviation - expected) < expected * 0.06, `deviation ${deviation}`)
    t.true(largest <= 0.02 && largest > 0.019, `largest ${largest}`)
    t.true(model.parameter(`${site}.${part}.bias`).data.every((value) => value === 0))
  }
})

test('mam_adapter and zeros: uniform within 1/√hidden below', async (t) => {
  for (const initWeights of ['mam_adapter', 'zeros'] as const) {
    const model = await load(t)
    model.addAdapter('a', { ...wide, mhAdapter: false, outputAdapter: true, nonLinearity: 'relu', initWeights })
    const bound = 1 / Math.sqrt(32)
    const { deviation, largest } = statistics(model.parameter(`${site}.adapter_down.0.weight`).data)
    t.true(largest <= bound * 1.000001 && largest > bound * 0.99, `largest ${largest}`)
    t.true(Math.abs(deviation - bound / Math.sqrt(3)) < 0.06 * bound, `deviation ${deviation}`)
    const bias = model.parameter(`${site}.adapter_down.0.bias`).data
    t.is(
      bias.every((value) => value === 0),
      initWeights === 'mam_adapter'
    )
    t.true(model.parameter(`${site}.adapter_up.bias`).data.every((value) => value === 0))
  }
})

test('initWeightsSeed decides alone: the same under any name and model seed', async (t) => {
  const config = (seed: number | null) => ({
    mhAdapter: true,
    outputAdapter: true,
    nonLinearity: 'relu' as const,
    reductionFactor: 8,
    initWeightsSeed: seed
  })
  const values = async (seed: number | null, name: string, modelSeed: number) => {
    const model = await load(t, { seed: modelSeed })
    model.addAdapter(name, config(seed))
    const own = snapshot(model, new RegExp(`adapters\\.${name}\\..*weight`))
    return new Map([...own].map(([key, value]) => [key.replace(`.${name}.`, '.'), value]))
  }
  const first = await values(9, 'a', 1)
  t.deepEqual(moved(first, await values(9, 'b', 2)), [])
  t.is(moved(first, await values(10, 'a', 1)).length, first.size)
  t.is(moved(await values(null, 'a', 1), await values(null, 'b', 1)).length, first.size)
})

test('a gate starts as Python’s: normal of deviation 0.02 without a bias, but with houlsby as torch makes a Linear', async (t) => {
  for (const [initWeights, bound] of [
    ['bert', undefined],
    ['mam_adapter', undefined],
    ['houlsby', 1 / Math.sqrt(32)]
  ] as const) {
    const model = await load(t)
    const values = { weight: [] as number[], bias: [] as number[] }
    for (let seed = 0; seed < 64; seed++) {
      if (seed > 0) model.deleteAdapter('a')
      model.addAdapter('a', `seq_bn[use_gating=True,init_weights='${initWeights}']`, { seed })
      for (const part of ['weight', 'bias'] as const) values[part].push(...model.parameter(`${site}.gate.${part}`).data)
    }
    const { deviation, largest } = statistics(Float32Array.from(values.weight))
    const expected = bound === undefined ? 0.02 : bound / Math.sqrt(3)
    t.true(Math.abs(deviation - expected) < expected * 0.06, `${initWeights}: deviation ${deviation}`)
    t.true(bound === undefined ? largest > 0.05 : largest <= bound * 1.000001 && largest > bound * 0.99)
    const ofBias = statistics(Float32Array.from(values.bias))
    t.true(bound === undefined ? ofBias.largest === 0 : Math.abs(ofBias.deviation - expected) < expected * 0.3)
  }
})
