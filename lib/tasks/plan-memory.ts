import { setImmediate } from 'node:timers/promises'
import { type MemoryPlan, measured } from '../training/memory-plan.js'
import { rowLengths } from '../training/row-lengths.js'
import { checkLearners } from './check-run.js'
import { learnerClassWeights } from './class-weights.js'
import { RunState, type TasksRun } from './run-state.js'

/** What those that train side by side take of memory: the largest micro-batch of the first epoch is measured. */
export async function planTasks(run: TasksRun): Promise<MemoryPlan> {
  checkLearners(run)
  const state = new RunState(run, await learnerClassWeights(run))
  try {
    let batches: NonNullable<ReturnType<ReturnType<RunState['prepare']>>>['batches'] = []
    let [rows, tokens] = [0, 0]
    for (let step = state.prepare()(); step !== undefined; step = state.prepare()()) {
      for (const one of step.batches) {
        const own = one.batch.rowLengths.reduce((sum, length) => sum + length, 0)
        if (own <= tokens) continue
        batches = [one]
        rows = one.batch.rowLengths.length
        tokens = own
      }
      if (step.endsEpoch) break
      await setImmediate()
    }
    let allTokens = 0
    for (const { options } of run.feeds) {
      for (const length of await rowLengths(options.data)) allTokens += length
    }
    return await measured(run.model, run.args, state.native, { batches, rows, tokens, allTokens })
  } finally {
    state.native.dispose()
  }
}
