import { bestModelDefaults } from '../config/best-model.js'
import { type TrainingArguments, type TrainingArgumentsInput, trainingArguments } from '../config/training-arguments.js'
import { type BestEvaluation, BestModel, type SavedBest, valueNamed } from '../training/best.js'
import type { Evaluation } from '../training/evaluate.js'

/** Before the name of a metric: its mean over the tasks. */
const mean = /^(?:eval_)?mean_(?=.)/

/** What the metric of all is the mean of; undefined where it is each task's own. */
export function averagedMetric({ metricForBestModel }: TrainingArgumentsInput): string | undefined {
  const name = metricForBestModel ?? ''
  return mean.test(name) ? name.replace(mean, '') : undefined
}

/** The arguments that a task begins with: the best step is its own, unless it is that of all. */
export const argumentsOfEach = (args: TrainingArgumentsInput): TrainingArgumentsInput =>
  averagedMetric(args) === undefined ? args : { ...args, ...bestModelDefaults }

/** The arguments of the run: it has a best step where that is of all tasks. */
export const argumentsOfAll = (args: TrainingArgumentsInput): TrainingArguments =>
  trainingArguments(averagedMetric(args) === undefined ? { ...args, ...bestModelDefaults } : args)

/** What a checkpoint keeps of it. */
export interface SavedCommonBest extends SavedBest {
  readonly values: Readonly<Record<string, number>>
}

/**
 * The best step of several tasks together, by the mean of a metric that each of them has, and when to stop looking for a
 * better one. A task that has ended counts with its last value.
 */
export class CommonBest {
  readonly #values: Map<string, number>
  readonly #best: BestModel

  /** @param metric what the mean is of */
  constructor(
    private readonly args: TrainingArguments,
    private readonly metric: string,
    saved?: SavedCommonBest
  ) {
    this.#best = new BestModel(args, saved)
    this.#values = new Map(Object.entries(saved?.values ?? {}))
  }

  get best(): BestEvaluation | null {
    return this.#best.best
  }

  get isOver(): boolean {
    return this.#best.isOver
  }

  get saved(): SavedCommonBest | undefined {
    return this.#best.saved && { ...this.#best.saved, values: Object.fromEntries(this.#values) }
  }

  evaluated(task: string, evaluation: Evaluation): void {
    this.#values.set(task, valueNamed(evaluation, this.metric))
  }

  /** Behind the evaluations of a step: whether their mean is the best. */
  take(step: number): boolean {
    const { metricForBestModel: name } = this.args
    if (name === null || this.#values.size === 0) return false
    const sum = [...this.#values.values()].reduce((total, value) => total + value, 0)
    return this.#best.take(step, { loss: Number.NaN, metrics: { [name]: sum / this.#values.size } })
  }
}
