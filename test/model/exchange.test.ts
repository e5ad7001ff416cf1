import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterError, AutoModel, type LoadAdapterOptions, type Model } from '../../lib/index.js'
import { editTensors, floats, type StoredTensor } from './safetensors-file.js'
import { load, make, moved, scratch, snapshot, tinyConfig, tinyRows } from './support.js'

const inputIds = tinyRows(5).map((row) => row.inputIds)
const everything =
  "double_seq_bn[reduction_factor=8, ln_before=True, ln_after=True, scaling='learned', use_gating=True]"

async function withAdapter(t: ExecutionContext, config = everything): Promise<Model> {
  const model = await load(t, { seed: 3 })
  model.addAdapter('a', config)
  model.addClassificationHead('a', { labels: ['no', 'yes', 'maybe'] })
  model.setActiveAdapters('a')
  return model
}

const renamed = (values: Map<string, Float32Array>, from: string, to: string) =>
  new Map(
    [...values].map(([name, data]) => [
      name.replace(`adapters.${from}.`, `adapters.${to}.`).replace(`heads.${from}.`, `heads.${to}.`),
      data
    ])
  )

const own = (model: Model, name: string) => snapshot(model, new RegExp(`adapters\\.${name}\\.|^heads\\.${name}\\.`))

for (const format of ['safetensors', 'bin', 'pt'] as const) {
  for (const dialect of ['adapterhub', 'plain'] as const) {
    for (const config of [
      everything,
      'par_bn',
      "attn_bn[reduction_factor=4]|seq_bn[reduction_factor=8, init_weights='zeros']"
    ]) {
      test(`${format}, ${dialect}: ${config} comes back bit for bit, under its name and another`, async (t) => {
        const model = await withAdapter(t, config)
        const folder = join(scratch(t), 'a')
        await model.saveAdapter(folder, 'a', { format, dialect })
        const other = await load(t, { seed: 4 })
        t.is(await other.loadAdapter(folder), 'a')
        t.is(await other.loadAdapter(folder, { as: 'b' }), 'b')
        t.deepEqual(moved(own(model, 'a'), own(other, 'a')), [])
        t.deepEqual(moved(renamed(own(model, 'a'), 'a', 'b'), own(other, 'b')), [])
        t.deepEqual(other.adapters.get('a')?.toJSON(), model.adapters.get('a')?.toJSON())
        t.deepEqual(other.heads.get('b'), model.heads.get('a'))
        const expected = await model.forward({ inputIds })
        t.deepEqual(await other.forward({ inputIds }, { adapters: 'b', head: 'a' }), expected)
        t.is(other.activeAdapters, null)
        const again = join(scratch(t), 'again')
        await other.saveAdapter(again, 'a', { format, dialect })
        for (const file of readdirSync(folder)) {
          if (file.endsWith('.json')) continue
          t.true(
            readFileSync(join(folder, file)).equals(readFileSync(join(again, file))),
            `${file} is written the same twice`
          )
        }
      })
    }
  }
}

test('the head stays behind where nobody wants it', async (t) => {
  const model = await withAdapter(t)
  const [bare, full] = [join(scratch(t), 'bare'), join(scratch(t), 'full')]
  await model.saveAdapter(bare, 'a', { withHead: false })
  await model.saveAdapter(full, 'a')
  t.false(readdirSync(bare).some((file) => file.includes('head')))
  const other = await load(t)
  await other.loadAdapter(bare)
  await other.loadAdapter(full, { as: 'b', withHead: false })
  t.is(other.heads.size, 0)
  await other.loadAdapter(full, { as: 'c', setActive: true })
  t.is(other.activeAdapters, 'c')
  t.is(other.activeHead, 'c')
})

test('a head that is half there, or not there where one is asked for, is an error and loads nothing', async (t) => {
  const model = await withAdapter(t)
  const [bare, noWeights, noConfig] = ['bare', 'no-weights', 'no-config'].map((name) => join(scratch(t), name))
  await model.saveAdapter(bare ?? '', 'a', { withHead: false })
  await model.saveAdapter(noWeights ?? '', 'a')
  await model.saveAdapter(noConfig ?? '', 'a')
  rmSync(join(noWeights ?? '', 'model_head.safetensors'))
  rmSync(join(noConfig ?? '', 'head_config.json'))
  const other = await load(t)
  const refused = async (folder = '', options: LoadAdapterOptions, message: RegExp) => {
    await t.throwsAsync(other.loadAdapter(folder, options), { code: 'ERR_FILE_NOT_FOUND', message })
    t.is(other.adapters.size + other.heads.size, 0)
  }
  for (const options of [{}, { withHead: true }]) {
    await refused(
      noWeights,
      options,
      /expected .*model_head\.pt.* got head_config\.json without weights.*withHead: false/
    )
    await refused(
      noConfig,
      options,
      /expected head_config\.json and .* got model_head\.safetensors without head_config\.json/
    )
  }
  await refused(
    bare,
    { withHead: true },
    /without a head \(expected a head, .* got .*adapter_config\.json.*Leave withHead out/
  )
  await t.throwsAsync(other.loadHead(noConfig ?? ''), { message: /without head_config\.json/ })
  await other.loadAdapter(bare ?? '')
  await other.loadAdapter(noWeights ?? '', { as: 'b', withHead: false })
  await other.loadAdapter(noConfig ?? '', { as: 'c', withHead: false })
  t.deepEqual([...other.heads.keys()], [])

  const peft = join(scratch(t), 'peft')
  model.addAdapter('l', 'lora')
  await model.saveAdapter(peft, 'l', { library: 'peft' })
  await t.throwsAsync(other.loadAdapter(peft, { as: 'l', withHead: true }), { message: /without a head/ })
  await other.loadAdapter(peft, { as: 'l' })
  t.false(other.heads.has('l'))
})

test('saving in another format leaves one adapter in the folder', async (t) => {
  const model = await withAdapter(t)
  const folder = join(scratch(t), 'a')
  for (const format of ['bin', 'pt', 'safetensors'] as const) await model.saveAdapter(folder, 'a', { format })
  t.deepEqual(readdirSync(folder).sort(), [
    'adapter.safetensors',
    'adapter_config.json',
    'head_config.json',
    'model_head.safetensors'
  ])
})

test('an adapter_config.json that cannot be read is not taken for one of PEFT', async (t) => {
  const model = await withAdapter(t)
  const folder = join(scratch(t), 'a')
  await model.saveAdapter(folder, 'a')
  writeFileSync(join(folder, 'adapter_config.json'), '{"r": ')
  const error = await t.throwsAsync(model.loadAdapter(folder, { as: 'b' }), { code: 'ERR_INVALID_FILE' })
  t.regex(error?.message ?? '', /^read the adapter folder: .*adapter_config\.json is not valid JSON/)
})

test('a name that is taken: an error, or replaced with overwriteOk', async (t) => {
  const model = await withAdapter(t)
  const folder = join(scratch(t), 'a')
  await model.saveAdapter(folder, 'a')
  const saved = own(model, 'a')
  model.addAdapter('a', 'seq_bn', { overwriteOk: true })
  const before = snapshot(model)
  await t.throwsAsync(model.loadAdapter(folder), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: /adapter 'a' exists already.*overwriteOk/
  })
  model.deleteAdapter('a')
  await t.throwsAsync(model.loadAdapter(folder), { message: /head 'a' exists already/ })
  model.addAdapter('a', 'seq_bn')
  t.deepEqual(moved(before, snapshot(model)), [])
  await model.loadAdapter(folder, { overwriteOk: true })
  t.deepEqual(moved(saved, own(model, 'a')), [])
  t.deepEqual([...model.adapters.keys()], ['a'])
  t.false(model.namedModules().some((path) => path.includes('loading')))
})

const broken: Readonly<Record<string, [(tensors: Map<string, StoredTensor>) => void, RegExp]>> = {
  'missing keys': [
    (tensors) => {
      for (const name of tensors.keys())
        if (name.includes('layer.1.output') && name.includes('adapter_up')) tensors.delete(name)
    },
    /missing .*layer\.1\.output\.adapters\.[^.]+\.adapter_up\.weight/
  ],
  'unexpected keys': [
    (tensors) => tensors.set('bert.encoder.layer.0.output.adapters.a.adapter_side.weight', floats([1, 2])),
    /unexpected .*layer\.0\.output\.adapters\.[^.]+\.adapter_side\.weight/
  ],
  'a wrong shape': [
    (tensors) => tensors.set('bert.encoder.layer.0.output.adapters.a.adapter_up.bias', floats([1, 2, 3])),
    /wrong shape .*layer\.0\.output\.adapters\.[^.]+\.adapter_up\.bias: expected \[32\], got \[3\]/
  ],
  'all three at once': [
    (tensors) => {
      tensors.delete('bert.encoder.layer.0.output.adapters.a.adapter_up.weight')
      tensors.set('bert.encoder.layer.0.output.adapters.a.other', floats([1]))
      tensors.set('bert.encoder.layer.1.output.adapters.a.adapter_up.bias', floats([1]))
    },
    /missing .*adapter_up\.weight.*unexpected .*other.*wrong shape .*adapter_up\.bias/
  ],
  'another adapter’s keys': [
    (tensors) => {
      for (const [name, tensor] of [...tensors]) {
        tensors.delete(name)
        tensors.set(name.replace('adapters.a.', 'adapters.z.'), tensor)
      }
    },
    /holds nothing of that name \(expected tensors of 'a', got those of 'z'\)\. A config names its tensors/
  ]
}

for (const [name, [damage, message]] of Object.entries(broken)) {
  test(`a file with ${name} is one error that lists them, and the model is as it was`, async (t) => {
    const model = await withAdapter(t, 'double_seq_bn[reduction_factor=8]')
    const folder = join(scratch(t), 'a')
    await model.saveAdapter(folder, 'a')
    editTensors(join(folder, 'adapter.safetensors'), damage)
    const before = snapshot(model)
    const wrong = { instanceOf: AdapterError, code: 'ERR_STATE_DICT', message }
    await t.throwsAsync(model.loadAdapter(folder, { as: 'b' }), wrong)
    await t.throwsAsync(model.loadAdapter(folder, { as: 'b.c' }), { message: /^as: a name cannot hold a point/ })
    t.deepEqual([...model.adapters.keys()], ['a'])
    t.deepEqual([...model.heads.keys()], ['a'])
    await t.throwsAsync(model.loadAdapter(folder, { overwriteOk: true }), wrong)
    t.is(model.activeAdapters, 'a')
    t.deepEqual(moved(before, snapshot(model)), [])
  })
}

test('a head that does not fit is an error, and neither adapter nor head of that name changes', async (t) => {
  const model = await withAdapter(t)
  const folder = join(scratch(t), 'a')
  await model.saveAdapter(folder, 'a')
  editTensors(join(folder, 'model_head.safetensors'), (tensors) => tensors.set('heads.a.1.bias', floats([1])))
  const before = snapshot(model)
  const wrong = { code: 'ERR_STATE_DICT', message: /wrong shape .*1\.bias: expected \[32\], got \[1\]/ }
  await t.throwsAsync(model.loadAdapter(folder, { as: 'b' }), wrong)
  await t.throwsAsync(model.loadAdapter(folder, { overwriteOk: true }), wrong)
  t.deepEqual(moved(before, snapshot(model)), [])
  // Also where only the head is there and the adapter would be new.
  model.deleteAdapter('a')
  const head = snapshot(model)
  await t.throwsAsync(model.loadAdapter(folder, { overwriteOk: true }), wrong)
  t.deepEqual(moved(head, snapshot(model)), [])
  t.is(model.adapters.size, 0)
})

test('an adapter of another base model is refused by name', async (t) => {
  const model = await withAdapter(t)
  const folder = join(scratch(t), 'a')
  await model.saveAdapter(folder, 'a')
  const wide = await make(t, { hidden_size: 64 })
  await t.throwsAsync(wide.loadAdapter(folder), {
    code: 'ERR_WRONG_MODEL',
    message: /belongs to another model \(expected hidden size 64, got hidden size 32\).*trained on .*bert-tiny/
  })
  const roberta = await make(t, {
    model_type: 'roberta',
    pad_token_id: 1,
    max_position_embeddings: 30,
    type_vocab_size: 1
  })
  await t.throwsAsync(roberta.loadAdapter(folder), {
    code: 'ERR_WRONG_MODEL',
    message: /expected model type roberta, got model type bert/
  })
  const deep = await make(t, { num_hidden_layers: 3 })
  await t.throwsAsync(deep.loadAdapter(folder), {
    message: /another base model.*; missing 'bert\.encoder\.layer\.2\..*last layer is 2.*last layer is 1/
  })
  const shallow = await make(t, { num_hidden_layers: 1 })
  await t.throwsAsync(shallow.loadAdapter(folder), {
    message: /another base model.*; unexpected 'bert\.encoder\.layer\.1\..*last layer is 0.*last layer is 1/
  })
  for (const other of [wide, roberta, deep, shallow]) t.is(other.adapters.size + other.heads.size, 0)
})

test('folders that are none, and wrong arguments', async (t) => {
  const model = await withAdapter(t)
  const folder = scratch(t)
  await t.throwsAsync(model.loadAdapter(join(folder, 'nothing-here')), { message: /nothing-here/ })
  await t.throwsAsync(model.loadAdapter(folder), { code: 'ERR_FILE_NOT_FOUND', message: /holds no adapter/ })
  await t.throwsAsync(model.saveAdapter(folder, 'b'), { message: /no 'b' here/ })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { format: 'onnx' as never }), {
    message: /format.*'safetensors'.*'bin'.*'pt'/
  })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { dialect: 'plane' as never }), { message: /dialect.*plain/ })
  await t.throwsAsync(model.saveAdapter(folder, 'a', { formats: 'bin' } as never), { message: /Did you mean 'format'/ })
  t.deepEqual(readdirSync(folder), [])
  const file = join(folder, 'file')
  writeFileSync(file, '')
  await t.throwsAsync(model.saveAdapter(join(file, 'below'), 'a'), { instanceOf: AdapterError, message: /file/ })
  t.false(existsSync(join(file, 'below')))
})

test('loadStateDict sets values by name; unknown names and wrong shapes are one error and change nothing', async (t) => {
  const model = await withAdapter(t)
  const other = await AutoModel.fromConfig(tinyConfig, { seed: 99 })
  other.addAdapter('a', everything)
  other.addClassificationHead('a', { numLabels: 3 })
  const all = new Map(
    model.namedParameters().map(({ name, shape }) => [name, { data: model.parameter(name).data, shape }])
  )
  const wrong = new Map([
    ...all,
    ['nobody', { data: Float32Array.of(1), shape: [1] }],
    ['heads.a.1.bias', { data: Float32Array.of(1), shape: [1] }]
  ])
  const before = snapshot(other)
  t.throws(() => other.loadStateDict(wrong), {
    code: 'ERR_STATE_DICT',
    message: /heads\.a\.1\.bias: expected \[32\], got \[1\].*nobody|nobody.*heads\.a\.1\.bias/
  })
  t.deepEqual(moved(before, snapshot(other)), [])
  other.loadStateDict(all)
  t.deepEqual(moved(snapshot(model), snapshot(other)), [])
  other.setActiveAdapters('a')
  t.deepEqual(await other.forward({ inputIds }), await model.forward({ inputIds }))
  other.dispose()
})

test('loadStateDict takes an object by name, too, and refuses what is neither', async (t) => {
  const model = await withAdapter(t)
  const name = 'heads.a.1.bias'
  const { shape, data } = model.parameter(name)
  model.loadStateDict({ [name]: { shape, data: data.map(() => 0.25) } })
  t.deepEqual([...new Set(model.parameter(name).data)], [0.25])
  t.throws(() => model.loadStateDict({ nobody: { shape, data } }), { code: 'ERR_STATE_DICT', message: /nobody/ })
  const refused = (values: unknown, message: RegExp) =>
    t.throws(() => model.loadStateDict(values as never), { code: 'ERR_INVALID_ARG_TYPE', message })
  refused('weights.safetensors', /a Map or an object of \{ data, shape \} by name.*fromPretrained.*got 'weights/)
  refused([[name, { shape, data }]], /a Map or an object/)
  refused({ [name]: { shape, data: [1, 2] } }, /heads\.a\.1\.bias\.data: expected a Float32Array, got an array of 2/)
  refused({ [name]: data }, /heads\.a\.1\.bias/)
  refused(new Map([[name, { data }]]), /heads\.a\.1\.bias\.shape: expected an array/)
})

test('the head of an adapter that another one replaces goes with it; a head that was alone stays', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  model.addAdapter('x')
  model.addClassificationHead('x', { labels: ['spam', 'ham'] })
  model.addAdapter('y', 'lora')
  await model.saveAdapter(folder, 'x')
  await model.saveAdapter(folder, 'y')
  const other = await load(t)
  t.is(await other.loadAdapter(folder), 'y')
  t.is(other.heads.size, 0)
  const beside = scratch(t)
  await model.saveHead(beside, 'x')
  await model.saveAdapter(beside, 'y')
  t.is(await other.loadHead(beside), 'x')
})
