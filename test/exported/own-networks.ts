import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { ExecutionContext } from 'ava'
import { AutoModel, type Model } from '../../lib/index.js'
import { scratch } from '../model/support.js'
import { distance } from './support.js'

/** Of scripts/fixtures/exported_own.py: each row by itself, in PyTorch. */
export interface OwnCase {
  readonly rows: number[][]
  /** What the encoder reads for each of them. */
  readonly sources?: number[][]
  readonly modules: string[]
  readonly answers: number[][]
  /** With a bottleneck behind each block, whose values are sines. */
  readonly adapted?: number[][]
  /** With PEFT's adapter of a kind at every Linear that it takes, whose values are sines, too. */
  readonly peft?: Readonly<Record<string, number[][]>>
}

const fixtures = 'test/parity/fixtures/exported-own'
const unpacked = (file: string) => gunzipSync(readFileSync(join(fixtures, `${file}.gz`)))
export const cases: Readonly<Record<string, OwnCase>> = JSON.parse(unpacked('cases.json').toString('utf8'))

export function archiveOf(t: ExecutionContext, name: string): string {
  const archive = join(scratch(t), `${name}.pt2`)
  writeFileSync(archive, unpacked(`${name}.pt2`))
  return archive
}

export async function openOwn(t: ExecutionContext, name: string): Promise<{ model: Model } & OwnCase> {
  const model = await AutoModel.fromExported(archiveOf(t, name))
  t.teardown(() => model.dispose())
  return { model, ...(cases[name] as OwnCase) }
}

export type Adapters = Exclude<Parameters<Model['forward']>[1], undefined>['adapters']

/** What comes out for each row, without its padding: the states, or the logits of the network's own head. */
export async function statesOf(
  model: Model,
  rows: number[][],
  adapters?: Adapters,
  head: string | null = null
): Promise<number[][]> {
  const options = { head, ...(adapters !== undefined && { adapters }) }
  const { lastHiddenState, logits } = await model.forward({ inputIds: rows }, options)
  const { shape = [], data = [] } = logits ?? lastHiddenState ?? {}
  const [count = 0, columns = 1] = shape.length === 3 ? shape : [shape[0], 1]
  const features = data.length / count / columns
  return rows.map(({ length }, i) =>
    Array.from(data.slice(i * columns * features, (i * columns + Math.min(length, columns)) * features))
  )
}

/** Sines of their places, as the fixtures have them. */
export function fillLoras(model: Model, which = /\.loras\./, scale = 1 / 4) {
  const own = model.namedParameters().filter(({ name }) => which.test(name))
  const sine = (size: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(i) * scale)
  const values = own.map(({ name, shape }) => [name, { shape, data: sine(shape.reduce((a, b) => a * b)) }] as const)
  model.native.setParameters(new Map(values))
}

/** Each row's values as PyTorch has them. */
export function near(t: ExecutionContext, states: number[][], expected: number[][] = []) {
  for (const [i, data] of expected.entries()) t.true(distance(states[i] ?? [], { data: data as never }) < 2e-6)
}

/** LoRA at these Linears under a new head: the gradient of a number of each is that of the loss's differences. */
export async function learnsAt(
  t: ExecutionContext,
  model: Model,
  rows: number[][],
  linears: readonly string[],
  away: number
) {
  model.addAdapter('x', { architecture: 'lora', r: 2, alpha: 2, targetModules: linears })
  fillLoras(model)
  model.addClassificationHead('x', { numLabels: 2, layers: 1 })
  model.trainAdapter('x')
  const given = { inputIds: rows, labels: rows.map((_, i) => i % 2) }
  const { gradients } = await model.gradients(given)
  const lossOf = async () => (await model.forward(given, { head: 'x' })).loss as number
  for (const linear of linears) {
    const name = `${linear}.loras.x.lora_A`
    const { shape, data } = await model.parameter(name)
    const step = 1e-2
    const at = async (by: number) => {
      const moved = Float32Array.from(data)
      moved[0] = (data[0] as number) + by
      model.loadStateDict(new Map([[name, { shape, data: moved }]]))
      return lossOf()
    }
    const difference = ((await at(step)) - (await at(-step))) / (2 * step)
    await at(0)
    t.true(Math.abs(difference - (gradients.get(name)?.data[0] as number)) < away, name)
  }
}
