import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, type LoadOptions } from '../../lib/index.js'
import { editTensors, type StoredTensor } from '../model/safetensors-file.js'
import { scratch } from '../model/support.js'
import { fixtures, Group, type Tensor } from './support/fixtures.js'
import { scalar, Worst } from './support/worst.js'

interface ClassCase {
  readonly name: string
  readonly modelClass: string
  readonly model: string
  /** Of config.json: `tie_word_embeddings: false`, where the class has an output layer of its own. */
  readonly fields: { readonly tie_word_embeddings?: false }
  readonly input: { readonly inputIds: number[][] }
  /** Of the class's head, where the folder has another. */
  readonly weights: { readonly [name: string]: string }
  readonly expected: { readonly logits: string }
}

const group = new Group<ClassCase>('class-heads')
const folderOf = (model: string) => join(fixtures, 'models', model)

/** The folder as another class would have it, or with other tensors. */
function changed(
  t: ExecutionContext,
  model: string,
  fields: object,
  change: (tensors: Map<string, StoredTensor>) => void = () => {}
): string {
  const folder = join(scratch(t), 'model')
  cpSync(folderOf(model), folder, { recursive: true })
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, ...fields }))
  if (existsSync(join(folder, 'model.safetensors'))) editTensors(join(folder, 'model.safetensors'), change)
  return folder
}

const bytesOf = ({ data }: Tensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)
const headsOf = async (folder: string, options: LoadOptions = {}) => {
  using model = await AutoModel.fromPretrained(folder, options)
  return [...model.heads.keys()]
}

async function logitsOf(folder: string, inputIds: readonly (readonly number[])[]): Promise<Tensor> {
  using model = await AutoModel.fromPretrained(folder)
  const rows = []
  for (const row of inputIds) rows.push((await model.forward({ inputIds: [[...row]] })).logits ?? scalar(undefined))
  const data = Float32Array.from(rows.flatMap((row) => [...row.data]))
  return { data, shape: [inputIds.flat().length, data.length / inputIds.flat().length] }
}

test('the heads for words of transformers’ classes come with their models, with the same logits', async (t) => {
  const worst = new Worst()
  for (const { name, modelClass, model, fields, input, weights, expected } of group.cases) {
    const folder = changed(t, model, { architectures: [modelClass], ...fields }, (tensors) => {
      for (const [key, tensor] of group.tensors(weights))
        tensors.set(key, { dtype: 'F32', shape: tensor.shape, bytes: bytesOf(tensor) })
    })
    worst.forward(name, await logitsOf(folder, input.inputIds), group.tensor(expected.logits))
  }
  worst.report(t)
})

test('the head that comes along is one of ours: it trains, and makes room for the first that is added', async (t) => {
  using model = await AutoModel.fromPretrained(folderOf('gpt2-tiny'))
  t.like(model.heads.get('default'), { headType: 'causal_lm', layers: 1, bias: false, layerNorm: false })
  t.is(model.activeHead, 'default')
  model.addAdapter('a', 'lora')
  model.trainAdapter('a')
  const { gradients } = await model.gradients({ inputIds: [[5, 6, 7]], labels: [[5, 6, 7]] })
  t.true([...gradients.keys()].every((name) => name.includes('.loras.a.')))
  model.addClassificationHead('a', { numLabels: 2 })
  t.is(model.activeHead, 'a')
})

test('files of every age have the head: TensorFlow’s names of norms, the bias once or twice', async (t) => {
  const inputIds = [[6, 7, 8]]
  const architectures = ['BertForMaskedLM']
  const now = await logitsOf(changed(t, 'bert-tiny', { architectures }), inputIds)
  t.deepEqual(await logitsOf(changed(t, 'bert-gamma-beta', { architectures }), inputIds), now)
  t.deepEqual(await logitsOf(changed(t, 'bert-sharded', { architectures }), inputIds), now)
  const key = 'cls.predictions.bias'
  const twice = (change: (bytes: Buffer) => Buffer) =>
    changed(t, 'bert-tiny', { architectures }, (tensors) => {
      const bias = tensors.get(key) as StoredTensor
      tensors.set('cls.predictions.decoder.bias', { ...bias, bytes: change(bias.bytes) })
    })
  t.deepEqual(
    await logitsOf(
      twice((bytes) => bytes),
      inputIds
    ),
    now
  )
  const other = twice((bytes) => Buffer.alloc(bytes.length, 1))
  await t.throwsAsync(headsOf(other), { code: 'ERR_STATE_DICT', message: /cls\.predictions\..*under both names/ })
})

test('an output layer of its own trains, and goes into folders and back', async (t) => {
  for (const { modelClass, model: folder, fields, input, weights } of group.cases) {
    if (fields.tie_word_embeddings === undefined || modelClass === 'GPT2LMHeadModel') continue
    const source = changed(t, folder, { architectures: [modelClass], ...fields }, (tensors) => {
      for (const [key, tensor] of group.tensors(weights))
        tensors.set(key, { dtype: 'F32', shape: tensor.shape, bytes: bytesOf(tensor) })
    })
    using model = await AutoModel.fromPretrained(source)
    t.like(model.heads.get('default'), { headType: 'masked_lm', tied: false }, modelClass)
    model.trainHead('default')
    const labels = [input.inputIds[1] as number[]]
    const { gradients } = await model.gradients({ inputIds: labels, labels })
    t.true([...gradients.keys()].some((key) => /^heads\.default\.\d\.weight$/.test(key)))
    t.false([...gradients.keys()].some((key) => key.includes('embeddings')))
    const before = await logitsOf(source, input.inputIds)
    const out = scratch(t)
    await model.savePretrained(join(out, 'class'), { modelClass })
    await model.save(join(out, 'whole'))
    t.deepEqual(await logitsOf(join(out, 'class'), input.inputIds), before, modelClass)
    t.deepEqual(await logitsOf(join(out, 'whole'), input.inputIds), before, modelClass)
    const names = [...model.stateDict({ modelClass }).keys()]
    t.is(new Set(names).size, names.length)
    await model.saveHead(join(out, 'head'), 'default')
    await model.loadHead(join(out, 'head'), { as: 'again' })
    t.deepEqual(model.heads.get('again'), model.heads.get('default'))
  }
})

test('where ours could not be the same, or nothing of it is there, the base model comes alone', async (t) => {
  const architectures = ['BertForMaskedLM']
  t.deepEqual(await headsOf(changed(t, 'bert-tiny', {})), [], 'BertForPreTraining')
  t.deepEqual(await headsOf(changed(t, 'bert-tiny', { architectures })), ['default'])
  t.deepEqual(await headsOf(changed(t, 'bert-tiny', { architectures }), { withHead: false }), [])
  t.deepEqual(await headsOf(changed(t, 'bert-prelu', { architectures })), [])
  const without = changed(t, 'bert-tiny', { architectures }, (tensors) => {
    tensors.delete('cls.predictions.bias')
  })
  t.deepEqual(await headsOf(without), [])
  t.deepEqual(await headsOf(changed(t, 'bert-tiny', { architectures, tie_word_embeddings: false })), [])
})
