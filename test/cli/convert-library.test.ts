import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { fill } from '../model/support.js'
import { exportedFolder } from '../parity/support/exported.js'
import { command, fixtures, scratch } from './command.js'

const models = join(fixtures, 'models')
const rows = [[7], [9, 8, 30]]

async function answers(model: Model, folder: string, name: string): Promise<number[]> {
  await model.loadAdapter(folder, { as: name })
  const { logits } = await model.forward({ inputIds: rows }, { adapters: name, head: name })
  return [...(logits?.data ?? [])]
}

for (const name of ['roberta-ia3', 'gpt2-lora']) {
  test.serial(`a folder of PEFT's becomes one of AdapterHub's, and the other way round: ${name}`, async (t) => {
    const family = name.split('-')[0]
    const base = join(models, `${family}-tiny`)
    const [there, back] = [join(scratch(), 'there'), join(scratch(), 'back')]
    using model = await AutoModel.fromPretrained(base)
    model.addAdapter('a', family === 'gpt2' ? "lora[r=2, attn_matrices=['q', 'v']]" : 'ia3[intermediate_lora=False]')
    model.addClassificationHead('a', { numLabels: 2, ...(family === 'gpt2' && { layers: 1, bias: false }) })
    fill(model, 'a')
    const hub = join(scratch(), 'a')
    await model.saveAdapter(hub, 'a')
    const first = await command(['convert', hub, there, '--library', 'peft', '--model', base, '--json'])
    t.is(first.status, 0, first.errors)
    t.deepEqual(JSON.parse(first.output).files.length, 2)
    t.deepEqual(readdirSync(there).sort(), ['adapter_config.json', 'adapter_model.safetensors'])
    const config = join(base, 'config.json')
    const second = await command(['convert', there, back, '--library', 'adapters', '--model', config, '--name', 'b'])
    t.is(second.status, 0, second.errors)
    const json = JSON.parse(readFileSync(join(back, 'adapter_config.json'), 'utf8'))
    t.like(json, { name: 'b', model_type: family })
    const expected = await answers(model, hub, 'first')
    for (const [folder, as] of [
      [there, 'second'],
      [back, 'third']
    ] as const) {
      const got = await answers(model, folder, as)
      t.true(
        got.every((value, i) => Math.abs(value - (expected[i] ?? Number.NaN)) < 1e-5),
        as
      )
    }
  })
}

test.serial('what the other library does not compute, and mistakes, are told', async (t) => {
  const bert = join(models, 'bert-tiny')
  const convert = (...args: string[]) => command(['convert', ...args])
  const seqBn = join(fixtures, 'folders/bert-seq_bn-bin')
  const target = join(scratch(), 'to')
  const refused = await convert(seqBn, target, '--library', 'peft', '--model', bert)
  t.is(refused.status, 1)
  t.regex(refused.errors, /PEFT does not compute the method 'bottleneck'/)
  const dora = await convert(
    join(fixtures, 'peft/bert-dora-patterns'),
    target,
    '--library',
    'adapters',
    '--model',
    bert,
    '--no-head'
  )
  t.is(dora.status, 1)
  t.regex(dora.errors, /the adapter library has no useDora: 'peft'/)
  for (const [args, message] of [
    [[seqBn, target, '--library', 'adapters', '--model', bert], /a folder of adapters already/],
    [[seqBn, target, '--library', 'peft'], /--model is missing/],
    [[seqBn, target, '--library', 'pefd', '--model', bert], /did you mean 'peft'/],
    [[seqBn, target, '--model', bert], /--model is for --library/],
    [[seqBn, target, '--library', 'peft', '--model', 'nowhere'], /base model's folder, its config\.json or an archive/],
    [[seqBn, target, '--library', 'peft', '--model', bert, '--format', 'pt'], /which PEFT reads/]
  ] as const) {
    const { status, errors } = await convert(...args)
    t.is(status, 2, errors)
    t.regex(errors, message)
  }
})

test.serial(
  'a head that writes with the words of the base model goes along; others that PEFT has not are named',
  async (t) => {
    const base = join(models, 'gpt2-tiny')
    using model = await AutoModel.fromPretrained(base)
    model.addAdapter('a', 'lora')
    model.addCausalLmHead('a', { layers: 1, bias: false })
    model.addAdapter('b', 'lora')
    model.addCausalLmHead('b')
    const [hub, other, target] = [join(scratch(), 'a'), join(scratch(), 'b'), join(scratch(), 'there')]
    await model.saveAdapter(hub, 'a')
    await model.saveAdapter(other, 'b')
    const done = await command(['convert', hub, target, '--library', 'peft', '--model', base])
    t.is(done.status, 0, done.errors)
    t.is(JSON.parse(readFileSync(join(target, 'adapter_config.json'), 'utf8')).task_type, 'CAUSAL_LM')
    const refused = await command(['convert', other, join(scratch(), 'x'), '--library', 'peft', '--model', base])
    t.is(refused.status, 1)
    t.regex(refused.errors, /expected causal_lm with layers: 1 and bias: false.*got layers: 2/)
  }
)

test.serial('an archive is the model of a conversion, both ways, with a head', async (t) => {
  const archive = join(await exportedFolder(), 'llama.pt2')
  using model = await AutoModel.fromExported(archive)
  model.addAdapter('a', "lora[r=2, attn_matrices=['q', 'v']]")
  model.addClassificationHead('a', { numLabels: 2, layers: 1, bias: false })
  fill(model, 'a')
  const [hub, there, back] = ['a', 'there', 'back'].map((name) => join(scratch(), name)) as [string, string, string]
  await model.saveAdapter(hub, 'a')
  for (const [from, to, library] of [
    [hub, there, 'peft'],
    [there, back, 'adapters']
  ] as const) {
    const { status, errors } = await command(['convert', from, to, '--library', library, '--model', archive])
    t.is(status, 0, errors)
  }
  const expected = await answers(model, hub, 'first')
  t.deepEqual(await answers(model, there, 'second'), expected)
  t.deepEqual(await answers(model, back, 'third'), expected)
  const elsewhere = ['--placement', '{"feedForward": "layers.*.mlp.down_proj"}']
  const convertPlaced = (from: string) =>
    command(['convert', hub, join(scratch(), 'x'), '--library', 'peft', '--model', from, ...elsewhere])
  const placed = await convertPlaced(archive)
  t.is(placed.status, 0, placed.errors)
  const wrong = await convertPlaced(join(models, 'gpt2-tiny'))
  t.is(wrong.status, 2)
  t.regex(wrong.errors, /--placement: is for a --model that is an archive/)
})
