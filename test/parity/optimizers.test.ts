import test from 'ava'
import { AdapterTrainer, type TrainingArguments } from '../../lib/index.js'
import { type Curve, Group, type Setting } from './support/fixtures.js'
import { open } from './support/setting.js'
import { Worst } from './support/worst.js'

interface OptimizerCurve {
  readonly name: string
  readonly args: TrainingArguments
  /** A loss is kept of each so many steps. */
  readonly every: number
  readonly loss: string
}

/** Made by scripts/fixtures/optimizers.py; the first case holds model, weights and dataset of all. */
const group = new Group<OptimizerCurve>('optimizers')
const { dataset, defaults, ...setting } = group.cases[0] as unknown as Setting &
  Pick<Curve, 'dataset'> & { readonly defaults: TrainingArguments }

for (const { name, args, every, loss } of group.cases) {
  test(`two hundred steps as PyTorch: ${name}`, async (t) => {
    using model = await open(setting, group)
    const losses: number[] = []
    const own: TrainingArguments = {
      ...defaults,
      ...args,
      shuffle: false,
      saveStrategy: 'no',
      loggingStrategy: 'no'
    }
    const evalDataset = args.evalStrategy === undefined ? undefined : dataset
    for await (const event of new AdapterTrainer({ model, trainDataset: dataset, evalDataset, args: own }).run()) {
      if (event.type === 'step') losses.push(event.loss)
    }
    t.is(losses.length, 200)
    const kept = losses.filter((_, step) => step % every === 0)
    const worst = new Worst()
    const series = { data: Float32Array.from(kept), shape: [kept.length] }
    worst.compare('loss', 'loss', series, group.tensor(loss), 1e-4, (value) => Math.abs(value) + 1e-3)
    worst.report(t)
  })
}
