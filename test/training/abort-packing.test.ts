import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  evaluate,
  fuseTasks,
  type Model,
  MultiTaskTrainer,
  type Row,
  trainSweep
} from '../../lib/index.js'
import type { CallbackRun } from '../../lib/training/callbacks.js'
import { quiet, ready, scratch, tinyRows } from '../model/support.js'

const rows = tinyRows(32)
const batchSize = 4
const microBatches = 500

/** Of an epoch the first step is large and the second one micro-batch: what comes behind that takes longer than it does. */
const length = batchSize * (microBatches + 1)

/** Rows that are counted as they are packed; where it is told to, the signal comes while one of them is. */
class Packing {
  readonly controller = new AbortController()
  /** Rows until the abort; undefined: not yet. */
  until: number | undefined
  /** Rows packed behind it. */
  behind = 0

  readonly dataset = { length, at: (index: number): Row => this.#take(index) }

  readonly stream = async function* (this: Packing): AsyncGenerator<Row> {
    for (let i = 0; i < length; i++) yield this.#take(i)
  }.bind(this)

  #take(index: number): Row {
    if (this.controller.signal.aborted) this.behind++
    if (this.until !== undefined && this.until-- === 0) this.controller.abort(new Error('enough'))
    return rows[index % rows.length] as Row
  }

  /** Before the step behind so many: step 0 waits for its rows alone. */
  callbacks(step: number) {
    const arm = (at: number) => {
      if (at === step) this.until = 50
    }
    return [
      {
        onTrainBegin: (run: CallbackRun) => arm(run.step),
        onStepEnd: (_: unknown, run: CallbackRun) => arm(run.step)
      }
    ]
  }
}

const args = {
  ...{ ...quiet, perDeviceTrainBatchSize: batchSize, gradientAccumulationSteps: microBatches, maxSteps: 9 },
  shuffle: false
}

interface Moment {
  readonly packing: Packing
  readonly step: number
  readonly outputDir: string
}

const trainers: Record<string, (model: Model, moment: Moment) => Promise<unknown>> = {
  'one task': (model, { packing, step, outputDir }) =>
    new AdapterTrainer({
      ...{ model, trainDataset: packing.dataset, callbacks: packing.callbacks(step) },
      args: { ...args, outputDir }
    }).train({ signal: packing.controller.signal, saveOnAbort: true }),
  'a stream': (model, { packing, step, outputDir }) =>
    new AdapterTrainer({
      ...{ model, trainDataset: packing.stream, callbacks: packing.callbacks(step) },
      args: { ...args, outputDir }
    }).train({ signal: packing.controller.signal, saveOnAbort: true }),
  'several tasks': (model, { packing, step, outputDir }) =>
    new MultiTaskTrainer({
      ...{
        model,
        tasks: { a: { dataset: packing.dataset }, b: { dataset: packing.dataset } },
        callbacks: packing.callbacks(step)
      },
      args: { ...args, outputDir }
    }).train({ signal: packing.controller.signal, saveOnAbort: true }),
  'a sweep': (model, { packing, step, outputDir }) =>
    trainSweep(
      model,
      packing.dataset,
      { seed: [1, 2] },
      {
        ...{ head: 'a', args: { ...args, outputDir }, callbacks: packing.callbacks(step) },
        ...{ signal: packing.controller.signal, saveOnAbort: true }
      }
    ),
  'a fusion': (model, { packing, step, outputDir }) =>
    fuseTasks(
      {
        ...{ model, tasks: { a: { dataset: packing.dataset }, b: { dataset: rows } }, target: 'a' },
        args: { ...args, outputDir: join(outputDir, 'tasks'), gradientAccumulationSteps: 1, maxSteps: 1 },
        fusion: { args: { ...args, outputDir }, callbacks: packing.callbacks(step) }
      },
      { signal: packing.controller.signal, saveOnAbort: true }
    )
}

/** What it rejects with, and that nothing more is packed behind the abort than the row that it came in. */
async function stopped(t: ExecutionContext, packing: Packing, run: () => Promise<unknown>): Promise<void> {
  await t.throwsAsync(run, { message: 'enough' })
  // Whoever would go on packing has his turn before this one ends.
  for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate)
  t.true(packing.behind <= 1, `${packing.behind} rows were packed behind the abort`)
}

for (const [name, train] of Object.entries(trainers)) {
  for (const step of [0, 2]) {
    test(`${name}: aborted while the rows behind step ${step} are packed, it packs no more of them`, async (t) => {
      const model = await ready(t)
      model.addAdapter('b')
      model.addClassificationHead('b')
      const packing = new Packing()
      const outputDir = join(scratch(t), 'run')
      await stopped(t, packing, () => train(model, { packing, step, outputDir }))
      const folders = existsSync(outputDir) ? readdirSync(outputDir).filter((one) => one.startsWith('checkpoint')) : []
      // A later one where a slow step left the time to pack what comes behind it.
      t.is(folders.length, step === 0 ? 0 : 1)
      for (const folder of folders) t.true(Number(folder.replace('checkpoint-', '')) >= step, folder)
      t.notThrows(() => model.trainAdapter('a'))
    })
  }
}

test('aborted while the rows of an evaluation are packed, it packs no more of them', async (t) => {
  const model = await ready(t)
  const packing = new Packing()
  // Each row has been looked at before.
  packing.until = length + 50
  const { signal } = packing.controller
  await stopped(t, packing, () => evaluate(model, packing.dataset, { signal, batchSize: 1000 }))
})
