import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { type DuePlan, isEverEvaluated } from '../training/due.js'
import { choosesOne, hasClasses } from '../training/loss-arguments.js'
import { measuresOf } from '../training/metrics.js'

/** Measures that follow a loss, those of an evaluation set among them. */
const ofLoss = /^(.*_)?(loss|perplexity)$/

/** What the measures of a sweep come from. */
interface Measuring {
  /** Names of the evaluation sets, where there are several. */
  readonly sets: readonly string[]
  /** Whether evaluations are run, as evalStrategy or callbacks say. */
  readonly evaluates: boolean
  /** Whether there are measures of the caller's own, which may be called as they like. */
  readonly hasOwnMetrics?: boolean
}

/**
 * Why a sweep cannot tell its best: each one's loss has weights or smoothing of its own, and the loss is what they would be
 * ranked by. Undefined where it can.
 * @param each of the sweep
 * @param head that each has one like
 */
export function incomparable(
  each: readonly ResolvedTrainingArguments[],
  head: HeadConfig,
  { sets, evaluates, hasOwnMetrics = false }: Measuring
): { readonly differing: string; readonly problem: string; readonly measure: string } | undefined {
  const differing = differingIn(each, head)
  const metric = each[0]?.metricForBestModel ?? 'loss'
  const isLoss = hasOwnMetrics ? metric === 'loss' : ofLoss.test(metric)
  if (differing === undefined || (evaluates && !isLoss)) return undefined
  const [set] = sets
  const name = measuresOf(head).find((name) => !ofLoss.test(name)) ?? 'accuracy'
  const measure = set === undefined ? name : `${set}_${name}`
  const ranked = evaluates ? metric : 'loss of training'
  const problem = `each one's loss has a ${differing} of its own, so that the ${ranked} does not tell which is the best`
  return { differing, problem, measure }
}

/** Whether the losses of all mean the same. */
export const isComparable = (each: readonly ResolvedTrainingArguments[], head: HeadConfig): boolean =>
  differingIn(each, head) === undefined

/** The first argument by which the losses of this head differ. */
function differingIn(each: readonly ResolvedTrainingArguments[], head: HeadConfig): string | undefined {
  const varies = (name: 'classWeights' | 'labelSmoothingFactor') =>
    new Set(each.map((args) => JSON.stringify(args[name]))).size > 1
  if (hasClasses(head) && varies('classWeights')) return 'classWeights'
  return choosesOne(head) && varies('labelSmoothingFactor') ? 'labelSmoothingFactor' : undefined
}

/** Refuses a sweep that could not tell its best. */
export function checkComparable(
  each: readonly ResolvedTrainingArguments[],
  head: HeadConfig,
  measuring: Measuring
): void {
  const found = incomparable(each, head, measuring)
  if (found === undefined) return
  const { differing, problem, measure } = found
  const evaluations = measuring.evaluates ? '' : "evaluate: an evalDataset, evalStrategy: 'epoch', and "
  throw check.valueError(
    `grid.${differing}`,
    `${problem}; ${evaluations}name a measure: metricForBestModel: '${measure}'`
  )
}

/** Refuses a sweep that needs evaluations to tell its best, and is over before the first of them. */
export function checkEvaluated(args: ResolvedTrainingArguments, plan: DuePlan): void {
  if (isEverEvaluated(args, plan)) return
  const name = isEverEvaluated({ ...args, evalDelay: 0 }, plan) ? 'evalDelay' : 'evalSteps'
  throw check.valueError(
    `args.${name}`,
    `the sweep ends at step ${plan.totalSteps}, before an evaluation that tells the best`
  )
}
