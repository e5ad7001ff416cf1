import type { ExecutionContext } from 'ava'
import { AdapterTrainer, type Model, type TrainingArguments } from '../../lib/index.js'
import type { TaskOptions } from '../../lib/tasks/multi-task-trainer.js'
import { load, quiet, tinyRows } from '../model/support.js'

/** Labels for each token: its parity. */
export function taggingRows(count: number, seed: number) {
  return tinyRows(count, { seed, from: 2, to: 7 }).map(({ inputIds }) => ({
    inputIds,
    labels: inputIds.map((id) => id % 2)
  }))
}

/** A number for each row: its length. */
export function lengthRows(count: number, seed: number) {
  return tinyRows(count, { seed }).map(({ inputIds }) => ({ inputIds, label: inputIds.length / 8 }))
}

/** Three tasks of other kinds, methods, sizes and arguments. */
export const tasks = {
  topic: { dataset: tinyRows(22, { seed: 1 }), args: { learningRate: 1e-2, classWeights: [0.4, 2] } },
  tags: {
    dataset: taggingRows(9, 2),
    args: { learningRate: 5e-3, optim: 'sgd', lrSchedulerType: 'cosine', classWeights: 'balanced' }
  },
  length: {
    dataset: lengthRows(14, 3),
    args: { learningRate: 3e-3, perDeviceTrainBatchSize: 3, warmupSteps: 2, maxGradNorm: 0.1 }
  }
} as const satisfies Readonly<Record<string, TaskOptions>>

export type TaskName = keyof typeof tasks
export const names = Object.keys(tasks) as TaskName[]

export const args: TrainingArguments = { ...quiet, numTrainEpochs: 2, seed: 5, weightDecay: 0.01 }

/** The tiny model with an adapter and a head for each of the tasks. */
export async function withTasks(t: ExecutionContext): Promise<Model> {
  const model = await load(t)
  model.addAdapter('topic', 'seq_bn')
  model.addAdapter('tags', 'lora[r=4]')
  model.addAdapter('length', 'double_seq_bn')
  model.addClassificationHead('topic', { numLabels: 2 })
  model.addTaggingHead('tags', { numLabels: 2 })
  model.addRegressionHead('length', {})
  return model
}

/** A task trained alone by the trainer for one, with the arguments that it has among others. */
export async function trainedAlone(
  t: ExecutionContext,
  name: TaskName,
  given: TrainingArguments = args,
  task: Pick<TaskOptions, 'dataset' | 'evalDataset' | 'args'> = tasks[name]
): Promise<{ readonly model: Model; readonly losses: number[]; readonly rates: number[] }> {
  const model = await withTasks(t)
  model.trainAdapter(name)
  const { dataset: trainDataset, evalDataset } = task
  const trainer = new AdapterTrainer({ model, trainDataset, evalDataset, args: { ...given, ...task.args } })
  const losses: number[] = []
  const rates: number[] = []
  for await (const event of trainer.run()) {
    if (event.type !== 'step') continue
    losses.push(event.loss)
    rates.push(event.learningRate)
  }
  return { model, losses, rates }
}

/** The values of what a task trains, by name. */
export function valuesOf(model: Model, task: string): Map<string, Float32Array> {
  const own = model.namedParameters().filter(({ name }) => name.includes(`.${task}.`))
  return new Map(own.map(({ name }) => [name, model.parameter(name).data as Float32Array]))
}

/** The largest difference, in units of the largest value of each tensor. */
export function distance(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, Float32Array>): number {
  let worst = a.size === b.size && a.size > 0 ? 0 : Number.POSITIVE_INFINITY
  for (const [name, values] of a) {
    const others = b.get(name) ?? new Float32Array()
    const scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3)
    values.forEach((value, i) => {
      worst = Math.max(worst, Math.abs(value - (others[i] ?? Number.NaN)) / scale)
    })
  }
  return worst
}
