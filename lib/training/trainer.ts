import * as check from '../config/check.js'
import {
  type ResolvedTrainingArguments,
  type TrainingArguments,
  trainingArguments
} from '../config/training-arguments.js'
import { collectRows, type Dataset, isIndexed, type Row } from '../data/dataset.js'
import type { RowStream } from '../data/row-stream.js'
import { outsideScope } from '../model/adapter-setup.js'
import { checkModel } from '../model/check-model.js'
import { checkSavable } from '../model/exchange.js'
import type { Model } from '../model/model.js'
import { checkOptions } from '../model/options.js'
import { isLabelled, type Prediction } from '../model/predict.js'
import { AdapterError } from '../native/errors.js'
import { AnswerCollector } from './answers.js'
import { checkMetric } from './best.js'
import type { TrainerCallback } from './callbacks.js'
import { headClassWeights, headsBy } from './class-weights.js'
import { EncodedDataset, requireHeads } from './encoded.js'
import {
  checkComputeMetrics,
  type Evaluation,
  evaluateEncoded,
  evaluationOptions,
  type RunEvaluateOptions
} from './evaluate.js'
import {
  checkEvalDataset,
  countRows,
  type EvalDataset,
  type EvaluationSet,
  evaluateSets,
  evaluationNames,
  evaluationSets
} from './evaluation-sets.js'
import type { EndEvent, TrainingEvent } from './events.js'
import { checkLossArguments } from './loss-arguments.js'
import { evaluationMasks, trainingMasks } from './masks.js'
import { type MemoryPlan, planMemory } from './memory-plan.js'
import type { ComputeMetrics } from './own-metrics.js'
import { requireBatches, requireTakesPart } from './preflight.js'
import { processBytes } from './process-bytes.js'
import { recorded } from './record/recorder.js'
import { trainingRun } from './run.js'
import { lockRunFolders, writesCheckpoints } from './run-lock.js'
import { checkStreamArguments, EncodedStream } from './stream.js'
import {
  checkDatasetArguments,
  checkRunOptions,
  checkTrainerOptions,
  requireEvaluationRows
} from './trainer-options.js'
import { TrainerParts } from './trainer-parts.js'

export interface AdapterTrainerOptions {
  readonly model: Model
  /** Rows, or a stream of them: a function that gives them anew for each pass. */
  readonly trainDataset: Dataset | RowStream
  /** Rows to measure on, or several sets by their names: metrics are then `NAME_accuracy`, …, and the loss is their mean. */
  readonly evalDataset?: EvalDataset | undefined
  readonly args?: TrainingArguments | undefined
  /** Measures of your own over all answers of an evaluation, which metricForBestModel may name, too. */
  readonly computeMetrics?: ComputeMetrics | undefined
  /** Called while a run goes on; they may ask it to stop, evaluate, log or save. */
  readonly callbacks?: readonly TrainerCallback[] | undefined
}

const keys = ['model', 'trainDataset', 'evalDataset', 'args', 'computeMetrics', 'callbacks']

export interface RunOptions {
  /**
   * Stops between two steps, or while the run waits for rows, computeMetrics or a callback; it then rejects with the
   * signal's reason.
   */
  readonly signal?: AbortSignal | undefined
  /**
   * When the signal stops it, a checkpoint is written first, and its event given. What goes with the step, its evaluation
   * and callbacks, then comes to its end. Default false.
   */
  readonly saveOnAbort?: boolean | undefined
}

export interface TrainerEvaluateOptions {
  readonly evalDataset?: EvalDataset | undefined
  readonly signal?: AbortSignal | undefined
}

/** Of trainer.predict(): each row's answer, in order; where the rows have labels, what an evaluation of them gives. */
export interface PredictionOutput extends Partial<Evaluation> {
  readonly predictions: readonly Prediction[]
}

/** The end event's numbers. */
export type TrainResult = Omit<EndEvent, 'type'>

/**
 * Trains what the model says trains (trainAdapter, trainHead, trainAll) on its active head. The same seed and thread count
 * give the same bits; a resumed run continues as if it had never stopped.
 */
export class AdapterTrainer extends TrainerParts<TrainingEvent> {
  readonly model: Model
  readonly args: ResolvedTrainingArguments
  readonly #trainDataset: Dataset | RowStream
  readonly #evalDataset: EvalDataset | undefined
  readonly #computeMetrics: ComputeMetrics | undefined

  constructor(options: AdapterTrainerOptions) {
    checkTrainerOptions('AdapterTrainer', options, keys)
    super(options.callbacks)
    checkComputeMetrics(options.computeMetrics)
    checkModel(options.model)
    if (options.trainDataset === undefined) throw check.typeError('trainDataset', 'rows', undefined)
    checkEvalDataset('evalDataset', options.evalDataset)
    this.model = options.model
    this.args = trainingArguments(options.args)
    if (typeof options.trainDataset === 'function') checkStreamArguments(this.args)
    else checkDatasetArguments(this.args)
    this.#trainDataset = options.trainDataset
    this.#evalDataset = options.evalDataset
    this.#computeMetrics = options.computeMetrics
    requireEvaluationRows(this.args, options.evalDataset !== undefined, 'an evalDataset')
  }

  /** Runs to the end. */
  async train(options: RunOptions = {}): Promise<TrainResult> {
    for await (const event of this.run(options)) {
      if (event.type !== 'end') continue
      const { type, ...result } = event
      return result
    }
    throw new AdapterError('ERR_ABORTED', 'train', 'the run ended early')
  }

  /**
   * Loss and metrics over the evaluation data as the model is now; the loss is that of training, with its class weights.
   * @param options evalDataset: other rows, in place of the trainer's
   */
  async evaluate(options: TrainerEvaluateOptions = {}): Promise<Evaluation> {
    if (Array.isArray(options) || isIndexed(options)) {
      throw check.typeError('options', 'rows as an option: evaluate({ evalDataset: rows })', options)
    }
    checkOptions(options, ['evalDataset', 'signal'])
    const rows = options.evalDataset ?? this.#evalDataset
    if (rows === undefined) throw check.valueError('evalDataset', 'the trainer has none, and evaluate() was given none')
    checkEvalDataset('evalDataset', rows)
    requireHeads(this.model, 'evaluate')
    return await this.#measure(await this.#evaluationSets(rows, options.signal), options.signal)
  }

  /**
   * Answers rows as model.predict does and, where they have labels, measures as evaluate() does, in the same pass; where it
   * hides words for a masked_lm head, or a decoder reads the labels, in one more. Hugging Face's `predict`, whose predictions
   * are the logits of each.
   */
  async predict(testDataset: Dataset, options: Pick<RunOptions, 'signal'> = {}): Promise<PredictionOutput> {
    checkOptions(options, ['signal'])
    requireHeads(this.model, 'predict')
    const { signal } = options
    const rows = await collectRows(testDataset, 'testDataset', signal)
    const labelled = await this.#labelledRows(rows, signal)
    const measure = async (data: EncodedDataset, onAnswers?: RunEvaluateOptions['onAnswers']) =>
      await this.#measure([{ name: undefined, rows: data }], signal, onAnswers)
    if (labelled?.isReadAlike) {
      const answers = new AnswerCollector(this.model, labelled)
      const measured = await measure(labelled, (own, logits) => answers.take(own, logits))
      return { predictions: answers.predictions, ...measured }
    }
    const predictions = await this.model.predict(rows, { batchSize: this.args.perDeviceEvalBatchSize, signal })
    return { predictions, ...(labelled && (await measure(labelled))) }
  }

  async #measure(
    sets: readonly EvaluationSet[],
    signal: AbortSignal | undefined,
    onAnswers?: RunEvaluateOptions['onAnswers']
  ): Promise<Evaluation> {
    const { args } = this
    checkLossArguments([{ place: 'args.', args, heads: [...requireHeads(this.model, 'evaluate').values()] }])
    const train = args.classWeights === 'balanced' ? await this.#trainingRows(signal) : undefined
    return await evaluateSets(sets, async (rows) => {
      const weights = await headClassWeights(args, train ?? rows)
      return await evaluateEncoded(this.model, rows, {
        ...evaluationOptions(args, headsBy(args, rows), weights),
        signal,
        onAnswers,
        computeMetrics: this.#computeMetrics
      })
    })
  }

  /**
   * What train() will take of memory: the largest micro-batch and some of other sizes go through the network once, the
   * largest batch of an evaluation, too, where args.evalStrategy or args.evalOnStart ask for evaluations. Nothing is changed.
   */
  async plan(): Promise<MemoryPlan> {
    outsideScope('plan')
    requireTakesPart(this.model, requireHeads(this.model, 'plan'))
    const release = this.model.hold('a memory plan')
    try {
      const before = processBytes()
      const train = await this.#trainingRows()
      if (train instanceof EncodedDataset) {
        requireBatches(this.model.activeAdapters, this.args, train.length)
        const computeMetrics = this.#computeMetrics
        return await planMemory(this.model, this.args, {
          train,
          evaluation: this.#unreadSets(),
          computeMetrics,
          before
        })
      }
      throw new AdapterError('ERR_UNSUPPORTED', 'plan', 'nobody knows the longest rows of a stream', {
        expected: 'a dataset with a length',
        hint: 'Make a trainer with an array of its longest rows, a batch of them or more.'
      })
    } finally {
      release()
    }
  }

  async #trainingRows(signal?: AbortSignal): Promise<EncodedDataset | EncodedStream> {
    const name = 'trainDataset'
    const rows = this.#trainDataset
    if (typeof rows === 'function') return new EncodedStream(rows, this.model, name)
    return await EncodedDataset.of(rows, this.model, name, undefined, trainingMasks(this.args), signal)
  }

  async #evaluationRows(rows: Dataset, name: string, signal?: AbortSignal): Promise<EncodedDataset> {
    const masking = evaluationMasks(this.args.mlmProbability)
    return await EncodedDataset.of(rows, this.model, name, undefined, masking, signal)
  }

  async #evaluationSets(rows: EvalDataset, signal?: AbortSignal): Promise<readonly EvaluationSet[]> {
    return await evaluationSets(rows, 'evalDataset', (dataset, name) => this.#evaluationRows(dataset, name, signal))
  }

  /** What a plan looks at: of rows that stay on disk only some are read. */
  #unreadSets(): (() => Promise<readonly EvaluationSet[]>) | undefined {
    const { model, args } = this
    const given = this.#evalDataset
    const rowsOf = async (dataset: Dataset, name: string) =>
      isIndexed(dataset)
        ? EncodedDataset.unread(dataset, model, name, evaluationMasks(args.mlmProbability))
        : await this.#evaluationRows(dataset, name)
    return given && (() => evaluationSets(given, 'evalDataset', rowsOf))
  }

  /** Undefined where none of them has a label. Where some have, the others are an error. */
  async #labelledRows(rows: readonly Row[], signal?: AbortSignal): Promise<EncodedDataset | undefined> {
    try {
      return await this.#evaluationRows(rows, 'testDataset', signal)
    } catch (error) {
      if (error instanceof AdapterError && error.code === 'ERR_NO_LABELS' && !rows.some(isLabelled)) return undefined
      throw error
    }
  }

  /**
   * The run as events; the next step starts when the next event is asked for. Leaving the loop early, an abort or an error
   * frees the model and keeps every checkpoint written so far.
   */
  async *run(options: RunOptions = {}): AsyncGenerator<TrainingEvent, void, undefined> {
    checkRunOptions(options)
    const { signal, saveOnAbort = false } = options
    signal?.throwIfAborted()
    outsideScope('train')
    const heads = requireHeads(this.model, 'train')
    if (this.args.evalStrategy !== 'no') {
      checkMetric(this.args, heads, this.#computeMetrics, evaluationNames(this.#evalDataset))
    }
    checkLossArguments([{ place: 'args.', args: this.args, heads: [...heads.values()] }])
    requireTakesPart(this.model, heads)
    const release = this.model.hold('a training run')
    let unlock = () => {}
    try {
      const train = await this.#trainingRows(signal)
      const length = train instanceof EncodedDataset ? train.length : null
      requireBatches(this.model.activeAdapters, this.args, length)
      const evalDataset = this.#evalDataset
      const evaluation = evalDataset && (await this.#evaluationSets(evalDataset, signal))
      const { model, args } = this
      checkSavable(model, writesCheckpoints(args, saveOnAbort))
      const locks = lockRunFolders(args, saveOnAbort)
      unlock = locks.release
      const data = { train, evaluation, computeMetrics: this.#computeMetrics, callbacks: this.callbacks }
      let totalSteps = 0
      const events = trainingRun(model, args, data, {
        ...options,
        lock: () => locks.take(args.outputDir),
        onPlan: (steps) => {
          totalSteps = steps
        }
      })
      const rows = { train: length, evaluation: evaluation === undefined ? null : countRows(evaluation) }
      yield* recorded(events, { model, args, rows, totalSteps: () => totalSteps }, signal, (event) => [event])
    } finally {
      unlock()
      release()
    }
  }
}
