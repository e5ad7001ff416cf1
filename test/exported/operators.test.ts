import test from 'ava'
import { fillLoras, openOwn, statesOf } from './own-networks.js'
import { distance } from './support.js'

// Operators that transformers have not; products and rotations of complex numbers.
for (const [name, linears] of [
  ['operators', ['inner']],
  ['complex', ['q', 'k', 'v']],
  ['recurrent', ['inner']]
] as const)
  test(`${name}: a network answers as in PyTorch, and LoRA in front of them learns: its gradients are those of differences`, async (t) => {
    const { model, rows, answers } = await openOwn(t, name)
    const states = await statesOf(model, rows)
    for (const [i, data] of answers.entries()) t.true(distance(states[i] ?? [], { data: data as never }) < 2e-6)
    model.addAdapter('x', { architecture: 'lora', r: 2, alpha: 2, targetModules: linears })
    fillLoras(model)
    model.addClassificationHead('x', { numLabels: 2, layers: 1 })
    model.trainAdapter('x')
    const given = { inputIds: rows, labels: rows.map((_, i) => i % 2) }
    const { gradients } = await model.gradients(given)
    const lossOf = async () => (await model.forward(given, { head: 'x' })).loss as number
    for (const linear of linears) {
      const parameter = `${linear}.loras.x.lora_A`
      const { shape, data } = await model.parameter(parameter)
      const step = 1e-2
      const at = async (by: number) => {
        const moved = Float32Array.from(data)
        moved[0] = (data[0] as number) + by
        model.loadStateDict(new Map([[parameter, { shape, data: moved }]]))
        return lossOf()
      }
      const difference = ((await at(step)) - (await at(-step))) / (2 * step)
      await at(0)
      t.true(Math.abs(difference - (gradients.get(parameter)?.data[0] as number)) < 2e-4, parameter)
    }
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
