import * as check from '../config/check.js'
import type { TaskArguments } from '../config/task-arguments.js'
import type { ResolvedTrainingArguments, TrainingArguments } from '../config/training-arguments.js'
import type { Dataset } from '../data/dataset.js'
import { outsideScope } from '../model/adapter-setup.js'
import { checkModel } from '../model/check-model.js'
import type { Model } from '../model/model.js'
import { checkOptions } from '../model/options.js'
import type { AdapterSetup } from '../model/setup.js'
import { AdapterError } from '../native/errors.js'
import type { TrainerCallback } from '../training/callbacks.js'
import { EncodedDataset, type Reading } from '../training/encoded.js'
import { type Evaluation, evaluateEncoded, evaluationOptions } from '../training/evaluate.js'
import { type EvalDataset, type EvaluationSet, evaluateSets, evaluationSets } from '../training/evaluation-sets.js'
import { evaluationMasks, trainingMasks } from '../training/masks.js'
import type { MemoryPlan } from '../training/memory-plan.js'
import type { ComputeMetrics } from '../training/own-metrics.js'
import { processBytes } from '../training/process-bytes.js'
import { samplerFor } from '../training/run.js'
import type { RunOptions } from '../training/trainer.js'
import {
  checkDatasetArguments,
  checkRunOptions,
  checkTrainerOptions,
  requireEvaluationRows
} from '../training/trainer-options.js'
import { TrainerParts } from '../training/trainer-parts.js'
import { taskClassWeights } from './class-weights.js'
import { argumentsOfAll, averagedMetric } from './common-best.js'
import type { TasksEndEvent, TasksEvent } from './events.js'
import { Feed } from './feed.js'
import { tasksFingerprint } from './fingerprint.js'
import { Learner } from './learner.js'
import { trainOnly } from './owners.js'
import { planTasks } from './plan-memory.js'
import { recordedTasksRun } from './recorded.js'
import type { TasksRun } from './run-state.js'
import { type CheckedTask, checkTask } from './task.js'
import { TaskSampler } from './task-sampler.js'
import {
  checkMode,
  checkOnNotFinite,
  checkSampling,
  checkTogether,
  type OnNotFinite,
  type TaskMode,
  type TaskSampling
} from './task-sampling.js'

/** One of the tasks. */
export interface TaskOptions {
  readonly dataset: Dataset
  /** Rows to measure on, or several sets by their names, as AdapterTrainer takes them. */
  readonly evalDataset?: EvalDataset | undefined
  /** What its rows pass through, such as `Stack('de', 'ner')`; null: the base model alone. Default: the task's name. */
  readonly adapter?: AdapterSetup | undefined
  /** Which adapters of it train. Default: all of them; where it fuses adapters, its fusions and no adapter. */
  readonly train?: readonly string[] | undefined
  /** The head that reads its rows. Default: that of the task's name, or else of its last adapter. */
  readonly head?: string | undefined
  /** What its loss is multiplied by in every gradient, of what it shares with other tasks and of its own. Default 1. */
  readonly weight?: number | undefined
  /**
   * Training arguments of its own, such as learningRate or earlyStoppingPatience. Of what it shares with other tasks they hold
   * where all of these say the same.
   */
  readonly args?: TaskArguments | undefined
  readonly computeMetrics?: ComputeMetrics | undefined
}

export interface MultiTaskTrainerOptions {
  readonly model: Model
  readonly tasks: Readonly<Record<string, TaskOptions>>
  /** For all tasks; a step has a batch of perDeviceTrainBatchSize rows of each task in it. */
  readonly args?: TrainingArguments | undefined
  /**
   * 'fused': each step is one pass through the model with rows of several tasks, each with its own adapter and head;
   * 'alternate': a batch of one task. Default 'fused'.
   */
  readonly mode?: TaskMode | undefined
  /** Default 'exhaustive'. */
  readonly sampler?: TaskSampling | undefined
  /**
   * Where a task's loss is not finite, as the mean over no rows is not: 'throw' stops the run, 'stopTask' that task alone.
   * Default 'throw'.
   */
  readonly onNotFinite?: OnNotFinite | undefined
  /** Called while a run goes on; they may ask it to stop, evaluate, log or save. */
  readonly callbacks?: readonly TrainerCallback<TasksEvent>[] | undefined
}

export const multiTaskKeys = ['model', 'tasks', 'args', 'mode', 'sampler', 'onNotFinite', 'callbacks']

/** The end event's numbers. */
export type MultiTaskResult = Omit<TasksEndEvent, 'type'>

/**
 * Trains adapters and heads of several tasks over one model that stays as it is. Each task learns what it would learn
 * alone: its gradients are those of its own rows, and its learning rate, schedule, clipping and optimizer its own. What
 * several tasks train, such as an adapter that they share, gets the sum of their gradients, each times its task's weight. Its
 * learning rate with schedule and warm-up, its optimizer, weight decay and clipping are what all of these tasks say, or else
 * those of all, with a warning (TORCH_ADAPTERS_SHARED_ARGUMENTS). With dropout the numbers drawn are others than alone.
 *
 * With `loadBestModelAtEnd` each task comes back from its own best step, where it shares nothing with others. All come back
 * from one where `metricForBestModel` in the arguments of all is a mean over the tasks that are measured: `mean_loss`,
 * `mean_accuracy`, … Early stopping then ends the run, and `reduce_lr_on_plateau` has all learning rates follow the mean.
 */
export class MultiTaskTrainer extends TrainerParts<TasksEvent> {
  readonly model: Model
  readonly args: ResolvedTrainingArguments
  readonly #input: TrainingArguments
  readonly #tasks: readonly CheckedTask[]
  readonly #mode: TaskMode
  readonly #sampling: TaskSampling
  readonly #goOn: boolean

  /** @param keepsEnd where checkpoints are written, one of the end, too: resumed from it, nothing is left to do */
  constructor(
    options: MultiTaskTrainerOptions,
    private readonly keepsEnd = false
  ) {
    checkTrainerOptions('MultiTaskTrainer', options, multiTaskKeys)
    super(options.callbacks)
    checkModel(options.model)
    this.model = options.model
    this.#input = options.args ?? {}
    this.args = argumentsOfAll(this.#input)
    const tasks = Object.entries(check.checkObject('tasks', options.tasks) as Record<string, TaskOptions>)
    if (tasks.length === 0) throw check.valueError('tasks', 'expected at least one task')
    this.#mode = checkMode('mode', options.mode ?? 'fused')
    this.#sampling = checkSampling('sampler', options.sampler ?? 'exhaustive')
    checkTogether(this.#sampling, this.#mode)
    this.#goOn = checkOnNotFinite('onNotFinite', options.onNotFinite ?? 'throw') === 'stopTask'
    this.#tasks = tasks.map(([name, task]) => checkTask(this.model, name, task, this.#input))
    if (averagedMetric(this.#input) !== undefined) refuseOwnBest(this.#tasks)
    const has = this.#tasks.some(({ evalDataset }) => evalDataset !== undefined)
    checkDatasetArguments(this.args)
    requireEvaluationRows(this.args, has, 'a task with an evalDataset')
  }

  /** Runs to the end. */
  async train(options: RunOptions = {}): Promise<MultiTaskResult> {
    for await (const event of this.run(options)) {
      if (event.type !== 'end') continue
      const { type, ...result } = event
      return result
    }
    throw new AdapterError('ERR_ABORTED', 'train', 'the run ended early')
  }

  /** Loss and metrics of each task that has evaluation data, as the model is now. */
  async evaluate(options: RunOptions = {}): Promise<Readonly<Record<string, Evaluation>>> {
    checkOptions(options, ['signal'])
    const results: [string, Evaluation][] = []
    for (const task of this.#tasks) {
      const sets = await this.#evaluationOf(task, options.signal)
      if (sets === undefined) continue
      const { computeMetrics, args } = task
      const train = args.classWeights === 'balanced' ? await this.#trainingOf(task, options.signal) : undefined
      const evaluation = await evaluateSets(sets, async (rows) => {
        const weights = await taskClassWeights(task, train ?? rows)
        const own = { ...evaluationOptions(args, [[task.head, args]], weights), ...options, computeMetrics }
        return await evaluateEncoded(this.model, rows, own)
      })
      results.push([task.name, evaluation])
    }
    return Object.fromEntries(results)
  }

  /**
   * The run as events; the next step starts when the next event is asked for. Leaving the loop early, an abort or an error
   * frees the model and keeps every checkpoint written so far.
   */
  async *run(options: RunOptions = {}): AsyncGenerator<TasksEvent, void, undefined> {
    checkRunOptions(options)
    options.signal?.throwIfAborted()
    outsideScope('train')
    this.#trainOwn()
    const release = this.model.hold('a training run')
    try {
      yield* recordedTasksRun(await this.#tasksRun(options))
    } finally {
      release()
    }
  }

  /**
   * What train() will take of memory: the largest micro-batch of the first 256 steps goes through the network once, and so does
   * the largest batch of the evaluations that the arguments ask for. As for train(), the tasks' adapters and heads are what trains from here on; no value changes.
   */
  async plan(): Promise<MemoryPlan> {
    outsideScope('plan')
    // What is to train has its gradients from then on.
    const before = processBytes()
    this.#trainOwn()
    const release = this.model.hold('a memory plan')
    try {
      return await planTasks(await this.#tasksRun({}), before)
    } finally {
      release()
    }
  }

  #trainOwn(): void {
    trainOnly(
      this.model,
      this.#tasks.map(({ parts }) => parts)
    )
  }

  async #tasksRun({ signal, saveOnAbort }: RunOptions): Promise<TasksRun> {
    const learners = this.#tasks.map((task) => new Learner(task))
    const feeds = await this.#feeds(learners, signal)
    const { model, args } = this
    const sizes = feeds.map((feed) => ({
      rows: feed.options.data.length,
      steps: (epoch: number) => feed.stepsIn(epoch)
    }))
    const seed = args.dataSeed ?? args.seed
    return {
      ...{ model, args, learners, feeds, goOn: this.#goOn, signal, saveOnAbort, callbacks: this.callbacks },
      keepsEnd: this.keepsEnd,
      beside: {
        tasks: {
          mode: this.#mode,
          sampler: this.#sampling,
          own: Object.fromEntries(this.#tasks.map(({ name, own }) => [name, own]))
        }
      },
      averagedMetric: averagedMetric(this.#input),
      sampler: new TaskSampler({ sizes, sampling: this.#sampling, mode: this.#mode, seed }),
      fingerprint: () => tasksFingerprint(model, args, { learners, feeds, mode: this.#mode, sampler: this.#sampling })
    }
  }

  async #feeds(learners: readonly Learner[], signal: AbortSignal | undefined): Promise<Feed[]> {
    const feeds: Feed[] = []
    for (const [i, task] of this.#tasks.entries()) {
      const data = await this.#trainingOf({ ...task, mayBeEmpty: true }, signal)
      if (data.length === 0) {
        if (!this.#goOn) throw noRows(task)
        ;(learners[i] as Learner).ended = 'noRows'
        continue
      }
      const sampler = await samplerFor(task.args, data, `tasks.${task.name}.dataset`)
      const evaluates = this.args.evalStrategy !== 'no' || this.args.evalOnStart || this.callbacks.length > 0
      const evaluation = evaluates ? await this.#evaluationOf(task, signal) : undefined
      const { args, computeMetrics } = task
      feeds.push(new Feed({ data, sampler, args, learners: [i], evaluation, computeMetrics }))
    }
    if (feeds.length === 0) throw check.valueError('tasks', 'none of them has rows')
    return feeds
  }

  async #trainingOf(task: CheckedTask & Pick<Reading, 'mayBeEmpty'>, signal?: AbortSignal): Promise<EncodedDataset> {
    const name = `tasks.${task.name}.dataset`
    return await EncodedDataset.of(task.dataset, this.model, name, task, trainingMasks(task.args), signal)
  }

  async #evaluationOf(task: CheckedTask, signal?: AbortSignal): Promise<readonly EvaluationSet[] | undefined> {
    if (task.evalDataset === undefined) return undefined
    const masking = evaluationMasks(task.args.mlmProbability)
    const encode = (rows: Dataset, place: string) => EncodedDataset.of(rows, this.model, place, task, masking, signal)
    return await evaluationSets(task.evalDataset, `tasks.${task.name}.evalDataset`, encode)
  }
}

const noRows = ({ name }: CheckedTask): TypeError =>
  check.valueError(
    `tasks.${name}.dataset`,
    "it has no rows; leave the task out, or go on without it by onNotFinite: 'stopTask'"
  )

function refuseOwnBest(tasks: readonly CheckedTask[]): void {
  const own = tasks.find(({ args }) => args.loadBestModelAtEnd)
  if (own === undefined) return
  throw check.valueError(
    `tasks.${own.name}.args.loadBestModelAtEnd`,
    'metricForBestModel is a mean over all tasks, so that they come back from one step together: leave it out here'
  )
}
