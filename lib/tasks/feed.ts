import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Sampler } from '../data/sampler.js'
import type { EncodedDataset } from '../training/encoded.js'
import type { EvaluationSet } from '../training/evaluation-sets.js'
import type { ComputeMetrics } from '../training/own-metrics.js'
import { StepPlan, stepBatches } from '../training/plan.js'
import { hasLabels, type OwnedBatch } from './merge-batches.js'

export interface FeedOptions {
  readonly data: EncodedDataset
  readonly sampler: Sampler
  readonly args: ResolvedTrainingArguments
  /** Numbers of those that learn from its rows; of several each reads every row. */
  readonly learners: readonly number[]
  readonly evaluation: readonly EvaluationSet[] | undefined
  readonly computeMetrics: ComputeMetrics | undefined
}

/** Rows for a batch, each with the epoch that it is drawn in. */
export interface DrawnRows {
  readonly rows: number[]
  readonly epochs: number[]
}

/** Rows for one learner, or for several that share them, batch by batch as a run of their own would have them. */
export class Feed {
  readonly #plan: StepPlan
  #steps: Generator<Uint32Array[]>
  #drawn = 0

  constructor(readonly options: FeedOptions) {
    this.#plan = new StepPlan({ ...options.args, maxSteps: Number.MAX_SAFE_INTEGER }, options.sampler)
    this.#steps = this.#from(0)
  }

  /** Steps that a run over it alone would have in an epoch. */
  stepsIn(epoch: number): number {
    const { sampler, args } = this.options
    return Math.max(1, Math.ceil(sampler.batchCount(epoch) / args.gradientAccumulationSteps))
  }

  /** Steps taken from it. */
  get drawn(): number {
    return this.#drawn
  }

  /** Goes on behind so many. */
  skipTo(drawn: number): void {
    this.#drawn = drawn
    this.#steps = this.#from(drawn)
  }

  /** The rows of its next steps, as the micro-batches of one. */
  take(steps: number): DrawnRows[] {
    const micro: DrawnRows[] = []
    for (let i = 0; i < steps; i++) {
      const { value } = this.#steps.next()
      const { epoch } = this.#plan.place(this.#drawn)
      for (const [at, taken] of (value as Uint32Array[]).entries()) {
        const { rows = [], epochs = [] } = micro[at] ?? {}
        micro[at] = { rows: [...rows, ...taken], epochs: [...epochs, ...Array.from(taken, () => epoch)] }
      }
      this.#drawn++
    }
    return micro
  }

  /** `memberOf`: of a learner; `weightOf`: of its loss; `signal`: ends it between two rows. */
  async batch(
    { rows, epochs }: DrawnRows,
    learnerOf: (head: string) => number,
    weightOf: (learner: number) => number,
    signal: AbortSignal | undefined
  ): Promise<OwnedBatch | undefined> {
    const batch = await this.options.data.batch(rows, { epochs, signal })
    if (!batch.answers.some(hasLabels)) return undefined
    const members = batch.answers.map(({ head }) => learnerOf(head))
    return { ...batch, members, weights: members.map(weightOf) }
  }

  #from(start: number): Generator<Uint32Array[]> {
    const { sampler, args } = this.options
    return stepBatches(sampler, this.#plan, args.gradientAccumulationSteps, start)
  }
}
