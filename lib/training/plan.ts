import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Sampler } from '../data/sampler.js'

/** Where a step lies: in which epoch (from 0), as which of its steps, and how many the epoch has. */
export interface StepPlace {
  readonly epoch: number
  readonly index: number
  readonly count: number
}

/**
 * How many steps a run has and where each of them lies in the data. Hugging Face's arithmetic: a last group of
 * micro-batches that is not full is a step too. With a budget of tokens the epochs have different numbers of steps.
 */
export class StepPlan {
  readonly totalSteps: number
  readonly warmupSteps: number
  readonly #group: number
  readonly #batchesOf: (epoch: number) => number
  readonly #stepsOf: (epoch: number) => number
  /** The first step of each epoch that has been asked for, and of the one after. */
  readonly #starts = [0]

  constructor(args: ResolvedTrainingArguments, sampler: Pick<Sampler, 'batchCount' | 'hasBudget'>) {
    const { gradientAccumulationSteps: group, numTrainEpochs, maxSteps } = args
    this.#group = group
    this.#batchesOf = (epoch) => Math.max(1, sampler.batchCount(epoch))
    this.#stepsOf = (epoch) => Math.ceil(this.#batchesOf(epoch) / group)
    this.totalSteps = maxSteps > 0 ? maxSteps : this.#stepsFor(numTrainEpochs, sampler)
    this.warmupSteps = warmupStepsOf(args, this.totalSteps)
  }

  #stepsFor(epochs: number, sampler: Pick<Sampler, 'hasBudget'>): number {
    if (!sampler.hasBudget) return Math.ceil(epochs * this.#stepsOf(0))
    const whole = Math.floor(epochs)
    return this.#start(whole) + Math.ceil((epochs - whole) * this.#stepsOf(whole))
  }

  #start(epoch: number): number {
    for (let known = this.#starts.length; known <= epoch; known++) {
      this.#starts.push((this.#starts[known - 1] ?? 0) + this.#stepsOf(known - 1))
    }
    return this.#starts[epoch] ?? 0
  }

  /** Of the step with this number, from 0. */
  place(step: number): StepPlace {
    let epoch = Math.max(0, this.#starts.length - 2)
    while (this.#start(epoch + 1) <= step) epoch++
    while (this.#start(epoch) > step) epoch--
    const start = this.#start(epoch)
    return { epoch, index: step - start, count: this.#start(epoch + 1) - start }
  }

  /** Passes over the data after so many steps, with the fraction of the one that is running: of its batches. */
  epochAfter(steps: number): number {
    const { epoch, index } = this.place(steps)
    const batches = this.#batchesOf(epoch)
    return (epoch * batches + index * this.#group) / batches
  }

  endsEpoch(steps: number): boolean {
    return steps === this.totalSteps || this.place(steps).index === 0
  }
}

/** Steps in which the learning rate climbs, of so many. */
export function warmupStepsOf({ warmupSteps, warmupRatio }: ResolvedTrainingArguments, totalSteps: number): number {
  return warmupSteps > 0 ? warmupSteps : Math.ceil(totalSteps * warmupRatio)
}

/** Each step's micro-batches as row numbers, from step `start` on. */
export function* stepBatches(
  sampler: Sampler,
  plan: StepPlan,
  accumulation: number,
  start: number
): Generator<Uint32Array[]> {
  for (let step = start; step < plan.totalSteps; ) {
    const { epoch, index } = plan.place(step)
    let group: Uint32Array[] = []
    for (const batch of sampler.batches(epoch, index * accumulation)) {
      group.push(batch)
      if (group.length < accumulation) continue
      yield group
      group = []
      if (++step >= plan.totalSteps) return
    }
    if (group.length > 0) {
      yield group
      step++
    }
  }
}
