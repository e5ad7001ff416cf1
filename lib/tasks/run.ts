import type { NativeClassWeights } from '../native/trainer-types.js'
import { type Evaluation, evaluateEncoded, evaluationOptions } from '../training/evaluate.js'
import { openFrozenLayers } from '../training/frozen-layers.js'
import { loadCheckpoint, saveCheckpoint } from '../training/resume.js'
import { due } from '../training/run.js'
import { stoppableStep } from '../training/stoppable-step.js'
import { checkLearners } from './check-run.js'
import { learnerClassWeights } from './class-weights.js'
import type { TaskEnd, TasksEvent } from './events.js'
import type { Learner } from './learner.js'
import { RunState, type SavedTasks, type TasksRun } from './run-state.js'

/** The steps of those that train side by side, as events. The model is held by the caller. */
export async function* tasksRun(run: TasksRun): AsyncGenerator<TasksEvent, void, undefined> {
  const { model, args } = run
  checkLearners(run)
  const weights = await learnerClassWeights(run)
  const state = new RunState(run, weights)
  let closeCache: ReturnType<typeof openFrozenLayers> = () => undefined
  try {
    const keeps = run.saveOnAbort === true || args.saveStrategy !== 'no' || args.resumeFromCheckpoint !== null
    const fingerprint = keeps ? await run.fingerprint() : {}
    const found = await loadCheckpoint<SavedTasks>(args, state.native, fingerprint)
    if (found !== undefined) await state.restore(found.saved)
    closeCache = openFrozenLayers(model, args)
    const firstStep = state.step
    let savedStep = firstStep
    const save = async (epoch: number): Promise<TasksEvent> => {
      const { step } = state
      savedStep = step
      return {
        type: 'save',
        step,
        epoch,
        folder: await saveCheckpoint(model, args, state.native, state.saved(fingerprint))
      }
    }
    const start = performance.now()
    let logged = { at: start, tokens: 0 }
    let tokens = 0
    let next = state.prepare()()
    while (next !== undefined) {
      if (run.signal?.aborted && run.saveOnAbort && state.step > savedStep) yield await save(state.epoch)
      run.signal?.throwIfAborted()
      const { batches, members, epoch, isLast, round } = next
      const running = stoppableStep(state.native, { batches, members, goOn: run.goOn }, run.signal)
      // The engine thread computes; meanwhile this thread tokenizes and packs what comes next.
      let following = state.prepare()
      const result = await running
      if (result === undefined) continue
      tokens += result.tokens
      state.round = round
      state.drawn = next.drawn
      const step = ++state.step
      const failed = state.take(result.members)
      const where = { step, totalSteps: state.plan.totalSteps, epoch }
      yield { type: 'step', ...where, ...state.lossesOf(result.members), tokens: result.tokens }
      const place = { endsEpoch: () => next?.endsEpoch === true }
      const logs = due(args.loggingStrategy, args.loggingSteps, step, place) || (args.loggingFirstStep && step === 1)
      if (logs || (isLast && args.loggingStrategy !== 'no')) {
        const tokensPerSecond = ((tokens - logged.tokens) / (performance.now() - logged.at)) * 1000
        logged = { at: performance.now(), tokens }
        for (const learner of run.learners) {
          const loss = learner.takeLoss()
          if (loss === undefined || learner.last === undefined) continue
          const { learningRate, gradNorm } = learner.last
          yield { type: 'log', task: learner.name, ...where, loss, learningRate, gradNorm, tokensPerSecond }
        }
      }
      const stopped: [Learner, TaskEnd][] = failed.map((learner) => [learner, 'notFinite'])
      let isBest = false
      if (due(args.evalStrategy, args.evalSteps, step, place)) {
        for await (const [learner, evaluation] of evaluations(run, weights)) {
          if (await state.evaluated(learner, evaluation)) isBest = true
          yield { type: 'evaluate', task: learner.name, step, epoch, ...evaluation }
          if (learner.hasWaitedEnough) stopped.push([learner, 'earlyStopping'])
        }
      }
      for (const [learner, reason] of stopped) {
        learner.ended = reason
        yield { type: 'taskEnd', task: learner.name, step, reason }
      }
      if (due(args.saveStrategy, args.saveSteps, step, place) || (isBest && args.saveStrategy === 'best')) {
        yield await save(epoch)
      }
      // What was made ready holds rows of those that have ended since.
      if (stopped.length > 0) following = state.prepareAgain()
      next = following()
    }
    await state.takeBest()
    const seconds = (performance.now() - start) / 1000
    const frozenLayers = closeCache()
    yield {
      ...{ type: 'end', step: state.step, steps: state.step - firstStep, epoch: state.epoch, tokens, seconds },
      tasks: Object.fromEntries(run.learners.map((learner) => [learner.name, learner.result])),
      ...(frozenLayers && { frozenLayers })
    }
  } finally {
    closeCache()
    state.native.dispose()
  }
}

/** Everyone who has not ended, over their evaluation data; those that share rows pass over them together. */
async function* evaluations(
  run: TasksRun,
  weights: readonly NativeClassWeights[]
): AsyncGenerator<[Learner, Evaluation]> {
  const { model, args, feeds, learners } = run
  // A step that is saved has been evaluated: a resumed run does not go back to it.
  const signal = run.saveOnAbort ? undefined : run.signal
  for (const { options } of feeds) {
    const { evaluation: data, computeMetrics } = options
    const own = options.learners.map((index) => learners[index] as Learner)
    if (data === undefined || own.every(({ ended }) => ended !== undefined)) continue
    const heads = own.map((learner) => [learner.options.head, learner.options.args] as const)
    const how = evaluationOptions(args, heads, weights)
    const all = await evaluateEncoded(model, data, { ...how, signal, computeMetrics })
    const { rows, seconds } = all
    for (const learner of own) {
      const head = all.heads?.[learner.options.head]
      if (learner.ended === undefined) yield [learner, head === undefined ? all : { ...head, rows, seconds }]
    }
  }
}
