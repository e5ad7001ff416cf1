import { join } from 'node:path'
import test from 'ava'
import { headConfigFromJson } from '../../lib/config/head-config.js'
import { AutoModel, type ForwardOutputs, type Model } from '../../lib/index.js'
import type { TokenInputs } from '../../lib/model/inputs.js'
import { fixtures, Group, type JsonObject, type Tensor } from './support/fixtures.js'
import { largestOf, scalar, Worst } from './support/worst.js'

interface ChoiceCase {
  readonly name: string
  readonly model: string
  readonly head: JsonObject
  readonly input: TokenInputs
  readonly labels: number[] | number[][]
  /** Of the adapter and the head, in the order of their names. */
  readonly weights: string
  readonly expected: { readonly logits: string; readonly loss: number; readonly gradients: string }
}

const isOwn = (name: string) => name.includes('.adapters.a.') || name.startsWith('heads.h.')
const own = (model: Model) =>
  model
    .namedParameters()
    .filter(({ name }) => isOwn(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))

async function open({ model: name, head }: ChoiceCase, weights: Tensor): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models', name))
  model.addAdapter('a', 'seq_bn[reduction_factor=4]')
  model.addHead('h', headConfigFromJson(head))
  let at = 0
  const values = own(model).map(({ name, shape }): [string, Tensor] => {
    const size = shape.reduce((product, length) => product * length, 1)
    at += size
    return [name, { data: weights.data.slice(at - size, at), shape }]
  })
  model.loadStateDict(new Map(values))
  model.trainAdapter('a')
  return model
}

/** Real numbers of the padded answers, pair by pair for a parse: how well a word is a head, and by which relation. */
function real({ logits, relationLogits }: ForwardOutputs, { input, head }: ChoiceCase): Tensor {
  const values = Array.from(logits?.data ?? [])
  const [, columns = 0, width = 0] = logits?.shape ?? []
  if (head['head_type'] === 'multiple_choice') return flat(values.filter((value) => value !== Number.NEGATIVE_INFINITY))
  if (relationLogits !== undefined) {
    const kinds = relationLogits.shape[3] ?? 0
    return flat(
      values.flatMap((value, i) =>
        value === Number.NEGATIVE_INFINITY ? [] : [value, ...relationLogits.data.subarray(i * kinds, (i + 1) * kinds)]
      )
    )
  }
  const lengths = (input.inputIds as number[][]).map((row) => row.length)
  return flat(lengths.flatMap((length, row) => values.slice(row * columns * width, (row * columns + length) * width)))
}

const flat = (values: number[]): Tensor => ({ data: Float32Array.from(values), shape: [values.length] })

test('heads that choose: the logits of PyTorch, losses without padding, gradients', async (t) => {
  const group = new Group<ChoiceCase>('choices')
  const worst = new Worst()
  for (const one of group.cases) {
    using model = await open(one, group.tensor(one.weights))
    const inputs = { ...one.input, labels: one.labels }
    const answer = await model.forward(inputs, { adapters: 'a', head: 'h' })
    worst.forward(`${one.name} logits`, real(answer, one), group.tensor(one.expected.logits))
    worst.forward(`${one.name} loss`, scalar(answer.loss), scalar(one.expected.loss))
    const { loss, gradients } = await model.gradients(inputs, { adapters: 'a', head: 'h' })
    worst.forward(`${one.name} loss with gradients`, scalar(loss), scalar(one.expected.loss))
    const got = flat(own(model).flatMap(({ name }) => Array.from(gradients.get(name)?.data ?? [])))
    const expected = group.tensor(one.expected.gradients)
    worst.gradient(`${one.name} gradients`, got, expected, largestOf(expected))
  }
  worst.report(t)
})
