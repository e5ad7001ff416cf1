import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { peftJson } from '../../lib/exchange/peft-write.js'
import type { Model } from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { editTensors, readTensors } from '../model/safetensors-file.js'
import { scratch } from '../model/support.js'
import { distance, open } from './support.js'

// nn.MultiheadAttention takes the weight of its out_proj, and never calls it: PEFT passes by what stands there by itself.

const attentions = ['encoder.layers.0.self_attn', 'encoder.layers.1.self_attn']
const outputs = attentions.map((path) => `${path}.out_proj`)

/** An adapter with values in it. */
async function withAdapter(t: ExecutionContext, targetModules: readonly string[], fields: object = {}) {
  const { model } = await open(t, 'transformer-encoder')
  model.addAdapter('x', { architecture: 'lora', targetModules, r: 2, alpha: 6, ...fields })
  const own = model.namedParameters().filter(({ name }) => name.includes('.loras.x.'))
  const values = (i: number, shape: readonly number[]) =>
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, j) => Math.sin(i + j) / 4)
  model.native.setParameters(new Map(own.map(({ name, shape }, i) => [name, { shape, data: values(i, shape) }])))
  return model
}

const states = async (model: Model, adapters: string) => {
  const { lastHiddenState } = await model.forward({ inputIds: [[5, 6, 7]] }, { adapters, head: null })
  return { data: Float32Array.from(lastHiddenState?.data ?? []) }
}

const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
const setConfig = (folder: string, fields: object) =>
  writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify({ ...configOf(folder), ...fields }))

test.serial('what PEFT holds at out_proj by itself is left out, with a warning', async (t) => {
  const model = await withAdapter(t, ['linear1'])
  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
  const file = join(folder, 'adapter_model.safetensors')
  const linear = readTensors(file)
  const asOutput = (name: string) => name.replace(/layers\.(\d+)\.linear1/, 'layers.$1.self_attn.out_proj')
  editTensors(file, (tensors) => {
    for (const [name, { dtype, shape, bytes }] of linear) {
      const [rows = 0, columns = 0] = shape
      const isSecond = name.includes('lora_B')
      const [r, h] = [isSecond ? columns : rows, model.config.hiddenSize]
      tensors.set(asOutput(name), { dtype, shape: isSecond ? [h, r] : [r, h], bytes: bytes.subarray(0, 4 * r * h) })
    }
  })
  setConfig(folder, { target_modules: ['linear1', 'out_proj'] })
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_LEFT_OUT')
  await model.loadAdapter(folder, { as: 'theirs' })
  await soon()
  t.regex(warnings.join(), /never calls encoder\.layers\.0\.self_attn\.out_proj, encoder\.layers\.1.* is left out/s)
  t.deepEqual((await states(model, 'theirs')).data, (await states(model, 'x')).data)
  t.false(model.namedParameters().some(({ name }) => name.includes('out_proj.loras.theirs')))

  // Nothing else is there.
  editTensors(file, (tensors) => {
    for (const name of linear.keys()) tensors.delete(name)
  })
  setConfig(folder, { target_modules: ['out_proj'] })
  await t.throwsAsync(model.loadAdapter(folder, { as: 'nothing' }), {
    code: 'ERR_UNSUPPORTED',
    message: /holds nothing that runs in PEFT: nn\.MultiheadAttention never calls .*out_proj/
  })
})

test.serial('DoRA at out_proj, which PEFT has not, is written with a warning, and comes back', async (t) => {
  const model = await withAdapter(t, ['out_proj', 'linear1'], { useDora: 'peft' })
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_OTHER_ANSWERS')
  const folder = scratch(t)
  for (const _ of ['first', 'again']) await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
  await soon()
  t.is(warnings.length, 1)
  t.regex(warnings[0] ?? '', /never calls encoder\.layers\.0\.self_attn\.out_proj,.*passes by.*here alone/s)
  t.deepEqual(configOf(folder).torch_adapters, { out_proj: attentions })
  await model.loadAdapter(folder, { as: 'again' })
  t.deepEqual((await states(model, 'again')).data, (await states(model, 'x')).data)
})

test('LoRA at out_proj of an attention to something else is the one that PEFT has at the whole, with nothing at in_proj', async (t) => {
  const model = await withAdapter(t, outputs)
  const config = model.adapters.get('x')
  const { exported } = model.config
  if (config === undefined || exported === null) return void t.fail()
  // As the graph of such a network shows it: no one product makes query, key and value.
  const linears = exported.linears.filter(({ path }) => !path.endsWith('in_proj'))
  const network = { ...model.config, exported: { ...exported, linears } }
  const modules = model.namedModules()
  const json = (isOneWeight: boolean) => {
    const all = attentions.map((path) => ({ path, isOneWeight }))
    return JSON.parse(peftJson(config, network, null, [], modules, all))
  }
  t.like(json(true), { target_modules: ['self_attn'], torch_adapters: { out_proj: attentions } })
  // Of weights apart PEFT has none.
  t.like(json(false), { target_modules: ['out_proj'], torch_adapters: { out_proj: attentions } })

  const folder = scratch(t)
  await model.saveAdapter(folder, 'x', { library: 'peft', withHead: false })
  t.is(configOf(folder).torch_adapters, undefined)
  await model.loadAdapter(folder, { as: 'both' })
  setConfig(folder, { torch_adapters: { out_proj: attentions } })
  await model.loadAdapter(folder, { as: 'output' })
  const places = (name: string) => model.namedParameters().filter((one) => one.name.includes(`in_proj.loras.${name}.`))
  t.deepEqual([places('both').length, places('output').length], [4, 0])
  const own = await states(model, 'x')
  for (const name of ['both', 'output']) t.true(distance((await states(model, name)).data, own) < 1e-6, name)
})
