// Node's half of the check of PEFT's folders.
//   node peft.mjs write FOLDER MODELS     saves adapters for PEFT, and the logits or hidden states they give
//   node peft.mjs read FOLDER             loads what PEFT saved and compares
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { AutoModel } from '../../dist/lib/index.js'

const tolerance = 1e-5
const ids = [[7], [9, 8, 30], [20, 21, 22, 23, 24, 5, 6, 36]]
// [2, 4, 6], as vit-tiny has it.
const images = [0, 1].map((row) =>
  Array.from({ length: 48 }, (_, i) => Math.round(1000 * Math.cos(row + 0.7 * i)) / 1000)
)
const rowsOf = (model) => (model.config.imageSize === null ? ids : images)
const shifted = 'prefix_tuning_flat[prefix_length=3, shift_positions=True]'
const words = "prompt_tuning[prompt_length=2, combine='prefix_words']"
const scored = (model) => model.addClassificationHead('a', { numLabels: 3, layers: 1, bias: false })
const writes = (model) => model.addCausalLmHead('a', { layers: 1, bias: false })
const writesOwn = (model) => model.addCausalLmHead('a', { layers: 1, bias: false, tied: false })
const several = (model) => model.addMultiLabelClassificationHead('a', { numLabels: 3 })
// The head that comes with the model's class: the adapter has none of its own.
const ofClass = () => undefined
const classes = (options) => (model) => model.addClassificationHead('a', { numLabels: 3, ...options })

const masked = (options) => (model) => model.addMaskedLmHead('a', options)
const answersIn = (layers) => (model) => model.addQuestionAnsweringHead('a', { layers })
const chooses = (options) => (model) => model.addMultipleChoiceHead('a', options)

// [folder, model, adapter, head (null: none), format]
const written = [
  ['bert-lora', 'bert-tiny', "lora[r=4, alpha=6, attn_matrices=['q', 'k', 'v', 'o']]", classes(), 'safetensors'],
  ['bert-several', 'bert-tiny', 'lora[r=2]', several, 'safetensors'],
  ['bert-pooler', 'bert-tiny', 'lora[r=2]', classes({ layers: 1, usePooler: true }), 'bin'],
  [
    'bert-dora',
    'bert-tiny',
    "lora[r=2, alpha=5, use_dora='peft', output_lora=True, leave_out=[0]]",
    classes(),
    'safetensors'
  ],
  [
    'roberta-ranks',
    'roberta-tiny',
    'lora[r=4, alpha=2]|lora[r=2, alpha=7, selfattn_lora=False, output_lora=True, leave_out=[1]]',
    classes(),
    'safetensors'
  ],
  [
    'roberta-ia3',
    'roberta-tiny',
    "ia3[intermediate_lora=False]|ia3[composition_mode='scale_input', attn_matrices=['o'], intermediate_lora=False, output_lora=True]",
    classes(),
    'safetensors'
  ],
  ['bert-rslora', 'bert-tiny', 'lora[r=4, alpha=6, use_rslora=True, output_lora=True]', classes(), 'safetensors'],
  ['bert-rsdora', 'bert-tiny', "lora[r=3, alpha=5, use_rslora=True, use_dora='peft']", classes(), 'bin'],
  [
    'bert-rslora-parts',
    'bert-tiny',
    'lora[r=4, alpha=2, use_rslora=True]|lora[r=2, alpha=7, selfattn_lora=False, output_lora=True]',
    classes(),
    'safetensors'
  ],
  ['gpt2-rslora', 'gpt2-tiny', 'lora[r=2, alpha=3, use_rslora=True]', scored, 'safetensors'],
  ['xlm-roberta-vera', 'xlm-roberta-tiny', 'vera[intermediate_lora=True]', classes(), 'bin'],
  ['electra-tokens', 'electra-tiny', 'ia3', (model) => model.addTaggingHead('a', { numLabels: 4 }), 'safetensors'],
  ['distilbert-lora', 'distilbert-tiny', 'lora[r=2]', classes({ activationFunction: 'relu' }), 'safetensors'],
  [
    'vit-lora',
    'vit-tiny',
    "lora[r=2, attn_matrices=['q', 'v', 'o'], intermediate_lora=True]",
    (model) => model.addImageClassificationHead('a', { numLabels: 3 }),
    'safetensors'
  ],
  [
    'vit-several',
    'vit-tiny',
    'lora[r=2]',
    (model) => model.addImageClassificationHead('a', { numLabels: 3, multilabel: true }),
    'bin'
  ],
  ['vit-bare', 'vit-tiny', 'ia3', null, 'bin'],
  [
    'gpt2-lora',
    'gpt2-tiny',
    "lora[r=2, alpha=3, attn_matrices=['q', 'v', 'o'], output_lora=True]",
    scored,
    'safetensors'
  ],
  ['gpt2-dora', 'gpt2-tiny', "lora[r=2, attn_matrices=['qkv'], use_dora='peft']", scored, 'bin'],
  ['gpt2-vera', 'gpt2-tiny', "vera[attn_matrices=['qkv'], intermediate_lora=True]", scored, 'safetensors'],
  ['gpt2-ia3', 'gpt2-tiny', 'ia3', scored, 'safetensors'],
  ['gpt2-words', 'gpt2-tiny', "lora[attn_matrices=['qkv']]", writes, 'safetensors'],
  ['gpt2-own-words', 'gpt2-tiny', "lora[attn_matrices=['qkv']]", writesOwn, 'safetensors'],
  [
    'gpt2-class',
    'gpt2-tiny',
    "lora[r=2, alpha=3, attn_matrices=['q', 'v', 'o'], intermediate_lora=True, output_lora=True]",
    ofClass,
    'safetensors'
  ],
  ['gpt2-class-ia3', 'gpt2-tiny', 'ia3', ofClass, 'bin'],
  ['gpt2-class-prompt', 'gpt2-tiny', words, ofClass, 'safetensors'],
  ['gpt2-class-prefix', 'gpt2-tiny', shifted, ofClass, 'safetensors'],
  ['gpt2-prefix', 'gpt2-tiny', shifted, writes, 'safetensors'],
  ['gpt2-prompt', 'gpt2-tiny', words, scored, 'bin'],
  ['bert-prefix', 'bert-tiny', shifted, classes({ layers: 1, usePooler: true }), 'safetensors'],
  ['bert-prompt', 'bert-tiny', words, classes({ layers: 1, usePooler: true }), 'safetensors'],
  ['roberta-prompt', 'roberta-tiny', words, classes(), 'safetensors'],
  ['roberta-prefix', 'roberta-tiny', shifted, (model) => model.addTaggingHead('a', { numLabels: 4 }), 'safetensors'],
  ['electra-prompt', 'electra-tiny', words, (model) => model.addTaggingHead('a', { numLabels: 4 }), 'safetensors'],
  ['electra-prefix', 'electra-tiny', shifted, null, 'safetensors'],
  ['distilbert-prompt', 'distilbert-tiny', words, classes({ activationFunction: 'relu' }), 'safetensors'],
  ['distilbert-bare', 'distilbert-tiny', 'lora[r=2, intermediate_lora=True]', null, 'safetensors'],
  ['electra-answers', 'electra-tiny', 'ia3', answersIn(1), 'safetensors'],
  ['gpt2-answers', 'gpt2-tiny', 'lora[r=2]', answersIn(1), 'bin'],
  ['roberta-answers-prefix', 'roberta-tiny', shifted, answersIn(1), 'safetensors'],
  ['distilbert-answers', 'distilbert-tiny', 'lora[r=2]', answersIn(1), 'safetensors'],
  ['bert-masked', 'bert-tiny', 'lora[r=2, output_lora=True]', masked(), 'safetensors'],
  ['bert-masked-own', 'bert-tiny', 'ia3', masked({ tied: false }), 'bin'],
  ['roberta-masked', 'roberta-tiny', "lora[r=2, use_dora='peft']", masked(), 'bin'],
  ['roberta-masked-own', 'roberta-tiny', 'lora[r=2]', masked({ tied: false }), 'safetensors'],
  ['xlm-roberta-masked', 'xlm-roberta-tiny', 'vera', masked(), 'safetensors'],
  ['distilbert-masked', 'distilbert-tiny', 'lora[r=2]', masked(), 'safetensors'],
  ['distilbert-masked-own', 'distilbert-tiny', 'lora[r=2]', masked({ tied: false }), 'bin'],
  ['electra-masked', 'electra-tiny', 'lora[r=2]', masked(), 'bin'],
  ['electra-masked-own', 'electra-tiny', 'ia3', masked({ tied: false }), 'safetensors'],
  ['bert-choices', 'bert-tiny', 'lora[r=2]', chooses({ layers: 1, usePooler: true }), 'safetensors'],
  ['bert-choices-pooler', 'bert-tiny', 'lora[r=2]', chooses(), 'bin'],
  ['roberta-choices', 'roberta-tiny', 'ia3', chooses({ layers: 1, usePooler: true }), 'bin'],
  ['electra-choices', 'electra-tiny', 'lora[r=2]', chooses({ activationFunction: 'gelu' }), 'safetensors'],
  ['distilbert-choices', 'distilbert-tiny', 'lora[r=2]', chooses({ activationFunction: 'relu' }), 'bin']
]

/** Values that no initialisation would give, the same in every run. */
function fill(model) {
  const added = model
    .namedParameters()
    .filter(({ name }) => /\.(loras|shared_parameters|prefix_tunings|prompt_tunings)\.a\.|^heads\.a\./.test(name))
  const values = added.map(({ name, shape }, n) => {
    const count = shape.reduce((product, size) => product * size, 1)
    return [name, { data: Float32Array.from({ length: count }, (_, i) => Math.sin(n * 31 + i * 7) / 3), shape }]
  })
  model.loadStateDict(new Map(values))
}

/** Logits of each row, or without a head its last hidden states. */
async function answersOf(model, adapter) {
  const answers = []
  const chooses = model.heads.get(adapter)?.headType === 'multiple_choice'
  for (const row of rowsOf(model)) {
    const ofText = chooses ? { inputIds: [row, row.toReversed()], choices: [2] } : { inputIds: [row] }
    const { logits, lastHiddenState } = await model.forward(
      model.config.imageSize === null ? ofText : { pixelValues: [row] },
      { adapters: adapter, outputHiddenStates: true }
    )
    answers.push([...(logits ?? lastHiddenState).data])
  }
  return answers
}

/** The folder, loaded where no head came with the model, and written back: it is for the same class. */
async function againWithout(model, folder, { source, format, answers }) {
  const bare = await AutoModel.fromPretrained(source, { withHead: false })
  const name = await bare.loadAdapter(folder)
  await bare.saveAdapter(`${folder}-again`, name, { library: 'peft', format })
  bare.dispose()
  return { folder: `${basename(folder)}-again`, model: source, format, rows: rowsOf(model), labels: null, answers }
}

async function write(out, models) {
  mkdirSync(out, { recursive: true })
  const cases = []
  for (const [folder, base, adapter, addHead, format] of written) {
    const source = join(models, base)
    const model = await AutoModel.fromPretrained(source, { withHead: addHead === ofClass })
    model.addAdapter('a', adapter)
    addHead?.(model)
    fill(model)
    await model.saveAdapter(join(out, folder), 'a', { library: 'peft', format })
    const labels = model.heads.get('a')?.numLabels ?? null
    const answers = await answersOf(model, 'a')
    cases.push({ folder, model: source, format, rows: rowsOf(model), labels, answers })
    if (addHead === ofClass) cases.push(await againWithout(model, join(out, folder), { source, format, answers }))
    model.dispose()
    console.log(`✓ Node wrote ${folder}`)
  }
  writeFileSync(join(out, 'cases.json'), JSON.stringify(cases))
}

async function read(folder) {
  const cases = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))
  let failed = 0
  for (const { folder: name, model: source, answers, task } of cases) {
    const model = await AutoModel.fromPretrained(source, { withHead: false })
    // Hidden states do not depend on what stands at the pooler of a bare model.
    const withHead = !name.endsWith('-linear-bare')
    const adapter = await model.loadAdapter(join(folder, name), { as: 'a', ...(!withHead && { withHead }) })
    // What writes is the base model's own words, which the folder does not hold.
    if (task === 'CAUSAL_LM' && !model.heads.has('a')) writes(model)
    const ours = (await answersOf(model, adapter)).flat()
    const errors = answers.flat().map((value, i) => Math.abs(value - ours[i]) / (1 + Math.abs(value)))
    const worst = errors.length === ours.length ? Math.max(...errors) : Number.NaN
    if (!(worst <= tolerance)) failed++
    console.log(`${worst <= tolerance ? '✓' : '✗'} Node loads ${name}: largest difference ${worst.toExponential(1)}`)
    model.dispose()
  }
  console.log(`written by PEFT, read by Node: ${cases.length} checked, ${failed} failed`)
  if (failed > 0 || cases.length === 0) process.exitCode = 1
}

const [command, out, models] = process.argv.slice(2)
await (command === 'read' ? read(out) : write(out, models))
