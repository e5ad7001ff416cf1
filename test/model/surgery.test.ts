import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterError,
  AdapterTrainer,
  AutoModel,
  adapterLayer,
  addAdaptersToModel,
  bottleneck,
  dynamicAdapter,
  Fuse,
  freezeBaseModel,
  fusedAdapters,
  hierarchical,
  type Model,
  type ModuleDescription,
  parallel,
  sequential
} from '../../lib/index.js'
import { fixtures } from '../parity/support/fixtures.js'
import {
  hidden,
  largestDifference,
  load,
  make,
  moved,
  quiet,
  scratch,
  snapshot,
  tinyRows,
  trainableNames
} from './support.js'

const rows = tinyRows(12)
const inputIds = rows.map((row) => row.inputIds)
const labels = rows.map((row) => row.label)
const names = (model: Model) => model.namedParameters().map(({ name }) => name)
const inserted = (model: Model) =>
  model.namedParameters().flatMap(({ name, part }) => (part === 'inserted' ? [name] : []))

async function withHead(t: ExecutionContext, fields?: object): Promise<Model> {
  const model = fields === undefined ? await load(t) : await make(t, fields)
  model.addClassificationHead('a', { numLabels: 2, layers: 2, usePooler: true })
  return model
}

async function logits(model: Model): Promise<Float32Array> {
  return (await model.forward({ inputIds })).logits?.data ?? new Float32Array()
}

/** Other values for everything that was inserted, the same in every model of one shape. */
function fill(model: Model): void {
  const values = model.namedParameters().flatMap(({ name, shape, part }, at) => {
    if (part !== 'inserted') return []
    const count = shape.reduce((product, size) => product * size, 1)
    return [[name, { data: Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin(at + i)), shape }] as const]
  })
  model.loadStateDict(new Map(values))
}

/** The same for all parameters that can be. */
function fillAll(model: Model): void {
  const values = model.namedParameters().flatMap(({ name, shape, part }, at) => {
    if (part !== 'adapter') return []
    const count = shape.reduce((product, size) => product * size, 1)
    return [[name, { data: Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin(at + i)), shape }] as const]
  })
  model.loadStateDict(new Map(values))
}

const adapter = () => adapterLayer({ hiddenSize: hidden, adapterSize: 6 })

test('a loop over named modules puts an adapter behind each, under the names of PyTorch’s Sequential', async (t) => {
  const model = await withHead(t)
  const before = names(model)
  const first = await logits(model)
  const paths = model.namedModules('bert.encoder.layer.*.output.dense')
  t.is(paths.length, 2)
  for (const path of paths) {
    model.replaceModule(path, (dense) => {
      t.is(dense.type, 'Linear')
      t.is(dense.path, path)
      return sequential(dense, bottleneck({ hiddenSize: hidden, adapterSize: 6 }))
    })
  }
  const tail = ['down_project.weight', 'down_project.bias', 'up_project.weight', 'up_project.bias']
  t.deepEqual(
    inserted(model),
    paths.flatMap((path) => tail.map((name) => `${path}.1.${name}`))
  )
  t.deepEqual(
    names(model).filter((name) => !inserted(model).includes(name)),
    before.map((name) => paths.reduce((now, path) => now.replace(`${path}.`, `${path}.0.`), name))
  )
  t.is(model.getSubmodule(`${paths[0]}.1`).type, 'AdapterLayer')
  t.true(largestDifference(await logits(model), first) < 1e-6)
  fill(model)
  t.true(largestDifference(await logits(model), first) > 1e-3)

  t.true(model.undo())
  t.is(model.replacements.length, 1)
  t.true(model.undo())
  t.false(model.undo())
  t.deepEqual(names(model), before)
  t.deepEqual(await logits(model), first)
})

test('addAdaptersToModel is one operation over what matches, the outermost only', async (t) => {
  const model = await withHead(t)
  const before = snapshot(model)
  const at = (pattern: string) => addAdaptersToModel(model, { pattern, hiddenSize: hidden, adapterSize: 4 })
  // In PyTorch the Dropout would get one, too: names would be others.
  t.throws(() => at('bert.encoder.layer.*.attention.self.**'), { message: /self\.dropout' \(Dropout\)/ })
  const done = at('bert.encoder.layer.*.attention.self.*e*')
  t.is(done.paths.length, 6)
  done.undo()
  t.true(done.undone)
  t.throws(() => done.undo(), { instanceOf: AdapterError })
  const nested = addAdaptersToModel(model, { pattern: 'bert.encoder.layer.**', adapterSize: 4 })
  t.deepEqual(nested.paths, ['bert.encoder.layer.0', 'bert.encoder.layer.1'])
  model.undo()
  t.deepEqual(moved(before, snapshot(model)), [])
})

test('freezeBaseModel trains what was inserted, and the head; a predicate chooses parameters by name', async (t) => {
  const model = await withHead(t)
  const baseBefore = model.adapterSummary().baseParameters
  addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.attention.self.query', adapterSize: 4 })
  t.deepEqual(trainableNames(model), [])
  freezeBaseModel(model)
  const trains = [...inserted(model), ...names(model).filter((name) => name.startsWith('heads.'))]
  t.deepEqual(trainableNames(model).sort(), trains.sort())
  const { insertedParameters, trainableParameters, baseParameters } = model.adapterSummary()
  t.is(insertedParameters, 2 * (2 * hidden * 4 + 4 + hidden))
  t.is(trainableParameters, insertedParameters + hidden * hidden + hidden + 2 * hidden + 2)
  t.is(baseParameters, baseBefore)

  const before = snapshot(model)
  await new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 3, weightDecay: 0.1 } }).train()
  t.deepEqual(moved(before, snapshot(model)).sort(), trains)

  model.freeze((name) => !name.endsWith('up_project.bias'))
  const biases = inserted(model).filter((name) => name.endsWith('up_project.bias'))
  t.deepEqual(trainableNames(model), biases)
  const { gradients } = await model.gradients({ inputIds, labels })
  t.deepEqual([...gradients.keys()], biases)
  // What trains keeps training under its new names.
  model.replaceModule('bert.encoder.layer.0', (layer) => sequential(layer, adapter()))
  t.deepEqual(
    trainableNames(model).filter((name) => name.includes('.self.')),
    biases.map((name) => name.replace('layer.0.', 'layer.0.0.'))
  )
  model.trainAll()
  t.deepEqual(trainableNames(model).length, names(model).length)
})

test('a run resumes bit for bit, and only after the same surgery', async (t) => {
  const outputDir = scratch(t)
  const args = { ...quiet, outputDir, maxSteps: 6, saveStrategy: 'steps', saveSteps: 3 } as const
  const prepare = async (adapterSize = 5) => {
    const model = await withHead(t, { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 })
    addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', adapterSize })
    model.replaceModule('bert.encoder.layer.1.attention', (attention) =>
      sequential(attention, dynamicAdapter({ hiddenSize: hidden, maxAdapterSize: 6 }))
    )
    model.replaceModule('heads.a.1', (linear) => sequential(linear, adapter()))
    model.freezeBaseModel()
    return model
  }
  const whole = await prepare()
  await new AdapterTrainer({ model: whole, trainDataset: rows, args }).train()
  const resumed = await prepare()
  const resumeFromCheckpoint = join(outputDir, 'checkpoint-3')
  await new AdapterTrainer({ model: resumed, trainDataset: rows, args: { ...args, resumeFromCheckpoint } }).train()
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])

  const other = await prepare(4)
  const failure = { instanceOf: AdapterError, code: 'ERR_RESUME', message: /surgery/ }
  await t.throwsAsync(
    new AdapterTrainer({ model: other, trainDataset: rows, args: { ...args, resumeFromCheckpoint } }).train(),
    failure
  )
  // The checkpoint's own folder of inserted modules stands alone.
  const served = await withHead(t, { hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1 })
  await served.loadSurgery(join(outputDir, 'checkpoint-6'))
  const own = (model: Model) =>
    new Map([...snapshot(model)].filter(([name]) => inserted(model).includes(name) && name.startsWith('bert.')))
  t.deepEqual(moved(own(served), own(whole)), [])
})

test('a saved model comes back with its surgery, a shared module once on the disk', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  const shared = adapter()
  model.replaceModules('bert.encoder.layer.*.output.dense', (dense) => sequential(dense, shared))
  model.replaceModule('bert.encoder.layer.1.attention.output.dense', (dense) =>
    sequential(dense, hierarchical({ hiddenSize: hidden, adapterSizes: [7, 3], activation: 'gelu' }))
  )
  t.is(inserted(model).length, 12)
  fill(model)
  const before = await model.forward({ inputIds }, { head: null })
  await model.savePretrained(folder)
  const header = readFileSync(join(folder, 'model.safetensors'))
  const { __metadata__: metadata, ...tensors } = JSON.parse(
    header.toString('utf8', 8, 8 + Number(header.readBigUInt64LE(0)))
  )
  const [one, two] = ['0', '1'].map((layer) => `encoder.layer.${layer}.output.dense.1.up_project.weight`) as [
    string,
    string
  ]
  t.true(one in tensors)
  t.false(two in tensors)
  t.is(metadata[two], one)

  const again = await AutoModel.fromPretrained(folder)
  t.teardown(() => again.dispose())
  t.deepEqual(names(again), names(model))
  t.deepEqual(moved(snapshot(model), snapshot(again)), [])
  t.deepEqual((await again.forward({ inputIds }, { head: null })).lastHiddenState, before.lastHiddenState)
  for (const operation of [...again.replacements].reverse()) operation.undo()
  await again.savePretrained(folder)
  t.false(existsSync(join(folder, 'surgery.json')))
})

test('what was inserted travels alone; another surgery is told what does not fit and changes nothing', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*', adapterSize: 5 })
  fill(model)
  await model.saveSurgery(folder)
  const other = await load(t)
  await other.loadSurgery(folder)
  t.deepEqual(moved(snapshot(model), snapshot(other)), [])
  const third = await load(t)
  addAdaptersToModel(third, { pattern: 'bert.encoder.layer.*', adapterSize: 4 })
  const before = snapshot(third)
  await t.throwsAsync(third.loadSurgery(folder), {
    instanceOf: AdapterError,
    code: 'ERR_STATE_DICT',
    message: /wrong shape/
  })
  t.deepEqual(moved(before, snapshot(third)), [])
  const bare = await load(t)
  await t.throwsAsync(bare.saveSurgery(folder), {
    instanceOf: AdapterError,
    message: /replaced nothing.*replaceModule/
  })
})

test('modules that only took other places travel as the record alone', async (t) => {
  const [first, second] = ['0', '1'].map((layer) => `bert.encoder.layer.${layer}.output.dense`) as [string, string]
  const folder = scratch(t)
  const model = await load(t)
  // What an earlier surgery left there is no part of this one.
  addAdaptersToModel(model, { pattern: first, adapterSize: 5 })
  await model.saveSurgery(folder)
  model.undo()
  const before = (await model.forward({ inputIds })).lastHiddenState
  const swap = (one: Model) =>
    one.replaceModules([first, second], (_, path) => one.getSubmodule(path === first ? second : first))
  swap(model)
  const after = (await model.forward({ inputIds })).lastHiddenState
  t.notDeepEqual(after, before)
  await model.saveSurgery(folder)
  t.deepEqual(readdirSync(folder), ['surgery.json'])
  const other = await load(t)
  await other.loadSurgery(folder)
  t.deepEqual((await other.forward({ inputIds })).lastHiddenState, after)
  // Into the same surgery nothing is to be loaded, and another one is told.
  await other.loadSurgery(folder)
  t.is(other.replacements.length, 1)
  const third = await load(t)
  third.replaceModule(first, () => third.getSubmodule(second))
  await t.throwsAsync(third.loadSurgery(folder), { code: 'ERR_STATE_DICT', message: /another surgery.*layer\.0/s })
  const inHead = await withHead(t)
  inHead.replaceModule('heads.a.1', (dense) => sequential(dense, adapter()))
  await t.throwsAsync(inHead.saveSurgery(folder), { message: /replaced nothing in the base model.*stateDict/ })
})

test('a head with other modules has no folder, and a run with it still has its checkpoints', async (t) => {
  const build = async () => {
    const model = await withHead(t)
    model.addAdapter('a')
    model.replaceModule('heads.a.1', (dense) => sequential(dense, adapter()))
    model.trainAdapter('a')
    return model
  }
  const model = await build()
  const folder = scratch(t)
  const problem = { code: 'ERR_UNSUPPORTED', message: /in the head 'a'.*withHead: false/ }
  await t.throwsAsync(model.saveHead(folder, 'a'), problem)
  await t.throwsAsync(model.saveAdapter(folder, 'a'), problem)
  await model.saveAdapter(folder, 'a', { withHead: false })
  const outputDir = join(scratch(t), 'run')
  const args = { ...quiet, outputDir, saveStrategy: 'steps', saveSteps: 1, learningRate: 1e-3 } as const
  const trained = async (one: Model, more: object) => {
    await new AdapterTrainer({ model: one, trainDataset: rows, args: { ...args, ...more } }).train()
    return logits(one)
  }
  const whole = await trained(model, { maxSteps: 4 })
  t.deepEqual(readdirSync(join(outputDir, 'checkpoint-2/a')).sort(), ['adapter.safetensors', 'adapter_config.json'])
  const resumeFromCheckpoint = join(outputDir, 'checkpoint-2')
  t.deepEqual(await trained(await build(), { maxSteps: 4, resumeFromCheckpoint }), whole)
  // One in its place is another.
  model.addClassificationHead('a', { numLabels: 2, overwriteOk: true })
  t.is(model.replacements.length, 0)
  await model.saveHead(folder, 'a')
})

test('surgery and adapters of a model work together', async (t) => {
  const model = await withHead(t)
  model.addAdapter('s', 'double_seq_bn[reduction_factor=8]')
  model.trainAdapter('s')
  model.replaceModule('bert.encoder.layer.1', (layer) => sequential(layer, adapter()))
  t.true(names(model).includes('bert.encoder.layer.1.0.output.adapters.s.adapter_up.weight'))
  t.is(trainableNames(model).filter((name) => name.includes('.adapters.s.')).length, 16)
  const folder = scratch(t)
  await model.saveAdapter(folder, 's')
  await model.loadAdapter(folder, { as: 'r' })
  t.true((await model.forward({ inputIds }, { adapters: 'r' })).logits !== undefined)
  model.undo()
  t.true(names(model).includes('bert.encoder.layer.1.output.adapters.r.adapter_up.weight'))
})

test('LoRA stands at its Linear, before surgery there or after, and its folder is for the same surgery', async (t) => {
  const pattern = 'bert.encoder.layer.*.attention.self.query'
  const lora = 'lora[attn_matrices=["q"]]'
  const first = await withHead(t)
  const before = scratch(t)
  first.addAdapter('l', lora)
  await first.saveAdapter(before, 'l', { withHead: false })
  addAdaptersToModel(first, { pattern, adapterSize: 6 })
  const then = await withHead(t)
  addAdaptersToModel(then, { pattern, adapterSize: 6 })
  then.addAdapter('l', lora)
  t.deepEqual(names(then), names(first))
  t.true(names(then).includes('bert.encoder.layer.0.attention.self.query.0.loras.l.lora_A'))

  fillAll(first)
  const folder = scratch(t)
  const told: string[] = []
  const listen = ({ message }: Error) => told.push(message)
  process.on('warning', listen)
  await first.saveAdapter(folder, 'l')
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listen)
  t.regex(told.join(), /adapter 'l'.*'bert\.encoder\.layer\.0\.attention\.self\.query'.* the same surgery/)
  await then.loadAdapter(folder, { overwriteOk: true, withHead: false })
  const values = then.stateDict()
  for (const [name, { data }] of first.stateDict()) {
    if (name.includes('.loras.')) t.deepEqual(values.get(name)?.data, data)
  }
  await t.throwsAsync(then.loadAdapter(before, { as: 'b' }), {
    code: 'ERR_STATE_DICT',
    message: /base model and surgery/
  })
  // One Linear in the places of two has one LoRA.
  then.replaceModule('bert.encoder.layer.0.attention.self.key', () =>
    then.getSubmodule(`${pattern.replace('*', '1')}.0`)
  )
  then.addAdapter('k', 'lora[attn_matrices=["q","k"]]')
  t.truthy((await then.forward({ inputIds }, { adapters: 'k' })).logits)
})

test('where a layer stands in the place of another one, adapters stand in what is there', async (t) => {
  const model = await withHead(t)
  model.replaceModule('bert.encoder.layer.0', () => model.getSubmodule('bert.encoder.layer.1'))
  for (const config of ['double_seq_bn', 'lora[intermediate_lora=True]', 'loreft', 'vera', 'unipelt']) {
    model.addAdapter('x', config, { overwriteOk: true })
    model.trainAdapter('x')
    const { gradients } = await model.gradients({ inputIds, labels })
    t.true(
      [...gradients.keys()].some((name) => name.includes('.x.')),
      config
    )
  }
  model.addAdapter('two', 'seq_bn')
  model.addAdapter('three', 'seq_bn')
  model.addAdapterFusion(['two', 'three'])
  t.truthy((await model.forward({ inputIds }, { adapters: Fuse('two', 'three') })).logits)
  model.undo()
  t.truthy((await model.forward({ inputIds }, { adapters: 'x' })).logits)
  // What is deleted while its layer is away does not come back with it.
  model.addAdapter('y', 'double_seq_bn')
  const away = model.replaceModule('bert.encoder.layer.0', () => model.getSubmodule('bert.encoder.layer.1'))
  model.deleteAdapter('y')
  away.undo()
  t.false(names(model).some((name) => name.includes('.y.')))
  model.addAdapter('y', 'seq_bn')
  t.truthy((await model.forward({ inputIds }, { adapters: 'y' })).logits)
})

test('a pattern takes a place in a module that stands twice once, by its first path; paths name it once', async (t) => {
  const model = await withHead(t)
  const [first, second] = ['bert.encoder.layer.0', 'bert.encoder.layer.1']
  const before = names(model)
  model.replaceModule(second, () => model.getSubmodule(first))
  const dense = 'bert.encoder.layer.*.output.dense'
  t.deepEqual(model.namedModules(dense), [`${first}.output.dense`, `${second}.output.dense`])
  const made: string[] = []
  const replaced = model.replaceModules(dense, (module, path) => {
    made.push(path)
    return sequential(module, adapter())
  })
  t.deepEqual([made, replaced.paths], [[`${first}.output.dense`], [`${first}.output.dense`]])
  // It stands in both places all the same, and once more by a pattern that meets the second place alone.
  t.true(model.namedModules().includes(`${second}.output.dense.1.down_project`))
  t.deepEqual(model.replaceModules(`${second}.*.self`, (module) => module).paths, [`${second}.attention.self`])
  t.deepEqual(
    addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.attention.self.query', adapterSize: 4 }).paths,
    [`${first}.attention.self.query`]
  )
  // Two places that one module stands in stay two.
  t.is(model.replaceModules('bert.encoder.layer.*', (module) => sequential(module, adapter())).paths.length, 2)
  t.throws(() => model.replaceModules([`${first}.0.output.dense`, `${second}.0.output.dense`], (module) => module), {
    message: /named twice/
  })
  while (model.undo());
  t.deepEqual(names(model), before)
})

test('what is refused says what would do', async (t) => {
  const model = await withHead(t)
  const before = names(model)
  const dense = 'bert.encoder.layer.0.output.dense'
  const layer = { hiddenSize: hidden, adapterSize: 4 }
  t.throws(() => model.replaceModule('', (module) => module), {
    message: /^path: the model itself is not replaced; namedModules\(\) lists the paths of its modules$/
  })
  t.throws(() => adapterLayer({ ...layer, activation: 'relo' }), {
    instanceOf: TypeError,
    message: /Did you mean 'relu'/
  })
  t.is(adapterLayer({ ...layer, activation: 'relo', compat: 'seed' }).activation, 'linear')
  t.is(adapterLayer({ ...layer, activation: 'tanh', compat: 'seed' }).activation, 'linear')
  t.is(adapterLayer({ ...layer, activation: 'gelu', compat: 'seed' }).activation, 'gelu')
  t.throws(() => adapterLayer({ ...layer, adaptersize: 4 } as never), { message: /adapterSize/ })
  t.throws(() => adapterLayer({ ...layer, adapterSize: 0 }), { instanceOf: RangeError })
  t.throws(() => sequential(), { instanceOf: TypeError })
  t.throws(() => sequential({ kind: 'module' } as never), { instanceOf: TypeError })
  t.throws(() => hierarchical({ hiddenSize: hidden, adapterSizes: [] }), { instanceOf: TypeError })
  t.throws(() => dynamicAdapter({ hiddenSize: hidden, maxAdapterSize: 4, temperature: 0 }), { instanceOf: RangeError })
  t.throws(() => model.replaceModule('bert.nothing', (module) => module), { message: /namedModules/ })
  t.throws(() => model.replaceModule(dense, () => null as never), { instanceOf: TypeError })
  // It is there as in PyTorch, but what it does the block around it does.
  const dropout = 'bert.encoder.layer.0.output.dropout'
  t.is(model.getSubmodule(dropout).type, 'Dropout')
  t.throws(() => model.replaceModule(dropout, (module) => sequential(module, adapterLayer(layer))), {
    instanceOf: AdapterError,
    message: /'bert\.encoder\.layer\.0\.output\.dropout' \(Dropout\).*config\.json/s
  })
  t.throws(() => addAdaptersToModel(model, { pattern: 'transformer.h.*.mlp', adapterSize: 4 }), {
    message: /no module matches/
  })
  t.throws(() => model.getSubmodule('bert.encoder.layer.0.attention.self.qeury'), {
    message: /namedModules.*Did you mean 'bert\.encoder\.layer\.0\.attention\.self\.query'\?/
  })
  const pattern = /bert.encoder.layer.\d.output/ as never
  const form = { instanceOf: TypeError, message: /a pattern such as 'transformer\.h\.\*\.mlp'.*got a RegExp/ }
  t.throws(() => addAdaptersToModel(model, { pattern, adapterSize: 4 }), form)
  t.throws(() => model.replaceModules(pattern, (module) => module), form)
  t.throws(() => addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output', adapterSize: 4 }), {
    instanceOf: AdapterError,
    message: /bert\.encoder\.layer\.0\.output\.dense/
  })
  t.throws(
    () => model.replaceModule(dense, (module) => sequential(module, adapterLayer({ ...layer, hiddenSize: 31 }))),
    {
      instanceOf: AdapterError,
      message: /32 features/
    }
  )
  t.throws(() => model.replaceModules([dense, dense], (module) => sequential(module, adapterLayer(layer))), {
    message: /'bert\.encoder\.layer\.0\.output\.dense' is named twice/
  })
  let deep: ModuleDescription = adapterLayer(layer)
  const wrap = () => {
    for (let i = 0; i < 5000; i++) deep = sequential(deep)
  }
  t.throws(wrap, { instanceOf: TypeError, message: /nested more than 32 levels deep/ })
  t.deepEqual(names(model), before)
  t.deepEqual(model.replacements, [])
})

test('a training run holds the modules', async (t) => {
  const model = await withHead(t)
  const done = addAdaptersToModel(model, { pattern: 'bert.encoder.layer.*.output.dense', adapterSize: 4 })
  model.freezeBaseModel()
  for await (const event of new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 1 } }).run()) {
    if (event.type !== 'step') continue
    const busy = { instanceOf: AdapterError, code: 'ERR_BUSY' }
    t.throws(() => done.undo(), busy)
    t.throws(() => model.undo(), busy)
    t.throws(() => addAdaptersToModel(model, { pattern: 'bert.pooler', adapterSize: 4 }), busy)
  }
  done.undo()
})

test('the MLPs of GPT-2, as the document replaces them; what reads whole rows does not generate', async (t) => {
  const model = await AutoModel.fromPretrained(join(fixtures, 'models/gpt2-tiny'), { withHead: false })
  t.teardown(() => model.dispose())
  const before = names(model)
  const inputIds = [[7], [9, 8, 30], [20, 21, 22, 23, 5, 6]]
  for (const path of model.namedModules('transformer.h.*.mlp')) {
    model.replaceModule(path, (mlp) =>
      sequential(mlp, bottleneck({ hiddenSize: model.config.hiddenSize, adapterSize: 4 }))
    )
  }
  t.true(names(model).includes('transformer.h.0.mlp.0.c_fc.weight'))
  t.true(names(model).includes('transformer.h.1.mlp.1.down_project.weight'))
  const first = await model.forward({ inputIds })
  fill(model)
  t.true(
    largestDifference(
      (await model.forward({ inputIds })).lastHiddenState?.data ?? [],
      first.lastHiddenState?.data ?? []
    ) > 1e-3
  )
  const prompt = [{ inputIds: [7, 8, 9] }]
  model.addCausalLmHead('words', { layers: 1, bias: false })
  model.addAdapter('l', 'lora[init_weights="bert", alpha=64]')
  t.is((await model.generate(prompt, { maxNewTokens: 3 })).length, 1)
  const { hiddenSize } = model.config
  const [one, two] = ['transformer.h.0', 'transformer.h.1']
  const own = () => adapterLayer({ hiddenSize, adapterSize: 4 })
  // Around an attention or a layer, behind, before or beside it: what is written is what forward finds likeliest.
  for (const replaced of [
    () => model.replaceModule(`${one}.attn`, (attn) => sequential(attn, own())),
    () => model.replaceModule(`${two}.attn`, (attn) => parallel(attn, own(), { scale: 0.5 })),
    () => model.replaceModule(one, (layer) => sequential(own(), layer, own())),
    () => model.replaceModule(two, (layer) => sequential(parallel(layer, own()), own()))
  ]) {
    replaced()
    fill(model)
    for (const adapters of [null, 'l']) {
      const [written] = await model.generate(prompt, { maxNewTokens: 6, eosTokenId: null, adapters })
      const ids = [7, 8, 9]
      for (const next of written?.ids ?? []) {
        const { logits } = await model.forward({ inputIds: [ids] }, { adapters, head: 'words' })
        const last = logits?.data.slice(-37) ?? new Float32Array()
        t.is(last.indexOf(Math.max(...last)), next)
        ids.push(next)
      }
    }
  }
  const refused = async (message: RegExp) =>
    await t.throwsAsync(model.generate(prompt, { maxNewTokens: 3 }), { code: 'ERR_UNSUPPORTED', message })
  for (const path of [`${one}.1.mlp.0`, `${two}.0.module.mlp.0.c_proj`, 'transformer.ln_f']) {
    const dynamic = model.replaceModule(path, (module) =>
      sequential(module, dynamicAdapter({ hiddenSize, maxAdapterSize: 4 }))
    )
    await refused(/reads whole rows/)
    dynamic.undo()
  }
  while (model.undo());
  const twice = model.replaceModule(two, () => model.getSubmodule(one))
  await refused(/one attention into two places/)
  twice.undo()
  model.deleteHead('words')
  model.deleteAdapter('l')
  while (model.undo());
  t.deepEqual(names(model), before)
})

test('fused adapters come by name, or as a list whose names are numbers', async (t) => {
  const parts = [4, 2].map((adapterSize) => bottleneck({ hiddenSize: hidden, adapterSize }))
  const fused = fusedAdapters({ hiddenSize: hidden, numHeads: 2, adapters: parts })
  t.deepEqual(fused.adapters, { 0: parts[0], 1: parts[1] } as never)
  const model = await load(t)
  model.replaceModule('bert.encoder.layer.0.output.dense', (module) => sequential(module, fused))
  const names = model.namedParameters().flatMap(({ name }) => /dense\.1\.(adapters\.\w+)\./.exec(name)?.[1] ?? [])
  t.deepEqual([...new Set(names)], ['adapters.0', 'adapters.1'])
  t.throws(() => fusedAdapters({ hiddenSize: hidden, numHeads: 2, adapters: [] }), { message: /at least one adapter/ })
})
