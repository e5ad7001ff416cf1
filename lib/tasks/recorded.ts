import { checkSavable } from '../model/exchange.js'
import { countRows } from '../training/evaluation-sets.js'
import { type RecordedEvent, recorded } from '../training/record/recorder.js'
import { lockRunFolders, writesCheckpoints } from '../training/run-lock.js'
import type { TasksEvent } from './events.js'
import type { Feed } from './feed.js'
import { tasksRun } from './run.js'
import type { TasksRun } from './run-state.js'

/** A run of several tasks with its folder its own and kept, as args.reportTo says: each task has curves of its own. */
export async function* recordedTasksRun(run: TasksRun): AsyncGenerator<TasksEvent, void, undefined> {
  const { model, args, feeds, signal, beside } = run
  const sum = (of: (feed: Feed) => number) => feeds.reduce((total, feed) => total + of(feed), 0)
  const rows = {
    train: sum(({ options }) => options.data.length),
    evaluation: sum(({ options }) => countRows(options.evaluation ?? [])) || null
  }
  // The best step is kept in memory.
  const written = { ...args, loadBestModelAtEnd: false }
  checkSavable(model, writesCheckpoints(written, run.saveOnAbort === true))
  const locks = lockRunFolders(written, run.saveOnAbort === true)
  try {
    let totalSteps = 0
    const events = tasksRun({
      ...run,
      lock: () => locks.take(args.outputDir),
      onPlan: (plan) => {
        totalSteps = plan.totalSteps
        run.onPlan?.(plan)
      }
    })
    yield* recorded(events, { model, args, rows, beside, totalSteps: () => totalSteps }, signal, byTask)
  } finally {
    locks.release()
  }
}

/** A step as one of each task that is in it; its tokens and rows belong to all of them alike. */
function byTask(event: TasksEvent): [RecordedEvent, ...RecordedEvent[]] {
  if (event.type !== 'step') return [event]
  const { type, step, totalSteps, epoch, tasks } = event
  const all = Object.entries(tasks)
  const share = { tokens: event.tokens / all.length, rows: event.rows / all.length }
  const parts = all.map(([task, { loss, learningRate, gradNorm }]): RecordedEvent => {
    return { type, task, step, totalSteps, epoch, loss, learningRate, gradNorm, ...share }
  })
  return parts as [RecordedEvent, ...RecordedEvent[]]
}
