import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AdapterError, AdapterTrainer, type Model, type TrainingArguments } from '../../lib/index.js'
import { writeList } from '../../lib/training/checkpoint-list.js'
import { make, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(19)

async function ready(t: ExecutionContext): Promise<Model> {
  const model = await make(t, { hidden_dropout_prob: 0.2 })
  model.addAdapter('a', 'seq_bn[reduction_factor=4, ln_before=true]')
  model.addClassificationHead('a', { numLabels: 2 })
  model.trainAdapter('a')
  return model
}

const recipe = (outputDir: string, args: TrainingArguments): TrainingArguments => ({
  ...quiet,
  outputDir,
  maxSteps: 8,
  gradientAccumulationSteps: 2,
  weightDecay: 0.01,
  warmupSteps: 2,
  saveStrategy: 'steps',
  saveSteps: 1,
  ...args
})

const run = (model: Model, args: TrainingArguments) => new AdapterTrainer({ model, trainDataset: rows, args }).train()

const kinds: readonly TrainingArguments[] = [
  { optim: 'adamw_torch', parameterGroups: [{ match: /adapter_down/, learningRate: 1e-3, weightDecay: 0.1 }] },
  { optim: 'sgd' },
  {
    optim: 'sgd',
    optimArgs: { momentum: 0.9, nesterov: true },
    parameterGroups: [{ match: 'head', learningRate: 0.1 }]
  },
  { optim: 'adafactor' },
  { optim: 'adafactor', optimArgs: { beta1: 0.9 }, lrSchedulerType: 'inverse_sqrt' },
  { optim: 'lion', learningRate: 1e-3, lrSchedulerType: 'warmup_stable_decay', lrSchedulerKwargs: { numDecaySteps: 3 } }
]

for (const args of kinds) {
  test(`a resumed run has the same bits: ${JSON.stringify(args)}`, async (t) => {
    const whole = await ready(t)
    const outputDir = scratch(t)
    const start = snapshot(whole)
    await run(whole, recipe(outputDir, args))
    t.true(moved(start, snapshot(whole)).length > 4)
    const file = (folder: string) => readFileSync(join(folder, 'checkpoint-8', 'training.safetensors'))
    const last = file(outputDir)
    for (const step of [1, 3, 7]) {
      const model = await ready(t)
      const folder = scratch(t)
      const resumeFromCheckpoint = join(outputDir, `checkpoint-${step}`)
      await run(model, { ...recipe(folder, args), resumeFromCheckpoint })
      t.deepEqual(moved(snapshot(whole), snapshot(model)), [], `from step ${step}`)
      t.true(file(folder).equals(last), `the last checkpoint of a run from step ${step}`)
    }
  })
}

test("a checkpoint of another optimizer, of other groups and of another schedule's numbers are refused by name", async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const groups = { parameterGroups: [{ match: /head/, learningRate: 1e-3 }] }
  await run(model, recipe(outputDir, groups))
  const before = snapshot(model)
  const resume = (args: TrainingArguments) =>
    run(model, { ...recipe(outputDir, { ...groups, ...args }), resumeFromCheckpoint: join(outputDir, 'checkpoint-3') })
  const refused = (message: RegExp) => ({ instanceOf: AdapterError, code: 'ERR_RESUME', message })
  await t.throwsAsync(resume({ optim: 'lion', adamBeta2: 0.999 }), refused(/expected optim "adamw", got optim "lion"/))
  await t.throwsAsync(
    resume({ parameterGroups: [{ match: /heads/, learningRate: 1e-3 }] }),
    refused(/parameterGroups \[\{"match":"\/head\/".*got parameterGroups \[\{"match":"\/heads\/"/)
  )
  await t.throwsAsync(
    resume({ lrSchedulerType: 'cosine', lrSchedulerKwargs: { numCycles: 2 } }),
    refused(/got lrSchedulerType "cosine", lrSchedulerKwargs\.numCycles 2/)
  )
  t.deepEqual(moved(before, snapshot(model)), [])
})

test('a checkpoint from before there was a choice of optimizers goes on', async (t) => {
  const whole = await ready(t)
  const outputDir = scratch(t)
  await run(whole, recipe(outputDir, {}))
  const file = join(outputDir, 'checkpoint-3', 'training.safetensors')
  editHeader(file, (metadata) => {
    delete metadata.optimizer
    const user = JSON.parse(metadata.user as string)
    for (const name of ['optim', 'optimArgs', 'parameterGroups', 'lrSchedulerKwargs']) delete user.run[name]
    metadata.user = JSON.stringify(user)
  })
  await writeList(dirname(file))
  const model = await ready(t)
  await run(model, { ...recipe(scratch(t), {}), resumeFromCheckpoint: join(outputDir, 'checkpoint-3') })
  t.deepEqual(moved(snapshot(whole), snapshot(model)), [])
})

function editHeader(file: string, edit: (metadata: Record<string, string>) => void): void {
  const bytes = readFileSync(file)
  const end = 8 + Number(bytes.readBigUInt64LE())
  const header = JSON.parse(bytes.toString('utf8', 8, end))
  edit(header.__metadata__)
  const text = JSON.stringify(header)
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8))
  const size = Buffer.alloc(8)
  size.writeBigUInt64LE(BigInt(padded.length))
  writeFileSync(file, Buffer.concat([size, padded, bytes.subarray(end)]))
}

const namesOf = (model: Model, pattern: RegExp) => [...snapshot(model, pattern).keys()].sort()

test('a group with a learning rate of 0 stands still, and nothing else does', async (t) => {
  const still = {
    head: /^heads\./,
    adapter: /\.adapters\./,
    layerNorm: /adapter_norm_before/,
    pattern: /adapter_up.*bias$/
  }
  for (const [kind, names] of Object.entries(still)) {
    const model = await ready(t)
    const match = kind === 'pattern' ? names : (kind as 'head')
    const before = snapshot(model)
    const args = recipe(scratch(t), { saveStrategy: 'no', parameterGroups: [{ match, learningRate: 0 }] })
    await run(model, args)
    const trains = namesOf(model, /^heads\.|\.adapters\./)
    const expected = trains.filter((name) => !names.test(name))
    t.true(expected.length > 0 && expected.length < trains.length)
    t.deepEqual(moved(before, snapshot(model)).sort(), expected, kind)
  }
})

test('weight decay of a group: weights alone by kind, everything by name', async (t) => {
  // A gradient clipped to nothing leaves decay alone: each value shrinks by (1 - 0.5 · 0.1).
  const shrunk = async (match: 'adapter' | 'layerNorm' | RegExp) => {
    const model = await ready(t)
    const fill = namesOf(model, /\.adapters\./).map((name) => [name, model.parameter(name)] as const)
    model.loadStateDict(new Map(fill.map(([name, { data, shape }]) => [name, { data: data.map(() => 1), shape }])))
    const args = { optim: 'sgd', learningRate: 0.5, maxGradNorm: 1e-30, maxSteps: 1, warmupSteps: 0 } as const
    const groups = [{ match, weightDecay: 0.1 }]
    await run(model, recipe(scratch(t), { ...args, saveStrategy: 'no', weightDecay: 0, parameterGroups: groups }))
    return namesOf(model, /\.adapters\./).filter((name) =>
      model.parameter(name).data.every((value) => Math.abs(value - 0.95) < 1e-6)
    )
  }
  const all = namesOf(await ready(t), /\.adapters\./)
  t.deepEqual(
    await shrunk('adapter'),
    all.filter((name) => /adapter_(down|up).*weight$/.test(name))
  )
  t.deepEqual(
    await shrunk('layerNorm'),
    all.filter((name) => /norm_before/.test(name))
  )
  t.deepEqual(
    await shrunk(/bias$/g),
    all.filter((name) => /bias$/.test(name))
  )
})

test('a group that nothing belongs to is a mistake', async (t) => {
  const model = await ready(t)
  const go = (parameterGroups: TrainingArguments['parameterGroups']) =>
    run(model, { ...quiet, maxSteps: 1, parameterGroups })
  await t.throwsAsync(go([{ match: 'fusion', learningRate: 1 }]), {
    message: /args\.parameterGroups\[0\]: 'fusion' matches no parameter that trains/
  })
  const twice = [
    { match: 'head', learningRate: 1 },
    { match: /^heads/, learningRate: 2 }
  ] as const
  await t.throwsAsync(go(twice), { message: /parameterGroups\[1\]: pattern \/\^heads\/ matches no parameter/ })
})
