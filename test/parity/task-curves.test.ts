import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import test, { type ExecutionContext } from 'ava'
import { headConfigFromJson } from '../../lib/config/head-config.js'
import {
  type AdapterConfigSource,
  AdapterTrainer,
  AutoModel,
  Fuse,
  type Model,
  MultiTaskTrainer,
  type Row,
  type TrainingArguments
} from '../../lib/index.js'
import type { ParameterInfo } from '../../lib/native/types.js'
import { fixtures, Group } from './support/fixtures.js'
import { Worst } from './support/worst.js'

interface TaskCurve {
  readonly name: string
  readonly adapters: Readonly<Record<string, AdapterConfigSource>>
  readonly heads: Readonly<Record<string, Parameters<typeof headConfigFromJson>[0]>>
  readonly datasets: Readonly<Record<string, readonly Row[]>>
  readonly loss: string
}

/** Made by scripts/fixtures/task_curves.py. */
const group = new Group<TaskCurve>('task-curves')
const [roundRobin, fusion] = group.cases as [TaskCurve, TaskCurve]

const args: TrainingArguments = {
  ...{ perDeviceTrainBatchSize: 4, maxSteps: 200, learningRate: 2e-3, weightDecay: 0.01, lrSchedulerType: 'constant' },
  ...{ shuffle: false, saveStrategy: 'no', loggingStrategy: 'no' }
}

/** As the script's. */
function waves({ name, shape }: ParameterInfo): Float32Array {
  const count = shape.reduce((values, size) => values * size, 1)
  const offset = crc32(name) % 1000
  const scale = shape.length > 1 ? 1.2 / Math.sqrt(shape.at(-1) ?? 1) : 0.2
  const middle = shape.length === 1 && name.includes('LayerNorm') && name.endsWith('weight') ? 1 : 0
  return Float32Array.from({ length: count }, (_, i) => middle + scale * Math.sin(offset + 12.9898 * (i + 1)))
}

async function open({ adapters, heads }: TaskCurve): Promise<Model> {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models', 'bert-tiny'), { withHead: false })
  for (const [name, config] of Object.entries(adapters)) model.addAdapter(name, config)
  for (const [name, config] of Object.entries(heads)) model.addHead(name, headConfigFromJson(config))
  return model
}

function fill(model: Model): void {
  const own = model.namedParameters().filter(({ part }) => part !== 'base')
  model.loadStateDict(new Map(own.map((one) => [one.name, { data: waves(one), shape: one.shape }])))
}

function compare(t: ExecutionContext, losses: readonly number[], expected: string): void {
  t.is(losses.length, 200)
  const worst = new Worst()
  const series = { data: Float32Array.from(losses), shape: [losses.length] }
  worst.compare('loss', 'loss', series, group.tensor(expected), 1e-4, (value) => Math.abs(value) + 1e-3)
  worst.report(t)
}

test('two hundred steps as PyTorch: round robin over tasks that share an adapter', async (t) => {
  using model = await open(roundRobin)
  fill(model)
  const tasks = Object.fromEntries(
    Object.entries(roundRobin.datasets).map(([name, dataset]) => [name, { dataset, adapter: 's' }])
  )
  const losses: number[] = []
  const own = { ...args, maxGradNorm: 0 }
  for await (const event of new MultiTaskTrainer({
    model,
    tasks,
    args: own,
    mode: 'alternate',
    sampler: 'round_robin'
  }).run()) {
    if (event.type === 'step') losses.push(event.loss)
  }
  compare(t, losses, roundRobin.loss)
})

test('two hundred steps as PyTorch: AdapterFusion with its regularisation', async (t) => {
  using model = await open(fusion)
  model.addAdapterFusion(['p', 'q'], 'dynamic', { name: 'f' })
  fill(model)
  model.trainAdapterFusion(Fuse('p', 'q', { name: 'f' }))
  model.activeHead = 'f'
  const losses: number[] = []
  const trainDataset = fusion.datasets['f'] ?? []
  for await (const event of new AdapterTrainer({ model, trainDataset, args }).run()) {
    if (event.type === 'step') losses.push(event.loss)
  }
  compare(t, losses, fusion.loss)
})
