// Node's half of the check of whole models: adapters, a fusion and every head inside the model's own files.
//   node whole.mjs write FOLDER MODELS     saves a model and the logits of each of its heads
//   node whole.mjs read FOLDER             loads what Python saved and compares
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AutoModel, Fuse, Stack } from '../../dist/lib/index.js'
import { inputsOf, valuesOf } from './head-inputs.mjs'

const tolerance = 1e-5
const row = [60, 61, 62, 63, 64, 5, 6, 98]
const isOwn = (name) =>
  /\.(adapters|loras|prefix_tunings|invertible_adapters)\.|adapter_fusion_layer|^heads\./.test(name)

/** Values that no initialisation would give, the same in every run. */
function fill(model) {
  const values = model
    .namedParameters()
    .filter(({ name }) => isOwn(name))
    .map(({ name, shape }, n) => {
      const count = shape.reduce((product, size) => product * size, 1)
      return [name, { data: Float32Array.from({ length: count }, (_, i) => Math.sin(n * 31 + i * 7) / 3), shape }]
    })
  model.loadStateDict(new Map(values))
}

async function answers(model) {
  const found = {}
  const ids = row.map((token) => Math.min(token, model.config.vocabSize - 1))
  for (const [head, { headType }] of model.heads) {
    found[head] = valuesOf(await model.forward(inputsOf(model, ids, headType), { head })).flat()
  }
  return found
}

async function write(out, models) {
  mkdirSync(out, { recursive: true })
  const model = await AutoModel.fromPretrained(join(models, 'bert-tiny'))
  for (const [name, config] of Object.entries({ a: 'seq_bn[reduction_factor=8]', b: 'seq_bn[reduction_factor=8]' }))
    model.addAdapter(name, config)
  model.addAdapter('l', 'lora')
  model.addAdapter('p', 'prefix_tuning[bottleneck_size=8, prefix_length=3]')
  model.addAdapter('i', 'seq_bn_inv')
  model.addAdapterFusion(['a', 'b'], 'dynamic')
  model.addAdapterFusion(['a', 'b'], 'static', { name: 'f' })
  model.addClassificationHead('class', { labels: ['x', 'y', 'z'] })
  model.addQuestionAnsweringHead('answer', { layers: 2 })
  model.addMultipleChoiceHead('choice')
  model.addDependencyParsingHead('parse', { labels: ['det', 'nsubj', 'root'] })
  model.addMaskedLmHead('words')
  fill(model)
  model.setActiveAdapters(Stack('i', 'p', 'l', Fuse('a', 'b')))
  await model.save(join(out, 'model'))
  writeFileSync(join(out, 'cases.json'), JSON.stringify({ row, logits: await answers(model) }))
  const again = await AutoModel.fromPretrained(join(out, 'model'))
  if (JSON.stringify(again.activeAdapters) !== JSON.stringify(model.activeAdapters)) throw new Error('another setup')
  compare('Node', await answers(again), await answers(model))
  model.dispose()
  again.dispose()
  await writeGpt2(out, models)
}

/** One LoRA over query, key and value is there one for each of them. */
async function writeGpt2(out, models) {
  const model = await AutoModel.fromPretrained(join(models, 'gpt2-tiny'), { withHead: false })
  model.addAdapter('l', "lora[r=2, attn_matrices=['qkv']]")
  model.addCausalLmHead('words')
  model.addClassificationHead('class', { labels: ['x', 'y', 'z'] })
  fill(model)
  model.setActiveAdapters('l')
  await model.save(join(out, 'gpt2', 'model'))
  writeFileSync(join(out, 'gpt2', 'cases.json'), JSON.stringify({ row, logits: await answers(model) }))
  model.dispose()
}

function compare(who, ours, theirs) {
  let failed = 0
  for (const [head, values] of Object.entries(theirs)) {
    const worst = Math.max(...values.map((value, i) => Math.abs(value - ours[head][i]) / (1 + Math.abs(value))))
    const isFine = worst <= tolerance && ours[head].length === values.length
    if (!isFine) failed++
    console.log(
      `${isFine ? '✓' : '✗'} Node loads the whole model of ${who} head ${head}: largest difference ${worst.toExponential(1)}`
    )
  }
  if (failed > 0 || Object.keys(theirs).length === 0) process.exitCode = 1
}

async function read(folder) {
  const { wholes, classes } = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))
  for (const [name, { setup, logits }] of Object.entries(wholes)) {
    const model = await AutoModel.fromPretrained(join(folder, name))
    model.setActiveAdapters(Stack(...setup))
    compare(`Python, ${name},`, await answers(model), logits)
    model.dispose()
  }
  for (const [name, values] of Object.entries(classes)) {
    const own = await AutoModel.fromPretrained(join(folder, name))
    compare(name, await answers(own), { default: values })
    const { architectures } = JSON.parse(readFileSync(join(folder, name, 'config.json'), 'utf8'))
    if (!/-(bin|sharded)$/.test(name)) {
      const as = { modelClass: architectures[0] }
      await own.savePretrained(join(folder, 'again', name), as)
      await own.savePretrained(join(folder, 'again-bin', name), { ...as, format: 'bin' })
    }
    own.dispose()
  }
}

const [command, out, models] = process.argv.slice(2)
await (command === 'read' ? read(out) : write(out, models))
