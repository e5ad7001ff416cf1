// Node's half of the check of whole setups: adapters, a fusion where there is one, heads, and how they stand together.
//   node fusions.mjs write FOLDER MODELS     saves a setup and the logits it gives
//   node fusions.mjs read FOLDER             loads what Python saved and compares
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AutoModel, Average, BatchSplit, Fuse, Parallel, Split, Stack } from '../../dist/lib/index.js'

const tolerance = 1e-5
const uneven = [[7], [9, 8, 50], [60, 61, 62, 63, 64, 5, 6, 98]]
const even = [7, 20, 60].map((first) => Array.from({ length: 8 }, (_, i) => first + 3 * i))
// setup, the head that is chosen (undefined: each row's own), rows, whether they are one batch
const setups = {
  fuse: { setup: Fuse('a', 'b', { name: 'f' }), head: 'both', rows: uneven },
  stack: { setup: Stack('c', Fuse('a', 'b')), head: 'both', rows: uneven },
  split: { setup: Split('a', 'b', { splits: [3, 5] }), rows: even },
  'batch-split': { setup: BatchSplit('a', 'b', { batchSizes: [1, 2] }), rows: even, isBatch: true },
  'average-lora': {
    setup: Average('a', 'b', { weights: [2, -0.5], normalizeWeights: false }),
    rows: uneven,
    config: 'lora[r=2]'
  },
  average: { setup: Average('a', 'b', { weights: [1, 3] }), head: 'both', rows: uneven },
  parallel: { setup: Parallel('a', 'b'), rows: uneven },
  'parallel-other-heads': { setup: Parallel('a', 'b'), head: Parallel('both', 'c'), rows: uneven },
  'parallel-one-head': { setup: Parallel('a', 'b'), head: 'both', rows: uneven },
  nested: {
    setup: BatchSplit(BatchSplit('a', 'c', { batchSizes: [1, 1] }), 'b', { batchSizes: [2, 1] }),
    rows: even,
    isBatch: true,
    config: 'lora[r=2]'
  }
}

// What Python loads and then refuses to run so, or cannot load: saved with a warning.
const refused = {
  null: Stack('a', null),
  nested: Stack('a', Stack('b', 'c')),
  deep: Stack('c', BatchSplit('a', BatchSplit('b', 'c', { batchSizes: 1 }), { batchSizes: 2 }))
}

/** Values that no initialisation would give, the same in every run. */
function fill(model) {
  const added = model
    .namedParameters()
    .filter(({ name }) => /\.(adapters|loras)\.|adapter_fusion_layer|^heads\./.test(name))
  const values = added.map(({ name, shape }, n) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return [name, { data: Float32Array.from({ length: count }, (_, i) => Math.sin(n * 31 + i * 7) / 3), shape }]
  })
  model.loadStateDict(new Map(values))
}

async function logitsOf(model, rows, isBatch) {
  const answers = []
  for (const inputIds of isBatch ? [rows] : rows.map((row) => [row])) {
    const { logits, headOutputs } = await model.forward({ inputIds })
    answers.push((headOutputs ?? [{ logits }]).flatMap((one) => [...one.logits.data]))
  }
  return answers
}

async function write(out, models) {
  mkdirSync(out, { recursive: true })
  const cases = []
  for (const [name, { setup, head, rows, isBatch = false, config = 'seq_bn[reduction_factor=8]' }] of Object.entries(
    setups
  )) {
    for (const format of ['safetensors', 'bin']) {
      const source = join(models, 'bert-tiny')
      const model = await AutoModel.fromPretrained(source)
      for (const adapter of ['a', 'b', 'c']) model.addAdapter(adapter, config)
      if (config.startsWith('seq')) model.addAdapterFusion(['a', 'b'], 'dynamic', name === 'fuse' ? { name: 'f' } : {})
      for (const one of ['a', 'b', 'c', 'both']) model.addClassificationHead(one, { numLabels: 3 })
      fill(model)
      model.setActiveAdapters(setup, { head })
      const folder = `${name}-${format}`
      await model.saveAdapterSetup(join(out, folder), setup, { format })
      const logits = await logitsOf(model, rows, isBatch)
      cases.push({ folder, model: source, format, rows, isBatch, logits })
      model.dispose()
      console.log(`✓ Node wrote the setup ${folder}`)
    }
  }
  const source = join(models, 'bert-tiny')
  const model = await AutoModel.fromPretrained(source)
  for (const adapter of ['a', 'b', 'c']) model.addAdapter(adapter)
  for (const [name, setup] of Object.entries(refused)) {
    const folder = `refused-${name}`
    await model.saveAdapterSetup(join(out, folder), setup)
    cases.push({ folder, model: source, format: 'safetensors', isRefused: true })
  }
  model.dispose()
  writeFileSync(join(out, 'cases.json'), JSON.stringify(cases))
}

async function read(folder) {
  const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))
  let failed = 0
  for (const { folder: name, model: source, rows, isBatch, logits } of cases) {
    const model = await AutoModel.fromPretrained(source)
    await model.loadAdapterSetup(join(folder, name), { setActive: true })
    const ours = (await logitsOf(model, rows, isBatch)).flat()
    const errors = logits.flat().map((value, i) => Math.abs(value - ours[i]) / (1 + Math.abs(value)))
    const worst = errors.length === ours.length ? Math.max(...errors) : Number.NaN
    const isFine = worst <= tolerance
    if (!isFine) failed++
    console.log(`${isFine ? '✓' : '✗'} Node loads the setup ${name}: largest difference ${worst.toExponential(1)}`)
    model.dispose()
  }
  console.log(`setups written by Python, read by Node: ${cases.length} checked, ${failed} failed`)
  if (failed > 0 || cases.length === 0) process.exitCode = 1
}

const [command, out, models] = process.argv.slice(2)
await (command === 'read' ? read(out) : write(out, models))
