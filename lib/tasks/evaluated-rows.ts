import type { NativeClassWeights } from '../native/trainer-types.js'
import { evaluationOptions } from '../training/evaluate.js'
import type { EvaluatedRows } from '../training/planned-evaluations.js'
import type { Feed } from './feed.js'
import type { Learner } from './learner.js'
import type { TasksRun } from './run-state.js'

/** A set of rows that those who share a feed are measured on, by its name where there are several. */
export interface EvaluatedSet extends EvaluatedRows {
  readonly name: string | undefined
}

/** None where there is nothing to measure on. */
export function evaluatedRows(
  { args, learners }: TasksRun,
  { options: { learners: own, evaluation = [], computeMetrics } }: Feed,
  weights: readonly NativeClassWeights[]
): EvaluatedSet[] {
  const heads = own.map((index) => {
    const { options } = learners[index] as Learner
    return [options.head, options.args] as const
  })
  const how = { ...evaluationOptions(args, heads, weights), computeMetrics }
  return evaluation.map(({ name, rows }) => ({ name, rows, how }))
}
