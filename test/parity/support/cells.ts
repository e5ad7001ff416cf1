import { join } from 'node:path'
import { headConfigFromJson } from '../../../lib/config/head-config.js'
import { type AdapterConfigSource, type AdapterSetup, AutoModel, type Model, Stack } from '../../../lib/index.js'
import { isBaseParameter } from '../../../lib/model/summary.js'
import { type Setup, setupFrom, setupNames } from './compositions.js'
import { fixtures, Group, type JsonObject, type Tensor } from './fixtures.js'
import { hashedValue, uniform } from './hashed.js'
import { trainWhole } from './setting.js'
import { largestOf, scalar, type Worst } from './worst.js'

/** All adapters and heads of a family's model, which the cases after it put together. */
export interface Family {
  readonly name: string
  readonly model: string
  readonly configs: { readonly [name: string]: AdapterConfigSource }
  readonly heads: { readonly [name: string]: JsonObject }
  readonly fusion?: { readonly names: string[]; readonly config: JsonObject }
  /** What is in files, but no parameter. */
  readonly buffers?: { readonly [name: string]: string }
  /** Those that are identities, by their size. */
  readonly bases?: { readonly [name: string]: number }
}

export interface Cell {
  /** family/method, kind */
  readonly name: string
  /** What each row passes through. */
  readonly setups: readonly Setup[]
  readonly head: string
  readonly source: 'adapters' | 'formula'
  /** Why the peer's values are not taken. */
  readonly defect?: string
  /** Of images: none, they are made here. */
  readonly inputIds?: number[][]
  readonly labels: number[] | number[][]
  readonly expected: {
    readonly logits: string
    readonly loss: number
    /** [parameters, 2] */
    readonly gradients: string
    readonly parameters: number
  }
}

export const cellFamilies = ['bert', 'roberta', 'xlm-roberta', 'distilbert', 'electra', 'gpt2', 'vit'] as const

/** The cells of a family: what scripts/fixtures/cells.py says of them holds here. */
export class Cells {
  readonly cells: readonly Cell[]
  readonly #family: Family
  readonly #group: Group<Family | Cell>

  constructor(family: string) {
    this.#group = new Group(`cells-${family}`)
    const [first, ...rest] = this.#group.cases
    this.#family = first as Family
    this.cells = rest as Cell[]
  }

  async open(): Promise<Model> {
    const model = await openFamily(this.#family)
    const { buffers } = this.#family
    if (buffers !== undefined) model.loadStateDict(this.#group.tensors(buffers))
    return model
  }

  async check(model: Model, one: Cell, worst: Worst): Promise<void> {
    const { inputIds, labels, head, expected } = one
    const adapters = one.setups.map(setupFrom) as AdapterSetup[]
    const rows = inputIds === undefined ? { pixelValues: images(one.setups.length) } : { inputIds }
    model.activeHead = head
    trainWhole(model, Stack(...setupNames(one.setups)))
    const answer = await model.forward({ ...rows, labels }, { adapters, head })
    const logits = narrow(real(answer.logits as Tensor, inputIds))
    worst.forward(`${one.name} logits`, logits, this.#group.tensor(expected.logits))
    worst.forward(`${one.name} loss`, scalar(answer.loss), scalar(expected.loss))
    const { gradients } = await model.gradients({ ...rows, labels }, { adapters, head })
    this.#checkGradients(one, gradients, worst)
  }

  #checkGradients({ name, head, expected }: Cell, got: ReadonlyMap<string, Tensor>, worst: Worst): void {
    const mine = [...got.keys()].filter((key) => !key.startsWith('heads.') || key.startsWith(`heads.${head}.`)).sort()
    if (mine.length !== expected.parameters) {
      worst.fail(`${name}: gradients of ${expected.parameters} parameters expected, got ${mine.join(', ')}`)
      return
    }
    const { data } = this.#group.tensor(expected.gradients)
    const largest = Math.max(...data.filter((_, i) => i % 2 === 0))
    for (const [i, key] of mine.entries()) {
      const gradient = got.get(key) as Tensor
      const signs = uniform('signs', gradient.data.length)
      const sum = gradient.data.reduce((total, value, at) => total + ((signs[at] ?? 0) < 0 ? -value : value), 0)
      const summary = Float32Array.of(largestOf(gradient), sum / gradient.data.length ** 0.5)
      const shape = [2]
      const theirs = data.slice(2 * i, 2 * i + 2)
      const scale = Math.max(theirs[0] as number, largest / 100)
      worst.compare('gradient', `${name} ${key}`, { data: summary, shape }, { data: theirs, shape }, 1e-4, () => scale)
    }
  }
}

/** The family's model with all its adapters and heads, whose weights follow from their names. */
export async function openFamily({ model: folder, configs, heads, fusion, bases = {} }: Family): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models', folder), { withHead: false })
  for (const [name, config] of Object.entries(configs)) model.addAdapter(name, config)
  if (fusion !== undefined) model.addAdapterFusion(fusion.names, fusion.config, { name: 'f' })
  for (const [name, config] of Object.entries(heads)) model.addHead(name, headConfigFromJson(config))
  const added = model.namedParameters().filter((parameter) => !isBaseParameter(parameter))
  const identity = (size: number) =>
    Float32Array.from({ length: size * size }, (_, i) => (i % (size + 1) === 0 ? 1 : 0))
  model.loadStateDict(
    new Map([
      ...added.map(({ name, shape }) => [name, hashedValue(name, shape)] as const),
      ...Object.entries(bases).map(([name, size]) => [name, { data: identity(size), shape: [size, size] }] as const)
    ])
  )
  return model
}

/** [rows, channels, height, width] of vit-tiny. */
export function images(rows: number): Tensor {
  return { data: Float32Array.from(uniform('images', rows * 48)), shape: [rows, 2, 4, 6] }
}

/** [rows, width, n] → [real tokens, n]; one a row stays so. */
export function real(logits: Tensor, inputIds: readonly number[][] | undefined): Tensor {
  const [, width = 0, size = 0] = logits.shape
  if (inputIds === undefined) return logits
  const kept = inputIds.map(({ length }, row) => [
    ...logits.data.subarray(row * width * size, (row * width + length) * size)
  ])
  return { data: Float32Array.from(kept.flat()), shape: [kept.flat().length / size, size] }
}

/** Three numbers of each token, where a head over words has one for each word. */
function narrow({ data, shape: [rows = 0, size = 0] }: Tensor): Tensor {
  if (size <= 3) return { data, shape: [rows, size] }
  const words = uniform('words', 3 * size)
  const result = new Float32Array(rows * 3)
  for (let i = 0; i < result.length; i++) {
    const row = data.subarray(Math.floor(i / 3) * size, (Math.floor(i / 3) + 1) * size)
    result[i] = row.reduce((sum, value, word) => sum + value * (words[word * 3 + (i % 3)] as number), 0)
  }
  return { data: result, shape: [rows, 3] }
}
