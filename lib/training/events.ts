import type { FrozenLayerReport } from '../native/types.js'
import type { BestEvaluation } from './best.js'
import type { HeadEvaluation } from './evaluate.js'
import type { Metrics } from './metrics.js'

/** After each optimizer step. */
export interface StepEvent {
  readonly type: 'step'
  /** Whose it is, where a run has several tasks. */
  readonly task?: string
  /** Optimizer steps done, from 1. */
  readonly step: number
  readonly totalSteps: number
  /** Passes over the data, with the fraction of the one that is running. */
  readonly epoch: number
  readonly loss: number
  readonly learningRate: number
  /** Length of the whole gradient, before clipping. */
  readonly gradNorm: number
  readonly tokens: number
  /** Choices of one question are one row, each window of a long text is one. */
  readonly rows: number
}

/** Every loggingSteps, and at the last step, wherever that is. */
export interface LogEvent {
  readonly type: 'log'
  /** Whose it is, where a run has several tasks. */
  readonly task?: string
  readonly step: number
  readonly totalSteps: number
  readonly epoch: number
  /** Mean since the last log event. */
  readonly loss: number
  /** Of the last step. */
  readonly learningRate: number
  /** Of the last step. */
  readonly gradNorm: number
  /** Since the last log event, without the time of evaluations and checkpoints. */
  readonly tokensPerSecond: number
  /** In the same time. */
  readonly rowsPerSecond: number
}

/** After each run over the evaluation data. */
export interface EvaluateEvent {
  readonly type: 'evaluate'
  /** Whose it is, where a run has several tasks. */
  readonly task?: string
  readonly step: number
  readonly epoch: number
  /** Mean over the evaluation data; of several sets the mean of theirs. */
  readonly loss: number
  readonly metrics: Metrics
  /** Each head's own, where rows have different ones. */
  readonly heads?: Readonly<Record<string, HeadEvaluation>>
  readonly rows: number
  readonly seconds: number
}

/** After each checkpoint. */
export interface SaveEvent {
  readonly type: 'save'
  readonly step: number
  readonly epoch: number
  /** The checkpoint's folder. */
  readonly folder: string
}

/** Once, last. */
export interface EndEvent {
  readonly type: 'end'
  readonly step: number
  /** Steps of this run; fewer than `step` where it was resumed, 0 where there was nothing left to do. */
  readonly steps: number
  readonly epoch: number
  /** Mean of all steps, those before a resumed run included; NaN where there was none. */
  readonly loss: number
  /** Of this run, without those that it resumed. */
  readonly tokens: number
  readonly seconds: number
  /** The last evaluation, where there was one; also that of a run which this one resumed. */
  readonly evaluation?: Omit<EvaluateEvent, 'type'>
  /** The best evaluation, where there were some to compare. */
  readonly best?: BestEvaluation
  /** Whether the model is as it was at its best evaluation: with loadBestModelAtEnd, or where the last step was the best. */
  readonly isBest?: boolean
  /** It ended before its last step, since evaluations got no better or a callback said so. */
  readonly stoppedEarly?: true
  /** With args.frozenLayerCache: what of it was read, and what computed. */
  readonly frozenLayers?: FrozenLayerReport
}

/** Told apart by `type`. */
export type TrainingEvent = StepEvent | LogEvent | EvaluateEvent | SaveEvent | EndEvent
