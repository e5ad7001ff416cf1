import * as check from './check.js'

/** How the learning rate goes, by the names of transformers' get_scheduler (4.57). */
export type SchedulerType = keyof typeof options

/** How warmup_stable_decay goes between its lowest learning rate and the highest. */
export type ScheduleShape = 'linear' | 'cosine' | '1-sqrt'

/**
 * What some schedules can be told: transformers' arguments of the same names, in camelCase, with its defaults. One that the
 * chosen schedule does not take is refused.
 */
export interface LrSchedulerKwargs {
  /** cosine: waves, ½ (the default) goes down once; cosine_with_restarts: how often it starts again, default 1. */
  readonly numCycles?: number | undefined
  /** polynomial: the exponent. Default 1. */
  readonly power?: number | undefined
  /** polynomial: the last learning rate. Default 1e-7. */
  readonly lrEnd?: number | undefined
  /** cosine with a minimum: the lowest learning rate; or minLrRate, never both. reduce_lr_on_plateau: likewise, default 0. */
  readonly minLr?: number | undefined
  /** cosine with a minimum: the lowest learning rate as a share of learningRate. */
  readonly minLrRate?: number | undefined
  /** cosine_warmup_with_min_lr: the first learning rate as a share of learningRate. Default: 1 / warm-up steps. */
  readonly warmupLrRate?: number | undefined
  /**
   * inverse_sqrt: steps after which it has fallen to 1/√2. Default: the warm-up's steps, 10000 without any. transformers' own
   * get_scheduler passes it by.
   */
  readonly timescale?: number | undefined
  /** warmup_stable_decay: steps of the decay. It must be given. */
  readonly numDecaySteps?: number | undefined
  /** warmup_stable_decay: steps at learningRate. Default: what warm-up and decay leave of all steps. */
  readonly numStableSteps?: number | undefined
  /** warmup_stable_decay. Default 'linear'. */
  readonly warmupType?: ScheduleShape | undefined
  /** warmup_stable_decay. Default 'cosine'. */
  readonly decayType?: ScheduleShape | undefined
  /** warmup_stable_decay: the lowest learning rate as a share of learningRate. Default 0. */
  readonly minLrRatio?: number | undefined
  /** reduce_lr_on_plateau: what the learning rate is multiplied by, below 1. Default 0.1. */
  readonly factor?: number | undefined
  /** reduce_lr_on_plateau: evaluations that may be no better before it is. Default 10. */
  readonly patience?: number | undefined
  /** reduce_lr_on_plateau: by how much an evaluation must be better to count. Default 1e-4. */
  readonly threshold?: number | undefined
  /** reduce_lr_on_plateau: the threshold is a share of the best value, or itself one. Default 'rel'. */
  readonly thresholdMode?: 'rel' | 'abs' | undefined
  /** reduce_lr_on_plateau: evaluations after a reduction that do not count. Default 0. */
  readonly cooldown?: number | undefined
  /** reduce_lr_on_plateau: whether less or more is better. Default: what greaterIsBetter says. */
  readonly mode?: 'min' | 'max' | undefined
  /** reduce_lr_on_plateau: a reduction by less is left out. Default 1e-8. */
  readonly eps?: number | undefined
}

type Name = keyof LrSchedulerKwargs

/** Whether evaluations move the learning rate, and nothing else does. */
export const isPlateau = ({ lrSchedulerType }: { readonly lrSchedulerType?: string | undefined }): boolean =>
  lrSchedulerType === 'reduce_lr_on_plateau'

/** What each takes. */
const options = {
  linear: [],
  cosine: ['numCycles'],
  cosine_with_restarts: ['numCycles'],
  polynomial: ['lrEnd', 'power'],
  constant: [],
  constant_with_warmup: [],
  inverse_sqrt: ['timescale'],
  cosine_with_min_lr: ['numCycles', 'minLr', 'minLrRate'],
  cosine_warmup_with_min_lr: ['numCycles', 'minLr', 'minLrRate', 'warmupLrRate'],
  warmup_stable_decay: ['numDecaySteps', 'numStableSteps', 'warmupType', 'decayType', 'minLrRatio', 'numCycles'],
  reduce_lr_on_plateau: ['factor', 'patience', 'threshold', 'thresholdMode', 'cooldown', 'minLr', 'mode', 'eps']
} as const satisfies Record<string, readonly Name[]>

export const schedulerTypes = Object.keys(options) as SchedulerType[]

const shape = (name: string, value: unknown) => check.checkOneOf(name, value, ['linear', 'cosine', '1-sqrt'])
const share = (name: string, value: unknown) => check.checkNumber(name, value, { from: 0, to: 1 })
const rate = (name: string, value: unknown) => check.checkNumber(name, value, { from: 0 })
const positive = (name: string, value: unknown) => check.checkNumber(name, value, { above: 0 })

const rules: check.FieldRules<LrSchedulerKwargs> = {
  numCycles: positive,
  power: positive,
  lrEnd: rate,
  minLr: rate,
  minLrRate: share,
  warmupLrRate: share,
  timescale: positive,
  numDecaySteps: (name, value) => check.checkInteger(name, value, 0),
  numStableSteps: (name, value) => check.checkInteger(name, value, 0),
  warmupType: shape,
  decayType: shape,
  minLrRatio: share,
  factor: (name, value) => check.checkNumber(name, value, { above: 0, below: 1 }),
  patience: (name, value) => check.checkInteger(name, value, 0),
  threshold: rate,
  thresholdMode: (name, value) => check.checkOneOf(name, value, ['rel', 'abs']),
  cooldown: (name, value) => check.checkInteger(name, value, 0),
  mode: (name, value) => check.checkOneOf(name, value, ['min', 'max']),
  eps: rate
}

/** Each field by its own rule; what fits which schedule is for checkSchedule. */
export function schedulerKwargs(name: string, value: unknown): LrSchedulerKwargs {
  return value === null ? Object.freeze({}) : check.checkFields(name, value, rules)
}

/** Refuses what the schedule does not take, and what it cannot do without. */
export function checkSchedule(type: SchedulerType, kwargs: LrSchedulerKwargs, learningRate: number): void {
  const name = 'args.lrSchedulerKwargs'
  const takes: readonly string[] = options[type]
  for (const key of Object.keys(kwargs)) {
    if (takes.includes(key)) continue
    const known = takes.length === 0 ? 'none' : takes.join(', ')
    throw check.valueError(name, `'${type}' does not take '${key}'. It takes: ${known}.`)
  }
  if (type === 'warmup_stable_decay' && kwargs.numDecaySteps === undefined) {
    throw check.valueError(name, `'${type}' needs numDecaySteps`)
  }
  if (type === 'polynomial') checkBelow(`${name}.lrEnd`, kwargs.lrEnd ?? defaultLrEnd, learningRate)
  if (isPlateau({ lrSchedulerType: type })) checkBelow(`${name}.minLr`, kwargs.minLr ?? 0, learningRate)
  if (type !== 'cosine_with_min_lr' && type !== 'cosine_warmup_with_min_lr') return
  if ((kwargs.minLr === undefined) === (kwargs.minLrRate === undefined)) {
    throw check.valueError(name, `'${type}' needs either minLr or minLrRate`)
  }
  if (kwargs.minLr !== undefined) checkBelow(`${name}.minLr`, kwargs.minLr, learningRate)
}

export const defaultLrEnd = 1e-7

function checkBelow(name: string, value: number, learningRate: number): void {
  if (value < learningRate) return
  throw check.rangeError(name, `a number below learningRate, which is ${learningRate}`, value)
}
