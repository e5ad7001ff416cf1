import type { NativeInvertibleConfig } from '../native/config-types.js'
import { activationParameters } from './activations.js'
import type { BottleneckConfig } from './bottleneck-config.js'
import { floorDivide } from './floor-divide.js'

/** The config as the core takes it; null without an invertible adapter. */
export function nativeInvertibleConfig(config: BottleneckConfig, embeddingSize: number): NativeInvertibleConfig | null {
  const { invAdapter, invAdapterReductionFactor: factor } = config
  if (invAdapter === null || factor === null) return null
  const [first, second] = halves(embeddingSize)
  return {
    glow: invAdapter === 'glow',
    first_inner: floorDivide(first, factor),
    second_inner: floorDivide(second, factor)
  }
}

/** Numbers of both networks. GLOW's give a scale and a shift for each number of the other half. */
export function countInvertible(config: BottleneckConfig, embeddingSize: number): number {
  const native = nativeInvertibleConfig(config, embeddingSize)
  if (native === null) return 0
  const [first, second] = halves(embeddingSize)
  const times = native.glow ? 2 : 1
  const net = (from: number, inner: number, to: number) =>
    from * inner + inner + (inner + 1) * times * to + activationParameters(config.nonLinearity)
  return net(first, native.first_inner, second) + net(second, native.second_inner, first)
}

function halves(size: number): [number, number] {
  return [Math.floor(size / 2), Math.ceil(size / 2)]
}
