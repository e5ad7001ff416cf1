import * as check from './check.js'

export type OptimizerName = 'adamw' | 'sgd' | 'adafactor' | 'lion'

/** As transformers spells some of them. */
const spellings = {
  adamw: 'adamw',
  adamw_torch: 'adamw',
  adamw_torch_fused: 'adamw',
  sgd: 'sgd',
  adafactor: 'adafactor',
  lion: 'lion',
  lion_32bit: 'lion'
} as const satisfies Record<string, OptimizerName>

export type OptimizerSpelling = keyof typeof spellings

/** What sgd and adafactor can be told. AdamW and Lion have adamBeta1, adamBeta2 and, AdamW alone, adamEpsilon. */
export interface OptimizerArguments {
  /** sgd: share of the last step's direction that goes on, as in torch.optim.SGD. Default 0. */
  readonly momentum?: number | undefined
  /** sgd: share of a gradient that momentum leaves out. Default 0. */
  readonly dampening?: number | undefined
  /** sgd: Nesterov's look ahead; needs momentum and no dampening. Default false. */
  readonly nesterov?: boolean | undefined
  /** adafactor: added to squared gradients. Default 1e-30. */
  readonly epsilon?: number | undefined
  /** adafactor: an update whose root mean square is above is scaled down to it. Default 1. */
  readonly clipThreshold?: number | undefined
  /** adafactor: exponent of the step in the decay of the second moment, below 0. Default -0.8. */
  readonly decayRate?: number | undefined
  /** adafactor: share of the mean of updates that is kept. Default: no mean is kept. */
  readonly beta1?: number | undefined
}

type Name = keyof OptimizerArguments

const takes = {
  adamw: [],
  sgd: ['momentum', 'dampening', 'nesterov'],
  adafactor: ['epsilon', 'clipThreshold', 'decayRate', 'beta1'],
  lion: []
} as const satisfies Record<OptimizerName, readonly Name[]>

const share = (name: string, value: unknown) => check.checkNumber(name, value, { from: 0, below: 1 })

const rules: check.FieldRules<OptimizerArguments> = {
  momentum: share,
  dampening: (name, value) => check.checkNumber(name, value, { from: 0, to: 1 }),
  nesterov: check.checkBoolean,
  epsilon: (name, value) => check.checkNumber(name, value, { above: 0 }),
  clipThreshold: (name, value) => check.checkNumber(name, value, { above: 0 }),
  decayRate: (name, value) => check.checkNumber(name, value, { below: 0 }),
  beta1: share
}

export function optimizerName(name: string, value: unknown): OptimizerName {
  return spellings[check.checkOneOf(name, value, Object.keys(spellings) as OptimizerSpelling[])]
}

/** Each field by its own rule; what fits which optimizer is for checkOptimizer. */
export function optimizerArguments(name: string, value: unknown): OptimizerArguments {
  // As Hugging Face's Trainer and the command line write them.
  if (typeof value === 'string' && value.includes('=')) {
    throw check.typeError(name, 'an object, such as { momentum: 0.9 }', value)
  }
  return value === null ? Object.freeze({}) : check.checkFields(name, value, rules)
}

/** Refuses what the optimizer does not take. */
export function checkOptimizer(optim: OptimizerName, args: OptimizerArguments): void {
  const known: readonly string[] = takes[optim]
  const stranger = Object.keys(args).find((key) => !known.includes(key))
  if (stranger !== undefined) {
    const list = known.length === 0 ? 'nothing: adamBeta1 and adamBeta2 are arguments of their own' : known.join(', ')
    throw check.valueError('args.optimArgs', `'${optim}' does not take '${stranger}'. It takes ${list}.`)
  }
  if (args.nesterov === true && ((args.momentum ?? 0) === 0 || (args.dampening ?? 0) !== 0)) {
    throw check.valueError('args.optimArgs', 'nesterov needs momentum above 0 and no dampening')
  }
}
