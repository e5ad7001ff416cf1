import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  type Dataset,
  evaluate,
  type Model,
  rowsFile,
  type TrainingArguments
} from '../../lib/index.js'
import { make, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(150)

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.2 })
  model.addAdapter('a', 'double_seq_bn[reduction_factor=4]')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

function onDisk(t: ExecutionContext): string {
  const file = join(scratch(t), 'rows.jsonl')
  writeFileSync(file, rows.map((row) => `${JSON.stringify(row)}\n`).join(''))
  return file
}

/** Losses of all steps, and the parameters after them. */
async function run(t: ExecutionContext, trainDataset: Dataset, args: TrainingArguments) {
  const model = await ready(t)
  const losses: number[] = []
  for await (const event of new AdapterTrainer({ model, trainDataset, args }).run()) {
    if (event.type === 'step') losses.push(event.loss)
  }
  return { losses, values: snapshot(model), model }
}

const ways: readonly [string, TrainingArguments][] = [
  ['shuffled', {}],
  ['in their order, accumulated', { shuffle: false, gradientAccumulationSteps: 2 }],
  ['grouped by length', { groupByLength: true }],
  ['by a budget of tokens', { perDeviceTrainBatchSize: undefined, maxTokensPerBatch: 40 }],
  ['in batches of more rows than are kept', { perDeviceTrainBatchSize: 100, numTrainEpochs: 3 }],
  ['weighed by their classes', { classWeights: 'balanced' }]
]

for (const [name, own] of ways) {
  test(`rows on disk give the bits of rows in memory: ${name}`, async (t) => {
    const args = { ...quiet, numTrainEpochs: 1.5, ...own }
    const expected = await run(t, rows, args)
    using file = await rowsFile(onDisk(t))
    const got = await run(t, file, args)
    t.deepEqual(got.losses, expected.losses)
    t.deepEqual(moved(expected.values, got.values), [])
    const [inMemory, fromDisk] = [await evaluate(got.model, rows), await evaluate(got.model, file)]
    t.deepEqual({ ...fromDisk, seconds: 0 }, { ...inMemory, seconds: 0 })
  })
}

test('a run resumes in the middle of an epoch with the same bits, from disk or from memory', async (t) => {
  const outputDir = scratch(t)
  const args: TrainingArguments = {
    ...{ ...quiet, outputDir, numTrainEpochs: 2, gradientAccumulationSteps: 3 },
    ...{ saveStrategy: 'steps', saveSteps: 5 }
  }
  using file = await rowsFile(onDisk(t))
  const whole = await run(t, file, args)
  for (const [step, dataset] of [
    [5, file],
    [15, rows],
    [20, file]
  ] as const) {
    const folder = scratch(t)
    cpSync(join(outputDir, `checkpoint-${step}`), join(folder, `checkpoint-${step}`), { recursive: true })
    const rest = await run(t, dataset, { ...args, outputDir: folder, resumeFromCheckpoint: true })
    t.deepEqual(rest.losses, whole.losses.slice(step))
    t.deepEqual(moved(whole.values, rest.values), [])
  }
})

test('a wrong row is named before the first step', async (t) => {
  const file = join(scratch(t), 'rows.jsonl')
  writeFileSync(file, '{"input_ids":[2,3],"label":0}\n{"input_ids":[2,3],"label":7}\n')
  using wrong = await rowsFile(file)
  await t.throwsAsync(run(t, wrong, quiet), { message: /rows\.jsonl:2\.label/ })
})
