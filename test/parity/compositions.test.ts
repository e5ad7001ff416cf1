import { join } from 'node:path'
import test from 'ava'
import type { CompositionBlock } from '../../lib/config/composition.js'
import { headConfigFromJson } from '../../lib/config/head-config.js'
import { type AdapterConfigSource, AutoModel, type Model } from '../../lib/index.js'
import { checkForward, checkGradients } from './support/check-case.js'
import { type Setup, setupFrom, setupNames } from './support/compositions.js'
import { type Case, fixtures, Group, type JsonObject } from './support/fixtures.js'
import { scalar, Worst } from './support/worst.js'

interface Composed extends Omit<Case, 'adapter'> {
  readonly setup: JsonObject
  readonly adapters: { readonly [name: string]: AdapterConfigSource }
  readonly fusion?: { readonly name: string; readonly config: JsonObject }
}

async function open(one: Composed, group: Group<Composed>): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models', one.model))
  for (const [name, config] of Object.entries(one.adapters)) model.addAdapter(name, config)
  if (one.fusion) {
    model.addAdapterFusion(fusedNames(one.setup), one.fusion.config, { name: one.fusion.name })
  }
  if (one.head) model.addHead(one.head.name, headConfigFromJson(one.head.config))
  if (one.weights) model.loadStateDict(group.tensors(one.weights))
  const setup = setupFrom(one.setup) as CompositionBlock
  if (one.fusion) model.trainAdapterFusion(setup, { unfreezeAdapters: true })
  else model.trainAdapter(setup)
  return model
}

/** The adapters of the Fuse block. */
function fusedNames(node: unknown): string[] {
  if (typeof node !== 'object' || node === null) return []
  const { type, children } = node as { type: string; children: Setup[] }
  return type === 'Fuse' ? setupNames(children) : children.flatMap(fusedNames)
}

test('compositions give the values of the formulas, forward and gradients', async (t) => {
  const group = new Group<Composed>('compositions')
  const worst = new Worst()
  for (const one of group.cases) {
    try {
      using model = await open(one, group)
      const input = { ...one.input, labels: one.labels as number[] }
      const answer = await model.forward(input, { outputHiddenStates: true })
      checkForward(group, one as unknown as Case, answer, worst)
      worst.forward(`${one.name} loss`, scalar(answer.loss), scalar(one.expected.loss))
      const { gradients } = await model.gradients(input)
      checkGradients(one.name, gradients, group.tensors(one.expected.gradients), worst)
    } catch (error) {
      worst.fail(`${one.name}: ${error}`)
    }
  }
  worst.report(t)
})
