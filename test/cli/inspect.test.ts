import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { AutoModel, addAdaptersToModel, Fuse, Stack } from '../../lib/index.js'
import { command, fixtures, scratch } from './command.js'

const folders = join(fixtures, 'folders')

test.serial('an adapter with its head, for people', async (t) => {
  const { status, output, errors } = await command(['inspect', join(folders, 'bert-seq_bn-bin')])
  t.is(errors, '')
  t.is(status, 0)
  t.regex(output, /adapter 'a'\n {2}config {8}bottleneck after feed-forward: reduction_factor=8, non_linearity="relu"/)
  t.regex(output, /trained on {4}bert-tiny, bert, hidden size 32/)
  t.regex(output, /parameters {4}584 in 8 tensors, float32/)
  t.regex(output, /type {10}classification, 2 layers/)
  t.regex(output, /labels {8}3: LABEL_0, LABEL_1, LABEL_2/)
  t.notRegex(output, /adapter_down/)
})

test.serial('--tensors names them all', async (t) => {
  const { output } = await command(['inspect', join(folders, 'bert-seq_bn-safetensors'), '--tensors'])
  t.regex(output, /bert\.encoder\.layer\.0\.output\.adapters\.a\.adapter_down\.0\.weight +\[4, 32\] {2}float32/)
  t.regex(output, /heads\.a\.4\.bias +\[3\]/)
})

test.serial('for programs: configs in the words of their files', async (t) => {
  const { status, output } = await command(['inspect', '--json', join(folders, 'bert-float16-bin')])
  t.is(status, 0)
  const { adapter, head } = JSON.parse(output)
  t.is(adapter.config.reduction_factor, 8)
  t.is(adapter.model.hidden_size, 32)
  t.deepEqual(adapter.weights.dtypes, ['float16'])
  t.is(adapter.weights.parameters, 584)
  t.is(adapter.weights.tensors.length, 8)
  t.is(head.config.head_type, 'classification')
  t.is(head.name, 'a')
})

test.serial('an adapter that has parameters in common with others names them', async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  for (const name of ['one', 'two']) model.addAdapter(name, 'mtl_lora')
  model.shareParameters(['one', 'two'], { name: 'tasks' })
  const folder = scratch()
  await model.saveAdapter(folder, 'two')
  t.regex((await command(['inspect', folder])).output, /shares {8}A and the up-projections with 'one'\n/)
  const { adapter } = JSON.parse((await command(['inspect', '--json', folder])).output)
  t.deepEqual(adapter.sharing, { name: 'tasks', adapters: ['one', 'two'] })
})

test.serial('a whole setup: how it stands, which head answers, and what lies in it', async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  for (const name of ['one', 'two']) model.addAdapter(name)
  model.addClassificationHead('both')
  const folder = scratch()
  await model.saveAdapterSetup(folder, Stack('one', 'two'), { head: 'both' })
  const { output, errors } = await command(['inspect', folder])
  t.is(errors, '')
  t.regex(output, /setup Stack\[one, two\]\n {2}head {10}both\n/)
  for (const part of ["adapter 'one'", "adapter 'two'", "head 'both'"]) t.true(output.includes(part), output)
  const { setup, inside } = JSON.parse((await command(['inspect', folder, '--json'])).output)
  t.deepEqual([setup.adapters.children, setup.head, inside.length], [['one', 'two'], 'both', 3])
})

test.serial('a whole model: its adapters, fusions and heads by their names, and what is active', async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  model.addAdapter('oneMore', 'seq_bn[reduction_factor=8]')
  model.addAdapter('low', 'lora')
  model.addAdapter('two')
  model.addAdapterFusion(['oneMore', 'two'], 'static', { name: 'both' })
  model.addClassificationHead('oneMore', { labels: ['no', 'yes'] })
  model.addTaggingHead('tags', { numLabels: 3 })
  model.setActiveAdapters(Stack('low', 'oneMore'), { head: 'tags' })
  const folder = scratch()
  await model.save(folder)
  const { output, errors } = await command(['inspect', folder])
  t.is(errors, '')
  t.regex(output, /adapter 'oneMore'\n {2}config {8}bottleneck after feed-forward: reduction_factor=8/)
  t.regex(output, /adapter 'low'\n {2}config {8}lora at query, value: r=8/)
  t.regex(output, /fusion 'both' over 'oneMore', 'two'\n {2}config {8}key=true/)
  t.regex(output, /head 'oneMore'\n {2}type {10}classification, 2 layers\n {2}labels {8}2: no, yes\n/)
  t.regex(output, /head 'tags'\n {2}type {10}tagging, 1 layer\n/)
  t.regex(output, /\nactive Stack\[low, oneMore\]\n {2}head {10}tags\n/)
  const { whole_model: whole } = JSON.parse((await command(['inspect', folder, '--json'])).output)
  const namesOf = (parts: { name: string }[]) => parts.map(({ name }) => name)
  t.deepEqual([whole.adapters, whole.fusions, whole.heads].map(namesOf), [
    ['low', 'oneMore', 'two'],
    ['both'],
    ['oneMore', 'tags']
  ])
  t.is(whole.adapters[1].config.reduction_factor, 8)
  t.is(whole.adapters[0].config.architecture, 'lora')
  t.deepEqual(whole.fusions[0].adapters, ['oneMore', 'two'])
  t.like(whole.heads[0].config, { head_type: 'classification', label2id: { no: 0, yes: 1 } })
  t.deepEqual(whole.active, { adapters: { type: 'Stack', children: ['low', 'oneMore'] }, head: 'tags' })
})

test.serial('the head of a class is in its model, by the name that it is loaded under', async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  model.addTaggingHead('x', { labels: ['O', 'B'], activationFunction: null })
  const folder = scratch()
  await model.savePretrained(folder, { modelClass: 'BertForTokenClassification' })
  t.regex(
    (await command(['inspect', folder])).output,
    /head 'default'\n {2}type {10}tagging, 1 layer\n {2}labels {8}2: O, B\n/
  )
  const { whole_model: whole } = JSON.parse((await command(['inspect', folder, '--json'])).output)
  t.deepEqual([whole.adapters, whole.heads[0].name], [[], 'default'])
  // A base model alone holds nothing more, whatever its class.
  const base = scratch()
  await model.savePretrained(base, { modelClass: 'BertModel' })
  const file = join(base, 'config.json')
  const config = { ...JSON.parse(readFileSync(file, 'utf8')), architectures: ['BertForTokenClassification'] }
  writeFileSync(file, JSON.stringify(config))
  t.notRegex((await command(['inspect', base])).output, /\nhead |\nactive /)
  t.false('whole_model' in JSON.parse((await command(['inspect', base, '--json'])).output))
})

test.serial('a fusion’s folder is one, converts whole, and is no head alone', async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  for (const name of ['one', 'two']) model.addAdapter(name)
  model.addAdapterFusion(['one', 'two'], 'static', { name: 'both' })
  model.addClassificationHead('both', { numLabels: 2 })
  const [folder, setup, target] = [scratch(), scratch(), join(scratch(), 'target')]
  await model.saveAdapterSetup(setup, Fuse('one', 'two', { name: 'both' }), { head: 'both' })
  await model.saveAdapterFusion(folder, 'both')
  await model.saveHead(folder, 'both')
  const { output, errors } = await command(['inspect', folder])
  t.is(errors, '')
  t.regex(output, /fusion 'both' over 'one', 'two'\n {2}config {8}key=true, .*\n {2}trained on/)
  t.true(output.includes("head 'both'"), output)
  t.is(JSON.parse((await command(['inspect', setup, '--json'])).output).inside.length, 3)
  t.is((await command(['convert', folder, target, '--format', 'bin'])).status, 0)
  using other = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  for (const name of ['one', 'two']) other.addAdapter(name)
  await other.loadAdapterFusion(target)
  t.is(await other.loadHead(target), 'both')
  const values = other.stateDict()
  for (const [name, { data }] of model.stateDict()) {
    if (name.includes('adapter_fusion_layer')) t.deepEqual(values.get(name)?.data, data)
  }
  const renamed = await command(['convert', folder, `${target}-b`, '--name', 'b'])
  t.regex(renamed.errors, /--name: a setup names its fusion/)
  t.is(renamed.status, 2)
  const rows = join(scratch(), 'rows.jsonl')
  writeFileSync(rows, '{"input_ids":[5,6],"label":0}\n')
  const head = ['--model', join(fixtures, 'models/bert-tiny'), '--head', folder, '--data', rows]
  t.regex((await command(['evaluate', ...head])).errors, /--head: expected a head alone, .* holds a fusion: .* --setup/)
  for (const option of ['--adapter', '--setup']) {
    const { errors } = await command(['evaluate', '--model', head[1] as string, option, folder, '--data', rows])
    t.regex(errors, /looks like an AdapterFusion \(loadAdapterFusion, --setup with the folder of its setup around it\)/)
  }
  t.regex((await command(['convert', '--help'])).output, /--name NAME.*Not of a fusion, which its setup names/s)
})

test.serial('what surgery inserted', async (t) => {
  using model = await AutoModel.fromPretrained(join(fixtures, 'models/bert-tiny'))
  addAdaptersToModel(model, { pattern: 'bert.encoder.layer.0', adapterSize: 2 })
  const folder = scratch()
  await model.saveSurgery(folder)
  t.regex((await command(['inspect', folder, '--tensors'])).output, /layer\.0\.1\.down_project\.weight/)
})

test.serial('a model and a single file', async (t) => {
  const model = join(fixtures, 'models/bert-tiny')
  const { output } = await command(['inspect', model])
  t.regex(output, /hidden_size +32/)
  t.regex(output, /model\.safetensors, [\d.]+ kB/)
  const file = JSON.parse((await command(['inspect', '--json', join(model, 'model.safetensors')])).output)
  t.true(file.weights[0].tensors.some(({ name }: { name: string }) => name.endsWith('word_embeddings.weight')))
})

test.serial('what is nothing to inspect', async (t) => {
  const none = await command(['inspect', 'nowhere'])
  t.is(none.status, 2)
  t.regex(none.errors, /inspect: nowhere does not exist/)
  const other = await command(['inspect', folders])
  t.is(other.status, 1)
  t.regex(other.errors, /holds no adapter/)
  const text = await command(['inspect', 'package.json'])
  t.is(text.status, 1)
  t.notRegex(text.errors, /\n\s+at /)
})

test.serial('wrong use ends with status 2 and points to --help', async (t) => {
  const missing = await command(['inspect'])
  t.is(missing.status, 2)
  t.regex(missing.errors, /expected FOLDER_OR_FILE, got nothing\. See torch-adapters inspect --help/)
  const misspelled = await command(['inspect', 'x', '--tesnors'])
  t.is(misspelled.status, 2)
  t.regex(misspelled.errors, /unknown option '--tesnors' \(did you mean '--tensors'\?\)/)
})

test.serial('every command explains itself', async (t) => {
  const names = ['train', 'sweep', 'fuse', 'evaluate', 'predict', 'generate', 'inspect', 'convert']
  for (const name of names) {
    const { status, output } = await command([name, '--help'])
    t.is(status, 0, name)
    t.true(output.startsWith(`Usage: torch-adapters ${name} `), name)
    t.regex(output, /--json/, name)
    t.regex(output, /Exit status/, name)
    for (const line of output.split('\n')) t.true(line.length <= 121, line)
  }
})
