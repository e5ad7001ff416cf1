import { join } from 'node:path'
import type { ExecutionContext } from 'ava'
import { headConfigFromJson } from '../../../lib/config/head-config.js'
import { type AdapterConfigSource, type AdapterSetup, AutoModel, type Model, Stack } from '../../../lib/index.js'
import { isBaseParameter } from '../../../lib/model/summary.js'
import { checkForward, checkGradients } from './check-case.js'
import { type Setup, setupFrom, setupNames } from './compositions.js'
import { type Case, fixtures, Group, type Input, type JsonObject, type Tensor } from './fixtures.js'
import { trainWhole } from './setting.js'
import { scalar, Worst } from './worst.js'

/** All adapters of a model, which the cases after it put together. */
interface Adapters {
  readonly name: string
  /** Default bert-tiny. */
  readonly model?: string
  readonly configs: { readonly [name: string]: AdapterConfigSource }
  readonly head: { readonly name: string; readonly config: JsonObject }
  readonly fusion?: { readonly names: string[]; readonly config: JsonObject }
  readonly weights: string
  /** What is in files, but no parameter. */
  readonly buffers?: { readonly [name: string]: string }
}

interface TogetherCase {
  readonly name: string
  /** For all rows, or one for each. */
  readonly setup: Setup | readonly Setup[]
  readonly input: Input
  readonly images?: string
  readonly labels: number[] | number[][]
  readonly expected: {
    readonly lastHiddenState: string
    readonly logits: string
    readonly loss: number
    readonly gradients: string
  }
}

async function open(
  group: Group<unknown>,
  { model: folder = 'bert-tiny', configs, head, fusion, weights, buffers }: Adapters
): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models', folder), { withHead: false })
  for (const [name, config] of Object.entries(configs)) model.addAdapter(name, config)
  if (fusion) model.addAdapterFusion(fusion.names, fusion.config, { name: 'f' })
  model.addHead(head.name, headConfigFromJson(head.config))
  const added = model.namedParameters().filter((parameter) => !isBaseParameter(parameter))
  model.loadStateDict(parts(group.tensor(weights), new Map(added.map(({ name, shape }) => [name, shape]))))
  if (buffers !== undefined) model.loadStateDict(group.tensors(buffers))
  return model
}

/** One tensor holds the values of many parameters, in the order of their names. */
function parts(flat: Tensor, shapes: ReadonlyMap<string, readonly number[]>): Map<string, Tensor> {
  let at = 0
  const result = new Map<string, Tensor>()
  for (const name of [...shapes.keys()].sort()) {
    const shape = shapes.get(name) ?? []
    const size = shape.reduce((product, n) => product * n, 1)
    result.set(name, { data: flat.data.slice(at, at + size), shape })
    at += size
  }
  if (at !== flat.data.length) throw new Error(`${at} values expected, got ${flat.data.length}`)
  return result
}

/** Checks a group whose cases share models with all their adapters, forward and gradients. */
export async function checkTogether(t: ExecutionContext, name: string): Promise<void> {
  const group = new Group<Adapters | TogetherCase>(name)
  const worst = new Worst()
  let opened: { readonly model: Model; readonly head: Adapters['head'] } | undefined
  for (const one of group.cases) {
    try {
      if ('configs' in one) {
        opened?.model.dispose()
        opened = { model: await open(group, one), head: one.head }
      } else if (opened !== undefined) {
        await checkCase(group, one, opened.model, opened.head, worst)
      }
    } catch (error) {
      worst.fail(`${one.name}: ${error}`)
    }
  }
  opened?.model.dispose()
  worst.report(t)
}

async function checkCase(
  group: Group<unknown>,
  one: TogetherCase,
  model: Model,
  head: Adapters['head'],
  worst: Worst
): Promise<void> {
  const rows = Array.isArray(one.setup)
  const setup = (rows ? (one.setup as Setup[]).map(setupFrom) : setupFrom(one.setup as Setup)) as AdapterSetup
  trainWhole(model, Stack(...setupNames(one.setup)))
  const input = { ...group.input(one), labels: one.labels }
  const answer = await model.forward(input, { adapters: setup, outputHiddenStates: true })
  checkForward(group as Group<Case>, { ...one, head } as unknown as Case, answer, worst)
  worst.forward(`${one.name} loss`, scalar(answer.loss), scalar(one.expected.loss))
  const { loss, gradients } = await model.gradients(input, { adapters: setup })
  worst.forward(`${one.name} loss with gradients`, scalar(loss), scalar(one.expected.loss))
  const shapes = new Map([...gradients].map(([name, { shape }]) => [name, shape]))
  checkGradients(one.name, gradients, parts(group.tensor(one.expected.gradients), shapes), worst)
}
