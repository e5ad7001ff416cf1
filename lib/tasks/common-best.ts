import { bestModelDefaults, checkBestModel } from '../config/best-model.js'
import { isPlateau } from '../config/scheduler-arguments.js'
import type { TaskArguments } from '../config/task-arguments.js'
import {
  commonArguments,
  type ResolvedTrainingArguments,
  type TrainingArguments
} from '../config/training-arguments.js'
import { type BestEvaluation, BestModel, type SavedBest, valueNamed } from '../training/best.js'
import type { Evaluation } from '../training/evaluate.js'
import { Plateau, type SavedPlateau } from '../training/plateau.js'

/** Before the name of a metric: its mean over the tasks. */
const mean = /^(?:eval_)?mean_(?=.)/

/** What the metric of all is the mean of; undefined where it is each task's own. */
export function averagedMetric({ metricForBestModel }: TrainingArguments): string | undefined {
  const name = metricForBestModel ?? ''
  return mean.test(name) ? name.replace(mean, '') : undefined
}

/** The arguments that a task begins with: the best step is its own, unless it is that of all. */
export const argumentsOfEach = (args: TrainingArguments): TrainingArguments =>
  averagedMetric(args) === undefined ? args : { ...args, ...bestModelDefaults }

/** Whether a task's learning rate goes down as the mean over the tasks has it, rather than by evaluations of its own. */
export const followsMean = (all: TrainingArguments, own: TaskArguments | undefined): boolean =>
  averagedMetric(all) !== undefined && isPlateau(all) && own?.lrSchedulerType === undefined

/** The arguments of the run: it has a best step where that is of all tasks. */
export function argumentsOfAll(args: TrainingArguments): ResolvedTrainingArguments {
  if (averagedMetric(args) === undefined) return commonArguments({ ...args, ...bestModelDefaults })
  const all = commonArguments(args)
  checkBestModel(all, all)
  return all
}

/** What a checkpoint keeps of it. */
export interface SavedCommonBest extends SavedBest {
  readonly values: Readonly<Record<string, number>>
  /** With reduce_lr_on_plateau. */
  readonly plateau?: SavedPlateau | undefined
}

/**
 * The best step of several tasks together, by the mean of a metric that each of them has, and when to stop looking for a
 * better one; with reduce_lr_on_plateau also what it makes of the learning rates. A task that has ended counts with its
 * last value.
 */
export class CommonBest {
  readonly #values: Map<string, number>
  readonly #best: BestModel
  readonly #plateau: Plateau | undefined

  /** @param metric what the mean is of */
  constructor(
    private readonly args: ResolvedTrainingArguments,
    private readonly metric: string,
    saved?: SavedCommonBest
  ) {
    this.#best = new BestModel(args, saved)
    this.#plateau = isPlateau(args) ? new Plateau(args, saved?.plateau) : undefined
    this.#values = new Map(Object.entries(saved?.values ?? {}))
  }

  get best(): BestEvaluation | null {
    return this.#best.best
  }

  get isOver(): boolean {
    return this.#best.isOver
  }

  get saved(): SavedCommonBest | undefined {
    const values = Object.fromEntries(this.#values)
    return this.#best.saved && { ...this.#best.saved, values, plateau: this.#plateau?.saved }
  }

  /** What it multiplies the learning rates by of all that follows it; undefined where nothing does. */
  get scale(): number | undefined {
    return this.#plateau?.saved.scale
  }

  evaluated(task: string, evaluation: Evaluation): void {
    this.#values.set(task, valueNamed(evaluation, this.metric))
  }

  /** Behind the evaluations of a step: whether their mean is the best. */
  take(step: number): boolean {
    const { metricForBestModel: name } = this.args
    if (name === null || this.#values.size === 0) return false
    const value = [...this.#values.values()].reduce((total, one) => total + one, 0) / this.#values.size
    this.#plateau?.take(value)
    return this.#best.take(step, { loss: Number.NaN, metrics: { [name]: value } })
  }
}
