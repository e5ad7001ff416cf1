import type { NativeClassWeights } from '../native/trainer-types.js'
import { asOfRun } from '../training/as-of-run.js'
import { checkMeasured } from '../training/best.js'
import { Callbacks } from '../training/callbacks.js'
import { due, isEvaluated, isSavedBehind } from '../training/due.js'
import { type Evaluation, evaluateEncoded } from '../training/evaluate.js'
import { joinSets } from '../training/evaluation-sets.js'
import type { SaveEvent } from '../training/events.js'
import { openFrozenLayers } from '../training/frozen-layers.js'
import { loadCheckpoint, saveCheckpoint } from '../training/resume.js'
import { rowsOf, Speed } from '../training/speed.js'
import { stoppableStep } from '../training/stoppable-step.js'
import { checkLearners, checkSavedLength } from './check-run.js'
import { learnerClassWeights } from './class-weights.js'
import { evaluatedRows } from './evaluated-rows.js'
import type { TaskEnd, TaskLogEvent, TasksEndEvent, TasksEvent } from './events.js'
import type { Learner } from './learner.js'
import { type ReadyStep, RunState, type SavedTasks, type TasksRun } from './run-state.js'

/** The steps of those that train side by side, as events. The model is held by the caller. */
export async function* tasksRun(run: TasksRun): AsyncGenerator<TasksEvent, void, undefined> {
  const { model, args } = run
  checkLearners(run)
  const weights = await learnerClassWeights(run)
  const state = await RunState.make(run, weights)
  const canEvaluate = run.feeds.some(({ options }) => options.evaluation !== undefined)
  // A step that is saved has been told of and evaluated: a resumed run does not go back to it.
  const stop = run.saveOnAbort ? undefined : run.signal
  const callbacks = new Callbacks(run.callbacks, { model, args }, canEvaluate, stop)
  let closeCache: ReturnType<typeof openFrozenLayers> = () => undefined
  try {
    run.onPlan?.(state.plan)
    const keeps = run.saveOnAbort === true || args.saveStrategy !== 'no' || args.resumeFromCheckpoint !== null
    let fingerprint = keeps ? await run.fingerprint() : undefined
    const found = await loadCheckpoint<SavedTasks>(args, state.native, fingerprint ?? {}, (saved) => {
      checkSavedLength(run, saved, state.plan.totalSteps)
    })
    if (found !== undefined) await state.restore(found)
    await callbacks.restore(found?.callbacks)
    closeCache = openFrozenLayers(model, args)
    const firstStep = state.step
    let savedStep = firstStep
    const wasOver = run.keepsEnd === true && found?.isOver === true
    const save = async (epoch: number, isOver?: boolean): Promise<SaveEvent> => {
      const { step } = state
      run.lock?.()
      fingerprint ??= await run.fingerprint()
      savedStep = step
      const saved = { ...state.saved(fingerprint), callbacks: await callbacks.saved(), isOver }
      const folder = await saveCheckpoint(model, args, state.native, saved)
      return await callbacks.tell({ type: 'save', step, epoch, folder })
    }
    const start = performance.now()
    const speed = new Speed()
    let tokens = 0
    await callbacks.begin({ step: firstStep, totalSteps: state.plan.totalSteps, epoch: state.epoch })
    if (firstStep === 0) {
      for (const { name, ended } of run.learners) {
        if (ended !== undefined) yield await callbacks.tell({ type: 'taskEnd', task: name, step: 0, reason: ended })
      }
    }
    const asked = callbacks.takes('evaluate')
    if (asked || (args.evalOnStart && firstStep === 0)) {
      for await (const [{ name, options }, evaluation] of evaluations(run, weights, stop)) {
        const metrics = [options.args.metricForBestModel, run.averagedMetric ?? null]
        for (const metricForBestModel of metrics) checkMeasured({ ...args, metricForBestModel }, evaluation)
        yield await callbacks.tell({ type: 'evaluate', task: name, step: firstStep, epoch: state.epoch, ...evaluation })
      }
    }
    /** Everyone's mean since the log before; nothing of those who took no step since. */
    const log = async function* (epoch: number) {
      const { step } = state
      const rates = speed.take()
      for (const learner of run.learners) {
        const loss = learner.takeLoss()
        if (loss === undefined || learner.last === undefined) continue
        const { learningRate, gradNorm } = learner.last
        const where = { task: learner.name, step, totalSteps: state.plan.totalSteps, epoch }
        yield await callbacks.tell<TaskLogEvent>({ type: 'log', ...where, loss, learningRate, gradNorm, ...rates })
      }
    }
    /** What comes behind a step, in this order: what is due, and what callbacks ask for. Gives whether a task ended. */
    const behind = async function* (
      { epoch, endsEpoch, isLast }: ReadyStep,
      failed: readonly Learner[],
      isDue: boolean
    ): AsyncGenerator<TasksEvent, boolean, undefined> {
      const { step } = state
      const place = { totalSteps: state.plan.totalSteps, endsEpoch: () => endsEpoch, epochAfter: () => epoch }
      const first = args.loggingFirstStep && step === 1
      const last = isLast && args.loggingStrategy !== 'no'
      const logs = isDue && (due(args.loggingStrategy, args.loggingSteps, step, place) || first || last)
      if (callbacks.takes('log') || logs) yield* log(epoch)
      const stopped: [Learner, TaskEnd][] = failed.map((learner) => [learner, 'notFinite'])
      let isBest = false
      const asksForEvaluation = callbacks.takes('evaluate')
      if (asksForEvaluation || (isDue && isEvaluated(args, step, place))) {
        const goOn = speed.pause()
        for await (const [learner, evaluation] of evaluations(run, weights, stop)) {
          if (await state.evaluated(learner, evaluation)) isBest = true
          yield await callbacks.tell({ type: 'evaluate', task: learner.name, step, epoch, ...evaluation })
          if (learner.hasWaitedEnough) stopped.push([learner, 'earlyStopping'])
        }
        if (await state.allEvaluated()) isBest = true
        goOn()
      }
      for (const [learner, reason] of stopped) {
        learner.ended = reason
        yield await callbacks.tell({ type: 'taskEnd', task: learner.name, step, reason })
      }
      const asksForSave = callbacks.takes('save')
      const isSaved = isDue && isSavedBehind(args, step, place)
      if (asksForSave || isSaved || (isBest && args.saveStrategy === 'best')) {
        yield await speed.aside(() => save(epoch))
      }
      return stopped.length > 0
    }
    const isOver = () => callbacks.stopped || state.isOver
    let next = isOver() || wasOver ? undefined : await state.prepare()()
    while (next !== undefined) {
      if (run.signal?.aborted && run.saveOnAbort && state.step > savedStep) yield await save(state.epoch)
      run.signal?.throwIfAborted()
      model.usable('train')
      const { batches, members, epoch, endsEpoch, round } = next
      const running = stoppableStep(state.native, { batches, members, goOn: run.goOn }, run.signal)
      // The engine thread computes; meanwhile this thread tokenizes and packs what comes next.
      let following = state.prepare()
      const result = await running
      if (result === undefined) continue
      const rows = rowsOf(batches)
      speed.count(result.tokens, rows)
      tokens += result.tokens
      state.round = round
      state.drawn = next.drawn
      const step = ++state.step
      const failed = state.take(result.members)
      const where = { step, totalSteps: state.plan.totalSteps, epoch }
      const losses = state.lossesOf(result.members)
      yield await callbacks.tell({ type: 'step', ...where, ...losses, tokens: result.tokens, rows })
      const tellsEnd = endsEpoch || callbacks.stopped
      if (tellsEnd) await callbacks.endEpoch()
      const someEnded = yield* behind(next, failed, true)
      // What was made ready holds rows of those that have ended since.
      if (someEnded) {
        await following().catch(() => undefined)
        following = state.prepareAgain()
      }
      const done = next
      next = isOver() ? undefined : await following()
      if (next === undefined && !tellsEnd) {
        await callbacks.endEpoch()
        yield* behind(done, [], false)
      }
    }
    // A run that ends before its plan does tells of its last steps, too; checkpoints still hold them for one that goes on.
    if (state.step > firstStep && args.loggingStrategy !== 'no') yield* log(state.epoch)
    if (run.keepsEnd && keeps && !wasOver) yield await save(state.epoch, true)
    // The newest checkpoint is then a best one, and a run that is made longer goes on from the end.
    const keepsBest =
      args.saveStrategy === 'best' &&
      (args.loadBestModelAtEnd || run.learners.some(({ options }) => options.args.loadBestModelAtEnd))
    if (keepsBest && savedStep !== state.step) yield await save(state.epoch)
    await state.takeBest()
    const seconds = (performance.now() - start) / 1000
    const frozenLayers = closeCache()
    yield await callbacks.tell<TasksEndEvent>({
      ...{ type: 'end', step: state.step, steps: state.step - firstStep, epoch: state.epoch, tokens, seconds },
      tasks: Object.fromEntries(run.learners.map((learner) => [learner.name, learner.result])),
      ...(state.best && { best: state.best, isBest: args.loadBestModelAtEnd || state.best.step === state.step }),
      ...(isOver() && state.step < state.plan.totalSteps && { stoppedEarly: true }),
      ...(frozenLayers && { frozenLayers })
    })
  } catch (error) {
    throw asOfRun(model, error)
  } finally {
    closeCache()
    state.native.dispose()
  }
}

/** Everyone who has not ended, over their evaluation data; those that share rows pass over them together. */
async function* evaluations(
  run: TasksRun,
  weights: readonly NativeClassWeights[],
  signal: AbortSignal | undefined
): AsyncGenerator<[Learner, Evaluation]> {
  const { model, feeds, learners } = run
  for (const feed of feeds) {
    const { options } = feed
    const own = options.learners.map((index) => learners[index] as Learner)
    if (options.evaluation === undefined || own.every(({ ended }) => ended !== undefined)) continue
    const sets: [string | undefined, Evaluation][] = []
    for (const { name, rows, how } of evaluatedRows(run, feed, weights)) {
      sets.push([name, await evaluateEncoded(model, rows, { ...how, signal })])
    }
    for (const learner of own) {
      const { head } = learner.options
      if (learner.ended === undefined) yield [learner, joinSets(sets.map(([name, all]) => [name, ofHead(all, head)]))]
    }
  }
}

function ofHead(all: Evaluation, head: string): Evaluation {
  const own = all.heads?.[head]
  return own === undefined ? all : { ...own, rows: all.rows, seconds: all.seconds }
}
