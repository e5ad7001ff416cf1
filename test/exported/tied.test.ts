import test from 'ava'
import { AdapterTrainer, type Model } from '../../lib/index.js'
import { quiet } from '../model/support.js'
import { openHead } from './head-archives.js'

/** GPT-2's lm_head is its word embedding. */
const words = 'transformer.wte.weight'
const ids = [
  [5, 6, 7, 8, 9],
  [11, 12, 13]
]

const ofName = (model: Model, name: string) => model.parameter(name).data

test('a tied weight of an archive is one parameter under two names', async (t) => {
  const model = await openHead(t, 'gpt2-lm')
  const names = model.namedParameters().map(({ name }) => name)
  t.true(names.includes(words))
  t.false(names.includes('lm_head.weight'))
  const { baseParameters } = model.adapterSummary()
  const sizes = model.namedParameters().map(({ shape }) => shape.reduce((a, b) => a * b, 1))
  t.is(
    baseParameters,
    sizes.reduce((a, b) => a + b, 0)
  )
  t.true(model.stateDict().has('lm_head.weight'))
  for (const name of [words, 'lm_head.weight']) {
    const { shape } = model.parameter(words)
    const data = Float32Array.from(ofName(model, words), (value) => value / 2)
    model.loadStateDict(new Map([[name, { shape, data }]]))
    for (const one of [words, 'lm_head.weight']) t.deepEqual(ofName(model, one), data)
  }
})

test('its gradient is that of both places, and it stays tied while it learns', async (t) => {
  const model = await openHead(t, 'gpt2-lm')
  model.trainAll()
  const inputs = { inputIds: ids, labels: ids }
  const { gradients } = await model.gradients(inputs)
  t.false(gradients.has('lm_head.weight'))
  const gradient = gradients.get(words)?.data ?? []
  const { shape } = model.parameter(words)
  const before = ofName(model, words)
  const lossAt = async (place: number, by: number) => {
    const data = before.slice()
    data[place] = (data[place] ?? 0) + by
    model.loadStateDict(new Map([[words, { shape, data }]]))
    return (await model.gradients(inputs)).loss
  }
  // A word that is read, and one that is only ever an answer that was not given.
  for (const place of [6 * 8 + 1, 2 * 8 + 3]) {
    const difference = ((await lossAt(place, 1e-2)) - (await lossAt(place, -1e-2))) / 2e-2
    t.true(Math.abs(difference - Number(gradient[place])) < 2e-3, `${difference} beside ${gradient[place]}`)
  }
  model.loadStateDict(new Map([[words, { shape, data: before }]]))
  const trainDataset = ids.map((row) => ({ inputIds: row, labels: row }))
  await new AdapterTrainer({ model, trainDataset, args: { ...quiet, maxSteps: 3, learningRate: 0.01 } }).train()
  t.notDeepEqual(ofName(model, words), before)
  t.deepEqual(ofName(model, 'lm_head.weight'), ofName(model, words))
  model.freezeBaseModel()
  t.deepEqual(ofName(model, 'lm_head.weight'), ofName(model, words))
})
