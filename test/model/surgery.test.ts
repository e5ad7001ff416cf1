import test from 'ava'
import {
  AdapterError,
  AdapterTrainer,
  adapterLayer,
  addAdaptersToModel,
  addSharedAdapter,
  bottleneck,
  dynamicAdapter,
  freezeBaseModel,
  fusedAdapters,
  hierarchical,
  type ModuleDescription,
  sequential
} from '../../lib/index.js'
import { hidden, largestDifference, load, moved, quiet, snapshot, trainableNames } from './support.js'
import { adapter, fill, inputIds, inserted, labels, logits, names, rows, withHead } from './surgery-support.js'

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
  for (const [name, add] of Object.entries({ addAdaptersToModel, addSharedAdapter })) {
    t.throws(() => add(model, { pattern: 'bert.encoder.layer.*.output.dense', hiddenSize: 31, adapterSize: 4 }), {
      instanceOf: AdapterError,
      message: new RegExp(
        `^${name}: .*'bert\\.encoder\\.layer\\.0\\.output\\.dense' \\(expected hiddenSize 32, .*got 31\\)`
      )
    })
  }
  const wide = { pattern: 'bert.encoder.layer.*.intermediate.dense', adapterSize: 4 } as const
  t.throws(() => addAdaptersToModel(model, wide), { message: /features as the module gives.*Give hiddenSize: \d+/ })
  t.throws(() => addAdaptersToModel(model, { ...wide, position: 'before', hiddenSize: 64 }), { message: /takes/ })
  t.throws(() => addAdaptersToModel(model, { ...wide, position: 'parallel' }), { message: /gives/ })
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

test('behind the pooler’s activation is behind the pooler', async (t) => {
  const model = await withHead(t)
  const first = await logits(model)
  const [whole, activation] = ['bert.pooler', 'bert.pooler.activation']
  const answers: ArrayLike<number>[] = []
  for (const path of [whole, activation]) {
    t.deepEqual(model.namedModules(path), [path])
    model.replaceModule(path, (module) => sequential(module, bottleneck({ hiddenSize: hidden, adapterSize: 6 })))
    t.true(names(model).includes(`${path}.1.up_project.weight`))
    fill(model)
    answers.push(await logits(model))
    model.undo()
  }
  t.deepEqual(answers[1], answers[0])
  t.true(largestDifference(answers[0] ?? [], first) > 1e-3)
})
