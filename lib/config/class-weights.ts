import * as check from './check.js'
import { nearest } from './nearest.js'

/**
 * How much labels count in the loss: one number for each label in the order of their ids, or under the names of some (the
 * others count 1), or 'balanced', by the training rows: as scikit-learn has it, rows / (classes · rows of the class). Of
 * several labels a row, these are BCEWithLogitsLoss's pos_weight, and balanced is the rows without the label by those with it.
 */
export type ClassWeights = 'balanced' | readonly number[] | { readonly [label: string]: number }

// A batch of labels that count nothing has no mean.
const weight = (name: string, value: unknown) => check.checkNumber(name, value, { above: 0 })

const number = { type: 'number', exclusiveMinimum: 0 }
const schema = {
  anyOf: [{ enum: ['balanced'] }, { type: 'array', items: number }, { type: 'object', additionalProperties: number }]
}

export function classWeights(name: string, value: unknown): ClassWeights | null {
  if (value === null) return null
  if (typeof value === 'string' && nearest(value, ['balanced'])) return check.checkOneOf(name, value, ['balanced'])
  if (Array.isArray(value)) return Object.freeze(value.map((one, i) => weight(`${name}[${i}]`, one)))
  if (!check.isPlainObject(value)) {
    throw check.typeError(name, "'balanced', an array of numbers, or numbers under the labels' names", value, schema)
  }
  const entries = Object.entries(value).map(([label, one]) => [label, weight(`${name}['${label}']`, one)] as const)
  return Object.freeze(Object.fromEntries(entries))
}
