import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { StepCounts } from '../training/native-trainer.js'
import { warmupStepsOf } from '../training/plan.js'
import type { Feed } from './feed.js'
import type { Share } from './owners.js'
import type { Round, TaskSampler } from './task-sampler.js'

/** A round of the plan, and where the run stands behind it. */
export interface PlannedRound extends Round {
  /** Behind it, from 1. */
  readonly round: number
  readonly isLast: boolean
  readonly endsEpoch: boolean
}

/** How many rounds a run has, and how many of them are steps of each of those that train. */
export class TaskPlan {
  readonly totalSteps: number
  readonly #epochs: number[] = [0]
  readonly #steps: readonly number[]

  constructor(
    args: ResolvedTrainingArguments,
    private readonly sampler: TaskSampler,
    feeds: readonly Feed[],
    shares: readonly Share[]
  ) {
    this.totalSteps = args.maxSteps > 0 ? args.maxSteps : sampler.roundsIn(args.numTrainEpochs)
    const feedOf = (learner: number) => feeds.findIndex(({ options }) => options.learners.includes(learner))
    const feedsOf = shares.map(({ tasks }) => [...new Set(tasks.map(feedOf))])
    const steps = shares.map(() => 0)
    for (const { counts, epoch, index, count, round } of this.#all()) {
      this.#epochs[round] = epoch + (index + 1) / count
      feedsOf.forEach((own, share) => {
        if (own.some((feed) => (counts[feed] ?? 0) > 0)) steps[share] = (steps[share] ?? 0) + 1
      })
    }
    this.#steps = steps
  }

  /** Steps and warm-up of the one with this number among those that train. */
  stepsOf(share: number, args: ResolvedTrainingArguments): StepCounts {
    const totalSteps = Math.max(1, this.#steps[share] ?? 0)
    return { totalSteps, warmupSteps: warmupStepsOf(args, totalSteps) }
  }

  epochAfter(round: number): number {
    return this.#epochs[round] ?? 0
  }

  endsEpoch(round: number): boolean {
    return round === this.totalSteps || Number.isInteger(this.epochAfter(round))
  }

  /** The rounds behind so many. */
  *from(start: number): Generator<PlannedRound> {
    for (const planned of this.#all()) {
      const { round } = planned
      if (round <= start) continue
      const isLast = round === this.totalSteps
      yield { ...planned, epoch: this.epochAfter(round), isLast, endsEpoch: this.endsEpoch(round) }
    }
  }

  *#all(): Generator<Round & { readonly round: number }> {
    let round = 0
    for (const one of this.sampler.rounds()) {
      if (round === this.totalSteps) return
      yield { ...one, round: ++round }
    }
  }
}
