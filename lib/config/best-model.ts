import * as check from './check.js'
import { isPlateau } from './scheduler-arguments.js'

/** Arguments about which model of a run is the best, and when to stop looking for a better one. */
export interface BestModelArguments {
  /**
   * After the last step the trained parameters are those of the best evaluation; its checkpoint is written whatever
   * saveStrategy says, and saveTotalLimit leaves it. Default false.
   */
  readonly loadBestModelAtEnd: boolean
  /**
   * What evaluations are compared by: 'loss', a metric such as 'accuracy', of several heads `head.accuracy`, of several
   * evaluation sets `NAME_loss`, `NAME_accuracy`, of several tasks together `mean_loss`, `mean_accuracy`; Hugging Face's
   * prefix `eval_` may stand before it. Default: 'loss' where loadBestModelAtEnd, earlyStoppingPatience, saveStrategy 'best'
   * or reduce_lr_on_plateau needs one.
   */
  readonly metricForBestModel: string | null
  /** Default: false for what ends in 'loss' and for mse, rmse, mae, mape, wer, cer and perplexity, otherwise true. */
  readonly greaterIsBetter: boolean | null
  /** Evaluations in a row without a better one after which the run ends (EarlyStoppingCallback's). Default null: never. */
  readonly earlyStoppingPatience: number | null
  /** By how much an evaluation must be better than the best to count as better for the patience. Default 0. */
  readonly earlyStoppingThreshold: number
}

export const bestModelDefaults: BestModelArguments = Object.freeze({
  loadBestModelAtEnd: false,
  metricForBestModel: null,
  greaterIsBetter: null,
  earlyStoppingPatience: null,
  earlyStoppingThreshold: 0
})

export const bestModelRules: {
  readonly [K in keyof BestModelArguments]: (name: string, value: unknown) => BestModelArguments[K]
} = {
  loadBestModelAtEnd: check.checkBoolean,
  metricForBestModel: (name, value) => (value === null ? null : check.checkNonEmptyString(name, value)),
  greaterIsBetter: (name, value) => (value === null ? null : check.checkBoolean(name, value)),
  earlyStoppingPatience: (name, value) => (value === null ? null : check.checkPositiveInteger(name, value)),
  earlyStoppingThreshold: (name, value) => check.checkNumber(name, value, { from: 0 })
}

/** Arguments that decide whether evaluations are compared. */
type Needing = 'evalStrategy' | 'saveStrategy' | 'lrSchedulerType'

const lowerIsBetter = /loss$|^(.*[._])?(r?mse|mae|mape|wer|cer|perplexity)$/

type Needs = Readonly<Record<Needing, string>>

/** The arguments that are of no use without evaluations. */
function needing(args: BestModelArguments, { saveStrategy, lrSchedulerType }: Needs): string[] {
  return [
    ...(args.loadBestModelAtEnd ? ['loadBestModelAtEnd'] : []),
    ...(args.earlyStoppingPatience === null ? [] : ['earlyStoppingPatience']),
    ...(saveStrategy === 'best' ? ['saveStrategy'] : []),
    ...(isPlateau({ lrSchedulerType }) ? ['lrSchedulerType'] : [])
  ]
}

/** Refuses what could not work. */
export function checkBestModel(args: BestModelArguments, others: Needs): void {
  const [name] = needing(args, others)
  if (name !== undefined && others.evalStrategy === 'no') {
    throw check.valueError(`args.${name}`, "it needs evaluations: set evalStrategy to 'epoch' or 'steps'")
  }
  if (args.earlyStoppingPatience === null && args.earlyStoppingThreshold > 0) {
    throw check.valueError('args.earlyStoppingThreshold', 'it needs earlyStoppingPatience')
  }
}

/** Fills in what follows from the others. */
export function bestModel(
  args: BestModelArguments,
  others: Needs
): Pick<BestModelArguments, 'metricForBestModel' | 'greaterIsBetter'> {
  const given = args.metricForBestModel?.replace(/^eval_/, '') ?? null
  const metricForBestModel = given ?? (needing(args, others).length > 0 ? 'loss' : null)
  if (metricForBestModel === null) return { metricForBestModel, greaterIsBetter: args.greaterIsBetter }
  const greaterIsBetter = args.greaterIsBetter ?? !lowerIsBetter.test(metricForBestModel)
  return { metricForBestModel, greaterIsBetter }
}
