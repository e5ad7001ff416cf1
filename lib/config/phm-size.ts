import type { NativePhmConfig } from '../native/config-types.js'
import type { BottleneckConfig } from './bottleneck-config.js'
import { valueError } from './check.js'

/** Numbers of the two projections at one place, without what all places share. */
export function countPhmProjections(config: BottleneckConfig, hidden: number, size: number): number {
  checkDivisible(config, hidden, size)
  const rules = config.sharedPhmRule ? 0 : 2 * countRule(config)
  const weights = config.sharedWPhm ? 0 : 2 * countWeights(config, hidden, size)
  return rules + weights + (config.phmBias ? hidden + size : 0)
}

/** Numbers that all places share. `sizes`: the bottleneck of each layer that has one. */
export function countPhmShared(config: BottleneckConfig, hidden: number, sizes: readonly number[]): number {
  const [size] = sizes
  if (!config.phmLayer || size === undefined) return 0
  if (config.sharedWPhm && sizes.some((other) => other !== size)) {
    const message = `layers that share W need bottlenecks of one size, got ${[...new Set(sizes)].join(', ')}`
    throw valueError('sharedWPhm', message)
  }
  const weights = config.sharedWPhm ? 2 * countWeights(config, hidden, size) : 0
  return weights + (config.sharedPhmRule ? countRule(config) : 0)
}

function countRule({ phmDim, factorizedPhmRule }: BottleneckConfig): number {
  return factorizedPhmRule ? 2 * phmDim ** 2 : phmDim ** 3
}

/** Of one projection; up and down have as many. */
function countWeights({ phmDim, phmRank, factorizedPhmW }: BottleneckConfig, hidden: number, size: number): number {
  return factorizedPhmW ? phmRank * (hidden + size) : (hidden * size) / phmDim
}

function checkDivisible({ phmDim }: BottleneckConfig, hidden: number, size: number): void {
  if (hidden % phmDim === 0 && size % phmDim === 0) return
  const message = `must divide the hidden size and the bottleneck, got ${phmDim} for ${hidden} and ${size}`
  throw valueError('phmDim', message)
}

/** The fields as the core takes them; null without PHM layers. */
export function nativePhmConfig(config: BottleneckConfig): NativePhmConfig | null {
  if (!config.phmLayer) return null
  const { hypercomplexNonlinearity: init } = config
  return {
    dim: config.phmDim,
    factorized_weights: config.factorizedPhmW,
    shared_weights: config.sharedWPhm,
    shared_rule: config.sharedPhmRule,
    factorized_rule: config.factorizedPhmRule,
    uniform_rule: config.phmCInit === 'uniform',
    init_range: config.phmInitRange,
    learn_rule: config.learnPhm,
    weight_init: init === 'phm' ? 'glorot-normal' : init,
    rank: config.phmRank,
    bias: config.phmBias
  }
}
