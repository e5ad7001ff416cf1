import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, Fuse, type Model, Parallel, Stack } from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import { readTensors, writeTensors } from './safetensors-file.js'
import { fill, unevenRows as inputIds, largestDifference, load, scratch, snapshot, tiny } from './support.js'

async function whole(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  for (const [name, config] of Object.entries({ a: 'seq_bn', b: 'seq_bn', l: 'lora', m: 'seq_bn|prefix_tuning' }))
    model.addAdapter(name, config)
  model.addAdapterFusion(['a', 'b'])
  model.addClassificationHead('class', { labels: ['x', 'y', 'z'] })
  model.addQuestionAnsweringHead('qa')
  model.addMaskedLmHead('words')
  for (const name of model.adapters.keys()) fill(model, name)
  return model
}

async function again(t: ExecutionContext, folder: string, options = {}): Promise<Model> {
  const model = await AutoModel.fromPretrained(folder, options)
  t.teardown(() => model.dispose())
  return model
}

test('a whole model comes back with every bit, its setup and its heads', async (t) => {
  const model = await whole(t)
  model.setActiveAdapters(Stack('l', Fuse('a', 'b')))
  model.activeHead = 'qa'
  const folder = join(scratch(t), 'whole')
  await model.save(folder)
  t.deepEqual(readdirSync(folder).sort(), ['config.json', 'model.safetensors'])
  const { architectures, prediction_heads } = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  t.deepEqual(architectures, ['BertAdapterModel'])
  t.deepEqual(Object.keys(prediction_heads), ['class', 'qa', 'words'])

  const loaded = await again(t, folder)
  t.deepEqual(snapshot(loaded), snapshot(model))
  t.deepEqual([...loaded.adapters], [...model.adapters])
  t.deepEqual([...loaded.heads], [...model.heads])
  t.deepEqual([...loaded.adapterFusions.keys()], ['a,b'])
  t.deepEqual(loaded.activeAdapters, model.activeAdapters)
  t.is(loaded.activeHead, 'qa')
  const [one, other] = await Promise.all([model, loaded].map((each) => each.forward({ inputIds })))
  t.is(largestDifference(one?.logits?.data ?? new Float32Array(), other?.logits?.data ?? new Float32Array(1)), 0)

  const base = await again(t, folder, { withHead: false })
  t.is(base.adapters.size + base.heads.size, 0)
})

test('heads that follow rows follow them again, and one that was chosen answers all', async (t) => {
  const model = await whole(t)
  for (const [i, name] of ['a', 'b'].entries()) model.addClassificationHead(name, { numLabels: 2 + i })
  const rows = [{ inputIds: [5, 6, 7] }, { inputIds: [8, 9] }]
  const sizes = async (one: Model) => (await one.predict(rows)).map(({ logits }) => logits.length)
  for (const [name, choose, expected] of [
    ['following', () => model.setActiveAdapters(Parallel('a', 'b')), [2, 2, 3, 3]],
    [
      'chosen',
      () => {
        model.activeHead = 'b'
      },
      [3, 3, 3, 3]
    ]
  ] as const) {
    choose()
    const folder = join(scratch(t), name)
    await model.save(folder)
    const loaded = await again(t, folder)
    t.deepEqual(await sizes(model), [...expected], name)
    t.deepEqual(await sizes(loaded), [...expected], name)
    t.is(loaded.activeHead, model.activeHead)
  }
})

test('the layers that the active adapters skip come back, with the head and without', async (t) => {
  for (const head of [undefined, 'qa']) {
    const model = await whole(t)
    model.setActiveAdapters('a', { skipLayers: [1], ...(head !== undefined && { head }) })
    const folder = join(scratch(t), 'whole')
    await model.save(folder)
    const loaded = await again(t, folder)
    t.deepEqual(loaded.skippedLayers, [1])
    t.is(loaded.activeHead, model.activeHead)
    const input = { inputIds: [[5, 6, 7]] }
    t.deepEqual((await loaded.forward(input)).lastHiddenState, (await model.forward(input)).lastHiddenState)
  }
})

test('a model whose weights lie in several files has its adapters, fusions and heads in any of them', async (t) => {
  const model = await whole(t)
  model.setActiveAdapters(Stack('l', 'm', Fuse('a', 'b')))
  const folder = join(scratch(t), 'whole')
  await model.save(folder)
  const file = join(folder, 'model.safetensors')
  const tensors = [...readTensors(file)]
  const shards = ['model-00001-of-00003', 'model-00002-of-00003', 'model-00003-of-00003']
  const weightMap = Object.fromEntries(tensors.map(([name], i) => [name, `${shards[i % 3]}.safetensors`]))
  shards.forEach((shard, n) => {
    writeTensors(join(folder, `${shard}.safetensors`), new Map(tensors.filter((_, i) => i % 3 === n)))
  })
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }))
  rmSync(file)
  const loaded = await again(t, folder)
  t.deepEqual(snapshot(loaded), snapshot(model))
  t.deepEqual([...loaded.heads], [...model.heads])
  t.deepEqual(loaded.activeAdapters, model.activeAdapters)

  const last = join(folder, 'model-00003-of-00003.safetensors')
  renameSync(last, `${last}.away`)
  await t.throwsAsync(again(t, folder), {
    code: 'ERR_FILE_IO',
    message:
      /index\.json: a shard that the index names is not there .*model-00003-of-00003\.safetensors.*Download or copy/
  })
  renameSync(`${last}.away`, last)

  const lost = tensors.find(([name]) => name.includes('.loras.l.'))?.[0] ?? ''
  const { [lost]: _, ...others } = weightMap
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: others }))
  await t.throwsAsync(again(t, folder), { code: 'ERR_STATE_DICT', message: new RegExp(lost.replaceAll('.', '\\.')) })
})

test('GPT-2’s LoRA over the whole of query, key and value comes back as one for each, with the same answers', async (t) => {
  using model = await AutoModel.fromPretrained(tiny.replace('bert-tiny', 'gpt2-tiny'))
  model.addAdapter('l', "lora[r=2, attn_matrices=['qkv']]")
  model.addAdapter('s', "ia3[attn_matrices=['qkv']]|seq_bn[reduction_factor=2]")
  for (const name of model.adapters.keys()) fill(model, name)
  model.setActiveAdapters(Stack('l', 's'))
  const folder = join(scratch(t), 'whole')
  await model.save(folder)
  const loaded = await again(t, folder)
  t.like(loaded.adapters.get('l'), { method: 'lora', attnMatrices: ['q', 'k', 'v'], r: 2 })
  t.deepEqual([...loaded.heads.keys()], ['default'])
  const [one, other] = await Promise.all([model, loaded].map((each) => each.forward({ inputIds: [[7], [9, 8, 30]] })))
  t.true(largestDifference(one?.logits?.data ?? [], other?.logits?.data ?? []) < 1e-6)
  t.true((one?.logits?.data.length ?? 0) > 0)
})

test('what Python says in another way comes back as it was, unless Python has put another adapter there', async (t) => {
  using model = await AutoModel.fromPretrained(tiny)
  model.addAdapter('r', 'lora[r=5, alpha=3, use_rslora=True]')
  model.addAdapter('u', "lora[r=2, alpha=6, use_rslora=True]|seq_bn[init_weights='zeros']")
  const folder = join(scratch(t), 'whole')
  await model.save(folder)
  const loaded = await again(t, folder)
  t.deepEqual([...loaded.adapters], [...model.adapters])
  const file = join(folder, 'config.json')
  const json = JSON.parse(readFileSync(file, 'utf8'))
  const written = json.adapters.config_map[json.adapters.adapters.r]
  t.false('use_rslora' in written)
  t.is(written.alpha, 3 * Math.sqrt(5))
  t.deepEqual(json.torch_adapters.adapters.r, { rslora_alpha: 3 })
  written.alpha = 8
  writeFileSync(file, JSON.stringify(json))
  t.like((await again(t, folder)).adapters.get('r'), { alpha: 8, useRslora: false })
})

test('the head of a model’s class comes with it, and makes room for the first that is added', async (t) => {
  const source = await load(t)
  source.addClassificationHead('x', { labels: ['bad', 'good'], layers: 1, usePooler: true })
  const folder = join(scratch(t), 'whole')
  await source.save(folder)
  // As BertForSequenceClassification keeps it.
  const file = join(folder, 'model.safetensors')
  const tensors = [...readTensors(file)].map(
    ([name, value]) => [name.replace('heads.x.1', 'classifier'), value] as const
  )
  writeTensors(file, new Map(tensors))
  const { adapters: _, prediction_heads: __, ...config } = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  const named = { ...config, architectures: ['BertForSequenceClassification'], id2label: { 0: 'bad', 1: 'good' } }
  writeFileSync(join(folder, 'config.json'), JSON.stringify(named))
  const model = await again(t, folder)
  t.is(model.activeHead, 'default')
  const [one, other] = await Promise.all([source, model].map((each) => each.predict([{ inputIds: [5, 9, 7] }])))
  t.deepEqual(one, other)
  // Saved and loaded, too.
  const copy = join(scratch(t), 'copy')
  await model.save(copy)
  const loaded = await again(t, copy)
  for (const each of [model, loaded]) {
    t.is(each.activeHead, 'default')
    each.addTaggingHead('own')
    t.is(each.activeHead, 'own')
  }
  loaded.activeHead = 'default'
  await loaded.save(copy)
  const chosen = await again(t, copy)
  chosen.addTaggingHead('other')
  t.is(chosen.activeHead, 'default')
  t.is((await again(t, folder, { withHead: false })).heads.size, 0)
})

test('adapters in a model of a class with a head, as adapters.init has them, leave the head where it is', async (t) => {
  const model = await load(t)
  model.addClassificationHead('default', { numLabels: 3, layers: 1, activationFunction: null, usePooler: true })
  const [folder, whole] = [scratch(t), scratch(t)]
  await model.savePretrained(folder, { modelClass: 'BertForSequenceClassification' })
  model.addAdapter('a')
  fill(model, 'a')
  model.deleteHead('default')
  await model.save(whole)
  model.dispose()
  const [file, other] = [folder, whole].map((each) => join(each, 'model.safetensors')) as [string, string]
  const ofAdapters = [...readTensors(other)].filter(([name]) => name.includes('.adapters.a.'))
  writeTensors(file, new Map([...readTensors(file), ...ofAdapters]))
  const config = (each: string) => JSON.parse(readFileSync(join(each, 'config.json'), 'utf8'))
  const { adapters } = config(whole)
  const json = { ...config(folder), adapters }
  t.deepEqual(json.architectures, ['BertForSequenceClassification'])
  writeFileSync(join(folder, 'config.json'), JSON.stringify(json))
  const loaded = await again(t, folder)
  t.deepEqual([...loaded.adapters.keys(), ...loaded.heads.keys()], ['a', 'default'])
  t.deepEqual(
    Buffer.from(loaded.parameter('heads.default.1.weight').data.buffer),
    readTensors(file).get('classifier.weight')?.bytes
  )
  const [plain] = await loaded.predict([{ inputIds: [5, 6] }])
  const [adapted] = await loaded.predict([{ inputIds: [5, 6] }], { adapters: 'a' })
  t.is(plain?.logits.length, 3)
  t.notDeepEqual(plain?.logits, adapted?.logits)
})

test('what Python could not read is refused before anything is written', async (t) => {
  const folder = join(scratch(t), 'whole')
  const refused = async (change: (model: Model) => void, message: RegExp) => {
    const model = await whole(t)
    change(model)
    await t.throwsAsync(model.save(folder), { code: 'ERR_UNSUPPORTED', message })
    t.false(existsSync(folder))
  }
  await refused(
    (model) => model.addAdapterFusion(['a', 'b'], { value: false }, { name: 'own' }),
    /fields of its own.*'own'/
  )
  await refused((model) => model.mergeAdapter('l'), /'l' is merged/)
  await refused((model) => model.addAdapter('d', "lora[use_dora='peft']"), /useDora.*'d'/)
})

test('a damaged folder is told of, and no model is left behind', async (t) => {
  const model = await whole(t)
  const folder = join(scratch(t), 'whole')
  await model.save(folder)
  const change = async (edit: (json: Record<string, Record<string, unknown>>) => void, expected: object) => {
    const other = join(scratch(t), 'changed')
    cpSync(folder, other, { recursive: true })
    const json = JSON.parse(readFileSync(join(other, 'config.json'), 'utf8'))
    edit(json)
    writeFileSync(join(other, 'config.json'), JSON.stringify(json))
    await t.throwsAsync(AutoModel.fromPretrained(other), expected)
  }
  await change((json) => Object.assign(json['adapters']?.['adapters'] ?? {}, { z: 'seq_bn' }), {
    message: /load 'z': the file holds nothing of that name .*got those of 'a'/
  })
  await change((json) => Object.assign(json['adapters'] ?? {}, { adapters: 3 }), { message: /config\.json/ })
  await change((json) => Object.assign(json['prediction_heads'] ?? {}, { h: { head_type: 'seq2seq_lm' } }), {
    code: 'ERR_UNSUPPORTED'
  })
  t.true(existsSync(tiny))
})

test('heads that the config names and the weights do not have are left out by withHead', async (t) => {
  const model = await load(t)
  model.addClassificationHead('class', { numLabels: 2 })
  const folder = join(scratch(t), 'whole')
  await model.save(folder)
  // As Python's `model.bert.save_pretrained` leaves them.
  const file = join(folder, 'model.safetensors')
  writeTensors(file, new Map([...readTensors(file)].filter(([name]) => !name.startsWith('heads.'))))
  await t.throwsAsync(again(t, folder), { message: /missing 'heads\.class\..*withHead: false leaves it out/s })
  t.is((await again(t, folder, { withHead: false })).heads.size, 0)
})

test('a head that is the word embedding alone may lie beside others under no name of its own, as Python writes it', async (t) => {
  const model = await again(t, join(fixtures, 'models/gpt2-tiny'), { withHead: false })
  model.addCausalLmHead('default', { layers: 1, bias: false, layerNorm: false, activationFunction: null })
  model.addClassificationHead('class', { numLabels: 2 })
  const folder = join(scratch(t), 'whole')
  await model.save(folder)
  const file = join(folder, 'model.safetensors')
  const tensors = [...readTensors(file)]
  writeTensors(file, new Map(tensors.filter(([name]) => !name.startsWith('heads.default.'))))
  const loaded = await again(t, folder)
  t.deepEqual([...loaded.heads.keys()].sort(), ['class', 'default'])
  const rows = {
    inputIds: [
      [5, 6, 7],
      [8, 9]
    ]
  }
  const logits = async (one: Model) => (await one.forward(rows, { head: 'default' })).logits?.data
  t.deepEqual(await logits(loaded), await logits(model))
})
