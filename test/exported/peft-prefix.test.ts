// PEFT's prefixes in exported networks: a row's positions begin behind them there, and from 0 here. Where keys are turned by
// their positions that is the same prefix turned the other way; the test turns it by hand.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { Model } from '../../lib/index.js'
import { readTensors } from '../model/safetensors-file.js'
import { scratch } from '../model/support.js'
import { distance, open } from './support.js'

const rows = { inputIds: [[5, 6, 7, 8], [3]] }
const length = 3
const file = 'adapter_model.safetensors'

async function states(model: Model, adapters: string | null): Promise<Float32Array> {
  const { lastHiddenState } = await model.forward(rows, { adapters, head: null })
  return lastHiddenState?.data as Float32Array
}

/** Keys [p, 2 · layers · heads · d] at the positions behind them: (a, b) of a head's two halves turned by p θ^(-2j/d). */
function turned(flat: Float32Array, { layers, heads, size }: { layers: number; heads: number; size: number }) {
  const result = Float32Array.from(flat)
  for (let vector = 0; vector < length * layers * heads; vector++) {
    const [token, rest] = [Math.floor(vector / (layers * heads)), vector % (layers * heads)]
    const [layer, head] = [Math.floor(rest / heads), rest % heads]
    const at = ((token * layers + layer) * 2 * heads + head) * size
    for (let j = 0; j < size / 2; j++) {
      const angle = length * 10_000 ** ((-2 * j) / size)
      const [a, b] = [flat[at + j] ?? 0, flat[at + j + size / 2] ?? 0]
      result[at + j] = a * Math.cos(angle) - b * Math.sin(angle)
      result[at + j + size / 2] = b * Math.cos(angle) + a * Math.sin(angle)
    }
  }
  return result
}

for (const network of ['llama', 'qwen2', 'gemma2'] as const) {
  test(`${network}: a prefix is written as PEFT has it, with as many heads as the keys, and comes back`, async (t) => {
    const { model } = await open(t, network)
    model.addAdapter('x', `prefix_tuning_flat[prefix_length=${length}]`, { seed: 3 })
    const folder = scratch(t)
    await model.saveAdapter(folder, 'x', { library: 'peft' })
    const { keyFeatures = 0, keyHeads = 0 } = model.config.exported ?? {}
    const { numHiddenLayers: layers } = model.config
    t.true(keyFeatures < model.config.hiddenSize)
    const json = JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
    t.like(json, {
      ...{ peft_type: 'PREFIX_TUNING', num_layers: layers, num_virtual_tokens: length },
      ...{ num_attention_heads: keyHeads, token_dim: keyFeatures, prefix_projection: false }
    })
    const own = model.namedParameters().find(({ name }) => name.endsWith('.control_trans'))
    const flat = model.parameter(own?.name ?? '').data as Float32Array
    const written = readTensors(join(folder, file)).get('prompt_embeddings')
    t.deepEqual(written?.shape, [length, 2 * layers * keyFeatures])
    const expected = turned(flat, { layers, heads: keyHeads, size: keyFeatures / keyHeads })
    const data = Float32Array.from(expected, (_, i) => written?.bytes.readFloatLE(4 * i) ?? Number.NaN)
    t.true(distance(expected, { data }) < 1e-5)
    t.true(distance(flat, { data: expected }) > 1e-2)
    await model.loadAdapter(folder, { as: 'y' })
    t.like(model.adapters.get('y'), { flat: true, prefixLength: length, shiftPositions: false })
    const answers = await states(model, 'x')
    t.true(distance(answers, { data: await states(model, 'y') }) < 1e-5)
    t.true(distance(answers, { data: await states(model, null) }) > 1e-2)
  })
}

test('where positions are counted in another way, or a folder is of another size, an error says so', async (t) => {
  const folder = scratch(t)
  for (const network of ['gpt2', 'bert']) {
    const { model } = await open(t, network)
    model.addAdapter('x', 'prefix_tuning_flat[prefix_length=3]')
    const refused = join(folder, 'refused')
    await t.throwsAsync(model.saveAdapter(refused, 'x', { library: 'peft' }), {
      code: 'ERR_UNSUPPORTED',
      message: /positions begin behind PEFT's prefixes.*rotary embeddings.*fromPretrained/s
    })
    t.false(existsSync(refused))
    await t.throwsAsync((async () => model.addAdapter('y', 'prefix_tuning_flat[shift_positions=True]'))(), {
      code: 'ERR_UNSUPPORTED',
      message: /counts positions itself, from 0.*leave shiftPositions off/s
    })
  }
  const { model } = await open(t, 'llama')
  model.addAdapter('x', 'prefix_tuning_flat[prefix_length=3]')
  await model.saveAdapter(folder, 'x', { library: 'peft' })
  const config = join(folder, 'adapter_config.json')
  const json = JSON.parse(readFileSync(config, 'utf8'))
  writeFileSync(config, JSON.stringify({ ...json, num_virtual_tokens: 4 }))
  await t.throwsAsync(model.loadAdapter(folder, { as: 'y' }), {
    code: 'ERR_WRONG_MODEL',
    message: new RegExp(`prompt_embeddings \\[4, ${2 * 2 * (model.config.exported?.keyFeatures ?? 0)}\\]`)
  })
  t.false(model.adapters.has('y'))
  model.addAdapter('left', 'prefix_tuning_flat[leave_out=[0]]')
  await t.throwsAsync(model.saveAdapter(folder, 'left', { library: 'peft' }), { message: /leaveOut: \[\]/ })
})
