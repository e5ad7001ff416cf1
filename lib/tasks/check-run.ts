import * as check from '../config/check.js'
import { checkMetric } from '../training/best.js'
import type { TasksRun } from './run-state.js'

/** Refuses what one of several cannot do, and names of measures that it will not have, before the first step. */
export function checkLearners({ args, learners, feeds }: TasksRun): void {
  if (args.saveStrategy === 'best') {
    throw check.valueError(
      'args.saveStrategy',
      "'best' is for one run alone: use loadBestModelAtEnd, which keeps each one's own"
    )
  }
  for (const { options } of feeds) {
    for (const index of options.learners) {
      const own = learners[index]?.options
      if (own === undefined) continue
      if (own.args.lrSchedulerType === 'reduce_lr_on_plateau') {
        throw check.valueError(`${own.name}: lrSchedulerType`, `'${own.args.lrSchedulerType}' is for one run alone`)
      }
      const config = options.data.requireHeads('train').get(own.head)
      if (options.evaluation === undefined || config === undefined) continue
      checkMetric(own.args, new Map([[own.head, config]]), options.computeMetrics)
    }
  }
}
