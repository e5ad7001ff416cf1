// Node's half of the surgery checks: models after surgery, saved whole, with what they give.
//   node surgery.mjs FOLDER MODELS
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  AutoModel,
  adapterLayer,
  addAdaptersToModel,
  dynamicAdapter,
  fusedAdapters,
  hierarchical,
  MultiTaskAdapterModel,
  sequential
} from '../../dist/lib/index.js'

const rows = [[7], [9, 8, 30], [20, 21, 22, 23, 24, 5, 6, 35]]
const hiddenSize = 32
const layer = (adapterSize, size = hiddenSize) => adapterLayer({ hiddenSize: size, adapterSize })
const behind = (make) => (module) => sequential(module, make())

// [folder, model, surgery]
const cases = [
  [
    'seed',
    'bert-tiny',
    (model) => addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', hiddenSize, adapterSize: 6 })
  ],
  ['gpt2', 'gpt2-tiny', (model) => addAdaptersToModel(model, { adapterSize: 6 })],
  [
    'gpt2-attention',
    'gpt2-tiny',
    (model) =>
      model.replaceModules(
        'transformer.h.*.attn',
        behind(() => layer(5, 8))
      )
  ],
  [
    'distilbert',
    'distilbert-tiny',
    (model) =>
      model.replaceModules(
        'distilbert.transformer.layer.*.ffn',
        behind(() => layer(5, 8))
      )
  ],
  [
    'query',
    'bert-tiny',
    (model) =>
      addAdaptersToModel(model, {
        pattern: 'bert.encoder.layer.*.attention.self.query',
        hiddenSize,
        adapterSize: 5,
        activation: 'gelu'
      })
  ],
  [
    'attention',
    'roberta-tiny',
    (model) =>
      model.replaceModule(
        'roberta.encoder.layer.0.attention',
        behind(() => layer(4))
      )
  ],
  [
    'layer',
    'bert-tiny',
    (model) =>
      model.replaceModule(
        'bert.encoder.layer.1',
        behind(() => layer(4))
      )
  ],
  [
    'intermediate',
    'bert-tiny',
    (model) =>
      addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.intermediate.dense', hiddenSize: 40, adapterSize: 3 })
  ],
  [
    'embeddings',
    'xlm-roberta-tiny',
    (model) =>
      model.replaceModule('roberta.embeddings.LayerNorm', (norm) => sequential(layer(2, 16), norm, layer(3, 16)))
  ],
  [
    'hierarchical',
    'bert-tiny',
    (model) =>
      model.replaceModules(
        'bert.encoder.layer.*.attention.output.dense',
        behind(() => hierarchical({ hiddenSize, adapterSizes: [8, 3] }))
      )
  ],
  [
    'dynamic',
    'bert-tiny',
    (model) =>
      model.replaceModules(
        'bert.encoder.layer.*.output.dense',
        behind(() => dynamicAdapter({ hiddenSize, maxAdapterSize: 7, start: 'pytorch' }))
      )
  ],
  [
    'fused',
    'bert-tiny',
    (model) =>
      model.replaceModules(
        'bert.encoder.layer.*.output.dense',
        behind(() => fusedAdapters({ hiddenSize, adapters: { en: layer(4), de: layer(3) } }))
      )
  ],
  [
    'shared',
    'bert-tiny',
    (model) => {
      const shared = layer(6)
      model.replaceModules('bert.encoder.layer.*.output.dense', (module) => sequential(module, shared))
    }
  ],
  [
    'nested',
    'bert-tiny',
    (model) => {
      model.replaceModule(
        'bert.encoder.layer.0',
        behind(() => layer(4))
      )
      model.replaceModule(
        'bert.encoder.layer.0.0.attention.self.value',
        behind(() => layer(3))
      )
      model.replaceModule('bert.encoder.layer.0.1.down_project', (down) =>
        sequential(down, adapterLayer({ hiddenSize: 4, adapterSize: 2 }))
      )
    }
  ]
]

// [folder, model, class, head that is the class's own, surgery]
const classes = [
  ['gpt2-words', 'gpt2-tiny', 'GPT2LMHeadModel', null, (model) => addAdaptersToModel(model, { adapterSize: 6 })],
  [
    'bert-classes',
    'bert-tiny',
    'BertForSequenceClassification',
    (model) =>
      model.addClassificationHead('own', {
        labels: ['x', 'y', 'z'],
        layers: 1,
        activationFunction: null,
        usePooler: true
      }),
    (model) => addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', adapterSize: 6 })
  ],
  [
    'bert-words',
    'bert-tiny',
    'BertForMaskedLM',
    (model) => model.addMaskedLmHead('own', {}),
    (model) => {
      const shared = layer(5)
      model.replaceModules('bert.encoder.layer.*.attention', (module) => sequential(module, shared))
    }
  ]
]

/** The same tensors as a file of safetensors: what a program may do with a state dict. */
function writeTensors(file, tensors) {
  let at = 0
  const header = {}
  for (const [name, { data, shape }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + data.byteLength] }
    at += data.byteLength
  }
  const text = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(text.length))
  const values = [...tensors.values()].map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))
  writeFileSync(file, Buffer.concat([length, text, ...values]))
}

/** Values that no initialisation would give, the same in every run. */
function fill(model, isChosen = ({ part }) => part === 'inserted') {
  let state = 7
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32 - 0.5
  }
  const chosen = model.namedParameters().filter(isChosen)
  const values = chosen.map(({ name, shape }) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return [name, { data: Float32Array.from({ length: count }, random), shape }]
  })
  model.loadStateDict(new Map(values))
}

async function hiddenOf(model, head = null) {
  const answers = []
  for (const row of rows) {
    const { lastHiddenState, logits } = await model.forward({ inputIds: [row] }, { head })
    answers.push([...(head === null ? lastHiddenState : logits).data])
  }
  return answers
}

// Where a weight lies in memory may change the last bit of a product of one token.
function same(folder, hidden, other) {
  const worst = Math.max(...hidden.flat().map((value, i) => Math.abs(value - other.flat()[i])))
  if (!(worst < 1e-6)) throw new Error(`${folder}: another model when it is read back, by ${worst}`)
}

const bareClass = {
  bert: 'BertModel',
  roberta: 'RobertaModel',
  'xlm-roberta': 'XLMRobertaModel',
  gpt2: 'GPT2Model',
  distilbert: 'DistilBertModel'
}

const [out, models] = process.argv.slice(2)
mkdirSync(out, { recursive: true })
const written = []
for (const [folder, base, surgery] of cases) {
  const source = join(models, base)
  const model = await AutoModel.fromPretrained(source)
  surgery(model)
  fill(model)
  await model.savePretrained(join(out, folder))
  await model.savePretrained(join(out, folder, 'bin'), { format: 'bin' })
  const hidden = await hiddenOf(model)
  // The same folder read back here, with its surgery.
  const again = await AutoModel.fromPretrained(join(out, folder))
  same(folder, hidden, await hiddenOf(again))
  writeTensors(
    join(out, folder, 'state.safetensors'),
    model.stateDict({ modelClass: bareClass[model.config.modelType] })
  )
  written.push({ folder, model: source, rows, hidden })
  model.dispose()
  again.dispose()
  console.log(`✓ Node wrote the surgery ${folder}`)
}

for (const [folder, base, modelClass, addHead, surgery] of classes) {
  const source = join(models, base)
  const make = async () => {
    const model = await AutoModel.fromPretrained(source, { withHead: addHead === null })
    addHead?.(model)
    surgery(model)
    return model
  }
  const model = await make()
  const head = addHead === null ? 'default' : 'own'
  fill(model, ({ name, part }) => part === 'inserted' || name.startsWith('heads.'))
  const to = join(out, folder)
  await model.savePretrained(to, { modelClass, head })
  await model.savePretrained(join(to, 'bin'), { modelClass, head, format: 'bin' })
  writeTensors(join(to, 'state.safetensors'), model.stateDict({ modelClass, head }))
  const hidden = await hiddenOf(model, head)
  const whole = await AutoModel.fromPretrained(to)
  same(folder, hidden, await hiddenOf(whole, 'default'))
  // And into a model that has had the same surgery.
  for (const file of [to, join(to, 'state.safetensors')]) {
    const other = await make()
    await other.loadWeights(file, { modelClass, head })
    same(folder, hidden, await hiddenOf(other, head))
    other.dispose()
  }
  written.push({ folder, model: source, rows, hidden, modelClass })
  model.dispose()
  whole.dispose()
  console.log(`✓ Node wrote the surgery ${folder}, as a ${modelClass}`)
}

/** Adapters on the last hidden state, one for each task. */
async function writeMultiTask(source) {
  const model = await AutoModel.fromPretrained(source)
  const configs = { sst2: { adapterSize: 6 }, qqp: { adapterSize: 4, activation: 'gelu' } }
  const multi = new MultiTaskAdapterModel(model, configs)
  fill(model, ({ name }) => name.startsWith('adapters.'))
  const hidden = {}
  for (const task of ['sst2', 'qqp', 'mnli']) {
    hidden[task] = []
    for (const row of rows) {
      const { lastHiddenState } = await multi.forward({ inputIds: [row] }, task, { head: null })
      hidden[task].push([...lastHiddenState.data])
    }
  }
  for (const task of multi.tasks) await model.saveAdapter(join(out, 'tasks', task), task)
  model.dispose()
  console.log('✓ Node wrote the adapters of two tasks')
  return { model: source, rows, hidden, sizes: { sst2: 6, qqp: 4 } }
}

const tasks = await writeMultiTask(join(models, 'bert-tiny'))
writeFileSync(join(out, 'cases.json'), JSON.stringify({ surgeries: written, tasks }))
