import { copyFileSync, cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { editTensors } from '../model/safetensors-file.js'
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

const worded = [
  ['an output layer of its own', 'gpt2-tiny', (model: Model) => model.addCausalLmHead('a', ownWords)],
  ['masked words, tied', 'bert-tiny', (model: Model) => model.addMaskedLmHead('a')],
  ['masked words, not tied', 'electra-tiny', (model: Model) => model.addMaskedLmHead('a', { tied: false })]
] as const
const ownWords = { layers: 1, bias: false, tied: false, activationFunction: null, layerNorm: false }

for (const [what, base, addHead] of worded) {
  test.serial(`a head with ${what} keeps what it learned, both ways`, async (t) => {
    using model = await AutoModel.fromPretrained(join(models, base), { withHead: false })
    model.addAdapter('a', 'ia3')
    addHead(model)
    fill(model, 'a')
    const learned = model.namedParameters().filter(({ name }) => name.startsWith('heads.a.'))
    model.loadStateDict(new Map(learned.map(({ name, shape }) => [name, { data: sines(shape), shape }])))
    const folders = ['a', 'there', 'back'].map((name) => join(scratch(), name)) as [string, string, string]
    await model.saveAdapter(folders[0], 'a')
    for (const [from, to, library] of [
      [folders[0], folders[1], 'peft'],
      [folders[1], folders[2], 'adapters']
    ] as const) {
      const { status, errors } = await command([
        'convert',
        from,
        to,
        '--library',
        library,
        '--model',
        join(models, base)
      ])
      t.is(status, 0, errors)
    }
    const { logits } = await model.forward({ inputIds: rows }, { adapters: 'a', head: 'a' })
    const expected = [...(logits?.data ?? [])]
    for (const folder of folders.slice(1)) {
      const got = await answers(model, folder, folder)
      t.is(got.length, expected.length)
      t.true(got.every((value, i) => Math.abs(value - (expected[i] ?? Number.NaN)) < 1e-5))
      t.deepEqual(model.heads.get(folder), model.heads.get('a'))
    }
  })
}

const sines = (shape: readonly number[]) =>
  Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, (_, i) => Math.sin(7 * i) / 3)

/** A folder of PEFT's with LoRA at the pooler, at no place that the adapter library lacks. */
function atPooler(): string {
  const folder = join(scratch(), 'linear')
  cpSync(join(fixtures, 'peft/bert-linear'), folder, { recursive: true })
  editTensors(join(folder, 'adapter_model.safetensors'), (tensors) => {
    const isOther = (name: string) => name.includes('.encoder.') && !name.includes('.query.')
    for (const name of [...tensors.keys()].filter(isOther)) tensors.delete(name)
  })
  const file = join(folder, 'adapter_config.json')
  const json = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...json, target_modules: ['query', 'pooler.dense'] }))
  return folder
}

test.serial('a head that is made of base weights wants them, and names the way out', async (t) => {
  const base = join(models, 'bert-tiny')
  using model = await AutoModel.fromPretrained(base)
  const [tied, linear, alone] = [join(scratch(), 'tied'), atPooler(), scratch()]
  model.addAdapter('a', 'lora')
  model.addMaskedLmHead('a')
  await model.saveAdapter(tied, 'a')
  copyFileSync(join(base, 'config.json'), join(alone, 'config.json'))
  for (const [source, library] of [
    [tied, 'peft'],
    [linear, 'adapters']
  ] as const) {
    const refused = await command(['convert', source, join(scratch(), 'x'), '--library', library, '--model', alone])
    t.is(refused.status, 1)
    t.regex(refused.errors, /made of the base model's own weights.*no weights in the folder.*--no-head/s)
  }
  const target = join(scratch(), 'linear')
  const done = await command(['convert', linear, target, '--library', 'adapters', '--model', base])
  t.is(done.status, 0, done.errors)
  t.deepEqual(await answers(model, target, 'converted'), await answers(model, linear, 'theirs'))
})

test.serial('--no-head converts the adapter of a network of one’s own, whose head no class has', async (t) => {
  const archive = join(await exportedFolder(), 'transformer-encoder.pt2')
  using model = await AutoModel.fromExported(archive)
  model.addAdapter('a', { architecture: 'lora', targetModules: ['linear1'] })
  model.addClassificationHead('a', { numLabels: 2 })
  fill(model, 'a')
  const [hub, there] = [join(scratch(), 'own'), join(scratch(), 'own-peft')]
  await model.saveAdapter(hub, 'a')
  const convert = ['convert', hub, there, '--library', 'peft', '--model', archive]
  const refused = await command(convert)
  t.is(refused.status, 1)
  t.regex(refused.errors, /a class of transformers, which Encoder has none of for 'a'.*convert: --no-head/s)
  const { status, errors } = await command([...convert, '--no-head'])
  t.is(status, 0, errors)
  t.deepEqual(readdirSync(there).sort(), ['adapter_config.json', 'adapter_model.safetensors'])
  const states = async (adapter: string) =>
    (await model.forward({ inputIds: rows }, { adapters: adapter, head: null })).lastHiddenState?.data
  await model.loadAdapter(there, { as: 'back' })
  t.deepEqual(await states('back'), await states('a'))
  const misplaced = await command(['convert', hub, join(scratch(), 'y'), '--no-head'])
  t.regex(misplaced.errors, /--no-head is for --library/)
})

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
