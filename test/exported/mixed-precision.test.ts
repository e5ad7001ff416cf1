import test from 'ava'
import { AdapterTrainer, AutoModel, adapterLayer, sequential } from '../../lib/index.js'
import { quiet } from '../model/support.js'
import { archiveOf, fillLoras, learnsAt, type OwnCase, openOwn, statesOf } from './own-networks.js'
import { distance } from './support.js'

// What bfloat16 leaves of a value that adapters give back to a product: eight bits.
const rounding = 1 / 64

function near(t: Parameters<typeof openOwn>[0], states: number[][], expected: OwnCase['answers'] = []) {
  t.is(states.length, expected.length)
  for (const [i, data] of expected.entries()) {
    const most = Math.max(...data.map(Math.abs))
    t.true(distance(states[i] ?? [], { data: data as never }) < rounding * most)
  }
}

const loras = [
  ['lora', { architecture: 'lora', r: 2, alpha: 2, targetModules: ['q', 'v', 'down'] }],
  ['dora', { architecture: 'lora', r: 2, alpha: 2, useDora: 'peft', targetModules: ['q', 'v', 'down'] }],
  [
    'ia3',
    {
      architecture: 'lora',
      r: 1,
      alpha: 1,
      compositionMode: 'scale',
      initWeights: 'ia3',
      targetModules: ['k', 'down']
    }
  ]
] as const

// A stream of float32, and one of bfloat16, which is what comes out of the network.
for (const name of ['mixed', 'half']) {
  test(`${name}: a region under torch.autocast gives what it gives in PyTorch`, async (t) => {
    const { model, rows, answers } = await openOwn(t, name)
    near(t, await statesOf(model, rows), answers)
    t.regex(model.explainPlacement().join('\n'), /layer 0 \(block\), attention: .*\n.*layer 0 \(block\), output: /)
  })

  for (const [kind, config] of loras)
    test(`${name}: ${kind} at Linears under torch.autocast is PEFT's, but for what bfloat16 rounds`, async (t) => {
      const { model, rows, answers, peft } = await openOwn(t, name)
      model.addAdapter('x', config)
      fillLoras(model)
      near(t, await statesOf(model, rows, 'x'), peft?.[kind])
      // Rows that ask for none are the network's own.
      const [one = [], two = []] = rows
      near(t, await statesOf(model, [one, two], ['x', null]), [peft?.[kind]?.[0] ?? [], answers[1] ?? []])
    })

  for (const config of ['seq_bn', 'double_seq_bn', 'seq_bn_inv', 'prefix_tuning', 'mam', 'unipelt', 'loreft'] as const)
    test(`${name}: ${config} trains in a block under torch.autocast`, async (t) => {
      const { model, rows } = await openOwn(t, name)
      model.addAdapter('x', config)
      model.addClassificationHead('x', { numLabels: 2 })
      model.trainAdapter('x')
      const before = await statesOf(model, rows, 'x')
      const trainDataset = rows.map((inputIds, labels) => ({ inputIds, labels }))
      const args = { ...quiet, maxSteps: 200, perDeviceTrainBatchSize: 2, learningRate: 0.02 }
      const { loss } = await new AdapterTrainer({ model, trainDataset, args }).train()
      t.true(loss < 0.6, `${loss}`)
      t.notDeepEqual(await statesOf(model, rows, 'x'), before)
    })

  test(`${name}: a module under torch.autocast is named as a place, and takes surgery`, async (t) => {
    const placement = { attention: 'block.attention', feedForward: 'block.down' }
    const model = await AutoModel.fromExported(archiveOf(t, name), { placement })
    t.teardown(() => model.dispose())
    const { rows, answers } = await openOwn(t, name)
    t.regex(model.explainPlacement().join('\n'), /attention: .*block\.attention/)
    model.addAdapter('x', 'double_seq_bn')
    model.trainAdapter('x')
    model.setActiveAdapters(null)
    model.replaceModule('block.down', (own) => sequential(own, adapterLayer({ hiddenSize: 8, adapterSize: 2 })))
    // It begins as nothing.
    near(t, await statesOf(model, rows), answers)
  })
}

test('adapters under torch.autocast get the gradients of what they add', async (t) => {
  const { model, rows } = await openOwn(t, 'mixed')
  await learnsAt(t, model, rows, ['block.down', 'block.attention.v'], 2e-2)
})
