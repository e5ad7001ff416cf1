import test from 'ava'
import { adapterPresets } from '../../lib/config/presets.js'
import { bottleneckSize, bottleneckSizes, chooseAdapterSize, nativeBottleneckConfig } from '../../lib/config/size.js'

test('the bottleneck is rounded down as Python does it, and at least 1', (t) => {
  const size = (reductionFactor: number) => bottleneckSize(adapterPresets.seq_bn.replace({ reductionFactor }), 36, 0)
  t.is(size(16), 2)
  t.is(size(100), 1)
  t.is(size(0.5), 72)
  // 36 // 0.1 is 359 in Python, where 36 / 0.1 is 360.
  t.is(size(0.1), 359)
})

test('each layer has its own size, 0 where it is left out', (t) => {
  const config = adapterPresets.seq_bn.replace({ reductionFactor: { '0': 2, '2': 8, default: 4 }, leaveOut: [1] })
  const shape = { hiddenSize: 64, numHiddenLayers: 4 }
  t.deepEqual(bottleneckSizes(config, shape), [32, 0, 8, 16])
  const native = nativeBottleneckConfig(config, shape)
  t.deepEqual(native.bottleneck_sizes, [32, 0, 8, 16])
  t.is(native.init_weights, 'bert')
})

test('chooseAdapterSize: a share of the hidden size, at least 8', (t) => {
  t.is(chooseAdapterSize(768, 'simple'), 48)
  t.is(chooseAdapterSize(768), 96)
  t.is(chooseAdapterSize(768, 'complex'), 192)
  t.is(chooseAdapterSize(32, 'simple'), 8)
  t.throws(() => chooseAdapterSize(768, 'hard' as never), { message: /'simple', 'medium', 'complex'/ })
})
