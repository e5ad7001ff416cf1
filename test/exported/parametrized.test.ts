import { join } from 'node:path'
import test from 'ava'
import { scratch } from '../model/support.js'
import { fillLoras, near, openOwn, statesOf } from './own-networks.js'

// Linears under weight_norm (today's and the old one), a parametrization of one's own, none, and orthogonal in its three forms.
const linears = ['normed', 'hooked', 'lower', 'plain', 'turned', 'reflected', 'rational']

for (const [kind, config] of [
  ['lora', { architecture: 'lora', r: 2, alpha: 2 }],
  ['ia3', { architecture: 'lora', r: 1, alpha: 1, compositionMode: 'scale', initWeights: 'ia3' }]
] as const)
  test(`${kind} stands at Linears whose weight is computed, as in PEFT, and goes through its folders`, async (t) => {
    const { model, rows, answers, peft } = await openOwn(t, 'parametrized')
    near(t, await statesOf(model, rows), answers)
    model.addAdapter('x', { ...config, targetModules: 'all-linear' })
    fillLoras(model)
    near(t, await statesOf(model, rows, 'x'), peft?.[kind])
    const folder = join(scratch(t), 'peft')
    await model.saveAdapter(folder, 'x', { library: 'peft' })
    await model.loadAdapter(folder, { as: 'again' })
    near(t, await statesOf(model, rows, 'again'), peft?.[kind])
  })

test('the parameters of a weight that is computed keep PyTorch’s names', async (t) => {
  const { model } = await openOwn(t, 'parametrized')
  const own = model.namedParameters().map(({ name }) => name)
  for (const name of [
    'normed.bias',
    'normed.parametrizations.weight.original0',
    'normed.parametrizations.weight.original1',
    'hooked.weight_g',
    'hooked.weight_v',
    'lower.parametrizations.weight.original'
  ])
    t.true(own.includes(name), name)
  t.false(own.some((name) => ['normed.weight', 'hooked.weight', 'lower.weight'].includes(name)))
})

test('DoRA, which needs the rows of the weight, is refused where it is computed, and so is merging', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'parametrized')
  for (const useDora of [true, 'peft'] as const)
    t.throws(() => model.addAdapter('x', { architecture: 'lora', r: 2, useDora, targetModules: linears }), {
      code: 'ERR_UNSUPPORTED',
      message: /the weight of 'hooked' is computed at every call.*useDora off/s
    })
  model.addAdapter('x', { architecture: 'lora', r: 2, targetModules: linears })
  t.throws(() => model.mergeAdapter('x'), { code: 'ERR_UNSUPPORTED', message: /does more than the product/ })
  near(t, await statesOf(model, rows, 'x'), answers)
})
