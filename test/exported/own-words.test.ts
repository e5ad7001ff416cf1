// An invertible adapter before the words of an archive's own head.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, type Model, Stack } from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { writeTensors } from '../model/safetensors-file.js'
import { scratch } from '../model/support.js'
import { changeArchive } from './changed-archive.js'
import { distance } from './support.js'

const fixtures = 'test/parity/fixtures/exported-heads'
const bytes = (name: string) => gunzipSync(readFileSync(join(fixtures, `${name}.pt2.gz`)))

/** What scripts/fixtures/exported_heads.py makes. */
const classes = {
  'gpt2-lm': {
    architectures: ['GPT2LMHeadModel'],
    model_type: 'gpt2',
    vocab_size: 20,
    n_embd: 8,
    n_layer: 1,
    n_head: 2,
    n_positions: 8
  },
  'bert-mlm': {
    architectures: ['BertForMaskedLM'],
    model_type: 'bert',
    vocab_size: 20,
    hidden_size: 8,
    intermediate_size: 12,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    max_position_embeddings: 8,
    pad_token_id: 0
  }
}

async function open(t: ExecutionContext, name: string, change?: (note: string) => string): Promise<Model> {
  const file = join(scratch(t), `${name}.pt2`)
  writeFileSync(file, bytes(name))
  if (change !== undefined) changeArchive(file, file, change)
  const model = await AutoModel.fromExported(file)
  t.teardown(() => model.dispose())
  return model
}

/** The same network as one of our own families. */
async function asFamily(t: ExecutionContext, name: keyof typeof classes, archive: Model): Promise<Model> {
  const folder = join(scratch(t), name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'config.json'), JSON.stringify(classes[name]))
  const stored = archive.namedParameters().map(({ name: key, shape }) => {
    const data = Float32Array.from(archive.parameter(key).data)
    return [key, { dtype: 'F32', shape, bytes: Buffer.from(data.buffer) }] as const
  })
  writeTensors(join(folder, 'model.safetensors'), new Map(stored))
  const model = await AutoModel.fromPretrained(folder)
  t.teardown(() => model.dispose())
  return model
}

function add(model: Model, name: string): void {
  model.addAdapter(name, 'seq_bn_inv[reduction_factor=2]')
  const own = model.namedParameters().filter((one) => one.name.includes(`.${name}.`))
  const data = (size: number) =>
    Float32Array.from({ length: size }, (_, j) => 0.3 * Math.sin(1.3 * j + name.charCodeAt(0)))
  model.loadStateDict(
    new Map(own.map((one) => [one.name, { shape: one.shape, data: data(one.shape.reduce((a, b) => a * b)) }]))
  )
}

const rows = {
  inputIds: [
    [5, 6, 7, 8, 9],
    [11, 12, 13]
  ]
}
const labels = [
  [5, 6, 7, 8, 9],
  [11, 12, 13]
]

for (const name of ['gpt2-lm', 'bert-mlm'] as const) {
  test(`${name}: an invertible adapter is undone before the own head's words, as in our own family`, async (t) => {
    const archive = await open(t, name)
    const family = await asFamily(t, name, archive)
    for (const model of [archive, family]) for (const one of ['x', 'y']) add(model, one)
    for (const adapters of ['x', ['x', 'y'], [null, 'y'], Stack('x', 'y')]) {
      const [got, expected] = await Promise.all(
        [archive, family].map((model) => model.forward(rows, { adapters, head: 'default' }))
      )
      const told = expected?.logits?.data ?? new Float32Array()
      t.true(distance(got?.logits?.data ?? [], { data: Float32Array.from(told) }) < 1e-6)
    }
    for (const model of [archive, family]) model.trainAdapter('x')
    const [own, theirs] = await Promise.all(
      [archive, family].map((model) => model.gradients({ ...rows, labels }, { adapters: 'x', head: 'default' }))
    )
    const ofFamily = [...(theirs?.gradients ?? [])].filter(([key]) => key.includes('.x.'))
    t.is([...(own?.gradients ?? [])].length, ofFamily.length)
    for (const [key, { data }] of ofFamily)
      t.true(distance(own?.gradients.get(key)?.data ?? [], { data: Float32Array.from(data) }) < 1e-6, key)
  })
}

test('where the class of adapters does not undo it before its words, an archive of the class does not either', async (t) => {
  const model = await open(t, 'gpt2-lm', (text) => text.replaceAll('"model_type": "gpt2"', '"model_type": "gptj"'))
  t.is(model.config.modelType as string, 'gptj')
  add(model, 'x')
  const { logits } = await model.forward(rows, { adapters: 'x', head: 'default' })
  const { lastHiddenState } = await model.forward(rows, { adapters: 'x', head: null })
  const words = model.parameter('lm_head.weight').data
  const states = lastHiddenState?.data ?? new Float32Array()
  const expected = Float32Array.from({ length: logits?.data.length ?? 0 }, (_, i) => {
    const [token, word] = [Math.floor(i / 20), i % 20]
    return [0, 1, 2, 3, 4, 5, 6, 7].reduce(
      (sum, j) => sum + (states[8 * token + j] ?? 0) * (words[8 * word + j] ?? 0),
      0
    )
  })
  t.true(distance(logits?.data ?? [], { data: expected }) < 1e-6)
})

test.serial('a folder for adapters, whose class of ours does not undo it, is written with a warning', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_OTHER_ANSWERS')
  for (const [name, change, count] of [
    ['gpt2-lm', (text: string) => text, 1],
    ['bert-classifier', (text: string) => text, 1],
    ['gpt2-lm', (text: string) => text.replaceAll('"model_type": "gpt2"', '"model_type": "gptj"'), 1]
  ] as const) {
    const model = await open(t, name, change)
    add(model, 'x')
    await model.saveAdapter(join(scratch(t), 'x'), 'x', { withHead: false })
    model.addAdapter('y', 'seq_bn[reduction_factor=2]')
    await model.saveAdapter(join(scratch(t), 'y'), 'y', { withHead: false })
    await soon()
    t.is(warnings.length, count)
  }
  t.regex(warnings[0] ?? '', /does not undo the invertible adapter before the words of GPT2LMHeadModel/)
})
