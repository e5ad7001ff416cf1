// Node's half of the TensorBoard checks: a run that was stopped and resumed, its events in both forms, of one task and of two.
//   node tensorboard.mjs FOLDER MODELS
import { join } from 'node:path'
import { AdapterTrainer, AutoModel, MultiTaskTrainer } from '../../dist/lib/index.js'

const [, , folder, models] = process.argv
const rows = Array.from({ length: 24 }, (_, i) => ({
  inputIds: [5 + ((7 * i) % 80), 5 + i, 91 + (i % 2)],
  label: i % 2
}))
const common = {
  ...{ numTrainEpochs: 3, perDeviceTrainBatchSize: 4, learningRate: 5e-3, seed: 1, reportTo: ['jsonl', 'tensorboard'] },
  ...{ loggingSteps: 2, evalStrategy: 'epoch', saveStrategy: 'steps', saveSteps: 4 }
}

async function ready(...names) {
  const model = await AutoModel.fromPretrained(join(models, 'bert-tiny'))
  for (const name of names) {
    model.addAdapter(name)
    model.addClassificationHead(name, { numLabels: 2 })
  }
  model.trainAdapter(names[0])
  return model
}

/** Stops behind a step that no checkpoint holds, and goes on from the one before it. */
async function stoppedAndResumed(trainerOf) {
  for await (const event of (await trainerOf({})).run()) if (event.type === 'step' && event.step === 7) break
  await (await trainerOf({ resumeFromCheckpoint: true })).train()
}

await stoppedAndResumed(async (more) => {
  const args = { ...common, outputDir: join(folder, 'one'), ...more }
  return new AdapterTrainer({ model: await ready('a'), trainDataset: rows, evalDataset: rows, args })
})
await stoppedAndResumed(async (more) => {
  const task = { dataset: rows, evalDataset: rows }
  const args = { ...common, outputDir: join(folder, 'tasks'), ...more }
  return new MultiTaskTrainer({ model: await ready('a', 'b'), tasks: { a: task, b: task }, args })
})
