import test from 'ava'
import { AutoModel } from '../../lib/index.js'
import { casesOf, distance, imageModels, inputsOf, nativeTwin, open, textModels } from './support.js'

for (const name of textModels) {
  test(`${name}: hidden states are PyTorch's, whatever the rows' lengths`, async (t) => {
    const { group, model } = await open(t, name)
    for (const one of casesOf(group, 'forward')) {
      const { lastHiddenState } = await model.forward(inputsOf(one.inputs), { head: null })
      const away = distance(lastHiddenState?.data ?? [], group.tensor(one.expected.output ?? ''))
      t.true(away < 1e-5, `${one.name}: ${away}`)
    }
  })
}

for (const name of imageModels) {
  test(`${name}: rows of numbers come out as PyTorch has them`, async (t) => {
    const { group, model } = await open(t, name)
    for (const one of casesOf(group, 'forward')) {
      const { data, shape } = group.tensor(String(Object.values(one.inputs ?? {})[0]))
      const each = data.length / (shape[0] ?? 1)
      const pixelValues = Array.from({ length: shape[0] ?? 1 }, (_, i) => data.subarray(i * each, (i + 1) * each))
      const { lastHiddenState } = await model.forward({ pixelValues }, { head: null })
      const away = distance(lastHiddenState?.data ?? [], group.tensor(one.expected.output ?? ''))
      t.true(away < 1e-5, `${one.name}: ${away}`)
    }
  })
}

test('an archive takes images of the size that it was exported with, and says so', async (t) => {
  const { model } = await open(t, 'vit')
  const [height = 0, width = 0] = model.config.imageSize ?? []
  const { numChannels } = model.config
  const shape = [1, numChannels, 2 * height, width]
  const pixelValues = { data: new Float32Array(shape.reduce((a, b) => a * b)), shape }
  await t.throwsAsync(model.forward({ pixelValues }, { head: null }), { message: /images of one size: resize them/ })
  await t.throwsAsync(model.forward({ pixelValues }, { head: null, imageSize: [2 * height, width] }), {
    message: /imageSize: the archive takes images of one size, \d+ × \d+: resize them/
  })
})

test('parameters and modules have the names of PyTorch', async (t) => {
  const { model } = await open(t, 'llama')
  const names = model.namedParameters().map((parameter) => parameter.name)
  t.is(names[0], 'embed_tokens.weight')
  t.is(names.at(-1), 'norm.weight')
  t.true(names.includes('layers.1.mlp.gate_proj.weight'))
  t.is(names.length, 2 * 9 + 2)
  t.deepEqual(
    model.namedModules('layers.*.self_attn.*_proj'),
    [0, 1].flatMap((layer) => ['q', 'k', 'v', 'o'].map((one) => `layers.${layer}.self_attn.${one}_proj`))
  )
})

const sizes = { hidden_size: 16, num_attention_heads: 2, num_hidden_layers: 2, intermediate_size: 24, vocab_size: 37 }
const twins = {
  bert: { model_type: 'bert', ...sizes, max_position_embeddings: 24 },
  gpt2: { model_type: 'gpt2', n_embd: 16, n_head: 2, n_layer: 2, vocab_size: 37, n_positions: 24, n_inner: 24 }
}

for (const name of ['bert', 'gpt2'] as const) {
  test(`${name}: the graph and the native model are the same network under the same names`, async (t) => {
    const { group, model } = await open(t, name)
    const native = await nativeTwin(t, twins[name], model)
    t.deepEqual(
      native.namedParameters().map((parameter) => parameter.name),
      model.namedParameters().map((parameter) => `${{ bert: 'bert', gpt2: 'transformer' }[name]}.${parameter.name}`)
    )
    for (const one of casesOf(group, 'forward')) {
      const ours = await native.forward(inputsOf(one.inputs), { head: null, outputHiddenStates: true })
      const theirs = await model.forward(inputsOf(one.inputs), { head: null, outputHiddenStates: true })
      t.is(theirs.hiddenStates?.length, ours.hiddenStates?.length)
      ours.hiddenStates?.forEach((states, i) => {
        const away = distance(theirs.hiddenStates?.[i]?.data ?? [], { data: states.data as Float32Array })
        t.true(away < 1e-5, `${one.name}, layer ${i}: ${away}`)
      })
    }
  })
}

test('heads read the first token of rows where no token sees another', async (t) => {
  const { model } = await open(t, 'shared')
  t.false(model.config.exported?.isCausal)
  model.addClassificationHead('x')
  const logits = async (inputIds: number[][]) => [...((await model.forward({ inputIds })).logits?.data ?? [])]
  const [[a, b], other] = [
    await logits([[5, 6, 7]]),
    await logits([
      [5, 8],
      [9, 6, 7]
    ])
  ]
  t.true(Math.abs((a ?? 0) - (other[0] ?? 1)) < 1e-6 && Math.abs((b ?? 0) - (other[1] ?? 1)) < 1e-6)
  t.true(Math.abs((a ?? 0) - (other[2] ?? 0)) > 1e-5)
})

test('what an exported network does not do is said by name', async (t) => {
  const { model } = await open(t, 'gpt2')
  await t.throwsAsync(model.generate([{ inputIds: [3, 4] }]), { code: 'ERR_UNSUPPORTED', message: /generate/ })
  await t.throwsAsync(AutoModel.fromExported('no-such.pt2'), { code: 'ERR_FILE_NOT_FOUND' })
  await t.throwsAsync(AutoModel.fromExported('test'), { code: 'ERR_FILE_IO', message: /is a folder.*fromPretrained/ })
  t.throws(() => model.addAdapter('p', 'prompt_tuning'), { code: 'ERR_UNSUPPORTED', message: /takes no prompt/ })
  await t.throwsAsync(model.forward({ inputIds: [[3, 40]] }), { message: /vocabulary/ })
})
