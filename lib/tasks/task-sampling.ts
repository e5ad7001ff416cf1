import * as check from '../config/check.js'
import { didYouMean } from '../config/nearest.js'

/**
 * Which tasks' batches come when. In one epoch:
 * `exhaustive`: every batch of every task once, spread evenly (fused) or in random order (alternate);
 * `round_robin`: one of each in turn, until the task with most batches is through; shorter ones begin again;
 * `sequential`: one task after the other, as the plain loop over tasks has it; only alternate;
 * `proportional`, `sqrt`, `{ temperature: T }`: as many draws as there are batches, a task with probability in proportion
 * to n, √n or n^(1/T) of its n rows.
 */
export type TaskSampling =
  | 'exhaustive'
  | 'round_robin'
  | 'sequential'
  | 'proportional'
  | 'sqrt'
  | { readonly temperature: number }

/** `fused`: a step has rows of several tasks; `alternate`: of one. */
export type TaskMode = 'fused' | 'alternate'

/** What a loss that is not finite ends: the run, or that task alone. */
export type OnNotFinite = 'throw' | 'stopTask'

const modes = ['fused', 'alternate'] as const
const samplings = ['exhaustive', 'round_robin', 'sequential', 'proportional', 'sqrt'] as const

export const checkMode = (name: string, value: unknown): TaskMode => check.checkOneOf(name, value, modes)

export const checkOnNotFinite = (name: string, value: unknown): OnNotFinite =>
  check.checkOneOf(name, value, ['throw', 'stopTask'])

const withNumber = { type: 'object', properties: { temperature: { type: 'number', exclusiveMinimum: 0 } } }
const samplingSchemas = [{ enum: samplings }, { ...withNumber, required: ['temperature'], additionalProperties: false }]

/**
 * @param sixth how the form with a number is written where this one came from
 * @param schemas what else passes there
 */
export function checkSampling(
  name: string,
  value: unknown,
  sixth = '{ temperature: T }',
  schemas: readonly check.JsonSchema[] = []
): TaskSampling {
  if (check.isPlainObject(value)) {
    check.checkKeys(name, value, ['temperature'])
    return { temperature: check.checkNumber(`${name}.temperature`, value['temperature'], { above: 0 }) }
  }
  const known = samplings.find((one) => one === value)
  if (known !== undefined) return known
  const expected = `one of ${check.quoted(samplings)}, or ${sixth}`
  if (typeof value !== 'string') {
    throw check.typeError(name, expected, value, { anyOf: [...samplingSchemas, ...schemas] })
  }
  const help = didYouMean(value, [...samplings, sixth])
  throw check.valueError(name, `expected ${expected}, got ${check.describe(value)}.${help}`)
}

export function checkTogether(sampling: TaskSampling, mode: TaskMode): void {
  if (sampling !== 'sequential' || mode === 'alternate') return
  throw check.valueError('sampler', "'sequential' is one task after the other: it needs mode 'alternate'")
}
