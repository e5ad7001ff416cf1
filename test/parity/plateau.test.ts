import test from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import type { LrSchedulerKwargs } from '../../lib/index.js'
import { Plateau } from '../../lib/training/plateau.js'
import { readIndex } from './support/fixtures.js'

interface PlateauCase {
  readonly name: string
  readonly kwargs: LrSchedulerKwargs
  readonly greaterIsBetter: boolean
  /** Of the first case, for all; null: not a number. */
  readonly values?: readonly (number | null)[]
  /** After each evaluation, with seven digits. */
  readonly rates: readonly number[]
}

/** Made by scripts/fixtures/plateau.py. */
const { cases } = readIndex<{ cases: readonly PlateauCase[] }>('plateau')
const values = (cases[0]?.values ?? []).map((value) => value ?? Number.NaN)

for (const { name, kwargs, greaterIsBetter, rates } of cases) {
  test(`the learning rate after every evaluation as torch: ${name}, ${JSON.stringify(kwargs)}`, (t) => {
    const args = trainingArguments({
      ...{ learningRate: 0.01, evalStrategy: 'steps', greaterIsBetter },
      ...{ lrSchedulerType: 'reduce_lr_on_plateau', lrSchedulerKwargs: kwargs }
    })
    let plateau = new Plateau(args, undefined)
    t.is(values.length, rates.length)
    t.true(new Set(rates).size > 1)
    for (const [i, rate] of rates.entries()) {
      const scale = plateau.take(values[i] as number)
      t.true(Math.abs(0.01 * scale - rate) <= 1e-6 * rate, `evaluation ${i}: expected ${rate}, got ${0.01 * scale}`)
      // A checkpoint keeps it as JSON.
      plateau = new Plateau(args, JSON.parse(JSON.stringify(plateau.saved)))
    }
  })
}
