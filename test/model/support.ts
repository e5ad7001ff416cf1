import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { Random } from '../../lib/data/random.js'
import { AutoModel, type Model, type TrainingArguments } from '../../lib/index.js'
import type { LoadOptions } from '../../lib/model/options.js'
import type { ParameterInfo } from '../../lib/native/types.js'

/** BERT of 2 layers, hidden 32, 99 words, 24 positions; no dropout, no tokenizer. */
export const tiny = fileURLToPath(new URL('../../../test/parity/fixtures/models/bert-tiny', import.meta.url))
export const tinyConfig: Readonly<Record<string, unknown>> = JSON.parse(readFileSync(join(tiny, 'config.json'), 'utf8'))
export const vocabulary = 99
export const positions = 24
export const hidden = 32
export const layers = 2

/** The tiny model with the weights of its folder. */
export function load(t: ExecutionContext, options: LoadOptions = {}): Promise<Model> {
  return disposedAfter(t, AutoModel.fromPretrained(tiny, options))
}

/** The tiny model with random weights and other fields, such as dropout. */
export function make(t: ExecutionContext, fields: object = {}, seed = 7): Promise<Model> {
  return disposedAfter(t, AutoModel.fromConfig({ ...tinyConfig, ...fields }, { seed }))
}

async function disposedAfter(t: ExecutionContext, loading: Promise<Model>): Promise<Model> {
  const model = await loading
  t.teardown(() => model.dispose())
  return model
}

/** With an adapter and a head of two labels that train. */
export const ready = async (t: ExecutionContext): Promise<Model> => withAdapter(await load(t))

/** Likewise, with random weights and other fields. */
export const makeReady = async (t: ExecutionContext, fields: object): Promise<Model> =>
  withAdapter(await make(t, fields))

function withAdapter(model: Model): Model {
  model.addAdapter('a')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  return model
}

export { temporaryFolder as scratch } from '../native/support.js'

export interface TinyRow {
  readonly inputIds: number[]
  readonly label: number
}

/** Rows of random ids; the last one decides the label. */
export function tinyRows(count: number, { seed = 1, labels = 2, from = 1, to = 8 } = {}): TinyRow[] {
  const random = Random.fromSeed(seed)
  return Array.from({ length: count }, () => {
    const label = random.nextBelow(labels)
    const length = from + random.nextBelow(to - from + 1)
    const inputIds = Array.from({ length }, () => 5 + random.nextBelow(vocabulary - 10))
    inputIds[length - 1] = vocabulary - 1 - label
    return { inputIds, label }
  })
}

/** What short runs share: nothing on the disk, rows in small batches. */
export const quiet: TrainingArguments = {
  saveStrategy: 'no',
  loggingStrategy: 'no',
  perDeviceTrainBatchSize: 4,
  learningRate: 1e-2
}

/** Values far from the start of an adapter, always the same. `which`: of its parameters, those alone. */
export function fill(
  model: Model,
  adapter: string,
  { scale = 1, which = (_: ParameterInfo): boolean => true } = {}
): void {
  let state = adapter.length
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return scale * (state / 2 ** 32 - 0.4)
  }
  const isOwn = ({ name }: ParameterInfo) => name.includes(`.${adapter}.`) && !name.startsWith('heads.')
  const own = model.namedParameters().filter((parameter) => isOwn(parameter) && which(parameter))
  const values = own.map(({ name, shape }): [string, { data: Float32Array; shape: readonly number[] }] => [
    name,
    { data: Float32Array.from({ length: shape.reduce((n, size) => n * size, 1) }, random), shape }
  ])
  model.loadStateDict(new Map(values))
}

/** A row of one token and longer ones. */
export const unevenRows = [[7], [9, 8, 50], [60, 61, 62, 63, 64]]

/** The last hidden states of these rows. */
export async function lastHiddenState(
  model: Model,
  options: Parameters<Model['forward']>[1] = {}
): Promise<Float32Array> {
  const outputs = await model.forward({ inputIds: unevenRows }, { ...options, head: null })
  return outputs.lastHiddenState?.data ?? new Float32Array()
}

/** Copies of all parameters, or of those whose names match. */
export function snapshot(model: Model, pattern = /./): Map<string, Float32Array> {
  const names = model.namedParameters().flatMap(({ name }) => (pattern.test(name) ? [name] : []))
  return new Map(names.map((name) => [name, model.parameter(name).data]))
}

export function sameBits(a: Float32Array | undefined, b: Float32Array | undefined): boolean {
  if (a === undefined || b === undefined) return false
  const bytes = (array: Float32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength)
  return bytes(a).equals(bytes(b))
}

/** Names whose values differ between two snapshots, in any bit. */
export function moved(before: ReadonlyMap<string, Float32Array>, after: ReadonlyMap<string, Float32Array>): string[] {
  const names = new Set([...before.keys(), ...after.keys()])
  return [...names].filter((name) => !sameBits(before.get(name), after.get(name)))
}

export function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  return Array.from(a).reduce((most, value, i) => {
    const difference = Math.abs(value - (b[i] ?? Number.NaN))
    return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(most, difference)
  }, 0)
}

export const trainableNames = (model: Model): string[] =>
  model.namedParameters().flatMap(({ name, trainable }) => (trainable ? [name] : []))
