import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import { didYouMean } from '../config/nearest.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { AdapterError } from '../native/errors.js'
import { type Evaluation, measuredValues } from './evaluate.js'
import { measuresOf } from './metrics.js'
import type { ComputeMetrics } from './own-metrics.js'

/** The evaluation that was better than all others. */
export interface BestEvaluation {
  readonly metric: string
  readonly value: number
  readonly step: number
}

/** What of it a checkpoint keeps. */
export interface SavedBest {
  readonly best: BestEvaluation | null
  readonly metric: string
  /** Evaluations since the last one that was better, or since the first; before that -1. */
  readonly waited: number
  readonly greaterIsBetter: boolean
}

/**
 * Which evaluation is the best so far, and whether to go on looking, as Hugging Face's Trainer and its EarlyStoppingCallback
 * have it: a gain below the threshold makes a new best and does not count for the patience.
 */
export class BestModel {
  #best: BestEvaluation | null = null
  // The first evaluation has none to be compared with, and does not count, though it is no number.
  #waited = -1

  /** @param saved what a checkpoint kept; it counts where the same metric does */
  constructor(
    private readonly args: ResolvedTrainingArguments,
    saved: SavedBest | undefined
  ) {
    const { metricForBestModel, greaterIsBetter } = args
    if (saved?.metric !== metricForBestModel || saved.greaterIsBetter !== greaterIsBetter) return
    this.#best = saved.best
    this.#waited = saved.waited
  }

  get best(): BestEvaluation | null {
    return this.#best
  }

  /** Whether the run has waited long enough for a better one. */
  get isOver(): boolean {
    const { earlyStoppingPatience } = this.args
    return earlyStoppingPatience !== null && this.#waited >= earlyStoppingPatience
  }

  get saved(): SavedBest | undefined {
    const { metricForBestModel: metric, greaterIsBetter } = this.args
    if (metric === null) return undefined
    return { best: this.#best, metric, waited: this.#waited, greaterIsBetter: greaterIsBetter === true }
  }

  /** Takes an evaluation; whether it is the best. */
  take(step: number, evaluation: Pick<Evaluation, 'loss' | 'metrics' | 'heads'>): boolean {
    const { metricForBestModel: metric, greaterIsBetter, earlyStoppingThreshold } = this.args
    if (metric === null) return false
    const value = valueNamed(evaluation, metric)
    const sign = greaterIsBetter ? 1 : -1
    const known = this.#best?.value ?? -sign * Number.POSITIVE_INFINITY
    // Of what is no number there is none: it is no better.
    const gain = sign * (value - known)
    this.#waited = gain > 0 && gain > earlyStoppingThreshold ? 0 : this.#waited + 1
    if (!(gain > 0)) return false
    this.#best = { metric, value, step }
    return true
  }
}

/**
 * Refuses a metricForBestModel that no evaluation of these heads will have. What computeMetrics gives shows in the first
 * evaluation; known before is that names of several sets begin with the set's.
 * @param sets names of the evaluation data, where there are several
 */
export function checkMetric(
  { metricForBestModel: metric }: ResolvedTrainingArguments,
  heads: ReadonlyMap<string, HeadConfig>,
  computeMetrics: ComputeMetrics | undefined,
  sets: readonly string[] = []
): void {
  if (metric === null) return
  if (computeMetrics !== undefined) {
    checkSetOf(metric, sets)
    return
  }
  const each = Array.from(heads, ([head, config]) => ({ head, names: measuresOf(config) }))
  const names = each.flatMap(({ head, names }) =>
    heads.size === 1 ? names : [`${head}.loss`, ...names.map((name) => `${head}.${name}`)]
  )
  const ofOne = ['loss', ...names]
  const known = sets.length === 0 ? ofOne : ['loss', ...sets.flatMap((set) => ofOne.map((name) => `${set}_${name}`))]
  if (known.includes(metric)) return
  const help = didYouMean(metric, known) || ` They have ${known.join(', ')}.`
  throw check.valueError('args.metricForBestModel', `no evaluation has '${metric}'.${help}`)
}

function checkSetOf(metric: string, sets: readonly string[]): void {
  if (sets.length === 0 || metric === 'loss' || sets.some((set) => metric.startsWith(`${set}_`))) return
  const begin = sets.map((set) => `${set}_`).join(', ')
  throw check.valueError(
    'args.metricForBestModel',
    `no evaluation has '${metric}'. They have loss, and of each set what begins with its name: ${begin}`
  )
}

/** Refuses it where an evaluation before the first step has shown what there is. */
export function checkMeasured(
  { metricForBestModel: metric, evalStrategy }: ResolvedTrainingArguments,
  evaluation: Pick<Evaluation, 'loss' | 'metrics' | 'heads'>
): void {
  if (metric !== null && evalStrategy !== 'no') valueNamed(evaluation, metric)
}

/** computeMetrics may itself say `eval_`, as in Hugging Face's Trainer. */
export function valueNamed(evaluation: Pick<Evaluation, 'loss' | 'metrics' | 'heads'>, metric: string): number {
  const named = new Map(measuredValues(evaluation))
  const value = named.get(metric) ?? named.get(`eval_${metric}`)
  if (value !== undefined) return value
  const hint = didYouMean(metric, named.keys()).trim()
  throw new AdapterError('ERR_INVALID_ARGUMENT', 'evaluate', `metricForBestModel: no evaluation has '${metric}'`, {
    expected: [...named.keys()].join(', '),
    got: metric,
    ...(hint !== '' && { hint })
  })
}
