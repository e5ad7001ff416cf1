import test from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { largestDifference } from '../model/support.js'
import { fixtures, Group } from './support/fixtures.js'

interface Case {
  readonly name: string
  readonly model: string
  readonly imageSize: readonly [number, number]
  readonly images: string
  readonly labels: number[]
  readonly expected: {
    readonly lastHiddenState: string
    readonly logits: string
    readonly loss: number
    readonly gradients: { readonly [name: string]: string }
  }
}

const group = new Group<Case>('vit-sizes')
// Reads images of 7 × 7 in patches of 3 × 3.
const open = (): Promise<Model> => AutoModel.fromPretrained(`${fixtures}/models/vit-fields`)

for (const { name, imageSize, images, labels, expected } of group.cases) {
  test(`positions are interpolated as PyTorch does: ${name}`, async (t) => {
    using model = await open()
    const pixels = group.tensor(images)
    const inputs = { pixelValues: pixels, labels }
    const { logits, loss } = await model.forward(inputs, { imageSize })
    t.true(largestDifference(logits?.data ?? [], group.tensor(expected.logits).data) < 1e-5)
    t.true(Math.abs((loss ?? 0) - expected.loss) < 1e-5)
    const { lastHiddenState } = await model.forward({ pixelValues: pixels }, { imageSize, head: null })
    const hidden = group.tensor(expected.lastHiddenState)
    t.deepEqual(lastHiddenState?.shape, hidden.shape)
    t.true(largestDifference(lastHiddenState?.data ?? [], hidden.data) < 1e-5)

    model.trainAll()
    const { gradients } = await model.gradients(inputs, { imageSize })
    for (const [parameter, reference] of Object.entries(expected.gradients)) {
      const want = group.tensor(reference).data
      const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
      t.true(largestDifference(gradients.get(parameter)?.data ?? [], want) < 1e-4 * largest, parameter)
    }

    const count = pixels.data.length / 2
    const rows = [0, 1].map((row) => ({ pixelValues: pixels.data.slice(row * count, (row + 1) * count) }))
    const answers = await model.predict(rows, { imageSize, batchSize: 1 })
    answers.forEach((answer, row) => {
      t.true(largestDifference(answer.logits, logits?.data.subarray(row * 2, row * 2 + 2) ?? []) < 1e-5)
    })
  })
}

test('adapters work at every size; the model’s own size interpolates nothing', async (t) => {
  using model = await open()
  for (const [name, config] of [
    ['a', 'double_seq_bn[reduction_factor=2]'],
    ['b', 'prompt_tuning[prompt_length=1]']
  ] as const) {
    model.addAdapter(name, config)
  }
  const image = (height: number, width: number) => Float32Array.from({ length: height * width }, (_, i) => Math.sin(i))
  const own = [{ pixelValues: image(7, 7) }]
  t.deepEqual(
    await model.predict(own, { imageSize: [7, 7], adapters: 'a' }),
    await model.predict(own, { adapters: 'a' })
  )
  const other = [0, 1, 2].map(() => ({ pixelValues: image(10, 13) }))
  const adapters = ['a', null, 'b'] as const
  const answers = await model.predict(other, { imageSize: [10, 13], adapters })
  for (const [i, adapter] of adapters.entries()) {
    const [alone] = await model.predict(other.slice(0, 1), { imageSize: [10, 13], adapters: adapter })
    t.true(largestDifference(answers[i]?.logits ?? [], alone?.logits ?? []) < 1e-5)
  }
})

test('another size without the option, and sizes that cannot be, are refused', async (t) => {
  using model = await open()
  const rows = [{ pixelValues: new Float32Array(130) }]
  const data = new Float32Array(130)
  await t.throwsAsync(model.predict(rows), { message: /expected 49 values, \[1, 7, 7\], got 130.*imageSize/ })
  await t.throwsAsync(model.forward({ pixelValues: { data, shape: [1, 1, 10, 13] } }), {
    message: /expected images of \[1, 7, 7\], got \[1, 10, 13\]; imageSize: \[10, 13\]/
  })
  await t.throwsAsync(model.predict(rows, { imageSize: [13, 9] }), { message: /expected 117 values, \[1, 13, 9\]/ })
  await t.throwsAsync(model.predict(rows, { imageSize: [2, 65] }), { message: /imageSize\[0\]: expected .* from 3/ })
  for (const imageSize of [[10], [10, 13, 1], 10] as never[]) {
    await t.throwsAsync(model.predict(rows, { imageSize }), { message: /^imageSize: expected/ })
  }
  using text = await AutoModel.fromPretrained(`${fixtures}/models/bert-tiny`)
  await t.throwsAsync(text.forward({ inputIds: [[5]] }, { imageSize: [10, 13] }), { message: /the model reads text/ })
})
