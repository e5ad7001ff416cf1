import type { NativeBatch, NativeForwardOptions } from './pass-types.js'

/** A schedule with every number filled in; learning rates are factors of the trainer's. */
export interface NativeSchedule {
  readonly kind: string
  readonly warmupSteps: number
  readonly totalSteps: number
  readonly cycles: number
  readonly power: number
  readonly minimum: number
  /** null: one step of the warm-up. */
  readonly warmupStart: number | null
  readonly timescale: number
  readonly stableSteps: number
  readonly decaySteps: number
  readonly warmupShape: string
  readonly decayShape: string
}

export type NativeOptimizer =
  | { readonly name: 'adamw'; readonly beta1: number; readonly beta2: number; readonly epsilon: number }
  | { readonly name: 'sgd'; readonly momentum: number; readonly dampening: number; readonly nesterov: boolean }
  | { readonly name: 'lion'; readonly beta1: number; readonly beta2: number }
  | {
      readonly name: 'adafactor'
      readonly epsilon: number
      readonly clipThreshold: number
      readonly decayRate: number
      readonly beta1: number | null
    }

/** Parameters by name with rates of their own; a parameter counts for the first group that names it. */
export interface NativeParameterGroup {
  readonly names: readonly string[]
  readonly learningRate: number
  readonly weightDecay: number
  /** Biases and LayerNorms, too. */
  readonly decaysAll: boolean
}

/** One of those that train side by side, each with its own parameters, as if it trained alone. */
export interface NativeMember {
  /** For messages; empty: it is the only one. */
  readonly name: string
  /** Its parameters; empty: all that train. What lies in one buffer, such as an adapter, belongs to one member. */
  readonly names: readonly string[]
  readonly learningRate: number
  readonly weightDecay: number
  readonly groups: readonly NativeParameterGroup[]
  readonly optimizer: NativeOptimizer
  /** 0: no clipping. */
  readonly maxGradNorm: number
  readonly schedule: NativeSchedule
  readonly labelSmoothing: number
}

/** How much labels of each class count in a head's loss, above 0. */
export interface NativeClassWeights {
  readonly head: string
  /** One for each label. */
  readonly weights: Float32Array
}

export interface NativeTrainerOptions {
  readonly members: readonly NativeMember[]
  /** Of heads whose labels do not all count alike. */
  readonly classWeights: readonly NativeClassWeights[]
  /** Dropout's random numbers. */
  readonly seed: number
}

/** One pass of a step. */
export interface NativeTrainingPass extends NativeForwardOptions {
  /** For each of `heads` (for the one head, where there is one) the member that learns from its loss. Absent: the first. */
  readonly headMembers?: readonly number[] | undefined
  /** What each head's loss counts in the gradients. Absent: 1. */
  readonly headWeights?: readonly number[] | undefined
}

export interface NativeMemberResult {
  readonly member: number
  /** Mean over the micro-batches in which it has rows. */
  readonly loss: number
  readonly learningRate: number
  /** Before clipping. */
  readonly gradNorm: number
  /** false: loss or gradient was not finite, and it stands where it stood. */
  readonly finite: boolean
}

export interface NativeStepResult {
  readonly members: readonly NativeMemberResult[]
  readonly tokens: number
}

/** In bytes. */
export interface NativePassMemory {
  /** What a pass, with its way back where it trains, takes at once at most. */
  readonly activations: number
  /** What the process had in memory by then, without what it maps from files; 0 where the system does not tell. */
  readonly process: number
}

export interface NativeMemoryUse extends NativePassMemory {
  readonly gradients: number
  readonly optimizer: number
}

export interface NativeTrainer {
  /**
   * One step of some members over its micro-batches (gradient accumulation): forward, loss, backward, and for each member
   * clip, optimizer, schedule.
   * @param passes one for each batch
   * @param members in rising order
   * @param goOn a member whose loss or gradient is not finite stays where it is, and the others move; otherwise that is an
   * error and nothing moves
   */
  step(
    batches: readonly NativeBatch[],
    passes: readonly NativeTrainingPass[],
    members: readonly number[],
    goOn: boolean
  ): Promise<NativeStepResult>
  /** What a step over these micro-batches takes, found by passing them through once; nothing moves. */
  measure(batches: readonly NativeBatch[], passes: readonly NativeTrainingPass[]): Promise<NativeMemoryUse>
  /** The step that runs ends with ERR_ABORTED before its next micro-batch, and nothing has moved. */
  stop(): void
  /** Multiplies a member's learning rates from now on, beside its schedule. No checkpoint holds it. */
  setScale(member: number, scale: number): Promise<void>
  /** Remembers a member's parameters as they are; a checkpoint holds them, too. */
  keep(member: number): Promise<void>
  /** Puts them back to what was kept last, if anything. */
  restore(member: number): Promise<void>
  /** Trained tensors, optimizer state and random state in one safetensors file with checksums; `user` is the caller's own JSON. */
  saveCheckpoint(file: string, user: string): Promise<void>
  /** Returns the caller's JSON. */
  loadCheckpoint(file: string): Promise<string>
  dispose(): void
}
