// Node's half of the checks against Python.
//   node exchange.mjs write FOLDER MODELS MINILM     saves adapters and the logits they give
//   node exchange.mjs read FOLDER                    loads what Python saved and compares
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AdapterTrainer, AutoModel } from '../../dist/lib/index.js'
import { inputsOf, valuesOf } from './head-inputs.mjs'

const tolerance = 1e-5
const shortRows = [[7], [9, 8, 30], [20, 21, 22, 23, 24, 5, 6, 36]]
const rowsOf = {
  'xlm-roberta-tiny': [[7], [9, 8, 50], [60, 61, 122, 63, 64, 5, 6, 98]],
  'distilbert-tiny': shortRows,
  'electra-tiny': shortRows,
  'gpt2-tiny': shortRows,
  'gpt2-untied': shortRows,
  // [2, 4, 6]
  'vit-tiny': [0, 1].map((row) =>
    Array.from({ length: 48 }, (_, i) => Math.round(1000 * Math.cos(row + 0.9 * i)) / 1000)
  )
}
const rows = [[7], [9, 8, 50], [60, 61, 62, 63, 64, 5, 6, 98]]
const texts = [
  'An adapter is a small network between the layers of a large one.',
  'Rain.',
  'The committee rejected the proposal!'
]

const classification = (model) => model.addClassificationHead('a', { numLabels: 3, layers: 2 })

const parser = (model) => model.addDependencyParsingHead('a', { labels: ['det', 'nsubj', 'root'] })

const image = (model) => model.addImageClassificationHead('a', { numLabels: 3 })

// UniPELT with a prefix that GPT-2's few positions have room for in Python.
const gatedUnion =
  'lora[use_gating=True]|prefix_tuning[prefix_length=2, bottleneck_size=4, use_gating=True]|seq_bn[use_gating=True]'
const gatedPrefix = 'prefix_tuning[prefix_length=2, bottleneck_size=8, use_gating=True, shared_gating=False]'

// [folder, model, adapter (null: the head alone), head, format, dialect?, twin?]
const written = [
  ['bert-safetensors', 'bert-tiny', 'seq_bn[reduction_factor=4]', classification, 'safetensors'],
  ['bert-bin', 'bert-tiny', 'seq_bn[reduction_factor=4]', classification, 'bin'],
  ['bert-plain', 'bert-tiny', 'seq_bn[reduction_factor=4]', classification, 'bin', 'plain', 'bert-bin'],
  [
    'bert-norms-gate',
    'bert-tiny',
    'double_seq_bn[reduction_factor=4, ln_before=True, ln_after=True, use_gating=True]',
    (model) => model.addRegressionHead('a', { usePooler: true }),
    'bin'
  ],
  ['bert-prelu', 'bert-tiny', "seq_bn[reduction_factor=4, non_linearity='prelu']", classification, 'bin'],
  ['bert-masked-lm', 'bert-tiny', 'seq_bn[reduction_factor=4]', (model) => model.addMaskedLmHead('a'), 'bin'],
  [
    'roberta-map',
    'roberta-tiny',
    "double_seq_bn[reduction_factor={'0': 16, 'default': 4}]",
    (model) => model.addTaggingHead('a', { numLabels: 4 }),
    'safetensors'
  ],
  [
    'xlm-roberta-parallel',
    'xlm-roberta-tiny',
    "par_bn[scaling='channel', leave_out=[1]]",
    (model) => model.addMultiLabelClassificationHead('a', { numLabels: 5 }),
    'safetensors'
  ],
  [
    'bert-lora',
    'bert-tiny',
    "lora[r=4, alpha=6, attn_matrices=['q', 'k', 'v'], intermediate_lora=True, output_lora=True]",
    classification,
    'safetensors'
  ],
  ['bert-rslora', 'bert-tiny', 'lora[r=4, alpha=6, use_rslora=True]', classification, 'safetensors'],
  ['bert-lora-gate', 'bert-tiny', 'lora[use_gating=True]', classification, 'bin'],
  ['roberta-ia3', 'roberta-tiny', 'ia3', classification, 'safetensors'],
  ['bert-dora', 'bert-tiny', 'dora[r=4, leave_out=[1]]', classification, 'bin'],
  ['xlm-roberta-vera', 'xlm-roberta-tiny', 'vera', classification, 'safetensors'],
  [
    'bert-vera-intermediate',
    'bert-tiny',
    'vera[r=4, selfattn_lora=False, intermediate_lora=True]',
    classification,
    'bin'
  ],
  ['vit-vera-output', 'vit-tiny', 'vera[r=4, selfattn_lora=False, output_lora=True]', image, 'safetensors'],
  ['bert-dvora', 'bert-tiny', 'dvora[r=4]', classification, 'bin'],
  ['bert-mtl_lora', 'bert-tiny', 'mtl_lora[n_up_projection=2]', classification, 'safetensors'],
  [
    'distilbert-lora',
    'distilbert-tiny',
    "lora[r=2, alpha=6, attn_matrices=['q', 'k', 'v'], intermediate_lora=True, output_lora=True]",
    classification,
    'bin'
  ],
  ['electra-ia3', 'electra-tiny', 'ia3', classification, 'safetensors'],
  [
    'bert-invertible',
    'bert-tiny',
    'seq_bn_inv[reduction_factor=4]',
    (model) => model.addMaskedLmHead('a'),
    'safetensors'
  ],
  ['roberta-invertible', 'roberta-tiny', 'houlsby+inv[reduction_factor=4]', classification, 'bin'],
  [
    'electra-invertible',
    'electra-tiny',
    'seq_bn_inv[reduction_factor=2]',
    (model) => model.addMaskedLmHead('a'),
    'bin'
  ],
  [
    'distilbert-invertible',
    'distilbert-tiny',
    'seq_bn_inv[reduction_factor=2]',
    (model) => model.addMaskedLmHead('a'),
    'bin'
  ],
  [
    'gpt2-invertible',
    'gpt2-tiny',
    "double_seq_bn[reduction_factor=2, inv_adapter='nice', inv_adapter_reduction_factor=1]",
    (model) => model.addCausalLmHead('a'),
    'safetensors'
  ],
  ['bert-compacter', 'bert-tiny', 'compacter[reduction_factor=8]', classification, 'safetensors'],
  ['roberta-compacter++', 'roberta-tiny', 'compacter++[reduction_factor=4, phm_dim=2]', classification, 'bin'],
  [
    'bert-phm-shared',
    'bert-tiny',
    "compacter[reduction_factor=4, phm_rank=2, shared_W_phm=True, factorized_phm_rule=True, init_weights='houlsby']",
    classification,
    'bin'
  ],
  [
    'distilbert-phm-whole',
    'distilbert-tiny',
    'compacter[reduction_factor=2, phm_dim=2, factorized_phm_W=False, shared_phm_rule=False]',
    classification,
    'safetensors'
  ],
  ['electra-phm', 'electra-tiny', 'compacter[reduction_factor=2, phm_bias=False]', classification, 'safetensors'],
  [
    'gpt2-phm',
    'gpt2-tiny',
    'compacter++[reduction_factor=2, phm_dim=2, ln_before=True]',
    (model) => model.addCausalLmHead('a'),
    'bin'
  ],
  ['bert-lora-seq_bn', 'bert-tiny', 'lora|seq_bn', classification, 'bin'],
  ['bert-prefix', 'bert-tiny', 'prefix_tuning[prefix_length=5, bottleneck_size=8]', classification, 'safetensors'],
  ['roberta-prefix-gates', 'roberta-tiny', gatedPrefix, classification, 'bin'],
  ['distilbert-prefix', 'distilbert-tiny', 'prefix_tuning_flat[prefix_length=3]', classification, 'bin'],
  ['electra-prefix', 'electra-tiny', gatedPrefix, classification, 'safetensors'],
  ['bert-prefix-seq_bn', 'bert-tiny', 'prefix_tuning_flat[leave_out=[0]]|seq_bn', classification, 'bin'],
  ['bert-loreft', 'bert-tiny', 'loreft[r=2, suffix_positions=1]', classification, 'safetensors'],
  ['distilbert-noreft', 'distilbert-tiny', "noreft[non_linearity='tanh', layers=[1]]", classification, 'bin'],
  ['electra-direft', 'electra-tiny', 'direft[r=2, tied_weights=True]', classification, 'safetensors'],
  ['gpt2-loreft', 'gpt2-tiny', 'loreft', classification, 'bin'],
  ['bert-mam', 'bert-tiny', 'mam', classification, 'safetensors'],
  ['roberta-unipelt', 'roberta-tiny', 'unipelt', classification, 'bin'],
  ['bert-prompt', 'bert-tiny', 'prompt_tuning[prompt_length=3]', classification, 'safetensors'],
  ['electra-prompt', 'electra-tiny', "prompt_tuning[combine='prefix_after_bos']|seq_bn", classification, 'bin'],
  ['xlm-roberta-integer-scaling', 'xlm-roberta-tiny', 'par_bn[scaling=2]', classification, 'bin'],
  ['distilbert', 'distilbert-tiny', 'double_seq_bn[reduction_factor=2]', classification, 'safetensors'],
  [
    'distilbert-masked-lm',
    'distilbert-tiny',
    'seq_bn[reduction_factor=2]',
    (model) => model.addMaskedLmHead('a'),
    'bin'
  ],
  ['electra', 'electra-tiny', 'par_bn[reduction_factor=2]', classification, 'bin'],
  [
    'electra-masked-lm',
    'electra-tiny',
    'seq_bn[reduction_factor=2]',
    (model) => model.addMaskedLmHead('a'),
    'safetensors'
  ],
  ['gpt2', 'gpt2-tiny', 'double_seq_bn[reduction_factor=2]', classification, 'safetensors'],
  ['gpt2-lora', 'gpt2-tiny', 'lora[r=2, alpha=3, intermediate_lora=True, output_lora=True]', classification, 'bin'],
  [
    'gpt2-lora-gate',
    'gpt2-tiny',
    "lora[r=2, use_gating=True, attn_matrices=['k', 'q']]",
    classification,
    'safetensors'
  ],
  ['gpt2-lora-whole', 'gpt2-tiny', "lora[r=2, alpha=3, attn_matrices=['qkv']]", classification, 'safetensors'],
  ['gpt2-ia3', 'gpt2-tiny', 'ia3', classification, 'safetensors'],
  ['gpt2-vera-output', 'gpt2-tiny', 'vera[r=2, selfattn_lora=False, output_lora=True]', classification, 'safetensors'],
  ['gpt2-mtl_lora', 'gpt2-tiny', 'mtl_lora[r=2, selfattn_lora=False, intermediate_lora=True]', classification, 'bin'],
  ['gpt2-unipelt', 'gpt2-tiny', gatedUnion, classification, 'bin'],
  ['gpt2-causal-lm', 'gpt2-tiny', 'seq_bn[reduction_factor=2]', (model) => model.addCausalLmHead('a'), 'bin'],
  [
    'gpt2-causal-lm-one-layer',
    'gpt2-tiny',
    'par_bn[reduction_factor=2]',
    (model) => model.addCausalLmHead('a', { layers: 1, bias: false }),
    'bin'
  ],
  // With an output layer of its own, as the model's config says.
  ...['safetensors', 'bin'].map((format) => [
    `gpt2-untied-${format}`,
    'gpt2-untied',
    'seq_bn[reduction_factor=2]',
    (model) => model.addCausalLmHead('a', { tied: false }),
    format
  ]),
  ['vit', 'vit-tiny', 'double_seq_bn[reduction_factor=2]', image, 'safetensors'],
  ['vit-compacter', 'vit-tiny', 'compacter[reduction_factor=2, phm_dim=2]', image, 'bin'],
  ['vit-lora', 'vit-tiny', "lora[r=2, attn_matrices=['q', 'k', 'v'], intermediate_lora=True]", image, 'bin'],
  ['vit-dora', 'vit-tiny', 'dora[r=2]', image, 'safetensors'],
  ['vit-ia3', 'vit-tiny', 'ia3', image, 'bin'],
  ['vit-prefix', 'vit-tiny', gatedPrefix, image, 'safetensors'],
  ['vit-prompt', 'vit-tiny', 'prompt_tuning[prompt_length=3]', image, 'bin'],
  ['vit-loreft', 'vit-tiny', 'loreft[r=2, suffix_positions=1]', image, 'safetensors'],
  ['vit-mam', 'vit-tiny', 'mam', image, 'safetensors'],
  [
    'vit-many-labels',
    'vit-tiny',
    'par_bn[reduction_factor=2]',
    (model) => model.addImageClassificationHead('a', { numLabels: 4, layers: 2, multilabel: true, usePooler: true }),
    'bin'
  ],
  ['vit-head', 'vit-tiny', null, image, 'safetensors'],
  ['bert-head-bin', 'bert-tiny', null, classification, 'bin'],
  ['roberta-head', 'roberta-tiny', null, (model) => model.addTaggingHead('a', { numLabels: 4 }), 'safetensors'],
  ['bert-head-answers', 'bert-tiny', null, (model) => model.addQuestionAnsweringHead('a', { layers: 2 }), 'bin'],
  ['gpt2-head-answers', 'gpt2-tiny', null, (model) => model.addQuestionAnsweringHead('a'), 'safetensors'],
  ['roberta-head-choices', 'roberta-tiny', null, (model) => model.addMultipleChoiceHead('a'), 'safetensors'],
  ['electra-head-choices', 'electra-tiny', null, (model) => model.addMultipleChoiceHead('a', { layers: 1 }), 'bin'],
  ['bert-head-parses', 'bert-tiny', null, parser, 'safetensors'],
  ['distilbert-head-parses', 'distilbert-tiny', null, parser, 'bin']
]

/** GPT-2 whose words are not tied; the base model alone. */
function writeUntied(folder, models) {
  cpSync(join(models, 'gpt2-tiny'), folder, { recursive: true })
  const file = join(folder, 'config.json')
  const json = JSON.parse(readFileSync(file, 'utf8'))
  writeFileSync(file, JSON.stringify({ ...json, architectures: ['GPT2Model'], tie_word_embeddings: false }))
  return folder
}

/** Of each row alone, so that nothing is padded. */
async function logitsOf(model, rows) {
  const adapters = model.adapters.has('a') ? 'a' : null
  const { headType } = model.heads.get('a')
  const answers = []
  for (const row of rows) answers.push(valuesOf(await model.forward(inputsOf(model, row, headType), { adapters })))
  return answers
}

/** Values that no initialisation would give, the same in every run. */
function fill(model) {
  let state = 7
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32 - 0.5
  }
  const added = model
    .namedParameters()
    .filter(
      ({ name }) =>
        /\.(adapters|loras)\.a\./.test(name) || /\.phm_rule|\.W_|invertible_/.test(name) || name.startsWith('heads.a.')
    )
  const values = added.map(({ name, shape }) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return [name, { data: Float32Array.from({ length: count }, random), shape }]
  })
  model.loadStateDict(new Map(values))
}

async function writeTiny(out, models) {
  const cases = []
  const untied = writeUntied(join(out, 'base', 'gpt2-untied'), models)
  for (const [folder, base, adapter, addHead, format, dialect = 'adapterhub', twin] of written) {
    const source = base === 'gpt2-untied' ? untied : join(models, base)
    const model = await AutoModel.fromPretrained(source)
    if (adapter !== null) model.addAdapter('a', adapter)
    addHead(model)
    fill(model)
    const target = join(out, folder)
    await (adapter === null
      ? model.saveHead(target, 'a', { format })
      : model.saveAdapter(target, 'a', { format, dialect }))
    const ids = (rowsOf[base] ?? rows).filter((row) => addHead !== parser || row.length > 2)
    const kind = adapter === null ? 'head' : 'adapter'
    cases.push({ folder, kind, model: source, format, dialect, twin, rows: ids, logits: await logitsOf(model, ids) })
    model.dispose()
    console.log(`✓ Node wrote ${folder}`)
  }
  return cases
}

/** The real encoder, and an adapter that Node trained on text. */
async function writeMiniLm(out, source) {
  const model = await AutoModel.fromPretrained(source)
  model.addAdapter('a', 'seq_bn')
  model.addClassificationHead('a', { numLabels: 3 })
  model.trainAdapter('a')
  const trainDataset = texts.map((text, label) => ({ text, label }))
  const args = {
    outputDir: join(out, 'run'),
    maxSteps: 5,
    learningRate: 1e-2,
    perDeviceTrainBatchSize: 3,
    saveStrategy: 'no'
  }
  await new AdapterTrainer({ model, trainDataset, args }).train()
  const cases = []
  for (const format of ['safetensors', 'bin']) {
    const folder = `minilm-${format}`
    await model.saveAdapter(join(out, folder), 'a', { format })
    cases.push({ folder, model: source, format, dialect: 'adapterhub', rows, logits: await logitsOf(model, rows) })
    console.log(`✓ Node wrote ${folder}`)
  }
  model.dispose()
  return cases
}

function difference(ours, theirs) {
  const [a, b] = [ours.flat(2), theirs.flat(2)]
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  const errors = a.map((value, i) => Math.abs(value - b[i]) / (1 + Math.abs(b[i])))
  return errors.some(Number.isNaN) ? Number.POSITIVE_INFINITY : Math.max(...errors)
}

async function read(folder) {
  const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))
  let failed = 0
  const tell = (what, worst) => {
    const isFine = worst <= tolerance
    if (!isFine) failed++
    console.log(`${isFine ? '✓' : '✗'} Node loads ${what}: largest difference ${worst.toExponential(1)}`)
  }
  for (const { folder: name, kind, model: source, rows: ids, logits, texts: lines } of cases) {
    const model = await AutoModel.fromPretrained(source)
    const part = await (kind === 'head' ? model.loadHead(join(folder, name)) : model.loadAdapter(join(folder, name)))
    if (part !== 'a') throw new Error(`${name}: the ${kind} is called ${part}`)
    tell(name, difference(await logitsOf(model, ids), logits))
    if (lines) {
      const answers = await model.predict(
        lines.map((text) => ({ text })),
        { adapters: 'a' }
      )
      tell(
        `${name}, from text`,
        difference(
          answers.map((answer) => [...answer.logits]),
          logits
        )
      )
    }
    model.dispose()
  }
  console.log(`written by Python, read by Node: ${cases.length} checked, ${failed} failed`)
  if (failed > 0 || cases.length === 0) process.exitCode = 1
}

const [command, out, models, miniLm] = process.argv.slice(2)
if (command === 'read') await read(out)
else {
  mkdirSync(out, { recursive: true })
  const cases = [...(await writeTiny(out, models)), ...(await writeMiniLm(out, miniLm))]
  writeFileSync(join(out, 'cases.json'), JSON.stringify(cases))
}
