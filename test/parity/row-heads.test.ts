import { join } from 'node:path'
import test from 'ava'
import { AutoModel, Fuse, type Model } from '../../lib/index.js'
import { type Setup, setupFrom } from './support/compositions.js'
import { fixtures, Group, type Input } from './support/fixtures.js'
import { scalar, Worst } from './support/worst.js'

// scripts/fixtures/cases_row_heads.py says what the peer computes.

interface Case {
  readonly name: string
  readonly setup: Setup
  readonly input: Input
  readonly labels: number[]
  readonly weights: string
  readonly losses: number[]
  readonly loss: number
  readonly logits: string[]
  readonly gradients: string
  readonly scores: { readonly [layer: string]: { readonly mh_adapter: string; readonly output_adapter: string } }
}

const group = new Group<Case>('row-heads')

async function open(reduction: number): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models', 'bert-tiny'))
  for (const name of ['a', 'b']) {
    model.addAdapter(name, `double_seq_bn[reduction_factor=${reduction}]`)
    model.addClassificationHead(name, { numLabels: 3, layers: 1 })
  }
  return model
}

/** Names of parameters in the fixture's order, and one tensor of all their values taken apart. */
function ordered(model: Model, pattern: RegExp) {
  return model
    .namedParameters()
    .filter(({ name }) => pattern.test(`.${name}`))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}

function setFlat(model: Model, pattern: RegExp, all: Float32Array): void {
  let at = 0
  const state = ordered(model, pattern).map(({ name, shape }) => {
    const size = shape.reduce((product, count) => product * count, 1)
    at += size
    return [name, { data: all.slice(at - size, at), shape }] as const
  })
  model.loadStateDict(new Map(state))
}

for (const one of group.cases.filter(({ setup }) => setup !== undefined)) {
  test(`${one.name}: logits, losses and gradients head by head are those of PyTorch`, async (t) => {
    using model = await open(32)
    const own = /\.adapters\.[ab]\.|\.heads\./
    setFlat(model, own, group.tensor(one.weights).data)
    const setup = setupFrom(one.setup)
    model.trainAdapter(setup as never)
    const worst = new Worst()
    const inputs = { ...one.input, labels: one.labels }
    const { loss, headOutputs = [] } = await model.forward(inputs)
    worst.forward('loss', scalar(loss), scalar(one.loss))
    t.is(headOutputs.length, 2)
    for (const [i, output] of headOutputs.entries()) {
      worst.forward(`logits of ${output.head}`, output.logits, group.tensor(one.logits[i] ?? ''))
      worst.forward(`loss of ${output.head}`, scalar(output.loss), scalar(one.losses[i]))
    }
    const { gradients, loss: again } = await model.gradients(inputs)
    worst.forward('loss with gradients', scalar(again), scalar(one.loss))
    const names = ordered(model, own).map(({ name }) => name)
    const all = Float32Array.from(names.flatMap((name) => Array.from(gradients.get(name)?.data ?? [])))
    worst.gradient('all', { data: all, shape: [all.length] }, group.tensor(one.gradients), 0)
    worst.report(t)
  })
}

test('a fusion attends to what it attends to in PyTorch', async (t) => {
  const one = group.cases.find(({ name }) => name === 'attentions') as Case
  using model = await open(16)
  setFlat(model, /\.adapters\.[ab]\./, group.tensor(one.weights).data)
  model.addAdapterFusion(['a', 'b'], 'dynamic')
  const own = ordered(model, /adapter_fusion_layer.*\.(query|key)\./).map(({ name, shape }, number) => {
    const size = shape.reduce((product, count) => product * count, 1)
    const data = Float32Array.from({ length: size }, (_, i) => (((i * 7 + number * 3) % 11) - 5) / 16)
    return [name, { data, shape }] as const
  })
  model.loadStateDict(new Map(own))
  const options = { adapters: Fuse('a', 'b'), head: null, outputAdapterFusionAttentions: true }
  const { adapterFusionAttentions: got } = await model.forward(one.input, options)
  const worst = new Worst()
  const nothing = { data: new Float32Array(), shape: [] }
  for (const [layer, { mh_adapter: attention, output_adapter: output }] of Object.entries(one.scores)) {
    const here = got?.['a,b']?.[Number(layer)]
    worst.forward(`layer ${layer}, attention`, here?.mhAdapter ?? nothing, group.tensor(attention))
    worst.forward(`layer ${layer}, output`, here?.outputAdapter ?? nothing, group.tensor(output))
  }
  t.is(Object.keys(one.scores).length, 2)
  worst.report(t)
})
