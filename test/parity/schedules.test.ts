import test from 'ava'
import { AdapterTrainer, type TrainingArguments } from '../../lib/index.js'
import { quiet, ready, tinyRows } from '../model/support.js'
import { readIndex } from './support/fixtures.js'

interface Schedule {
  readonly name: string
  readonly args: TrainingArguments
  /** Of each step, with seven digits. */
  readonly rates: readonly number[]
}

/** Made by scripts/fixtures/schedules.py. */
const { cases } = readIndex<{ cases: readonly Schedule[] }>('schedules')

const common: TrainingArguments = { learningRate: 0.01, maxSteps: 16 }

for (const { name, args, rates } of cases) {
  test(`the learning rate of every step as transformers: ${name}, ${JSON.stringify(args)}`, async (t) => {
    const model = await ready(t)
    const trainer = new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, ...common, ...args } })
    const own: number[] = []
    for await (const event of trainer.run()) if (event.type === 'step') own.push(event.learningRate)
    t.is(own.length, rates.length)
    for (const [step, rate] of rates.entries()) {
      const given = own[step] ?? Number.NaN
      t.true(Math.abs(given - rate) <= 1e-6 * Math.abs(rate) + 1e-17, `step ${step}: expected ${rate}, got ${given}`)
    }
  })
}
