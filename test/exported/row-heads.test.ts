// Heads of a network of its own that read one value a row: a mean of its tokens, or what has none.
import test from 'ava'
import { AdapterConfig, AutoModel, addAdaptersToModel } from '../../lib/index.js'
import { archiveOf, fillLoras, openOwn, statesOf } from './own-networks.js'
import { distance } from './support.js'

test('a head of rows that mixes their tokens first answers, with what its last Linear reads for states', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'mean-head')
  t.is(model.heads.get('default')?.headType, 'classification')
  for (const [i, row] of (await statesOf(model, rows, undefined, 'default')).entries())
    t.true(distance(row, { data: Float32Array.from(answers[i] ?? []) }) < 1e-6)
  t.deepEqual((await model.forward({ inputIds: rows }, { head: null })).lastHiddenState?.shape, [rows.length, 8])
  // Adapters stand at its tokens all the same, and at the Linears of the head.
  const linears = AdapterConfig.load('lora', { r: 2, targetModules: ['inner', 'out'] })
  for (const config of ['seq_bn[reduction_factor=2]', linears]) {
    model.addAdapter('x', config, { overwriteOk: true })
    model.trainAdapter('x')
    const { gradients } = await model.gradients({ inputIds: rows, labels: rows.map((_, i) => i % 5) })
    t.true([...gradients.values()].some(({ data }) => data.some((value) => value !== 0)))
  }
  model.addClassificationHead('own', { numLabels: 3 })
  t.deepEqual((await model.forward({ inputIds: rows }, { head: 'own' })).logits?.shape, [rows.length, 3])
})

test('surgery stands at modules that take and give one value a row, as in PyTorch, and is undone', async (t) => {
  const { model, rows, answers, adapted = [] } = await openOwn(t, 'mean-head')
  const has = async (expected: number[][]) => {
    for (const [i, row] of (await statesOf(model, rows, undefined, 'default')).entries())
      t.true(distance(row, { data: Float32Array.from(expected[i] ?? []) }) < 2e-6)
  }
  const [inner] = model.namedModules('inner', { shapes: true })
  t.true(inner?.replaceable)
  const edit = addAdaptersToModel(model, { pattern: 'inner', adapterSize: 2 })
  await has(answers)
  fillLoras(model, /^inner\.1\./, 1)
  await has(adapted)
  const alone = await statesOf(model, rows.slice(1), undefined, 'default')
  t.true(distance(alone[0] ?? [], { data: Float32Array.from(adapted[1] ?? []) }) < 2e-6)
  edit.undo()
  await has(answers)
  const placement = { attention: null, feedForward: 'inner' }
  await t.throwsAsync(AutoModel.fromExported(archiveOf(t, 'mean-head'), { placement }), {
    message: /'inner' does not map tokens to tokens.*one value a row.*return logits, states/
  })
})

test('so does that of a network without tokens, and one that is asked for by its name', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'pictures')
  t.is(model.heads.get('default')?.headType, 'image_classification')
  const pixelValues = { data: Float32Array.from(rows[0] ?? []), shape: [1, 2, 3, 4] }
  const { logits } = await model.forward({ pixelValues })
  t.deepEqual(logits?.shape, [1, 5])
  t.true(distance(logits?.data ?? [], { data: Float32Array.from(answers[0] ?? []) }) < 1e-6)
  const { lastHiddenState } = await model.forward({ pixelValues }, { head: null })
  t.deepEqual(lastHiddenState?.shape, [1, 1, 6])
  const beside = await AutoModel.fromExported(archiveOf(t, 'flat-mean'), { output: 'logits' })
  t.teardown(() => beside.dispose())
  t.is(beside.heads.get('default')?.headType, 'classification')
})
