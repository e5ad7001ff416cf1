import { setImmediate } from 'node:timers/promises'
import { type MemoryPlan, measured, type ProcessBytes, Samples } from '../training/memory-plan.js'
import { rowLengths } from '../training/row-lengths.js'
import { checkLearners } from './check-run.js'
import { learnerClassWeights } from './class-weights.js'
import { RunState, type TasksRun } from './run-state.js'

/**
 * What those that train side by side take of memory: the largest micro-batch of the first epoch is measured.
 * @param before processBytes() before anything of the run was made but for parameters
 */
export async function planTasks(run: TasksRun, before: ProcessBytes | undefined): Promise<MemoryPlan> {
  checkLearners(run)
  const state = new RunState(run, await learnerClassWeights(run))
  try {
    const samples = new Samples<NonNullable<Awaited<ReturnType<ReturnType<RunState['prepare']>>>>['batches'][number]>()
    for (let step = await state.prepare()(); step !== undefined; step = await state.prepare()()) {
      for (const one of step.batches) {
        samples.add(
          one.batch.rowLengths.reduce((sum, length) => sum + length, 0),
          one
        )
      }
      if (step.endsEpoch) break
      await setImmediate()
    }
    let allTokens = 0
    for (const { options } of run.feeds) {
      for (const length of await rowLengths(options.data)) allTokens += length
    }
    const rows = samples.largest?.batch.batch.rowLengths.length ?? 0
    const tokens = samples.largest?.tokens ?? 0
    return await measured(run.model, run.args, state.native, { before, batches: samples.all, rows, tokens, allTokens })
  } finally {
    state.native.dispose()
  }
}
