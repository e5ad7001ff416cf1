import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, type ForwardInputs, type LoadAdapterOptions, type Model } from '../../lib/index.js'
import { checkForward } from '../parity/support/check-case.js'
import { type Case, Group } from '../parity/support/fixtures.js'
import { Worst } from '../parity/support/worst.js'
import { changed, folderOf, open, scratch } from './peft-folders.js'

const group = new Group<Case>('peft')
async function logits(model: Model, inputs: ForwardInputs, name: string): Promise<Float32Array> {
  const answer = await model.forward(inputs, { adapters: name })
  return answer.logits?.data ?? new Float32Array()
}

for (const one of group.cases) {
  test(`a folder that PEFT wrote, and the one written back: ${one.folder}`, async (t) => {
    const worst = new Worst()
    using model = await open(one.model)
    const name = await model.loadAdapter(folderOf(one.folder ?? ''))
    t.is(name, one.folder ?? '')
    const input = { ...one.input }
    checkForward(group, one, await model.forward(input, { adapters: name, outputHiddenStates: true }), worst)

    const again = scratch(t)
    await model.saveAdapter(again, name, { library: 'peft' })
    t.deepEqual(readdirSync(again).sort(), ['adapter_config.json', 'adapter_model.safetensors'])
    t.is(await model.loadAdapter(again, { as: 'again' }), 'again')
    t.deepEqual(model.adapters.get('again'), model.adapters.get(name))
    checkForward(group, one, await model.forward(input, { adapters: 'again', outputHiddenStates: true }), worst)

    // Merged into the base model it computes the same.
    model.mergeAdapter(name)
    checkForward(group, one, await model.forward(input, { outputHiddenStates: true }), worst)
    worst.report(t)
  })
}

test('the config says where the adapter stands and how it counts', async (t) => {
  using bert = await open('bert-tiny')
  await bert.loadAdapter(folderOf('bert-regex-rslora'), { as: 'regex' })
  const regex = bert.adapters.get('regex')?.method === 'lora' ? bert.adapters.get('regex') : undefined
  t.like(regex, { r: 2, alpha: 3, useRslora: true, dropout: 0.1, attnMatrices: ['q', 'o'], intermediateLora: false })
  await bert.loadAdapter(folderOf('bert-dora-patterns'), { as: 'patterns' })
  const union = bert.adapters.get('patterns')
  t.is(union?.method === 'union' ? union.configs.length : 0, 3)
  t.like(bert.heads.get('patterns'), { layers: 2, numLabels: 3, usePooler: false })
  t.like(bert.heads.get('regex'), { layers: 1, numLabels: 3, usePooler: true })
  using distilbert = await open('distilbert-tiny')
  await distilbert.loadAdapter(folderOf('distilbert-bare'))
  t.deepEqual([...distilbert.heads.keys()], [])
})

test('a short list of modules is written where it says the same', async (t) => {
  using model = await open('bert-tiny')
  const folder = scratch(t)
  const written = async (config: string) => {
    model.addAdapter('a', config, { overwriteOk: true })
    await model.saveAdapter(folder, 'a', { library: 'peft' })
    return JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
  }
  t.like(await written('lora[r=4, alpha=16]'), {
    ...{ peft_type: 'LORA', r: 4, lora_alpha: 16, target_modules: ['query', 'value'], task_type: 'FEATURE_EXTRACTION' }
  })
  t.deepEqual((await written('lora[intermediate_lora=True, selfattn_lora=False]')).target_modules, [
    'intermediate.dense'
  ])
  // One end may name two places: it is there once.
  const both = 'lora[output_lora=True, attn_matrices=["o"]]'
  t.deepEqual((await written(both)).target_modules, ['output.dense'])
  // `output.dense` ends the name of attention's output, too.
  t.deepEqual((await written('lora[output_lora=True, selfattn_lora=False]')).target_modules, [
    'encoder.layer.0.output.dense',
    'encoder.layer.1.output.dense'
  ])
})

test('AdapterHub and PEFT leave nothing of each other in one folder', async (t) => {
  using model = await open('bert-tiny')
  const folder = scratch(t)
  model.addAdapter('a', 'lora')
  await model.saveAdapter(folder, 'a')
  await model.saveAdapter(folder, 'a', { library: 'peft', format: 'bin' })
  t.deepEqual(readdirSync(folder).sort(), ['adapter_config.json', 'adapter_model.bin'])
  await model.saveAdapter(folder, 'a')
  t.deepEqual(readdirSync(folder).sort(), ['adapter.safetensors', 'adapter_config.json'])
})

test('a PEFT adapter goes on training as PEFT computes it', async (t) => {
  using model = await open('roberta-tiny')
  const name = await model.loadAdapter(folderOf('roberta-ia3'))
  const inputs = {
    inputIds: [
      [7, 8, 9],
      [10, 11]
    ],
    labels: [0, 2]
  }
  model.trainAdapter(name)
  const { gradients } = await model.gradients(inputs)
  const place = `roberta.encoder.layer.0.output.dense.loras.${name}.lora_A`
  const gradient = gradients.get(place)
  const value = model.parameter(place)
  // The slope along the gradient, from the loss on both sides.
  const loss = async (step: number) => {
    const moved = value.data.map((x, i) => x + step * (gradient?.data[i] ?? Number.NaN))
    model.loadStateDict(new Map([[place, { data: moved, shape: value.shape }]]))
    return (await model.forward(inputs)).loss ?? Number.NaN
  }
  const norm = gradient?.data.reduce((sum, x) => sum + x * x, 0) ?? 0
  const step = 0.02 / Math.sqrt(norm)
  const slope = ((await loss(step)) - (await loss(-step))) / (2 * step)
  t.true(Math.abs(slope - norm) < 0.02 * norm, `${slope} ${norm}`)
  t.true((await logits(model, { inputIds: [[7]] }, name)).length === 3)
})

test('a head for several labels stays one; of PEFT’s own folders the caller says it', async (t) => {
  using model = await open('bert-tiny')
  const folder = scratch(t)
  const json = () => JSON.parse(readFileSync(join(folder, 'adapter_config.json'), 'utf8'))
  model.addAdapter('a', 'lora')
  model.addMultiLabelClassificationHead('a', { numLabels: 3, layers: 1, usePooler: true })
  await model.saveAdapter(folder, 'a', { library: 'peft' })
  t.deepEqual(json().torch_adapters, { problem_type: 'multi_label_classification' })
  t.is(await model.loadAdapter(folder, { as: 'again' }), 'again')
  t.is(model.heads.get('again')?.headType, 'multilabel_classification')
  const inputs = {
    inputIds: [[7], [9, 8]],
    labels: [
      [1, 0, 1],
      [0, 0, 1]
    ]
  }
  const [one, other] = [
    await model.forward(inputs, { adapters: 'a' }),
    await model.forward(inputs, { adapters: 'again' })
  ]
  t.deepEqual(one.loss, other.loss)
  await model.loadAdapter(folder, { as: 'one', problemType: 'single_label_classification' })
  t.is(model.heads.get('one')?.headType, 'classification')

  const theirs = folderOf('bert-regex-rslora')
  const problemType = 'multi_label_classification'
  await model.loadAdapter(theirs, { as: 'theirs', problemType })
  t.like(model.heads.get('theirs'), { headType: 'multilabel_classification', numLabels: 3, usePooler: true })
  // Others need no field of ours.
  await model.saveAdapter(folder, 'one', { library: 'peft' })
  t.false('torch_adapters' in json())

  const refused = async (source: string, options: LoadAdapterOptions, message: RegExp) => {
    const before = [...model.adapters.keys()]
    await t.throwsAsync(model.loadAdapter(source, { as: 'r', ...options }), { message })
    t.deepEqual([...model.adapters.keys()], before)
  }
  await refused(theirs, { problemType, withHead: false }, /problemType.*no head/)
  await refused(theirs, { problemType: 'several' as never }, /problemType.*multi_label_classification/)
  await refused(
    changed(t, 'bert-regex-rslora', { torch_adapters: { problem_type: 'x' } }),
    {},
    /adapter_config\.json.*problem_type/
  )
  await model.saveAdapter(folder, 'a')
  await refused(folder, { problemType }, /problemType.*AdapterHub/)

  using images = await open('vit-tiny')
  images.addAdapter('a', 'lora')
  images.addImageClassificationHead('a', { numLabels: 3, multilabel: true })
  await images.saveAdapter(folder, 'a', { library: 'peft' })
  await images.loadAdapter(folder, { as: 'again' })
  t.like(images.heads.get('again'), { headType: 'image_classification', multilabel: true })

  using electra = await open('electra-tiny')
  electra.addAdapter('a', 'lora')
  electra.addTaggingHead('a', { numLabels: 3 })
  await electra.saveAdapter(folder, 'a', { library: 'peft' })
  await t.throwsAsync(electra.loadAdapter(folder, { as: 'r', problemType }), {
    message: /heads with labels for rows.*tagging/
  })
})

test('a checkpoint keeps what only PEFT has, and a head that only AdapterHub has, in one folder', async (t) => {
  using model = await open('bert-tiny')
  model.addAdapter('a', "lora[r=2, use_dora='peft']")
  model.addClassificationHead('a', { layers: 3, numLabels: 2 })
  model.trainAdapter('a')
  const trainDataset = [{ inputIds: [7, 8], label: 1 }]
  const args = { outputDir: scratch(t), maxSteps: 1, saveStrategy: 'steps', saveSteps: 1 } as const
  await new AdapterTrainer({ model, trainDataset, args }).train()
  const folder = join(args.outputDir, 'checkpoint-1', 'a')
  const peft = ['adapter_config.json', 'adapter_model.safetensors']
  t.deepEqual(readdirSync(folder).sort(), [...peft, 'head_config.json', 'model_head.safetensors'])
  await model.loadAdapter(folder, { as: 'b' })
  const row = { inputIds: [[7, 8, 9]] }
  const expected = await model.forward(row, { adapters: 'a', head: 'a' })
  t.deepEqual((await model.forward(row, { adapters: 'b', head: 'b' })).logits, expected.logits)
})

test('rsLoRA: the field and its alpha go both ways, and to AdapterHub as an alpha of the same sum', async (t) => {
  using model = await open('bert-tiny')
  const own = await model.loadAdapter(folderOf('bert-regex-rslora'), { as: 'theirs' })
  t.like(model.adapters.get(own), { r: 2, alpha: 3, useRslora: true })
  const input = { inputIds: [[5, 6, 7, 8]] }
  const expected = await logits(model, input, own)
  const folder = scratch(t)
  const json = (name: string) => JSON.parse(readFileSync(join(folder, name, 'adapter_config.json'), 'utf8'))

  // AdapterHub knows alpha / r alone; beside it stands what it is here.
  model.addAdapter('query', 'lora[r=4, alpha=6, use_rslora=True]|seq_bn')
  await model.saveAdapter(join(folder, 'hub'), 'query')
  const [part] = json('hub').config.configs
  t.is(part.alpha, 12)
  t.false('use_rslora' in part)
  t.deepEqual(json('hub').torch_adapters, { rslora_alpha: [6, null] })
  await model.loadAdapter(join(folder, 'hub'), { as: 'again' })
  t.deepEqual(model.adapters.get('again'), model.adapters.get('query'))

  // One field for all of PEFT's: where parts differ, alphas of alpha / r say the same.
  const mixed = 'lora[r=4, alpha=3, use_rslora=True]|lora[r=4, alpha=5, selfattn_lora=False, output_lora=True]'
  model.addAdapter('mixed', mixed)
  await model.saveAdapter(join(folder, 'mixed'), 'mixed', { library: 'peft' })
  t.like(json('mixed'), { use_rslora: false, lora_alpha: 6 })
  t.deepEqual(new Set(Object.values(json('mixed').alpha_pattern)), new Set([5]))

  await model.saveAdapter(join(folder, 'peft'), own, { library: 'peft' })
  t.like(json('peft'), { use_rslora: true, lora_alpha: 3, r: 2 })
  await model.loadAdapter(join(folder, 'peft'), { as: 'back' })
  t.deepEqual(await logits(model, input, 'back'), expected)
})
