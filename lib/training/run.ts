import { valueError } from '../config/check.js'
import type { Strategy, TrainingArguments } from '../config/training-arguments.js'
import { Sampler } from '../data/sampler.js'
import type { Model } from '../model/model.js'
import { nativeCall } from '../native/errors.js'
import type { EncodedDataset, LabelledBatch } from './encoded.js'
import { evaluateEncoded } from './evaluate.js'
import type { TrainingEvent } from './events.js'
import { fingerprint } from './fingerprint.js'
import { nativeTrainer } from './native-trainer.js'
import { planSteps, type StepPlan, stepBatches } from './plan.js'
import { resume, saveCheckpoint } from './resume.js'

export interface RunData {
  readonly train: EncodedDataset
  readonly evaluation: EncodedDataset | undefined
}

/** The steps of a run as events. The model is held by the caller; the native trainer lives as long as the loop. */
export async function* trainingRun(
  model: Model,
  args: TrainingArguments,
  data: RunData,
  signal: AbortSignal | undefined
): AsyncGenerator<TrainingEvent, void, undefined> {
  const sampler = new Sampler({
    length: data.train.length,
    batchSize: args.perDeviceTrainBatchSize,
    shuffle: args.shuffle,
    seed: args.seed,
    dropLast: args.dataloaderDropLast
  })
  if (sampler.batchesPerEpoch === 0) {
    throw valueError('trainDataset', 'there is no full batch, and dataloaderDropLast leaves the rest out')
  }
  const plan = planSteps(args, sampler)
  const native = nativeTrainer(model, args, plan)
  try {
    const keeps = args.saveStrategy !== 'no' || args.resumeFromCheckpoint !== null
    const run = keeps ? await fingerprint(model, args, data.train) : {}
    const progress = await resume(args, native, run)
    const firstStep = progress.step
    const batches = new BatchFeed(sampler, plan, args, data.train, firstStep)
    const totals = { loss: 0, tokens: 0 }
    const start = performance.now()
    let logged = { at: start, tokens: 0 }
    for (let batch = batches.next(); batch !== undefined; ) {
      signal?.throwIfAborted()
      const current = batch
      const running = nativeCall(() =>
        native.step(
          current.map(({ batch }) => batch),
          current.map(({ pass }) => pass)
        )
      )
      // The engine thread computes; meanwhile this thread tokenizes and packs what comes next.
      const following = batches.prepare()
      const result = await running
      progress.step++
      progress.lossSum += result.loss
      progress.lossCount++
      totals.loss += result.loss
      totals.tokens += result.tokens
      const { step } = progress
      const epoch = step / plan.stepsPerEpoch
      const { loss, learningRate, gradNorm, tokens } = result
      const common = { step, totalSteps: plan.totalSteps, epoch, learningRate, gradNorm }
      yield { type: 'step', ...common, loss, tokens }
      const isLast = step === plan.totalSteps
      const logs = due(args.loggingStrategy, args.loggingSteps, step, plan) || (args.loggingFirstStep && step === 1)
      if (logs || (isLast && args.loggingStrategy !== 'no')) {
        const seconds = (performance.now() - logged.at) / 1000
        const tokensPerSecond = (totals.tokens - logged.tokens) / seconds
        const mean = progress.lossSum / progress.lossCount
        progress.lossSum = 0
        progress.lossCount = 0
        logged = { at: performance.now(), tokens: totals.tokens }
        yield { type: 'log', ...common, loss: mean, tokensPerSecond }
      }
      if (data.evaluation && due(args.evalStrategy, args.evalSteps, step, plan)) {
        const options = { batchSize: args.perDeviceEvalBatchSize, signal }
        yield { type: 'evaluate', step, epoch, ...(await evaluateEncoded(model, data.evaluation, options)) }
      }
      if (due(args.saveStrategy, args.saveSteps, step, plan)) {
        yield {
          type: 'save',
          step,
          epoch,
          folder: await saveCheckpoint(model, args, native, { ...progress, epoch, run })
        }
      }
      batch = following()
    }
    const { step } = progress
    const seconds = (performance.now() - start) / 1000
    const steps = step - firstStep
    const loss = steps === 0 ? Number.NaN : totals.loss / steps
    yield { type: 'end', step, steps, epoch: step / plan.stepsPerEpoch, loss, tokens: totals.tokens, seconds }
  } finally {
    native.dispose()
  }
}

/** Each step's micro-batches, packed. */
class BatchFeed {
  readonly #steps: Generator<Uint32Array[]>
  readonly #data: EncodedDataset

  constructor(sampler: Sampler, plan: StepPlan, args: TrainingArguments, data: EncodedDataset, start: number) {
    this.#steps = stepBatches(sampler, plan, args.gradientAccumulationSteps, start)
    this.#data = data
  }

  next(): LabelledBatch[] | undefined {
    const { done, value } = this.#steps.next()
    if (done === true) return undefined
    return value.map((rows) => this.#data.batch(Array.from(rows)))
  }

  /** Makes the next batch now and gives it, or throws what went wrong, when it is asked for. */
  prepare(): () => LabelledBatch[] | undefined {
    try {
      const batch = this.next()
      return () => batch
    } catch (error) {
      return () => {
        throw error
      }
    }
  }
}

function due(strategy: Strategy, every: number, step: number, plan: StepPlan): boolean {
  if (strategy === 'no') return false
  if (strategy === 'steps') return step % every === 0
  return step % plan.stepsPerEpoch === 0 || step === plan.totalSteps
}
