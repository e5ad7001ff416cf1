import type { ExecutionContext } from 'ava'
import { adapterLayer, type Model } from '../../lib/index.js'
import { hidden, load, make, tinyRows } from './support.js'

export const rows = tinyRows(12)
export const inputIds = rows.map((row) => row.inputIds)
export const labels = rows.map((row) => row.label)
export const names = (model: Model) => model.namedParameters().map(({ name }) => name)
export const inserted = (model: Model) =>
  model.namedParameters().flatMap(({ name, part }) => (part === 'inserted' ? [name] : []))

export async function withHead(t: ExecutionContext, fields?: object): Promise<Model> {
  const model = fields === undefined ? await load(t) : await make(t, fields)
  model.addClassificationHead('a', { numLabels: 2, layers: 2, usePooler: true })
  return model
}

export async function logits(model: Model): Promise<Float32Array> {
  return (await model.forward({ inputIds })).logits?.data ?? new Float32Array()
}

/** Other values for everything that was inserted, or for adapters, the same in every model of one shape. */
export function fill(model: Model, of: 'inserted' | 'adapter' = 'inserted'): void {
  const values = model.namedParameters().flatMap(({ name, shape, part }, at) => {
    if (part !== of) return []
    const count = shape.reduce((product, size) => product * size, 1)
    return [[name, { data: Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin(at + i)), shape }] as const]
  })
  model.loadStateDict(new Map(values))
}

export const adapter = () => adapterLayer({ hiddenSize: hidden, adapterSize: 6 })
