import * as check from './check.js'
import { didYouMean } from './nearest.js'

/** What a group's parameters are: those of heads, adapters or fusions, of LayerNorms wherever they stand, or by name. */
export type ParameterMatch = (typeof kinds)[number] | RegExp

/**
 * Parameters with a learning rate or a weight decay of their own. A parameter belongs to the first group that matches it;
 * what none matches has the trainer's learningRate and weightDecay.
 */
export interface ParameterGroup {
  /** A pattern is tried on PyTorch's names, as namedParameters() gives them. */
  readonly match: ParameterMatch
  /** Highest of the schedule, which is the same for all. Default: learningRate. */
  readonly learningRate?: number | undefined
  /**
   * Default: weightDecay. It is for weights alone, as everywhere; only where 'layerNorm' or a pattern asks for biases and
   * LayerNorms by name it is for all that they match.
   */
  readonly weightDecay?: number | undefined
}

const kinds = ['head', 'adapter', 'fusion', 'layerNorm'] as const

export function parameterGroups(name: string, value: unknown): readonly ParameterGroup[] {
  if (!Array.isArray(value)) throw check.typeError(name, 'an array', value, schema)
  return Object.freeze(value.map((group, i) => parameterGroup(`${name}[${i}]`, group)))
}

/** JSON has no patterns. */
const schema = {
  type: 'array',
  items: {
    ...{ type: 'object', additionalProperties: false, required: ['match'] },
    properties: {
      match: { enum: kinds },
      ...{ learningRate: { type: 'number', minimum: 0 }, weightDecay: { type: 'number', minimum: 0 } }
    }
  }
}

/** Beyond these an update of float32 parameters may itself be no finite number. */
const [largestRate, largestDecay] = [1e30, 1e6]

export const checkRate = (name: string, value: unknown): number =>
  check.checkNumber(name, value, { from: 0, to: largestRate })

export const checkDecay = (name: string, value: unknown): number =>
  check.checkNumber(name, value, { from: 0, to: largestDecay })

function parameterGroup(name: string, value: unknown): ParameterGroup {
  const given = check.checkObject(name, value)
  check.checkKeys(name, given, ['match', 'learningRate', 'weightDecay'])
  const { match, learningRate, weightDecay } = given
  if (learningRate === undefined && weightDecay === undefined) {
    throw check.valueError(name, 'expected learningRate, weightDecay or both')
  }
  return Object.freeze({
    match: matchOf(`${name}.match`, match),
    ...(learningRate !== undefined && {
      learningRate: checkRate(`${name}.learningRate`, learningRate)
    }),
    ...(weightDecay !== undefined && {
      weightDecay: checkDecay(`${name}.weightDecay`, weightDecay)
    })
  })
}

/** A config and the command line have no patterns: text that looks like one is none. */
function matchOf(name: string, value: unknown): ParameterMatch {
  if (value instanceof RegExp) return value
  const known = kinds.find((kind) => kind === value)
  if (known !== undefined) return known
  const expected = `one of ${check.quoted(kinds)}, or in JavaScript a RegExp, such as /adapter_down/`
  if (typeof value !== 'string') throw check.typeError(name, expected, value)
  throw check.valueError(name, `expected ${expected}, got ${check.describe(value)}.${didYouMean(value, kinds)}`)
}
