import type { FrozenLayerReport } from '../native/types.js'
import type { BestEvaluation } from '../training/best.js'
import type { EvaluateEvent, LogEvent, SaveEvent } from '../training/events.js'

/** What one task did in a step. */
export interface TaskStep {
  /** Of its own, from 1. */
  readonly step: number
  readonly loss: number
  readonly learningRate: number
  /** Of its own parameters, before clipping. */
  readonly gradNorm: number
}

/** After each step, of one task or of several. */
export interface TasksStepEvent {
  readonly type: 'step'
  /** Steps done, from 1. */
  readonly step: number
  readonly totalSteps: number
  readonly epoch: number
  /** Sum over the tasks in it, each times its weight. */
  readonly loss: number
  readonly tokens: number
  readonly rows: number
  /** By name; only those that took part. */
  readonly tasks: Readonly<Record<string, TaskStep>>
}

/** Every loggingSteps and at the last step, wherever that is, for each task that trained since the last. */
export interface TaskLogEvent extends LogEvent {
  readonly task: string
}

/** After each run over a task's evaluation data. */
export interface TaskEvaluateEvent extends EvaluateEvent {
  readonly task: string
}

/** Why a task ended before the others; 'noRows': before its first step. */
export type TaskEnd = 'earlyStopping' | 'notFinite' | 'noRows'

/** A task ends before the others; it stands where it stands. */
export interface TaskEndEvent {
  readonly type: 'taskEnd'
  readonly task: string
  readonly step: number
  readonly reason: TaskEnd
}

/** How a task went. */
export interface TaskResult {
  /** Steps of its own, of this run and of those that it resumed. */
  readonly steps: number
  /** Mean over all its steps; NaN where there was none. */
  readonly loss: number
  /** With metricForBestModel: the best evaluation. */
  readonly best?: BestEvaluation
  /** Whether what it trained is as it was at the best evaluation: with loadBestModelAtEnd, or where the last step was the best. */
  readonly isBest?: boolean
  /** The last evaluation; also that of a run which this one resumed. */
  readonly evaluation?: Omit<EvaluateEvent, 'type'>
  readonly ended?: TaskEnd
}

/** Once, last. */
export interface TasksEndEvent {
  readonly type: 'end'
  readonly step: number
  /** Of this run. */
  readonly steps: number
  readonly epoch: number
  /** Of this run. */
  readonly tokens: number
  readonly seconds: number
  readonly tasks: Readonly<Record<string, TaskResult>>
  /** Where metricForBestModel is a mean over the tasks: the best step of all. */
  readonly best?: BestEvaluation
  /** Whether the model is as it was then: with loadBestModelAtEnd, or where the last step was the best. */
  readonly isBest?: boolean
  /** It ended before its last step, since a callback said so or the mean over the tasks got no better. */
  readonly stoppedEarly?: true
  readonly frozenLayers?: FrozenLayerReport
}

/** Told apart by `type`. */
export type TasksEvent = TasksStepEvent | TaskLogEvent | TaskEvaluateEvent | SaveEvent | TaskEndEvent | TasksEndEvent
