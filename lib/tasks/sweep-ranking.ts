import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { AdapterError } from '../native/errors.js'
import { valueNamed } from '../training/best.js'
import type { SweepMember } from './sweep.js'

/** A number for each, the lower the better; NaN where there is none. */
type Rank = (member: SweepMember) => number

/**
 * The members' names, the best first: by what was measured of the parameters that each ends with; equal ones, and all where
 * nothing was, by the mean loss of training, then in the grid's order. Those that ended since their loss was not finite come
 * last, before them those whose measure is NaN. One that a callback stopped before its first step has no loss, and has not
 * failed.
 */
export function rankingOf(members: readonly SweepMember[], each: readonly ResolvedTrainingArguments[]): string[] {
  const [first] = each
  const ended: Rank = ({ ended, loss, steps }) => Number(ended === 'notFinite' || (steps > 0 && !Number.isFinite(loss)))
  if (members.every((member) => ended(member) === 1)) {
    throw new AdapterError('ERR_NAN_LOSS', 'train the sweep', 'the loss of every adapter was not finite', {
      hint: 'Lower the learning rate, or look at the rows.'
    })
  }
  const measured: Rank = ({ keptEvaluation }) => {
    if (keptEvaluation === undefined) return Number.NaN
    const value = valueNamed(keptEvaluation, first?.metricForBestModel ?? 'loss')
    return first?.greaterIsBetter === true ? -value : value
  }
  const loss: Rank = (member) => member.loss
  const ranks = [ended, measured, loss]
  const sorted = [...members].sort((a, b) => ranks.reduce((order, rank) => order || compare(rank(a), rank(b)), 0))
  return sorted.map(({ name }) => name)
}

/** Equal where neither has a value. */
const compare = (a: number, b: number): number =>
  Number.isNaN(a) || Number.isNaN(b) ? Number(Number.isNaN(a)) - Number(Number.isNaN(b)) : Math.sign(a - b) || 0
