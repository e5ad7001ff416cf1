import type { ResolvedTrainingArguments } from '../config/training-arguments.js'

/** What a checkpoint keeps of it. */
export interface SavedPlateau {
  /** Null: no evaluation yet. */
  readonly best: number | null
  /** Evaluations in a row that were no better. */
  readonly bad: number
  /** Evaluations that are still not counted. */
  readonly cooling: number
  /** Of the learning rate. */
  readonly scale: number
}

/**
 * The learning rate goes down when evaluations get no better: torch.optim.lr_scheduler.ReduceLROnPlateau after each
 * evaluation, as transformers' Trainer has it. Other than there, whether more is better is greaterIsBetter's, not 'min'.
 */
export class Plateau {
  #state: SavedPlateau

  /** @param saved what a checkpoint kept */
  constructor(
    private readonly args: ResolvedTrainingArguments,
    saved: SavedPlateau | undefined
  ) {
    this.#state = saved ?? { best: null, bad: 0, cooling: 0, scale: 1 }
  }

  get saved(): SavedPlateau {
    return this.#state
  }

  /** Takes an evaluation's value; gives the factor of the learning rate from now on. */
  take(value: number): number {
    const { patience = 10, cooldown = 0 } = this.args.lrSchedulerKwargs
    let { best, bad, cooling, scale } = this.#state
    if (this.#isBetter(value, best)) {
      best = value
      bad = 0
    } else {
      bad++
    }
    if (cooling > 0) {
      cooling--
      bad = 0
    }
    if (bad > patience) {
      scale = this.#reduced(scale)
      cooling = cooldown
      bad = 0
    }
    this.#state = { best, bad, cooling, scale }
    return scale
  }

  #isBetter(value: number, best: number | null): boolean {
    const { lrSchedulerKwargs, greaterIsBetter } = this.args
    const { threshold = 1e-4, thresholdMode = 'rel', mode = greaterIsBetter ? 'max' : 'min' } = lrSchedulerKwargs
    const sign = mode === 'max' ? 1 : -1
    const known = best ?? -sign * Number.POSITIVE_INFINITY
    const limit = thresholdMode === 'rel' ? known * (1 + sign * threshold) : known + sign * threshold
    return mode === 'max' ? value > limit : value < limit
  }

  #reduced(scale: number): number {
    const { learningRate, lrSchedulerKwargs } = this.args
    const { factor = 0.1, minLr = 0, eps = 1e-8 } = lrSchedulerKwargs
    const now = learningRate * scale
    const next = Math.max(now * factor, minLr)
    return now - next > eps ? next / learningRate : scale
  }
}
