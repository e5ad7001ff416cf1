import { valueError } from '../config/check.js'
import { isPlateau } from '../config/scheduler-arguments.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { unlessAborted } from '../data/abort.js'
import { Sampler } from '../data/sampler.js'
import type { Model } from '../model/model.js'
import type { NativeMemberResult } from '../native/trainer-types.js'
import { asOfRun } from './as-of-run.js'
import { BestModel, checkMeasured, valueNamed } from './best.js'
import { Callbacks, type TrainerCallback } from './callbacks.js'
import { headClassWeights, headsBy } from './class-weights.js'
import { due, isEvaluated, isSavedBehind } from './due.js'
import type { EncodedDataset, LabelledBatch } from './encoded.js'
import { evaluateEncoded, evaluationOptions } from './evaluate.js'
import { type EvaluationSet, evaluateSets } from './evaluation-sets.js'
import type { EndEvent, EvaluateEvent, LogEvent, SaveEvent, TrainingEvent } from './events.js'
import { fingerprint } from './fingerprint.js'
import { openFrozenLayers } from './frozen-layers.js'
import { nativeMember, nativeTrainer } from './native-trainer.js'
import type { ComputeMetrics } from './own-metrics.js'
import { StepPlan, stepBatches } from './plan.js'
import { Plateau } from './plateau.js'
import { prepared } from './prepared.js'
import { loadBest, resume, saveCheckpoint } from './resume.js'
import { rowLengths, rowsWithin } from './row-lengths.js'
import { checkLength } from './run-length.js'
import { type Rates, rowsOf, Speed } from './speed.js'
import { stoppableStep } from './stoppable-step.js'
import { EncodedStream, StreamFeed, streamLength } from './stream.js'
import type { RunOptions } from './trainer.js'

export interface RunData {
  readonly train: EncodedDataset | EncodedStream
  readonly evaluation: readonly EvaluationSet[] | undefined
  readonly computeMetrics: ComputeMetrics | undefined
  readonly callbacks: readonly TrainerCallback[] | undefined
}

interface LockedRun extends RunOptions {
  /** Takes the folder of checkpoints, for one that only a callback asks for. */
  readonly lock: () => void
  /** Told how many steps there will be, before the first event. */
  readonly onPlan: (totalSteps: number) => void
}

/** What a log tells of the step that it stands behind. */
type StepFacts = Omit<LogEvent, 'type' | 'loss' | keyof Rates>

/** The steps of a run as events. The model is held by the caller; the native trainer lives as long as the loop. */
export async function* trainingRun(
  model: Model,
  args: ResolvedTrainingArguments,
  data: RunData,
  { signal, saveOnAbort = false, lock, onPlan }: LockedRun
): AsyncGenerator<TrainingEvent, void, undefined> {
  const { plan, batches } = await feedFor(args, data.train, signal)
  onPlan(plan.totalSteps)
  const weights = await headClassWeights(args, data.train)
  const evaluating = evaluationOptions(args, headsBy(args, data.train), weights)
  const native = await nativeTrainer(model, [nativeMember(model, args, plan)], args.seed, weights)
  let closeCache: ReturnType<typeof openFrozenLayers> = () => undefined
  try {
    const keepsBest = args.loadBestModelAtEnd || args.saveStrategy === 'best'
    const keeps =
      saveOnAbort || args.saveStrategy !== 'no' || args.loadBestModelAtEnd || args.resumeFromCheckpoint !== null
    let run = keeps ? await fingerprint(model, args, data.train) : undefined
    const progress = await resume(args, native, run ?? {}, async (saved) => {
      checkLength(saved, plan.totalSteps)
      await batches.skip(saved.step, saved.stream)
    })
    closeCache = openFrozenLayers(model, args)
    const firstStep = progress.step
    const best = new BestModel(args, progress.best)
    const plateau = isPlateau(args) ? new Plateau(args, progress.plateau) : undefined
    if (plateau !== undefined) await native.setScale(0, plateau.saved.scale)
    // A step that is saved has been told of and evaluated: a resumed run does not go back to it.
    const stop = saveOnAbort ? undefined : signal
    const callbacks = new Callbacks(data.callbacks, { model, args }, data.evaluation !== undefined, stop)
    await callbacks.restore(progress.callbacks)
    let savedStep = firstStep
    const save = async (): Promise<SaveEvent> => {
      const { step } = progress
      lock()
      run ??= await fingerprint(model, args, data.train)
      savedStep = step
      const epoch = plan.epochAfter(step)
      progress.callbacks = await callbacks.saved()
      const saved = { ...progress, epoch, totalSteps: plan.totalSteps, run }
      const folder = await saveCheckpoint(model, args, native, saved)
      return await callbacks.tell({ type: 'save', step, epoch, folder })
    }
    const evaluate = async (sets: readonly EvaluationSet[]): Promise<EvaluateEvent> => {
      const { computeMetrics } = data
      const how = { ...evaluating, signal: stop, computeMetrics }
      const evaluation = await evaluateSets(sets, (rows) => evaluateEncoded(model, rows, how))
      progress.evaluation = { step: progress.step, epoch: plan.epochAfter(progress.step), ...evaluation }
      return { type: 'evaluate', ...progress.evaluation }
    }
    const totals = { tokens: 0 }
    const start = performance.now()
    const speed = new Speed()
    await callbacks.begin({ step: firstStep, totalSteps: plan.totalSteps, epoch: plan.epochAfter(firstStep) })
    const asked = callbacks.takes('evaluate')
    if (data.evaluation && (asked || (args.evalOnStart && firstStep === 0))) {
      const evaluation = await evaluate(data.evaluation)
      checkMeasured(args, evaluation)
      yield await callbacks.tell(evaluation)
    }
    /** The mean of the steps since the log before; nothing where there are none, for what was told is not told again. */
    const log = async function* (common: StepFacts) {
      if (progress.lossCount === 0) return
      const loss = progress.lossSum / progress.lossCount
      progress.lossSum = 0
      progress.lossCount = 0
      yield await callbacks.tell<LogEvent>({ type: 'log', ...common, loss, ...speed.take() })
    }
    /** What comes behind a step, in this order: what is due, and what callbacks ask for. */
    const behind = async function* (common: StepFacts, isDue: boolean) {
      const { step } = common
      const isLast = step === plan.totalSteps
      const first = args.loggingFirstStep && step === 1
      const last = isLast && args.loggingStrategy !== 'no'
      const logs = isDue && (due(args.loggingStrategy, args.loggingSteps, step, plan) || first || last)
      if (callbacks.takes('log') || logs) yield* log(common)
      let isBest = false
      const asksForEvaluation = callbacks.takes('evaluate')
      if (data.evaluation && (asksForEvaluation || (isDue && isEvaluated(args, step, plan)))) {
        const sets = data.evaluation
        const evaluation = await speed.aside(() => evaluate(sets))
        isBest = best.take(step, evaluation)
        progress.best = best.saved
        if (plateau !== undefined) {
          await native.setScale(0, plateau.take(valueNamed(evaluation, args.metricForBestModel ?? 'loss')))
          progress.plateau = plateau.saved
        }
        yield await callbacks.tell(evaluation)
      }
      const asksForSave = callbacks.takes('save')
      const isSaved = isDue && isSavedBehind(args, step, plan)
      if (asksForSave || isSaved || (isBest && keepsBest)) {
        yield await speed.aside(save)
      }
    }
    const isOver = () => best.isOver || callbacks.stopped
    let last: StepFacts | undefined
    for (let batch = isOver() ? undefined : await batches.next(); batch !== undefined; ) {
      if (signal?.aborted && saveOnAbort && progress.step > savedStep) yield await save()
      signal?.throwIfAborted()
      model.usable('train')
      const running = stoppableStep(native, { batches: batch, members: [0], goOn: false }, signal)
      // The engine thread computes; meanwhile this thread tokenizes and packs what comes next.
      const following = batches.prepare()
      const result = await running
      if (result === undefined) continue
      const { members, tokens } = result
      const { loss, learningRate, gradNorm } = members[0] as NativeMemberResult
      progress.step++
      progress.stream = batches.digestAfter(progress.step)
      progress.lossSum += loss
      progress.lossCount++
      progress.lossTotal = (progress.lossTotal ?? 0) + loss
      progress.lossSteps = (progress.lossSteps ?? 0) + 1
      const rows = rowsOf(batch)
      speed.count(tokens, rows)
      totals.tokens += tokens
      const { step } = progress
      const epoch = plan.epochAfter(step)
      const common = { step, totalSteps: plan.totalSteps, epoch, learningRate, gradNorm }
      last = common
      yield await callbacks.tell({ type: 'step', ...common, loss, tokens, rows })
      const endsEpoch = plan.endsEpoch(step) || callbacks.stopped
      if (endsEpoch) await callbacks.endEpoch()
      yield* behind(common, true)
      batch = isOver() ? undefined : await following()
      if (batch === undefined && !endsEpoch) {
        await callbacks.endEpoch()
        yield* behind(common, false)
      }
    }
    // A run that ends before its plan does tells of its last steps, too; checkpoints still hold them for one that goes on.
    if (last !== undefined && args.loggingStrategy !== 'no') yield* log(last)
    if (args.loadBestModelAtEnd && best.best !== null && best.best.step !== progress.step) {
      // Where it ends is kept, too: made longer, the run goes on from there.
      if (savedStep !== progress.step) yield await save()
      await loadBest(args, native, best.best.step)
    }
    if (keepsBest && best.best === null && progress.evaluation !== undefined) warnOfNoBest(args)
    const { step } = progress
    const seconds = (performance.now() - start) / 1000
    const steps = step - firstStep
    const { lossTotal = Number.NaN, lossSteps = 1 } = progress
    const loss = lossTotal / lossSteps
    const frozenLayers = closeCache()
    yield await callbacks.tell<EndEvent>({
      ...{ type: 'end', step, steps, epoch: plan.epochAfter(step), loss, tokens: totals.tokens, seconds },
      ...(progress.evaluation && { evaluation: progress.evaluation }),
      ...(best.best && { best: best.best, isBest: args.loadBestModelAtEnd || best.best.step === step }),
      ...(isOver() && step < plan.totalSteps && { stoppedEarly: true }),
      ...(frozenLayers && { frozenLayers })
    })
  } catch (error) {
    throw asOfRun(model, error)
  } finally {
    batches.close()
    closeCache()
    native.dispose()
  }
}

function warnOfNoBest({ metricForBestModel, loadBestModelAtEnd }: ResolvedTrainingArguments): void {
  process.emitWarning(
    `train: no evaluation gave a number for '${metricForBestModel}', so that none is the best` +
      `${loadBestModelAtEnd ? ': the model stays as its last step left it' : ''}.`,
    { code: 'TORCH_ADAPTERS_NO_BEST' }
  )
}

export async function samplerFor(
  args: ResolvedTrainingArguments,
  train: EncodedDataset,
  name = 'trainDataset'
): Promise<Sampler> {
  const { maxTokensPerBatch, groupByLength, perDeviceTrainBatchSize: batchSize } = args
  const needsLengths = groupByLength || maxTokensPerBatch !== null
  const lengths = needsLengths ? await rowLengths(train) : undefined
  const rows = maxTokensPerBatch === null || lengths === undefined ? batchSize : rowsWithin(maxTokensPerBatch, lengths)
  const sampler = new Sampler({
    ...{ length: train.length, batchSize, lengths },
    shuffle: args.shuffle,
    seed: args.dataSeed ?? args.seed,
    dropLast: args.dataloaderDropLast,
    groupSize: groupByLength ? rows * args.gradientAccumulationSteps : undefined,
    maxTokens: maxTokensPerBatch ?? undefined
  })
  // Where epochs have different numbers of batches, plans count those of all. The first is the one to begin with.
  const epochs = sampler.hasBudget && args.maxSteps <= 0 ? Math.ceil(args.numTrainEpochs) : 1
  for (let epoch = epochs - 1; epoch >= 0; epoch--) await sampler.prepare(epoch)
  if (sampler.batchCount(0) > 0) return sampler
  throw valueError(name, 'there is no full batch, and dataloaderDropLast leaves the rest out')
}

async function feedFor(
  args: ResolvedTrainingArguments,
  train: EncodedDataset | EncodedStream,
  signal: AbortSignal | undefined
): Promise<{ readonly plan: StepPlan; readonly batches: BatchFeed | StreamFeed }> {
  if (train instanceof EncodedStream) {
    return { plan: new StepPlan(args, streamLength(args)), batches: new StreamFeed(train, args, signal) }
  }
  const sampler = await samplerFor(args, train)
  const plan = new StepPlan(args, sampler)
  const from = (start: number) => stepBatches(sampler, plan, args.gradientAccumulationSteps, start)
  return { plan, batches: new BatchFeed(from, { data: train, plan, sampler, signal }) }
}

interface BatchFeedOptions {
  readonly data: EncodedDataset
  readonly plan: StepPlan
  readonly sampler: Sampler
  readonly signal: AbortSignal | undefined
}

/** Each step's micro-batches, packed. */
class BatchFeed {
  #steps: Generator<Uint32Array[]>
  #step = 0

  constructor(
    private readonly from: (start: number) => Generator<Uint32Array[]>,
    private readonly options: BatchFeedOptions
  ) {
    this.#steps = from(0)
  }

  /** Goes on behind so many steps. */
  skip(steps: number, _stream: string | undefined): void {
    this.#step = steps
    this.#steps = this.from(steps)
  }

  /** The rows of a dataset are in the run's fingerprint. */
  digestAfter(_step: number): undefined {
    return undefined
  }

  close(): void {
    this.#steps.return(undefined)
  }

  async next(): Promise<LabelledBatch[] | undefined> {
    const { done, value } = this.#steps.next()
    if (done === true) return undefined
    const { plan, sampler, signal } = this.options
    const { epoch, index, count } = plan.place(this.#step++)
    // The next step is the first of another epoch.
    if (index === count - 1 && this.#step < plan.totalSteps) await sampler.prepare(epoch + 1)
    // Nothing, and not an error: the run looks at the signal before each step.
    return await unlessAborted(this.#packed(value, epoch), signal, () => [])
  }

  async #packed(step: readonly Uint32Array[], epoch: number): Promise<LabelledBatch[]> {
    const { data, signal } = this.options
    const batches: LabelledBatch[] = []
    for (const rows of step) {
      batches.push(await data.batch(Array.from(rows), { epochs: new Array<number>(rows.length).fill(epoch), signal }))
    }
    return batches
  }

  /** Begins with the next batch now and gives it, or throws what went wrong, when it is asked for. */
  prepare(): () => Promise<LabelledBatch[] | undefined> {
    return prepared(() => this.next())
  }
}
