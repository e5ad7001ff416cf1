import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, AutoModel } from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'

const at = (name: string) => join(fixtures, 'models', name)

function temporary(t: { teardown(fn: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

for (const name of ['distilbert-tiny', 'electra-tiny', 'gpt2-tiny']) {
  test(`${name}: what savePretrained writes is the same model`, async (t) => {
    using model = await AutoModel.fromPretrained(at(name))
    const folder = temporary(t)
    await model.savePretrained(folder)
    using again = await AutoModel.fromPretrained(folder)
    t.deepEqual({ ...again.config, nameOrPath: '' }, { ...model.config, nameOrPath: '' })
    const input = { inputIds: [[5, 6, 7, 8], [9]] }
    // The head of the model's class is not the base model's.
    t.deepEqual(await again.forward(input, { head: null }), await model.forward(input, { head: null }))
    // A field that transformers would not know is one that it would not read.
    const written = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
    const theirs = JSON.parse(readFileSync(join(at(name), 'config.json'), 'utf8'))
    const unknown = Object.keys(written).filter((key) => !(key in theirs))
    t.deepEqual(
      unknown.sort(),
      unknown.filter((key) => ['classifier_dropout', 'position_embedding_type'].includes(key)).sort()
    )
  })

  test(`${name}: an adapter trains, and the base stands still`, async (t) => {
    using model = await AutoModel.fromPretrained(at(name))
    model.addAdapter('a', 'double_seq_bn[reduction_factor=2]')
    model.addClassificationHead('a', { numLabels: 2, layers: 1 })
    model.trainAdapter('a')
    const base = model.namedParameters().filter((one) => !one.trainable)
    const before = base.map((one) => model.parameter(one.name).data)
    const trainDataset = [0, 1, 2, 3].map((i) => ({ inputIds: [5 + i, 9, 8 + i].slice(0, 1 + (i % 3)), label: i % 2 }))
    const args = {
      outputDir: temporary(t),
      maxSteps: 60,
      learningRate: 0.02,
      perDeviceTrainBatchSize: 4,
      saveStrategy: 'no' as const
    }
    const losses: number[] = []
    for await (const event of new AdapterTrainer({ model, trainDataset, args }).run()) {
      if (event.type === 'step') losses.push(event.loss)
    }
    t.true((losses.at(-1) ?? 9) < 0.5 * (losses[0] ?? 0), `loss ${losses[0]} to ${losses.at(-1)}`)
    t.deepEqual(
      base.map((one) => model.parameter(one.name).data),
      before
    )
  })

  test(`${name}: there is no pooler`, async (t) => {
    using model = await AutoModel.fromPretrained(at(name))
    t.throws(() => model.addClassificationHead('a', { usePooler: true }), {
      code: 'ERR_UNSUPPORTED',
      message: /pooler/
    })
    t.false(model.heads.has('a'))
  })
}

test('token types that a model does not have are refused, zeros are not', async (t) => {
  using model = await AutoModel.fromPretrained(at('distilbert-tiny'))
  const inputIds = [[5, 6]]
  t.deepEqual(await model.forward({ inputIds, tokenTypeIds: [[0, 0]] }), await model.forward({ inputIds }))
  await t.throwsAsync(model.forward({ inputIds, tokenTypeIds: [[0, 1]] }), { message: /no token types/ })
})

test('ELECTRA: a decoder as wide as the embedding needs a layer before it', async (t) => {
  using model = await AutoModel.fromPretrained(at('electra-tiny'))
  t.throws(() => model.addMaskedLmHead('a', { layers: 1 }), { message: /at least 2 layers/ })
})

test('GPT-2 learns to go on: rows need no label, each token is that of the one before', async (t) => {
  using model = await AutoModel.fromPretrained(at('gpt2-tiny'))
  model.addAdapter('a', 'double_seq_bn[reduction_factor=1]')
  model.addCausalLmHead('a', { layers: 2 })
  model.trainAdapter('a')
  const row = [5, 9, 6, 8, 7, 5]
  const args = { outputDir: temporary(t), maxSteps: 150, learningRate: 0.02, saveStrategy: 'no' as const }
  await new AdapterTrainer({ model, trainDataset: [{ inputIds: row }], args }).train()
  const [answer] = await model.generate([{ inputIds: row.slice(0, 1) }], { maxNewTokens: 5, eosTokenId: null })
  t.deepEqual([...(answer?.ids ?? [])], row.slice(1))
})

test('positions that start as sines are those of transformers', async (t) => {
  const config = {
    ...JSON.parse(readFileSync(join(at('distilbert-tiny'), 'config.json'), 'utf8')),
    sinusoidal_pos_embds: true
  }
  using model = await AutoModel.fromConfig(config)
  const { data, shape } = model.parameter('distilbert.embeddings.position_embeddings.weight')
  t.deepEqual(shape, [12, 8])
  // p[3] = sin(3), cos(3), sin(3 / 10), cos(3 / 10), sin(3 / 100), …
  const expected = [1, 10, 100, 1000].flatMap((by) => [Math.sin(3 / by), Math.cos(3 / by)])
  t.true(expected.every((value, i) => Math.abs(value - (data[3 * 8 + i] ?? 0)) < 1e-6))
})

test('GPT-2 starts as transformers starts it: weights that write into the residual stream are smaller', async (t) => {
  const config = { model_type: 'gpt2', n_embd: 64, n_head: 4, n_layer: 8, vocab_size: 50, n_positions: 8 }
  using model = await AutoModel.fromConfig(config)
  const deviation = (name: string) => {
    const { data } = model.parameter(`transformer.h.1.${name}.weight`)
    return Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length)
  }
  t.true(Math.abs(deviation('attn.c_attn') / 0.02 - 1) < 0.05)
  t.true(Math.abs(deviation('mlp.c_proj') / (0.02 / 4) - 1) < 0.05)
  t.true(model.namedParameters().some(({ name, shape }) => name.endsWith('h.0.mlp.c_fc.weight') && shape[1] === 256))
})

test('modules are of the classes that they have in Python', async (t) => {
  const typesOf = async (name: string, pattern: string) => {
    using model = await AutoModel.fromPretrained(at(name), { withHead: false })
    return model.namedModules(pattern, { shapes: true }).map(({ type }) => type)
  }
  t.deepEqual(await typesOf('bert-tiny', ''), ['BertAdapterModel'])
  t.deepEqual(await typesOf('gpt2-tiny', 'transformer'), ['GPT2Model'])
  t.deepEqual(await typesOf('xlm-roberta-tiny', 'roberta.encoder.layer.0.output'), ['XLMRobertaOutput'])
  t.deepEqual(await typesOf('electra-tiny', 'electra.e*'), ['ElectraEmbeddings', 'Linear', 'ElectraEncoder'])
  t.deepEqual(await typesOf('distilbert-tiny', 'distilbert.embeddings'), ['Embeddings'])
})
