import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  evaluate,
  type ForwardInputs,
  type Model,
  Parallel,
  type Row,
  Stack
} from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import { fill, largestDifference } from './support.js'

const at = (name: string) => join(fixtures, 'models', name)
// [2, 4, 6], as vit-tiny has it.
const values = 48
const image = (seed: number) => Float32Array.from({ length: values }, (_, i) => Math.sin(1 + seed * 7 + i * (seed + 1)))
const images = [0, 1, 2].map(image)

function temporary(t: { teardown(fn: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function withAdapters(): Promise<Model> {
  const model = await AutoModel.fromPretrained(at('vit-tiny'))
  for (const [name, config] of [
    ['a', 'double_seq_bn[reduction_factor=2]'],
    ['b', 'lora[r=2]']
  ] as const) {
    model.addAdapter(name, config)
    model.addImageClassificationHead(name, { labels: ['cat', 'dog', name] })
    model.trainAdapter(name)
    fill(model, name, { scale: 0.3, which: (one) => one.trainable })
  }
  return model
}

test('rows of images are answered as forward answers them, each with its own adapter and head', async (t) => {
  using model = await withAdapters()
  const adapters = ['a', 'b', Stack('b', 'a')]
  const rows = images.map((pixelValues, i) => ({ pixelValues: i === 1 ? Array.from(pixelValues) : pixelValues }))
  const answers = await model.predict(rows, { adapters, batchSize: 2 })
  t.deepEqual(
    answers.map(({ label }) => typeof label),
    ['string', 'string', 'string']
  )
  for (const [i, adapter] of adapters.entries()) {
    const pixelValues = [images[i] as Float32Array]
    const head = adapter === 'b' ? 'b' : 'a'
    const { logits } = await model.forward({ pixelValues }, { adapters: adapter, head })
    const got = answers[i]?.logits ?? []
    t.true(logits?.data.every((value, k) => Math.abs(value - (got[k] ?? Number.NaN)) < 1e-5))
  }
})

test('an image may say its shape, in rows and one by one', async (t) => {
  using model = await withAdapters()
  const shaped = images.map((data) => ({ pixelValues: { data, shape: [2, 4, 6] } }))
  const flat = images.map((pixelValues) => ({ pixelValues }))
  t.deepEqual(await model.predict(shaped, { adapters: 'a' }), await model.predict(flat, { adapters: 'a' }))
  t.deepEqual(
    await model.forward({ pixelValues: shaped.map(({ pixelValues }) => pixelValues) }, { adapters: 'a' }),
    await model.forward({ pixelValues: images }, { adapters: 'a' })
  )
  const turned = { pixelValues: { data: images[0] as Float32Array, shape: [2, 6, 4] } }
  await t.throwsAsync(model.predict([turned], { adapters: 'a' }), {
    message: /pixelValues: expected rows of \[2, 4, 6\], got \[2, 6, 4\]/
  })
})

test('Parallel: images pass once through what their adapters have in common', async (t) => {
  using model = await withAdapters()
  model.addAdapter('late', 'seq_bn[reduction_factor=2,leave_out=[0]]')
  model.addImageClassificationHead('late', { labels: ['cat', 'dog'] })
  fill(model, 'late', { scale: 0.3 })
  const rows = images.map((pixelValues) => ({ pixelValues }))
  const labels = [0, 1, 1]
  const hidden = { outputHiddenStates: true, head: 'late' }
  for (const children of [
    ['a', 'b'],
    ['late', 'a'],
    ['b', null, 'late'],
    [null, null]
  ]) {
    const answers = await model.predict(rows, { adapters: Parallel(...children), batchSize: 4 })
    const both = await model.forward({ pixelValues: images, labels }, { adapters: Parallel(...children), ...hidden })
    let loss = 0
    for (const [i, adapters] of children.entries()) {
      const own = await model.predict(rows, { adapters })
      for (const [row, { logits, label }] of own.entries()) {
        const got = answers[i * images.length + row]
        t.is(got?.label, label)
        t.true(largestDifference(got?.logits ?? [], logits) < 1e-5, `${children}, row ${row} by ${adapters}`)
      }
      const alone = await model.forward({ pixelValues: images, labels }, { adapters, ...hidden })
      loss += (alone.loss ?? Number.NaN) / children.length
      const part = (all: Float32Array | undefined, one: Float32Array) =>
        all?.subarray(i * one.length, (i + 1) * one.length) ?? []
      for (const [layer, { data }] of (alone.hiddenStates ?? []).entries())
        t.true(
          largestDifference(part(both.hiddenStates?.[layer]?.data, data), data) < 1e-5,
          `${children}, layer ${layer}`
        )
    }
    t.is(both.hiddenStates?.length, 3)
    t.true(Math.abs((both.loss ?? Number.NaN) - loss) < 1e-5)
  }
})

test('images come one by one or in one array with its shape; hidden states are [rows, patches + 1, hidden]', async (t) => {
  using model = await AutoModel.fromPretrained(at('vit-tiny'))
  const data = Float32Array.from(images.flatMap((one) => Array.from(one)))
  const one = await model.forward({ pixelValues: images }, { outputHiddenStates: true })
  t.deepEqual(one.lastHiddenState?.shape, [3, 5, 4])
  t.is(one.hiddenStates?.length, 3)
  t.deepEqual(await model.forward({ pixelValues: { data, shape: [3, 2, 4, 6] } }, { outputHiddenStates: true }), one)
  t.deepEqual(images, [0, 1, 2].map(image), 'what the caller gave is as it was')
})

test('as in transformers, the last of the hidden states is that of the last layer, before the last LayerNorm', async (t) => {
  using model = await AutoModel.fromPretrained(at('vit-tiny'))
  const { hiddenStates, lastHiddenState } = await model.forward({ pixelValues: images }, { outputHiddenStates: true })
  const [scale, shift] = ['weight', 'bias'].map((name) => model.parameter(`vit.layernorm.${name}`).data)
  const raw = hiddenStates?.at(-1)?.data ?? new Float32Array()
  const size = 4
  lastHiddenState?.data.forEach((value, i) => {
    const token = raw.subarray(i - (i % size), i - (i % size) + size)
    const mean = token.reduce((sum, x) => sum + x, 0) / size
    const variance = token.reduce((sum, x) => sum + (x - mean) ** 2, 0) / size
    const expected =
      (((raw[i] ?? 0) - mean) / Math.sqrt(variance)) * (scale?.[i % size] ?? 0) + (shift?.[i % size] ?? 0)
    t.true(Math.abs(value - expected) < 1e-4)
  })
})

test('rows under heads of their own give the loss of their own labels', async (t) => {
  using model = await withAdapters()
  const adapters = ['a', 'b', 'a']
  const both = await model.gradients({ pixelValues: images, labels: [0, 1, 2] }, { adapters })
  const alone = []
  for (const [i, name] of adapters.entries()) {
    const one = { pixelValues: images.slice(i, i + 1), labels: [i] }
    alone.push((await model.forward(one, { adapters: name, head: name })).loss ?? Number.NaN)
  }
  const [a = 0, b = 0, c = 0] = alone
  t.true(
    Math.abs(both.loss - ((a + c) / 2 + b)) < 1e-5 || Math.abs(both.loss - (a + b + c) / 3) < 1e-5,
    `${both.loss} ${alone}`
  )
})

test('frozen or not, without biases of query, key and value, the answers are the same', async (t) => {
  using model = await AutoModel.fromPretrained(at('vit-fields'))
  model.addImageClassificationHead('h')
  const pixelValues = [Float32Array.from({ length: 49 }, (_, i) => Math.cos(i))]
  const frozen = await model.forward({ pixelValues })
  model.addAdapter('b', 'lora[r=2]')
  model.trainAll()
  const training = await model.forward({ pixelValues })
  const withAdapter = await model.forward({ pixelValues }, { adapters: 'b' })
  for (const { logits } of [training, withAdapter]) {
    t.true(logits?.data.every((value, i) => Math.abs(value - (frozen.logits?.data[i] ?? 9)) < 1e-5))
  }
})

test('an adapter learns to tell images apart, and the base stands still', async (t) => {
  using model = await AutoModel.fromPretrained(at('vit-tiny'))
  model.addAdapter('a', 'double_seq_bn[reduction_factor=1]')
  model.addImageClassificationHead('a', { labels: ['rising', 'falling'] })
  model.trainAdapter('a')
  const base = model.namedParameters().filter((one) => !one.trainable)
  const before = base.map((one) => model.parameter(one.name).data)
  const trainDataset: Row[] = [0, 1, 2, 3].map((i) => ({
    pixelValues: Float32Array.from({ length: values }, (_, k) => (i % 2 === 0 ? k : values - k) / values + 0.1 * i),
    label: i % 2 === 0 ? 'rising' : 'falling'
  }))
  const args = { outputDir: temporary(t), maxSteps: 80, learningRate: 0.02, perDeviceTrainBatchSize: 4 }
  await new AdapterTrainer({ model, trainDataset, args: { ...args, saveStrategy: 'epoch' } }).train()
  const { metrics, rows } = await evaluate(model, trainDataset)
  t.deepEqual([metrics.accuracy, rows], [1, 4])
  t.deepEqual(
    base.map((one) => model.parameter(one.name).data),
    before
  )
})

test('a folder has the adapter and the head; the same answers come back', async (t) => {
  using model = await withAdapters()
  const folder = temporary(t)
  await model.saveAdapter(folder, 'a')
  const head = JSON.parse(readFileSync(join(folder, 'head_config.json'), 'utf8'))
  t.is(head.model_class, 'ViTAdapterModel')
  t.deepEqual(Object.keys(head.config).sort(), [
    ...['activation_function', 'bias', 'dropout_prob', 'head_type', 'label2id', 'layers', 'multilabel', 'num_labels'],
    'use_pooler'
  ])
  using again = await AutoModel.fromPretrained(at('vit-tiny'))
  await again.loadAdapter(folder, { as: 'c' })
  const rows = images.map((pixelValues) => ({ pixelValues }))
  t.deepEqual(await again.predict(rows, { adapters: 'c' }), await model.predict(rows, { adapters: 'a' }))
})

for (const name of ['vit-tiny', 'vit-fields']) {
  test(`${name}: what savePretrained writes is the same model`, async (t) => {
    using model = await AutoModel.fromPretrained(at(name))
    const folder = temporary(t)
    await model.savePretrained(folder)
    using again = await AutoModel.fromPretrained(folder)
    t.deepEqual({ ...again.config, nameOrPath: '' }, { ...model.config, nameOrPath: '' })
    const { imageSize, numChannels } = model.config
    const [height, width] = imageSize ?? [0, 0]
    const input = { pixelValues: [new Float32Array(numChannels * height * width).fill(0.5)] }
    // The head of the model's class is not the base model's.
    t.deepEqual(await again.forward(input, { head: null }), await model.forward(input, { head: null }))
    const written = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'))
    const theirs = JSON.parse(readFileSync(join(at(name), 'config.json'), 'utf8'))
    t.deepEqual(
      Object.keys(written).filter((key) => !(key in theirs)),
      []
    )
    t.deepEqual([written.image_size, written.patch_size], [theirs.image_size, theirs.patch_size])
  })
}

test('what does not fit says what was expected', async (t) => {
  using model = await AutoModel.fromPretrained(at('vit-tiny'))
  model.addImageClassificationHead('h')
  const hole = image(0)
  hole[5] = Number.NaN
  for (const [row, message] of [
    ['a text', /the model reads images: expected pixelValues/],
    [{ inputIds: [5, 6] }, /the model reads images/],
    [{ pixelValues: new Float32Array(47) }, /expected 48 values, \[2, 4, 6\], got 47/],
    [{ pixelValues: [[1, 2], [3]] }, /flat array/],
    [{ pixelValues: 'x.png' }, /numbers of an image/],
    [{ pixelValues: hole }, /no finite number/],
    [{ pixelValues: new Uint8Array(48) }, /scaled as the model's preprocessor_config.json says.*imagePixels/]
  ] as const) {
    await t.throwsAsync(model.predict([row as Row]), { message })
  }
  for (const [inputs, message] of [
    [{ inputIds: [[5]] }, /ids were given to a model of images/],
    [{ pixelValues: [] }, /at least one image/],
    [{ pixelValues: [image(0), new Float32Array(3)] }, /pixelValues\[1\]: .*expected 48 values.*got 3/],
    [{ pixelValues: { data: image(0), shape: [1, 2, 6, 4] } }, /expected images of \[2, 4, 6\], got \[2, 6, 4\]/],
    [{ pixelValues: { data: image(0), shape: [2, 2, 4, 6] } }, /expected 96 values/],
    [{ pixelValues: [new Uint8ClampedArray(48)] }, /pixelValues\[0\]: expected numbers scaled/],
    [{ pixelValues: { data: new Uint8Array(48), shape: [1, 2, 4, 6] } }, /pixelValues.data: expected numbers scaled/],
    [{ pixelValues: images, labels: [0] }, /3 labels/],
    [{ pixelValues: images, attentionMask: [[1]] }, /attentionMask/]
  ] as const) {
    await t.throwsAsync(model.forward(inputs as unknown as ForwardInputs), { message })
  }
  using text = await AutoModel.fromPretrained(at('bert-tiny'))
  text.addClassificationHead('h')
  await t.throwsAsync(text.predict([{ pixelValues: image(0) }]), { message: /an image was given to a model of text/ })
  await t.throwsAsync(text.forward({ pixelValues: images }), { message: /an image was given to a model of text/ })
  t.throws(() => text.addImageClassificationHead('i'), { code: 'ERR_UNSUPPORTED', message: /addClassificationHead/ })
  t.throws(() => model.addClassificationHead('i'), { code: 'ERR_UNSUPPORTED', message: /addImageClassificationHead/ })
  t.throws(() => model.addMaskedLmHead('i'), { code: 'ERR_UNSUPPORTED' })
  t.throws(() => model.addAdapter('inv', 'seq_bn_inv'), { code: 'ERR_UNSUPPORTED', message: /invertible/ })
  t.throws(() => model.addAdapter('p', "prompt_tuning[prompt_init='from_string', prompt_init_text='a']"), {
    message: /tokenizer|words/
  })
  await t.throwsAsync(model.generate([{ pixelValues: image(0) } as Row]), { code: 'ERR_UNSUPPORTED' })
  for (const [fields, message] of [
    [{ patch_size: 8 }, /patch_size/],
    [{ image_size: [4, 6, 2] }, /image_size/],
    [{ pooler_act: 'relu' }, /pooler_act/],
    [{ pooler_output_size: 7 }, /pooler_output_size/]
  ] as const) {
    const config = JSON.parse(readFileSync(join(at('vit-tiny'), 'config.json'), 'utf8'))
    await t.throwsAsync(AutoModel.fromConfig({ ...config, ...fields }), { message })
  }
})

test('multi-label answers and regression', async (t) => {
  using model = await AutoModel.fromPretrained(at('vit-tiny'))
  model.addImageClassificationHead('many', { labels: ['x', 'y', 'z'], multilabel: true, layers: 2 })
  model.addImageClassificationHead('value', { numLabels: 1 })
  const row = { pixelValues: image(1) }
  const [many] = await model.predict([row], { head: 'many' })
  t.is(many?.scores?.length, 3)
  const [value] = await model.predict([row], { head: 'value' })
  t.is(value?.score, value?.logits[0])
  model.trainHead('value')
  const { loss } = await model.gradients({ pixelValues: [row.pixelValues], labels: [0.5] })
  t.true(Math.abs(loss - (0.5 - (value?.score ?? 0)) ** 2) < 1e-5)
})

test('a model from a config starts as transformers starts it', async (t) => {
  using model = await AutoModel.fromConfig({
    model_type: 'vit',
    hidden_size: 48,
    num_attention_heads: 4,
    image_size: 32
  })
  const deviation = (name: string) => {
    const { data } = model.parameter(`vit.${name}`)
    return Math.sqrt(data.reduce((sum, value) => sum + value * value, 0) / data.length)
  }
  t.deepEqual(model.config.patchSize, [16, 16])
  t.true(Math.abs(deviation('embeddings.patch_embeddings.projection.weight') / 0.02 - 1) < 0.05)
  t.true(deviation('embeddings.cls_token') > 0.01)
  t.is(deviation('embeddings.patch_embeddings.projection.bias'), 0)
})
