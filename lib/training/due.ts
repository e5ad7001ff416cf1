import type { ResolvedTrainingArguments, SaveStrategy } from '../config/training-arguments.js'

/** Where a step lies in its run. */
export interface Due {
  readonly totalSteps: number
  readonly endsEpoch: (step: number) => boolean
}

/** Also how many passes over the data are behind it. */
export interface DuePlan extends Due {
  readonly epochAfter: (step: number) => number
}

/** Whether something that is told or kept so often comes after this step. `every`: steps, or below 1 a share of all. */
export function due(strategy: SaveStrategy, every: number, step: number, plan: Due): boolean {
  if (strategy === 'no' || strategy === 'best') return false
  if (strategy === 'epoch') return plan.endsEpoch(step)
  return step % (every < 1 ? Math.ceil(plan.totalSteps * every) : every) === 0
}

/** Whether a checkpoint is written after this step; with 'steps' after the last one, too, as transformers' Trainer does. */
export function isSavedBehind(
  { saveStrategy, saveSteps }: Pick<ResolvedTrainingArguments, 'saveStrategy' | 'saveSteps'>,
  step: number,
  plan: Due
): boolean {
  return due(saveStrategy, saveSteps, step, plan) || (saveStrategy === 'steps' && step === plan.totalSteps)
}

type Evaluating = Pick<ResolvedTrainingArguments, 'evalStrategy' | 'evalSteps' | 'evalDelay'>

/** Whether the evaluation data is run after this step. */
export function isEvaluated({ evalStrategy, evalSteps, evalDelay }: Evaluating, step: number, plan: DuePlan): boolean {
  const done = evalStrategy === 'epoch' ? plan.epochAfter(step) : step
  return due(evalStrategy, evalSteps, step, plan) && evalDelay <= done
}

/** How often a run from its first step on runs it, by its arguments alone. */
export function countEvaluations(
  args: Evaluating & Pick<ResolvedTrainingArguments, 'evalOnStart'>,
  plan: DuePlan
): number {
  let count = Number(args.evalOnStart)
  if (args.evalStrategy === 'no') return count
  for (let step = 1; step <= plan.totalSteps; step++) if (isEvaluated(args, step, plan)) count++
  return count
}

/** Whether it is after any of a run's steps. */
export function isEverEvaluated(args: Evaluating, plan: DuePlan): boolean {
  for (let step = plan.totalSteps; step > 0; step--) if (isEvaluated(args, step, plan)) return true
  return false
}
