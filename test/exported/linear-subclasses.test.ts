import { join } from 'node:path'
import test from 'ava'
import { AutoModel, addAdaptersToModel } from '../../lib/index.js'
import { scratch } from '../model/support.js'
import { changeArchive } from './changed-archive.js'
import { archiveOf, fillLoras, learnsAt, near, openOwn, statesOf } from './own-networks.js'

// `own` does what nn.Linear does, the others more or less; `pair` gives two values.
const linears = ['scale', 'norm', 'unused', 'equation', 'own', 'share', 'hook']

for (const [kind, config] of [
  ['lora', { architecture: 'lora', r: 2, alpha: 2 }],
  ['dora', { architecture: 'lora', r: 2, alpha: 2, useDora: 'peft' }],
  ['ia3', { architecture: 'lora', r: 1, alpha: 1, compositionMode: 'scale', initWeights: 'ia3' }]
] as const)
  test(`${kind} stands around all that a subclass of nn.Linear does, as in PEFT, and goes through its folders`, async (t) => {
    const { model, rows, answers, peft } = await openOwn(t, 'subclasses')
    near(t, await statesOf(model, rows), answers)
    model.addAdapter('x', { ...config, targetModules: linears })
    fillLoras(model)
    const expected = peft?.[kind] as number[][]
    near(t, await statesOf(model, rows, 'x'), expected)
    const folder = join(scratch(t), 'peft')
    await model.saveAdapter(folder, 'x', { library: 'peft' })
    await model.loadAdapter(folder, { as: 'again' })
    near(t, await statesOf(model, rows, 'again'), expected)
    const [first = [], second = []] = rows
    const mixed = await statesOf(model, [first, second, second], ['x', null, 'again'])
    near(t, mixed, [expected[0] ?? [], answers[1] ?? [], expected[1] ?? []])
  })

test('at a subclass of nn.Linear that does more, nothing is merged, and (IA)³ does not scale what it reads', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'subclasses')
  const lora = { architecture: 'lora', r: 2 } as const
  model.addAdapter('x', { ...lora, targetModules: ['own', 'equation'] })
  model.addAdapter('y', { ...lora, targetModules: ['own', 'scale'] })
  model.mergeAdapter('x')
  model.resetAdapter()
  t.throws(() => model.mergeAdapter('y'), {
    code: 'ERR_UNSUPPORTED',
    message: /the class of 'scale' does more than the product/
  })
  near(t, await statesOf(model, rows), answers)
  t.throws(() => model.addAdapter('z', { ...lora, r: 1, compositionMode: 'scale_input', targetModules: ['scale'] }), {
    code: 'ERR_UNSUPPORTED',
    message: /the class of 'scale' does more.*compositionMode 'scale'/s
  })
})

test('a subclass of nn.Linear that gives two values is refused by name', async (t) => {
  const { model } = await openOwn(t, 'subclasses')
  for (const targetModules of [['pair'], 'all-linear'] as const)
    t.throws(() => model.addAdapter('x', { architecture: 'lora', targetModules }), {
      message: /nothing can stand at 'pair': its class Pair gives no single float32 value/
    })
})

test('an archive that does not note subclasses of nn.Linear has those that are the product; a bias that is in nothing is refused', async (t) => {
  const archive = archiveOf(t, 'subclasses')
  changeArchive(archive, archive, (text) => text.replace('"linear_subclasses"', '"other__subclasses"'))
  const model = await AutoModel.fromExported(archive)
  t.teardown(() => model.dispose())
  t.throws(() => model.addAdapter('x', { architecture: 'lora', targetModules: ['unused'] }), {
    message: /nothing can stand at 'unused': its bias is not added right behind the product/
  })
  model.addAdapter('x', { architecture: 'lora', targetModules: ['own', 'equation'] })
})

test('LoRA at a subclass of nn.Linear learns: its gradients are those of differences', async (t) => {
  const { model, rows } = await openOwn(t, 'subclasses')
  await learnsAt(t, model, rows, linears, 1e-4)
})

test('surgery in the place of a subclass of nn.Linear runs what its class does', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'subclasses')
  // A new bottleneck adds nothing yet.
  addAdaptersToModel(model, { pattern: 'scale', adapterSize: 2 })
  near(t, await statesOf(model, rows), answers)
})
