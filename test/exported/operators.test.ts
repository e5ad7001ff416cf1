import test from 'ava'
import { learnsAt, near, openOwn, statesOf } from './own-networks.js'
import { distance } from './support.js'

// Operators that transformers have not; products and rotations of complex numbers.
for (const [name, linears] of [
  ['operators', ['inner']],
  ['complex', ['q', 'k', 'v']],
  ['recurrent', ['inner']]
] as const)
  test(`${name}: a network answers as in PyTorch, and LoRA in front of them learns: its gradients are those of differences`, async (t) => {
    const { model, rows, answers } = await openOwn(t, name)
    near(t, await statesOf(model, rows), answers)
    await learnsAt(t, model, rows, linears, 2e-4)
  })

test('rows shorter than the graph takes are refused without a mask, though tokens see only those before them', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'behind-long')
  const [long = [], short = []] = rows
  const [states = []] = await statesOf(model, [long])
  t.true(distance(states, { data: answers[0] as never }) < 1e-6)
  for (const some of [[short], [long, short]])
    await t.throwsAsync(statesOf(model, some), {
      code: 'ERR_UNSUPPORTED',
      message: /a row is shorter than the graph takes.*rows of at least 5 tokens/s
    })
})
