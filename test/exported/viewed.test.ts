import test from 'ava'
import { fillLoras, near, openOwn, statesOf } from './own-networks.js'

for (const [kind, config] of [
  ['lora', { architecture: 'lora', r: 2, alpha: 2 }],
  ['dora', { architecture: 'lora', r: 2, alpha: 2, useDora: 'peft' }],
  ['ia3', { architecture: 'lora', r: 1, alpha: 1, compositionMode: 'scale', initWeights: 'ia3' }]
] as const)
  test(`${kind} at Linears that read tokens before rows, and whose values are viewed in another form, is PEFT's`, async (t) => {
    const { model, rows, answers, peft } = await openOwn(t, 'viewed')
    const together = [...rows, ...rows]
    near(t, await statesOf(model, together), [...answers, ...answers])
    model.addAdapter('x', { ...config, targetModules: ['turned', 'back'] })
    fillLoras(model)
    near(t, await statesOf(model, together, 'x'), [...(peft?.[kind] ?? []), ...(peft?.[kind] ?? [])])
  })

test('a sub-layer under torch.no_grad takes no adapter, which could not learn there', async (t) => {
  const { model } = await openOwn(t, 'viewed')
  const explained = model.explainPlacement().join('\n')
  t.regex(explained, /under torch\.no_grad, where nothing learns/)
})

test('logits are read beside a loss, a score of each token and a state with its rows behind', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'scored')
  t.deepEqual([...model.heads.keys()], ['default'])
  near(t, await statesOf(model, rows, undefined, 'default'), answers)
})
