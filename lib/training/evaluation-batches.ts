import { type HeadConfig, predictsWords } from '../config/head-config.js'
import type { NativeForwardOptions } from '../native/pass-types.js'
import type { LabelledBatch } from './encoded.js'
import type { RunEvaluateOptions } from './evaluate.js'

/** How an evaluation goes through its rows: each group is of batches whose answers leave the device together. */
export interface EvaluationGroups {
  readonly count: number
  /** In all groups together. */
  readonly batches: number
  /** The rows of each batch of a group, from 0. */
  readonly batchesOf: (group: number) => number[][]
}

export function evaluationGroups(
  rows: number,
  { batchSize = 32, accumulationSteps }: Pick<RunEvaluateOptions, 'batchSize' | 'accumulationSteps'>
): EvaluationGroups {
  const steps = accumulationSteps ?? 1
  const batches = Math.ceil(rows / batchSize)
  const rowsOf = (batch: number) => {
    const first = batch * batchSize
    return Array.from({ length: Math.min(batchSize, rows - first) }, (_, i) => first + i)
  }
  return {
    count: Math.ceil(batches / steps),
    batches,
    batchesOf: (group) => {
      const first = group * steps
      return Array.from({ length: Math.min(steps, batches - first) }, (_, i) => rowsOf(first + i))
    }
  }
}

/** Of a vocabulary's logits more than the best is read only where somebody else asks for them. */
export const readsBest = (
  heads: ReadonlyMap<string, HeadConfig>,
  { onAnswers, computeMetrics }: Pick<RunEvaluateOptions, 'onAnswers' | 'computeMetrics'>
): boolean => onAnswers === undefined && computeMetrics === undefined && [...heads.values()].every(predictsWords)

/** What the core is told for each batch of an evaluation. */
export function evaluationPasses(
  heads: ReadonlyMap<string, HeadConfig>,
  options: RunEvaluateOptions
): (batch: LabelledBatch) => NativeForwardOptions {
  const { losses = [] } = options
  const bestLabels = readsBest(heads, options)
  return ({ pass }) => ({ ...pass, losses, bestLabels })
}
