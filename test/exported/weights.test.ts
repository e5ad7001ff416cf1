import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { scratch } from '../model/support.js'
import type { Tensor } from '../parity/support/fixtures.js'
import { open } from './support.js'

type Weights = ReadonlyMap<string, Pick<Tensor, 'data' | 'shape'>>

/** A safetensors file of float32: the length of its header, the header, the values. */
function written(t: ExecutionContext, weights: Weights): string {
  let end = 0
  const entries = [...weights].map(([name, { data, shape }]) => {
    const start = end
    end += data.byteLength
    return [name, { dtype: 'F32', shape, data_offsets: [start, end] }] as const
  })
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  const values = [...weights.values()].map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  const file = join(scratch(t), 'model.safetensors')
  writeFileSync(file, Buffer.concat([length, header, ...values]))
  return file
}

const weightsOf = (model: Model): Map<string, Pick<Tensor, 'data' | 'shape'>> =>
  new Map(model.namedParameters().map(({ name, shape }) => [name, { data: model.parameter(name).data, shape }]))

test("weights of another checkpoint are the network's", async (t) => {
  const { group, model } = await open(t, 'bert')
  const given = new Map(
    [...weightsOf(model)].map(([name, { data, shape }]) => [name, { data: data.map((x) => x / 2), shape }])
  )
  const other = await AutoModel.fromExported(group.archive, { weights: written(t, given) })
  t.teardown(() => other.dispose())
  t.deepEqual(weightsOf(other), given)
})

test('folders that are saved name the checkpoint whose weights they were trained on', async (t) => {
  const { group, model } = await open(t, 'bert')
  const file = written(t, weightsOf(model))
  const folder = dirname(file)
  for (const weights of [file, folder]) {
    const other = await AutoModel.fromExported(group.archive, { weights })
    t.teardown(() => other.dispose())
    other.addAdapter('x', { architecture: 'lora', targetModules: ['query'] })
    const field = async (library: 'peft' | 'adapters', name: string) => {
      const to = scratch(t)
      await other.saveAdapter(to, 'x', { library })
      return JSON.parse(readFileSync(join(to, 'adapter_config.json'), 'utf8'))[name]
    }
    t.is(await field('peft', 'base_model_name_or_path'), folder)
    t.is(await field('adapters', 'model_name'), folder)
  }
  t.not(model.config.nameOrPath, folder)
})

test('a folder of another kind of network, or of other numbers in its graph, is refused by what differs', async (t) => {
  const { group, model } = await open(t, 'bert')
  const { modelType } = model.config
  const folder = dirname(written(t, weightsOf(model)))
  const opened = async (config: object) => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
    const other = await AutoModel.fromExported(group.archive, { weights: folder })
    other.dispose()
  }
  await t.notThrowsAsync(opened({ model_type: modelType, hidden_act: 'gelu', vocab_size: 3, id2label: {} }))
  await t.notThrowsAsync(opened({}))
  await t.throwsAsync(opened({ model_type: 'mistral', hidden_act: 'relu' }), {
    code: 'ERR_INVALID_FILE',
    message: new RegExp(`computes otherwise.*expected model_type "${modelType}", got model_type "mistral"`)
  })
  await t.throwsAsync(opened({ model_type: modelType, hidden_act: 'relu', layer_norm_eps: 0.1 }), {
    message: /expected hidden_act "gelu", layer_norm_eps \S+, got hidden_act "relu", layer_norm_eps 0\.1\)/
  })
})

test('weights that lack some name them, and count those behind the fifth', async (t) => {
  const { group, model } = await open(t, 'bert')
  const all = [...weightsOf(model)]
  const lacking = (count: number) =>
    t.throwsAsync(AutoModel.fromExported(group.archive, { weights: written(t, new Map(all.slice(count))) }), {
      code: 'ERR_STATE_DICT',
      message: /lacks weights of the graph/
    })
  const told = (message: string | undefined) => all.flatMap(([name]) => (message?.includes(name) ? [name] : []))
  for (const count of [1, 5]) {
    const error = await lacking(count)
    t.deepEqual(
      told(error?.message),
      all.slice(0, count).map(([name]) => name)
    )
    t.notRegex(error?.message ?? '', /more/)
  }
  const many = await lacking(8)
  t.is(told(many?.message).length, 5)
  t.regex(many?.message ?? '', /, and 3 more/)
})

test('weights of another size are refused by name, and leave no model', async (t) => {
  const { group, model } = await open(t, 'bert')
  const [first, ...rest] = [...weightsOf(model)]
  if (first === undefined) return void t.fail()
  const [name, { data }] = first
  const wrong = new Map([[name, { data, shape: [data.length] }], ...rest])
  const weights = written(t, wrong)
  const error = await t.throwsAsync(AutoModel.fromExported(group.archive, { weights }), { code: 'ERR_STATE_DICT' })
  const shapes = `[${model.parameter(name).shape.join(', ')}], got [${data.length}]`
  const problem = `load the exported model: ${weights} has weights of other shapes: '${name}: expected ${shapes}'.`
  t.is(error?.message, `${problem} The weights and the archive must be of one class and one config`)
})

test('weights that the graph has no place for are refused by name, whoever they were saved with', async (t) => {
  const { group, model } = await open(t, 'bert')
  const own = weightsOf(model)
  const extra = { data: Float32Array.of(1, 2, 3), shape: [3] }
  const ofClass = new Map([...own].map(([name, value]) => [`bert.${name}`, value]))
  const load = (all: Weights, more: Record<string, Pick<Tensor, 'data' | 'shape'>>) =>
    AutoModel.fromExported(group.archive, { weights: written(t, new Map([...all, ...Object.entries(more)])) })
  const refused: readonly (readonly [Weights, string])[] = [
    [own, 'encoder.layer.9.output.dense.weight'],
    [own, 'encoder.layer.0.attention.self.query.scale'],
    [own, 'classifier.weight'],
    [ofClass, 'bert.encoder.layer.9.output.dense.weight'],
    [ofClass, 'bert.pooler.dense.scale']
  ]
  for (const [all, name] of refused) {
    const error = await t.throwsAsync(
      load(all, { [name]: extra }),
      { code: 'ERR_STATE_DICT', message: /no place/ },
      name
    )
    t.true(error?.message.includes(name), error?.message)
  }
  const words = own.get('embeddings.word_embeddings.weight')
  if (words === undefined) return void t.fail()
  const taken: readonly (readonly [Weights, Record<string, Pick<Tensor, 'data' | 'shape'>>])[] = [
    [ofClass, { 'cls.predictions.transform.dense.bias': extra, 'cls.predictions.decoder.weight': words }],
    [own, { 'embeddings.inv_freq': extra, 'cls.predictions.decoder.weight': words }]
  ]
  for (const [all, more] of taken) {
    const other = await load(all, more)
    t.teardown(() => other.dispose())
    t.deepEqual(weightsOf(other), own)
  }
})
