import test from 'ava'
import { near, openOwn, statesOf } from './own-networks.js'

test('attention and feed-forward blocks in lists of their own are layers together', async (t) => {
  const { model, rows, answers } = await openOwn(t, 'lists')
  near(t, await statesOf(model, rows), answers)
  const explained = model.explainPlacement().filter((line) => line.startsWith('layer'))
  t.deepEqual(
    explained.map((line) => line.slice(0, line.indexOf(':'))),
    [0, 1].flatMap((i) => [`layer ${i} (blocks.${i}), attention`, `layer ${i} (blocks.${i}), output`])
  )
  t.true(explained.every((line) => line.includes('with its LayerNorm')))
  const placed = (adapter: string) => model.namedParameters().filter(({ name }) => name.includes(`.${adapter}.`))
  const owners = (adapter: string) => new Set(placed(adapter).map(({ name }) => name.split('.', 2).join('.')))
  model.addAdapter('one', 'seq_bn')
  t.deepEqual([...owners('one')], ['blocks.0', 'blocks.1'])
  model.addAdapter('two', 'double_seq_bn')
  t.deepEqual([...owners('two')].sort(), ['attentions.0', 'attentions.1', 'blocks.0', 'blocks.1'])
  t.is(new Set(placed('two').map(({ name }) => name)).size, 16)
  model.addAdapter('prefix', 'prefix_tuning')
  model.addAdapter('lora', { architecture: 'lora', r: 2, alpha: 2 })
  t.deepEqual([...owners('lora')].sort(), ['attentions.0', 'attentions.1'])
})
