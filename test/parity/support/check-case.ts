import type { ExecutionContext } from 'ava'
import type { ForwardInputs, Tensor as Output } from '../../../lib/index.js'
import { type Case, Group, type Tensor } from './fixtures.js'
import { open } from './setting.js'
import { largestOf, scalar, Worst } from './worst.js'

const tokenHeads: readonly unknown[] = ['tagging', 'masked_lm', 'causal_lm']

/** Checks every case of a group, forward and gradients, and reports the worst cells. */
export async function checkGroup(t: ExecutionContext, name: string): Promise<void> {
  const group = new Group<Case>(name)
  const worst = new Worst()
  for (const one of group.cases) {
    try {
      await checkCase(group, one, worst)
    } catch (error) {
      worst.fail(`${one.name}: ${error}`)
    }
  }
  worst.report(t)
}

async function checkCase(group: Group<Case>, one: Case, worst: Worst): Promise<void> {
  using model = await open(one, group)
  const given = group.input(one)
  const input: ForwardInputs = one.labels ? { ...given, labels: one.labels } : given
  const adapters = one.adapter?.name ?? null
  const answer = await model.forward(input, { adapters, outputHiddenStates: true })
  checkForward(group, one, answer, worst)
  if (!one.labels) return

  worst.forward(`${one.name} loss`, scalar(answer.loss), scalar(one.expected.loss))
  const { loss, gradients } = await model.gradients(input, { adapters })
  worst.forward(`${one.name} loss with gradients`, scalar(loss), scalar(one.expected.loss))
  checkGradients(one.name, gradients, group.tensors(one.expected.gradients), worst)
}

/** Logits and last hidden states, of real tokens only where they are token-wise. */
export function checkForward(
  group: Group<Case>,
  one: Case,
  answer: { readonly logits?: Output; readonly lastHiddenState?: Output },
  worst: Worst
): void {
  const { logits, lastHiddenState } = one.expected
  worst.forward(`${one.name} lastHiddenState`, realTokens(one, answer.lastHiddenState), group.tensor(lastHiddenState))
  if (logits === undefined) return
  const isTokenWise = tokenHeads.includes(one.head?.config['head_type'])
  const got = isTokenWise ? realTokens(one, answer.logits) : answer.logits
  worst.forward(`${one.name} logits`, got ?? scalar(undefined), group.tensor(logits))
}

// [rows, width, n] → [real tokens, n]
function realTokens({ input, images }: Case, padded: Output | undefined): Tensor {
  const [rows, width, size] = padded?.shape ?? []
  if (padded === undefined || rows === undefined || width === undefined || size === undefined) return scalar(undefined)
  const kept: number[] = []
  let count = 0
  for (let row = 0; row < rows; row++) {
    for (let token = 0; token < width; token++) {
      const isReal =
        images !== undefined ||
        (input.attentionMask ? input.attentionMask[row]?.[token] : token < (input.inputIds[row]?.length ?? 0))
      if (!isReal) continue
      const start = (row * width + token) * size
      kept.push(...padded.data.subarray(start, start + size))
      count++
    }
  }
  return { data: Float32Array.from(kept), shape: [count, size] }
}

export function checkGradients(
  name: string,
  got: ReadonlyMap<string, Tensor>,
  expected: Map<string, Tensor>,
  worst: Worst
): void {
  const largest = Math.max(...[...expected.values()].map(largestOf))
  for (const [parameter, value] of expected) {
    const gradient = got.get(parameter)
    if (gradient) worst.gradient(`${name} ${parameter}`, gradient, value, largest)
    else worst.fail(`${name}: no gradient for ${parameter}`)
  }
  for (const [parameter, gradient] of got) {
    // A parameter that the loss does not reach may be there, as zeros.
    if (!expected.has(parameter) && largestOf(gradient) > 0) worst.fail(`${name}: unexpected gradient for ${parameter}`)
  }
}
