import { defaultLrEnd, isPlateau } from '../config/scheduler-arguments.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { loadAddon } from '../native/addon.js'
import { nativeCall } from '../native/errors.js'
import type {
  NativeClassWeights,
  NativeMember,
  NativeOptimizer,
  NativeSchedule,
  NativeTrainer
} from '../native/trainer-types.js'
import { nativeGroups } from './parameter-groups.js'

/** How many steps one that trains will do, and over how many of them its learning rate climbs. */
export interface StepCounts {
  readonly totalSteps: number
  readonly warmupSteps: number
}

/** The core's trainer for members that nativeMember made. */
export async function nativeTrainer(
  model: Model,
  members: readonly NativeMember[],
  seed: number,
  classWeights: readonly NativeClassWeights[] = []
): Promise<NativeTrainer> {
  return await nativeCall(() => loadAddon().createTrainer(model.native, { members, seed, classWeights }))
}

/** @param own its name and its parameters, where it is one of several */
export function nativeMember(
  model: Model,
  args: ResolvedTrainingArguments,
  plan: StepCounts,
  own: { readonly name: string; readonly names: readonly string[] } = { name: '', names: [] }
): NativeMember {
  return {
    ...own,
    learningRate: args.learningRate,
    weightDecay: args.weightDecay,
    groups: nativeGroups(model, args, own.names),
    optimizer: nativeOptimizer(args),
    maxGradNorm: args.maxGradNorm,
    schedule: nativeSchedule(args, plan),
    labelSmoothing: args.labelSmoothingFactor
  }
}

function nativeOptimizer({
  optim,
  optimArgs,
  adamBeta1,
  adamBeta2,
  adamEpsilon
}: ResolvedTrainingArguments): NativeOptimizer {
  const betas = { beta1: adamBeta1, beta2: adamBeta2 }
  if (optim === 'adamw') return { name: optim, ...betas, epsilon: adamEpsilon }
  if (optim === 'lion') return { name: optim, ...betas }
  if (optim === 'sgd') {
    const { momentum = 0, dampening = 0, nesterov = false } = optimArgs
    return { name: optim, momentum, dampening, nesterov }
  }
  const { epsilon = 1e-30, clipThreshold = 1, decayRate = -0.8, beta1 = null } = optimArgs
  return { name: optim, epsilon, clipThreshold, decayRate, beta1 }
}

function nativeSchedule(args: ResolvedTrainingArguments, { warmupSteps, totalSteps }: StepCounts): NativeSchedule {
  const { lrSchedulerType, lrSchedulerKwargs: kwargs } = args
  // Evaluations alone move it: setScale.
  const kind = isPlateau(args) ? 'constant' : lrSchedulerType
  const decaySteps = kwargs.numDecaySteps ?? 0
  return {
    ...{ kind, warmupSteps, totalSteps, decaySteps },
    cycles: kwargs.numCycles ?? (kind === 'cosine_with_restarts' ? 1 : 0.5),
    power: kwargs.power ?? 1,
    minimum: lowestFactor(args),
    warmupStart: kwargs.warmupLrRate ?? null,
    timescale: kwargs.timescale ?? (warmupSteps || 10_000),
    stableSteps: kwargs.numStableSteps ?? totalSteps - warmupSteps - decaySteps,
    warmupShape: kwargs.warmupType ?? 'linear',
    decayShape: kwargs.decayType ?? 'cosine'
  }
}

function lowestFactor({ lrSchedulerType, lrSchedulerKwargs: kwargs, learningRate }: ResolvedTrainingArguments): number {
  if (lrSchedulerType === 'polynomial') return (kwargs.lrEnd ?? defaultLrEnd) / learningRate
  return kwargs.minLr === undefined ? (kwargs.minLrRate ?? kwargs.minLrRatio ?? 0) : kwargs.minLr / learningRate
}
