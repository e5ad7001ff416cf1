import { setImmediate } from 'node:timers/promises'
import { countEvaluations } from '../training/due.js'
import { encodingBytes } from '../training/encoding-bytes.js'
import { type MemoryPlan, measured } from '../training/memory-plan.js'
import { Samples } from '../training/memory-samples.js'
import { plannedEvaluations } from '../training/planned-evaluations.js'
import type { ProcessBytes } from '../training/process-bytes.js'
import { rowLengths } from '../training/row-lengths.js'
import { checkLearners } from './check-run.js'
import { learnerClassWeights } from './class-weights.js'
import { evaluatedRows } from './evaluated-rows.js'
import { RunState, type TasksRun } from './run-state.js'

/** So many steps and the epoch that they end in are looked through for the largest: each epoch has an order of its own. */
const stepsSeen = 256

/**
 * What those that train side by side take of memory: the largest of the first micro-batches is measured.
 * @param before processBytes() before anything of the run was made but for parameters
 */
export async function planTasks(run: TasksRun, before: ProcessBytes | undefined): Promise<MemoryPlan> {
  checkLearners(run)
  const weights = await learnerClassWeights(run)
  const state = await RunState.make(run, weights)
  try {
    const samples = new Samples<NonNullable<Awaited<ReturnType<ReturnType<RunState['prepare']>>>>['batches'][number]>()
    let seen = 0
    for (let step = await state.prepare()(); step !== undefined; step = await state.prepare()()) {
      for (const one of step.batches) {
        samples.add(
          one.batch.rowLengths.reduce((sum, length) => sum + length, 0),
          one
        )
      }
      if (++seen >= stepsSeen && step.endsEpoch) break
      await setImmediate()
    }
    let [encoding, allTokens] = [0, 0]
    for (const feed of run.feeds) {
      const { data } = feed.options
      encoding += encodingBytes(data, (data.length * feed.drawn) / feed.stepsIn(0))
      for (const length of await rowLengths(data)) allTokens += length
    }
    const rows = samples.largest?.batch.batch.rowLengths.length ?? 0
    const tokens = samples.largest?.tokens ?? 0
    // Each of those that train has losses and events of its own.
    const steps = state.plan.totalSteps * run.learners.length
    const batches = samples.of(run.model)
    const times = countEvaluations(run.args, state.plan)
    const sets = times > 0 ? run.feeds.flatMap((feed) => evaluatedRows(run, feed, weights)) : []
    const evaluations = await plannedEvaluations(run.model, sets, times)
    return await measured(run.model, run.args, state.native, {
      before,
      batches,
      rows,
      tokens,
      steps,
      encoding,
      allTokens,
      evaluations
    })
  } finally {
    state.native.dispose()
  }
}
