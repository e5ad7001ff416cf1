import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { AdapterTrainer, type TrainingArguments } from '../../lib/index.js'
import { type Curve, Group } from './support/fixtures.js'
import { open } from './support/setting.js'
import { largestOf, Worst } from './support/worst.js'

const group = new Group<Curve>('curves')

const series = (values: readonly number[]) => ({ data: Float32Array.from(values), shape: [values.length] })
const relative = (value: number) => Math.abs(value) + 1e-3

for (const curve of group.cases) {
  test(`a hundred steps as PyTorch: ${curve.name}`, async (t) => {
    const outputDir = mkdtempSync(join(tmpdir(), 'torch-adapters-'))
    t.teardown(() => rmSync(outputDir, { recursive: true, force: true }))
    using model = await open(curve, group)
    const args = {
      ...curve.args,
      outputDir,
      shuffle: false,
      saveStrategy: 'no'
    } as TrainingArguments
    const losses: number[] = []
    const rates: number[] = []
    const norms: number[] = []
    for await (const event of new AdapterTrainer({ model, trainDataset: curve.dataset, args }).run()) {
      if (event.type !== 'step') continue
      losses.push(event.loss)
      rates.push(event.learningRate)
      norms.push(event.gradNorm)
    }
    const worst = new Worst()
    const { loss, learningRate, gradNorm, final } = curve.expected
    worst.compare('loss', 'loss', series(losses), group.tensor(loss), 1e-4, relative)
    worst.compare('learning rate', 'learning rate', series(rates), group.tensor(learningRate), 1e-6, relative)
    worst.compare('gradient norm', 'gradient norm', series(norms), group.tensor(gradNorm), 1e-4, relative)
    for (const [name, expected] of group.tensors(final)) {
      worst.compare('final weights', name, model.parameter(name), expected, 1e-4, () => largestOf(expected))
    }
    worst.report(t)
  })
}
