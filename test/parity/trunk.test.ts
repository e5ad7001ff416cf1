import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { headConfigFromJson } from '../../lib/config/head-config.js'
import { AutoModel, type Model } from '../../lib/index.js'
import { type Case, fixtures, Group } from './support/fixtures.js'
import { largestOf, scalar, Worst } from './support/worst.js'

/*
 * Each product of the reference rounds one factor and its result to bfloat16, whose numbers lie 2^-8 apart, relatively, and
 * so do processors that multiply bfloat16; sums come in another order in any case. One result in two may thus be a whole
 * step away, and two layers of products that each read the one before add such steps up: four of them are allowed for
 * values, sixteen for gradients, which go through all products twice. (Those of PyTorch itself are 3 % of the largest away
 * from the exact ones in this GPT-2, whose LayerNorms divide by the length of eight numbers.) Where the processor has no
 * such products nothing but the matrices is rounded here, and the exact values are those of a float32 model's tests.
 */
const step = 2 ** -8
const rounds = /\b(avx512_bf16|amx_bf16)\b/.test(
  existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : 'avx512_bf16'
)

type Values = { readonly logits: string; readonly loss: number; readonly gradients: string }
const group = new Group<Omit<Case, 'expected'> & { weights: string; expected: Values; exact: Values }>('trunk')

const own = (model: Model) =>
  model
    .namedParameters()
    .filter(({ part }) => part !== 'base')
    .sort((a, b) => (a.name < b.name ? -1 : 1))

function unpacked(model: Model, reference: string): Map<string, { data: Float32Array; shape: number[] }> {
  const { data } = group.tensor(reference)
  let at = 0
  const values = own(model).map(({ name, shape }) => {
    const size = shape.reduce((product, one) => product * one, 1)
    at += size
    return [name, { data: data.slice(at - size, at), shape }] as const
  })
  if (at !== data.length) throw new Error(`${data.length} values for parameters of ${at}`)
  return new Map(values)
}

for (const one of group.cases) {
  test(`as PyTorch with a base model in bfloat16: ${one.name}`, async (t) => {
    using model = await AutoModel.fromPretrained(join(fixtures, 'models', one.model), { trunk: 'bfloat16' })
    model.addAdapter('a', one.adapter?.config)
    model.addHead('a', headConfigFromJson(one.head?.config ?? {}))
    model.loadStateDict(unpacked(model, one.weights))
    model.trainAdapter('a')
    const input = { ...one.input, labels: one.labels as number[] }
    const worst = new Worst()
    const { logits, loss } = await model.forward(input)
    const { gradients } = await model.gradients(input)
    for (const [kind, forward, backward] of [
      ['expected', 4 * step, 16 * step],
      ['exact', rounds ? 4 * step : 1e-5, rounds ? 16 * step : 1e-4]
    ] as const) {
      const reference = one[kind]
      worst.forward(`${kind} logits`, logits ?? scalar(undefined), group.tensor(reference.logits), forward)
      worst.forward(`${kind} loss`, scalar(loss), scalar(reference.loss), forward)
      const expected = unpacked(model, reference.gradients)
      const largest = Math.max(...[...expected.values()].map(largestOf))
      for (const [name, value] of expected) {
        const scale = Math.max(largestOf(value), largest / 100)
        worst.compare(`${kind} gradient`, name, gradients.get(name) ?? scalar(undefined), value, backward, () => scale)
      }
    }
    t.is(gradients.size, own(model).length)
    // Each row alone is what it is beside others, but for the order of sums.
    for (const [row, ids] of one.input.inputIds.entries()) {
      const alone = await model.forward({ inputIds: [ids] })
      const beside = { data: logits?.data.slice(3 * row, 3 * row + 3) ?? new Float32Array(), shape: [1, 3] }
      worst.compare('alone', `row ${row}`, alone.logits ?? scalar(undefined), beside, 4 * step, (v) => 1 + Math.abs(v))
    }
    worst.report(t)
  })
}
