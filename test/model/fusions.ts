import type { ExecutionContext } from 'ava'
import { Fuse, type Model } from '../../lib/index.js'
import { fill, load, tinyRows } from './support.js'

export const tolerance = 1e-5
export const rows = tinyRows(5, { from: 4, to: 4 })
export const inputIds = rows.map((row) => row.inputIds)

/** Two fusions, one of them over a child that is not everywhere and one that stands at both places; all far from their start. */
export async function withFusions(t: ExecutionContext, model?: Model): Promise<Model> {
  const own = model ?? (await load(t))
  own.addAdapter('a', 'seq_bn[reduction_factor=8]')
  own.addAdapter('b', 'seq_bn[reduction_factor=16]')
  own.addAdapter('low', 'seq_bn[reduction_factor=8, leave_out=[1]]')
  own.addAdapter('both', 'double_seq_bn[reduction_factor=8]')
  for (const name of ['a', 'b', 'low', 'both']) fill(own, name, { scale: 0.6 })
  own.addAdapterFusion(['a', 'b'], 'dynamic', { name: 'f' })
  own.addAdapterFusion(['a', 'low', 'both'], 'static', { name: 'g' })
  own.addClassificationHead('h')
  disturb(own)
  return own
}

/** Moves what fusions have learned. */
export function disturb(model: Model): void {
  const names = model.namedParameters().filter(({ name }) => name.includes('adapter_fusion_layer'))
  const moved = names.map(({ name, shape }, i) => {
    const { data } = model.parameter(name)
    return [name, { data: data.map((value, j) => value + Math.sin(j * 13 + i) / 8), shape }] as const
  })
  model.loadStateDict(new Map(moved))
}

export const f = Fuse('a', 'b', { name: 'f' })
export const g = Fuse('a', 'low', 'both', { name: 'g' })
