import type { NativeFusionAttention } from '../native/pass-types.js'
import type { TensorData } from '../native/types.js'
import type { Tensor } from './outputs.js'

/**
 * By the fusion's name, the layer and the place ('mhAdapter' after the attention, 'outputAdapter' after the feed-forward):
 * one probability for each token and child of the Fuse block. Zero for tokens that do not pass through the fusion, and for
 * children that do not stand there.
 */
export type FusionAttentions = Readonly<Record<string, FusionLayers>>
type FusionLayers = Readonly<Record<number, Readonly<Partial<Record<'mhAdapter' | 'outputAdapter', Tensor>>>>>

export function byPlace(
  attentions: readonly NativeFusionAttention[],
  shaped: (scores: TensorData) => Tensor
): FusionAttentions {
  const all: Record<string, Record<number, Record<string, Tensor>>> = {}
  for (const { fusion, layer, location, scores } of attentions) {
    const layers = all[fusion]
    all[fusion] = { ...layers, [layer]: { ...layers?.[layer], [location]: shaped(scores) } }
  }
  return all
}

/** Some tokens' part of what a pass gives of all. */
export interface TokenAttentions {
  readonly all: readonly NativeFusionAttention[]
  readonly first: number
  readonly count: number
}

/** Those of a row's parts, one part after the other; where a part's pass had nothing to do with a fusion, zeros. */
export function joinAttentions(parts: readonly TokenAttentions[]): FusionAttentions {
  const keyOf = ({ fusion, layer, location }: NativeFusionAttention) => JSON.stringify([fusion, layer, location])
  const byKey = parts.map(({ all }) => new Map(all.map((one) => [keyOf(one), one])))
  const places = new Map(byKey.flatMap((one) => [...one]))
  const rows = parts.reduce((sum, { count }) => sum + count, 0)
  const joined = Array.from(places, ([key, place]): NativeFusionAttention => {
    const scores = byKey.map((own) => own.get(key)?.scores)
    const width = Math.max(...scores.map((one) => one?.shape[1] ?? 0))
    const data = new Float32Array(rows * width)
    let at = 0
    parts.forEach(({ first, count }, i) => {
      const { data: values = [], shape: [, own = 0] = [] } = scores[i] ?? {}
      for (let token = first; token < first + count; token++, at++)
        data.set(values.slice(token * own, (token + 1) * own), at * width)
    })
    return { ...place, scores: { ...place.scores, data, shape: [rows, width] } }
  })
  return byPlace(joined, (scores) => scores)
}
