// Node's half of the check of exported classes.
//   node exported_classes.mjs FOLDER      loads what Python saved and compares, and saves adapters of its own
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AutoModel } from '../../dist/lib/index.js'

const [folder] = process.argv.slice(2)
const open = (archive) => AutoModel.fromExported(join(folder, `${archive}.pt2`))

async function answersOf(model, name, rows) {
  // Where the adapter has no head, what the archive's class gives answers.
  const head = model.heads.has(name) ? { head: name } : {}
  const all = []
  for (const row of rows) {
    const { logits, lastHiddenState } = await model.forward({ inputIds: [row] }, { adapters: name, ...head })
    all.push([...(logits ?? lastHiddenState).data])
  }
  return all
}

const apart = (some, others) => Math.max(...some.flat().map((value, i) => Math.abs(value - others.flat()[i])))

let rows = []
for (const name of readdirSync(join(folder, 'theirs'))) {
  const kept = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'))
  rows = kept.rows
  const model = await open(kept.archive)
  await model.loadAdapter(join(folder, 'theirs', name), { as: 'y' })
  const away = apart(kept.answers, await answersOf(model, 'y', rows))
  if (!(away < 1e-5)) throw new Error(`${name} on an exported network is off by ${away}`)
  console.log(
    `an archive of ${model.config.exported.className} answers with Python's ${name} as Python does (${away.toExponential(1)})`
  )
  model.dispose()
}

function learn(model) {
  const own = model.namedParameters().filter(({ name }) => name.includes('.x.') || name.startsWith('heads.x.'))
  const values = own.map(({ name, shape }, i) => {
    const size = shape.reduce((product, one) => product * one)
    return [name, { shape, data: Float32Array.from({ length: size }, (_, j) => Math.sin(i + j) / 4) }]
  })
  model.loadStateDict(new Map(values))
}

const targets = { architecture: 'lora', r: 2, targetModules: ['q_proj', 'up_proj'] }
const ours = [
  ['base', 'alone', 'FEATURE_EXTRACTION', targets],
  ['words', 'words', 'CAUSAL_LM', { ...targets, targetModules: 'all-linear' }],
  ['labels', 'labels', 'SEQ_CLS', targets],
  // PEFT's class for the task would take the head whole, and pass by what stands in it.
  ['labels', 'head', null, { ...targets, targetModules: ['q_proj', 'score'] }],
  [
    'base',
    'score',
    'SEQ_CLS',
    targets,
    (model) => model.addClassificationHead('x', { numLabels: 3, layers: 1, bias: false })
  ],
  ['base', 'tags', 'TOKEN_CLS', targets, (model) => model.addTaggingHead('x', { numLabels: 3 })],
  ['capped', 'capped-tags', 'TOKEN_CLS', targets, (model) => model.addTaggingHead('x', { numLabels: 3 })],
  [
    'disentangled',
    'disentangled-tags',
    'TOKEN_CLS',
    { ...targets, targetModules: ['query_proj'] },
    (model) => model.addTaggingHead('x', { numLabels: 3 })
  ],
  ['base', 'prefix', 'FEATURE_EXTRACTION', 'prefix_tuning_flat[prefix_length=4]'],
  ['spans', 'spans', 'QUESTION_ANS', { ...targets, targetModules: ['query', 'value', 'attention.output.dense'] }],
  // PEFT's class for the task would give it inputs_embeds.
  ['tower', 'tower', null, { ...targets, targetModules: ['q_proj', 'fc1'] }],
  ['capped', 'capped-prefix', 'FEATURE_EXTRACTION', 'prefix_tuning_flat[prefix_length=4]'],
  ['base', 'hub-network', null, 'prefix_tuning[prefix_length=3, bottleneck_size=5]'],
  ['disentangled', 'hub-prefix', null, 'prefix_tuning_flat[prefix_length=3, use_gating=True]'],
  ['older', 'hub-older', null, 'seq_bn'],
  ['older', 'hub-older-prefix', null, 'prefix_tuning_flat[prefix_length=3]'],
  ['older', 'older', 'FEATURE_EXTRACTION', { ...targets, targetModules: ['in_proj', 'intermediate.dense'] }],
  ['base', 'hub-up', null, targets],
  ['undone', 'hub-undone', null, 'seq_bn_inv[reduction_factor=4]'],
  ['words', 'hub-kept', null, 'seq_bn_inv[reduction_factor=4]'],
  ['both', 'hub-both', null, 'seq_bn_inv[reduction_factor=4]'],
  ['both', 'both', 'SEQ_2_SEQ_LM', { ...targets, targetModules: ['q', 'v', 'wo'] }],
  ['layered', 'layered', 'SEQ_2_SEQ_LM', { ...targets, targetModules: ['q_proj', 'fc1'] }],
  ['layered', 'hub-layered', null, 'seq_bn_inv[reduction_factor=4]'],
  ['base', 'hub-down', null, 'lora[r=2, output_lora=True]']
]
for (const [archive, name, task, config, addHead] of ours) {
  const model = await open(archive)
  // Norms of DeBERTa's own code are LayerNorms in the archive: adapters stand before and behind them.
  const sites = model.explainPlacement().filter((line) => /: the sum at/.test(line))
  if (archive === 'older' && !(sites.length === 4 && sites.every((line) => /with its LayerNorm/.test(line))))
    throw new Error(sites.join('\n'))
  model.addAdapter('x', config)
  addHead?.(model)
  learn(model)
  const library = name.startsWith('hub') ? 'adapters' : 'peft'
  await model.saveAdapter(join(folder, 'ours', `ours-${name}`), 'x', { library })
  const answers = await answersOf(model, 'x', rows)
  writeFileSync(join(folder, `ours-${name}.json`), JSON.stringify({ archive, task, answers }))
  model.dispose()
}
