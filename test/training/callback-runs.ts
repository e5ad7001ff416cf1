import type { ExecutionContext } from 'ava'
import type { Model, TrainingArguments } from '../../lib/index.js'
import { make, quiet, tinyRows } from '../model/support.js'

export const trainDataset = tinyRows(12)
export const evalDataset = tinyRows(6, { seed: 9 })

export async function ready(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.2 })
  model.addAdapter('a', 'seq_bn[reduction_factor=4]')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

/** Three steps an epoch, and nothing told or kept by itself. */
export const recipe: TrainingArguments = { ...quiet, numTrainEpochs: 2, perDeviceTrainBatchSize: 4, learningRate: 0.01 }

export const kinds = async (trainer: { run(): AsyncIterable<{ type: string; step: number }> }): Promise<string[]> => {
  const all: string[] = []
  for await (const { type, step } of trainer.run()) all.push(`${type} ${step}`)
  return all
}
