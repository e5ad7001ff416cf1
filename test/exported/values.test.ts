import test from 'ava'
import { AutoModel, addAdaptersToModel, type Model } from '../../lib/index.js'
import { casesOf, distance, open } from './support.js'
import { setTrained } from './training-case.js'
import { valueRows } from './value-rows.js'

const tokensOf: { readonly [name: string]: (values: number) => number } = {
  wav2vec2: (samples) => Math.floor((Math.floor((samples - 6) / 4) + 1 - 2) / 2) + 1,
  'wav2vec2-masked': (samples) => Math.floor((Math.floor((samples - 6) / 4) + 1 - 2) / 2) + 1,
  frames: (values) => values / 4
}

for (const name of Object.keys(tokensOf)) {
  test(`${name}: sounds and features of any length come out as PyTorch has them`, async (t) => {
    const { group, model } = await open(t, name)
    for (const one of casesOf(group, 'forward')) {
      const rows = valueRows(group, one.inputs)
      const { lastHiddenState } = await model.forward({ inputValues: rows }, { head: null })
      const { data, shape } = group.tensor(one.expected.output ?? '')
      t.deepEqual(lastHiddenState?.shape, [...shape])
      const [, columns = 1, hidden = 1] = shape
      rows.forEach((row, i) => {
        const begin = i * columns * hidden
        const end = begin + (tokensOf[name]?.(row.length) ?? 0) * hidden
        const away = distance(lastHiddenState?.data.subarray(begin, end) ?? [], { data: data.subarray(begin, end) })
        t.true(away < 1e-6, `${one.name}, row ${i}: ${away}`)
      })
    }
  })
}

async function answers(model: Model, rows: readonly object[]): Promise<number[][]> {
  const found = await model.predict(rows as never, { head: 'x' })
  return found.map(({ logits }) => Array.from(logits))
}

for (const name of ['wav2vec2', 'wav2vec2-masked', 'frames']) {
  test(`${name}: rows of several lengths in one batch answer as they do alone`, async (t) => {
    const { group, model } = await open(t, name)
    setTrained(model, group)
    const rows = casesOf(group, 'forward').flatMap(({ inputs }) =>
      valueRows(group, inputs).map((inputValues) => ({ inputValues }))
    )
    const together = await answers(model, rows)
    for (const [i, row] of rows.entries()) {
      const [alone] = await answers(model, [row])
      const away = distance(together[i] ?? [], { data: Float32Array.from(alone ?? []) })
      t.true(away < 2e-6, `row ${i}: ${away}`)
    }
    model.addTaggingHead('tags', { numLabels: 2 })
    const [tagged] = await model.predict([rows[1] ?? { inputValues: [] }] as never, { head: 'tags' })
    t.is(tagged?.tokens?.length, tokensOf[name]?.(rows[1]?.inputValues.length ?? 0))
  })
}

for (const [name, pattern] of [
  ['wav2vec2', 'encoder.layers.0.attention'],
  ['wav2vec2-masked', 'encoder.layers.0.attention'],
  ['frames', 'layers.0.norm2']
] as const) {
  test(`${name}: lengths that come first after surgery, whose adapters add nothing yet`, async (t) => {
    for (const position of ['after', 'before', 'parallel'] as const) {
      const { group, model } = await open(t, name)
      const { model: plain } = await open(t, name)
      addAdaptersToModel(model, { pattern, hiddenSize: 8, adapterSize: 2, position })
      for (const one of casesOf(group, 'forward')) {
        const inputValues = valueRows(group, one.inputs)
        const [put, without] = [await model.forward({ inputValues }), await plain.forward({ inputValues })]
        t.deepEqual(put.lastHiddenState?.shape, without.lastHiddenState?.shape)
        const data = without.lastHiddenState?.data ?? new Float32Array()
        t.true(distance(put.lastHiddenState?.data ?? [], { data }) < 1e-6)
      }
    }
  })
}

test('numbers under the name that the network has for them are told where they go', async (t) => {
  for (const [network, field] of [
    ['wav2vec2', 'inputValues'],
    ['frames', 'inputValues'],
    ['vit', 'pixelValues']
  ] as const) {
    const { model } = await open(t, network)
    const [name = ''] = model.config.exported?.inputs.filter((one) => one !== 'attention_mask') ?? []
    await t.throwsAsync(model.forward({ [name]: [new Float32Array(8)] } as never), {
      message: `inputs: '${name}' is what the network calls its numbers; here they are ${field}`
    })
  }
})

test('an output with one value a row, and the mean over tokens, are what heads read when asked to', async (t) => {
  const { group } = await open(t, 'frames')
  const rows = valueRows(group, casesOf(group, 'forward').at(-1)?.inputs)
  const logits = async (options: object) => {
    const model = await AutoModel.fromExported(group.archive, options)
    t.teardown(() => model.dispose())
    setTrained(model, group)
    const { logits } = await model.forward({ inputFeatures: rows }, { head: 'x' })
    return { data: logits?.data ?? new Float32Array() }
  }
  const [first, last, mean] = [await logits({}), await logits({ pooling: 'last' }), await logits({ pooling: 'mean' })]
  t.true(distance(first.data, await logits({ pooling: 'first' })) === 0)
  t.true(distance(first.data, last) > 1e-3 && distance(first.data, mean) > 1e-3)
  // The network's own mean is that over tokens.
  t.true(distance(mean.data, await logits({ output: 'mean' })) < 1e-6)
  await t.throwsAsync(AutoModel.fromExported(group.archive, { output: 'pooled' }), {
    message: /'pooled' is none of the graph's.*last_hidden_state/
  })
  await t.throwsAsync(AutoModel.fromExported(group.archive, { pooling: 'max' as never }), { message: /pooling/ })
  await t.throwsAsync(logits({ output: 'mean', pooling: 'last' }), {
    code: 'ERR_INVALID_ARGUMENT',
    message: /pooling: the output 'mean' has one value for each row \(expected no pooling/
  })
  t.true(distance(mean.data, await logits({ output: 'last_hidden_state', pooling: 'mean' })) < 1e-6)
})

test('a pooler of the network answers for rows where it is the output', async (t) => {
  const { group, model } = await open(t, 'vit')
  const pooled = await AutoModel.fromExported(group.archive, { output: 'pooler_output' })
  t.teardown(() => pooled.dispose())
  const pixelValues = valueRows(group, casesOf(group, 'forward')[1]?.inputs)
  for (const one of [model, pooled]) {
    one.addImageClassificationHead('h', { numLabels: 2, layers: 1, usePooler: one === model, seed: 3 })
  }
  const [ours, theirs] = [await model.forward({ pixelValues }), await pooled.forward({ pixelValues })]
  t.true(distance(ours.logits?.data ?? [], { data: theirs.logits?.data ?? new Float32Array() }) < 1e-6)
})

test('features of one size are typed arrays with or without their shape; what does not fit is said', async (t) => {
  const { group, model } = await open(t, 'whisper-encoder')
  const [one] = casesOf(group, 'forward')
  const [row = new Float32Array()] = valueRows(group, one?.inputs)
  const expected = group.tensor(one?.expected.output ?? '')
  for (const inputFeatures of [[row], [{ data: row, shape: [4, 12] }], { data: row, shape: [1, 4, 12] }]) {
    const { lastHiddenState } = await model.forward({ inputFeatures }, { head: null })
    t.true(distance(lastHiddenState?.data ?? [], expected) < 1e-6)
  }
  await t.throwsAsync(model.forward({ inputFeatures: [row.subarray(4)] }), {
    message: /expected 48 numbers, \[4, 12\], got 44/
  })
  await t.throwsAsync(model.forward({ inputFeatures: [{ data: row, shape: [12, 4] }] }), {
    message: /expected rows of \[4, 12\], got \[12, 4\]/
  })
  await t.throwsAsync(model.forward({ inputIds: [[1]] }), { message: /inputIds|numbers/ })
  const { model: sounds } = await open(t, 'wav2vec2')
  await t.throwsAsync(sounds.forward({ inputValues: [row.subarray(0, 3)] }), { message: /too few/ })
  const { model: bert } = await open(t, 'bert')
  await t.throwsAsync(bert.forward({ inputValues: [row] }), { message: /numbers were given to a model of text/ })
})

test('arrays whose entries are not the numbers that are meant, and empty ones, are told as what they are', async (t) => {
  const { model } = await open(t, 'wav2vec2')
  const expected = (got: string) => ({ message: new RegExp(`expected a row's numbers, in a Float32Array.*got ${got}`) })
  for (const kind of [Uint8Array, Uint16Array, BigInt64Array]) {
    const data = new kind(40) as never
    for (const inputValues of [[data], { data, shape: [1, 40] }])
      await t.throwsAsync(model.forward({ inputValues }), expected(`an? ${kind.name}`))
  }
  await t.throwsAsync(
    model.forward({ inputValues: [new DataView(new ArrayBuffer(160)) as never] }),
    expected('a DataView')
  )
  await t.throwsAsync(model.forward({ inputValues: [new Float32Array()] }), {
    message: /expected a row's numbers, at least one, got an empty array/
  })
  const samples = Float64Array.from({ length: 40 }, (_, i) => Math.sin(i))
  const [wide, plain] = await Promise.all(
    [samples, Array.from(samples)].map((row) => model.forward({ inputValues: [row] }, { head: null }))
  )
  t.deepEqual(wide?.lastHiddenState, plain?.lastHiddenState)
})

test('a sound that is shorter than the graph takes is padded under the mask, and answers as beside a longer one', async (t) => {
  const { model } = await open(t, 'wav2vec2-masked')
  const row = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(0.7 * i + count))
  model.addAdapter('x', 'seq_bn[reduction_factor=4]')
  // The exporter lets a graph take what makes two tokens or more.
  for (const count of [10, 13])
    for (const adapters of [null, 'x']) {
      const alone = await model.forward({ inputValues: [row(count)] }, { adapters, head: null })
      const beside = await model.forward({ inputValues: [row(count), row(60)] }, { adapters, head: null })
      const { shape = [], data = [] } = alone.lastHiddenState ?? {}
      t.deepEqual(shape.slice(0, 2), [1, 1])
      const first = beside.lastHiddenState?.data.slice(0, data.length) ?? new Float32Array()
      t.true(data.length > 0 && distance(data, { data: Float32Array.from(first) }) < 1e-6)
    }
  const both = await model.forward({ inputValues: [row(10), row(12)] }, { adapters: [null, 'x'], head: null })
  t.deepEqual(both.lastHiddenState?.shape.slice(0, 2), [2, 1])
  const unmasked = (await open(t, 'wav2vec2')).model
  await t.throwsAsync(unmasked.forward({ inputValues: [row(10)] }, { head: null }))
})
