import * as check from '../config/check.js'
import { isPlateau } from '../config/scheduler-arguments.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { AdapterError } from '../native/errors.js'
import { checkMetric } from '../training/best.js'
import { checkLossArguments } from '../training/loss-arguments.js'
import { checkLength } from '../training/run-length.js'
import type { LearnerOptions } from './learner.js'
import type { SavedTasks, TasksRun } from './run-state.js'

/** Refuses what nobody evaluates or has in its loss, and names of measures that no evaluation will have, before the first step. */
export function checkLearners({ model, learners, feeds, args, averagedMetric }: TasksRun): void {
  checkLossArguments(
    learners.map(({ options: { name, args: own, head } }) => {
      const config = model.heads.get(head)
      return { place: `${name}: `, args: own, heads: config === undefined ? [] : [config] }
    })
  )
  for (const { options } of feeds) {
    for (const index of options.learners) {
      const own = learners[index]?.options
      if (own === undefined) continue
      if (options.evaluation === undefined) {
        if (!isPlateau(own.args) || own.followsMean) continue
        throw check.valueError(`${own.name}: lrSchedulerType`, `'${own.args.lrSchedulerType}' needs an evalDataset`)
      }
      const config = options.data.requireHeads('train').get(own.head)
      const sets = options.evaluation.flatMap(({ name }) => name ?? [])
      if (config === undefined) continue
      const checkOne = (one: ResolvedTrainingArguments) =>
        checkMetric(one, new Map([[own.head, config]]), options.computeMetrics, sets)
      checkOne(own.args)
      if (averagedMetric !== undefined)
        inMean(own.name, () => checkOne({ ...args, metricForBestModel: averagedMetric }))
    }
  }
}

/** What a mean over the tasks lacks is said of the task. */
function inMean(task: string, checkOne: () => void): void {
  try {
    checkOne()
  } catch (error) {
    ;(error as Error).message = (error as Error).message.replace(
      ': ',
      `: it is a mean over the tasks, and of '${task}' `
    )
    throw error
  }
}

/**
 * What several tasks share has the schedule of all; one that evaluations move would follow no one's, unless it is their
 * mean. Nor has it a moment that is the best: each task's own would come back from another step than what is below it.
 */
export function checkShared(
  { args, averagedMetric }: Pick<TasksRun, 'args' | 'averagedMetric'>,
  names: string,
  sharing: readonly Pick<LearnerOptions, 'name' | 'args'>[]
): void {
  const best = sharing.find(({ args }) => args.loadBestModelAtEnd)
  if (best !== undefined) {
    throw check.valueError(
      `tasks.${best.name}: loadBestModelAtEnd`,
      `the tasks ${names} share what trains, and the best step of one is not that of another; in the arguments of all give ` +
        "metricForBestModel: 'mean_loss', or another measure's mean, for the best step of all, or each an adapter of its own"
    )
  }
  if (!isPlateau(args) || averagedMetric !== undefined) return
  throw check.valueError(
    'args.lrSchedulerType',
    `'${args.lrSchedulerType}' follows one task's evaluations, and what ${names} share is of several: in the arguments of all ` +
      "give metricForBestModel: 'mean_loss', or another measure's mean, or the schedule in the args of each"
  )
}

/** A first stage that is over stays as it is: what came behind stands on it. */
export function checkSavedLength({ keepsEnd }: TasksRun, saved: SavedTasks, totalSteps: number): void {
  if (keepsEnd && saved.isOver && saved.totalSteps !== totalSteps) {
    throw new AdapterError('ERR_RESUME', 'resume the training', 'the first stage is over', {
      expected: `its ${saved.totalSteps} steps`,
      got: `${totalSteps}`,
      hint: 'For the second alone give maxSteps or numTrainEpochs in fusion.args; to train the first longer, start anew.'
    })
  }
  checkLength(saved, totalSteps)
}
