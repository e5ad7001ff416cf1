import { isPlateau } from '../config/scheduler-arguments.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { AdapterSetup } from '../model/setup.js'
import type { NativeMemberResult } from '../native/trainer-types.js'
import { BestModel, type SavedBest, valueNamed } from '../training/best.js'
import type { Evaluation } from '../training/evaluate.js'
import { Plateau, type SavedPlateau } from '../training/plateau.js'
import type { TaskEnd, TaskResult } from './events.js'
import type { TaskParts } from './owners.js'

/** One of those that train side by side: a task, or a member of a sweep. */
export interface LearnerOptions {
  readonly name: string
  readonly args: ResolvedTrainingArguments
  readonly setup: AdapterSetup
  readonly head: string
  readonly parts: TaskParts
  /** Of its loss in the gradients of what it shares with others. */
  readonly weight: number
  /** Whether its learning rate follows the mean over all, rather than evaluations of its own. */
  readonly followsMean?: boolean
}

type PlacedEvaluation = NonNullable<TaskResult['evaluation']>

/** What a checkpoint keeps of it. */
export interface SavedLearner {
  readonly steps: number
  readonly lossSum: number
  readonly lossCount: number
  /** Of all its steps. */
  readonly lossTotal: number
  readonly best?: SavedBest | undefined
  /** With reduce_lr_on_plateau. */
  readonly plateau?: SavedPlateau | undefined
  readonly ended?: TaskEnd | undefined
  readonly bestStep?: number | undefined
  /** Its last step that was done, its last evaluation and its best. */
  readonly last?: NativeMemberResult | undefined
  readonly evaluation?: PlacedEvaluation | undefined
  readonly bestEvaluation?: PlacedEvaluation | undefined
  /** How many steps of its own it had at the last one. */
  readonly evaluatedAt?: number | undefined
}

/** How far the loss of one and the same adapter is from itself among other tasks' rows, relative. */
const rounding = 1e-6

/** A learner and where its run stands. */
export class Learner {
  /** Steps of its own. */
  steps = 0
  ended: TaskEnd | undefined
  last: NativeMemberResult | undefined
  #lossSum = 0
  #lossCount = 0
  #lossTotal = 0
  #best: BestModel
  #plateau: Plateau | undefined
  #bestStep: number | undefined
  #evaluation: PlacedEvaluation | undefined
  #evaluatedAt: number | undefined
  #bestEvaluation: PlacedEvaluation | undefined

  constructor(readonly options: LearnerOptions) {
    this.#best = new BestModel(options.args, undefined)
    this.#plateau = plateauOf(options, undefined)
  }

  get name(): string {
    return this.options.name
  }

  step(result: NativeMemberResult): void {
    this.steps++
    this.last = result
    this.#lossSum += result.loss
    this.#lossCount++
    this.#lossTotal += result.loss
  }

  /** Mean loss since this was asked last; undefined where there was no step. */
  takeLoss(): number | undefined {
    if (this.#lossCount === 0) return undefined
    const mean = this.#lossSum / this.#lossCount
    this.#lossSum = 0
    this.#lossCount = 0
    return mean
  }

  /** Takes an evaluation after so many steps and epochs of the run; whether it is the best. */
  evaluated(where: { readonly step: number; readonly epoch: number }, evaluation: Evaluation): boolean {
    const before = this.#evaluation?.loss ?? Number.NaN
    // A task that has not had its turn is as it was: that says nothing of what it learns. What it shares may have moved.
    const stands = this.#evaluatedAt === this.steps && Math.abs(evaluation.loss - before) <= rounding * Math.abs(before)
    this.#evaluatedAt = this.steps
    this.#evaluation = { ...where, ...evaluation }
    if (stands) return false
    const isBest = this.#best.take(where.step, evaluation)
    if (isBest) {
      this.#bestStep = this.steps
      this.#bestEvaluation = this.#evaluation
    }
    this.#plateau?.take(valueNamed(evaluation, this.options.args.metricForBestModel ?? 'loss'))
    return isBest
  }

  /** What its evaluations multiply its learning rates by; undefined where they do not. */
  get scale(): number | undefined {
    return this.#plateau?.saved.scale
  }

  get hasWaitedEnough(): boolean {
    return this.#best.isOver
  }

  /** Whether its parameters are no longer those of the best evaluation, which it is to end with. */
  get wantsBest(): boolean {
    return this.options.args.loadBestModelAtEnd && this.#bestStep !== undefined && this.#bestStep !== this.steps
  }

  get #isBest(): boolean {
    return this.options.args.loadBestModelAtEnd || this.#bestStep === this.steps
  }

  get result(): TaskResult {
    return {
      steps: this.steps,
      loss: this.steps === 0 ? Number.NaN : this.#lossTotal / this.steps,
      ...(this.#best.best && { best: this.#best.best, isBest: this.#isBest }),
      ...(this.#evaluation && { evaluation: this.#evaluation }),
      ...(this.ended && { ended: this.ended })
    }
  }

  /** The evaluation of the parameters that it ends with: where it goes back to its best, that; otherwise the last. */
  get keptEvaluation(): PlacedEvaluation | undefined {
    const goesBack = this.options.args.loadBestModelAtEnd && this.#bestStep !== undefined
    return goesBack ? this.#bestEvaluation : this.#evaluation
  }

  get saved(): SavedLearner {
    return {
      steps: this.steps,
      lossSum: this.#lossSum,
      lossCount: this.#lossCount,
      lossTotal: this.#lossTotal,
      best: this.#best.saved,
      plateau: this.#plateau?.saved,
      ended: this.ended,
      bestStep: this.#bestStep,
      last: this.last,
      evaluation: this.#evaluation,
      bestEvaluation: this.#bestEvaluation,
      evaluatedAt: this.#evaluatedAt
    }
  }

  restore({
    steps,
    lossSum,
    lossCount,
    lossTotal,
    best,
    plateau,
    ended,
    bestStep,
    last,
    evaluation,
    bestEvaluation,
    evaluatedAt
  }: SavedLearner): void {
    this.steps = steps
    this.#lossSum = lossSum
    this.#lossCount = lossCount
    this.#lossTotal = lossTotal
    this.#best = new BestModel(this.options.args, best)
    this.#bestStep = this.#best.best === null ? undefined : bestStep
    this.#plateau = plateauOf(this.options, plateau)
    this.ended ??= ended
    this.last = last
    this.#evaluation = evaluation
    this.#bestEvaluation = bestEvaluation
    this.#evaluatedAt = evaluatedAt
  }
}

const plateauOf = ({ args, followsMean }: LearnerOptions, saved: SavedPlateau | undefined): Plateau | undefined =>
  isPlateau(args) && followsMean !== true ? new Plateau(args, saved) : undefined
