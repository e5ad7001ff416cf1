import type { TrainingArguments } from '../config/training-arguments.js'
import type { Sampler } from '../data/sampler.js'

/** How many steps a run has and where each of them lies in the data. */
export interface StepPlan {
  readonly totalSteps: number
  readonly stepsPerEpoch: number
  readonly warmupSteps: number
}

/** Hugging Face's arithmetic: a last group of micro-batches that is not full is a step too. */
export function planSteps(args: TrainingArguments, sampler: Sampler): StepPlan {
  const stepsPerEpoch = Math.max(1, Math.ceil(sampler.batchesPerEpoch / args.gradientAccumulationSteps))
  const totalSteps = args.maxSteps > 0 ? args.maxSteps : Math.ceil(args.numTrainEpochs * stepsPerEpoch)
  const warmupSteps = args.warmupSteps > 0 ? args.warmupSteps : Math.ceil(totalSteps * args.warmupRatio)
  return { totalSteps, stepsPerEpoch, warmupSteps }
}

/** Each step's micro-batches as row numbers, from step `start` on. */
export function* stepBatches(
  sampler: Sampler,
  plan: StepPlan,
  accumulation: number,
  start: number
): Generator<Uint32Array[]> {
  for (let step = start; step < plan.totalSteps; ) {
    const epoch = Math.floor(step / plan.stepsPerEpoch)
    let group: Uint32Array[] = []
    for (const batch of sampler.batches(epoch, (step % plan.stepsPerEpoch) * accumulation)) {
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
