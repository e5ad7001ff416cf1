import test from 'ava'
import { type AdapterSetup, Average, BatchSplit, Fuse, MultiTask, Parallel, Split, Stack } from '../../lib/index.js'
import { open, scratch } from './peft-folders.js'
import { soon, warningsOf } from './warnings.js'

const split = (...children: AdapterSetup[]) => Split(...children, { splits: 4 })
const batches = (...children: AdapterSetup[]) => BatchSplit(...children, { batchSizes: 2 })

// Each seen in adapters 1.3 with load_adapter_setup(…, set_active=True), those of LoRA in the first pass.
const refused: readonly (readonly [Exclude<AdapterSetup, null>, RegExp])[] = [
  [Stack('a', null), /fails on Stack\[a, null\]: it has no null/],
  [Parallel('a', Stack('b', null)), /fails on Stack\[b, null\]/],
  [Stack('a', Stack('b', 'c')), /refuses Stack\[a, Stack\[b, c\]\]: it has no Stack in a Stack/],
  [split('a', Parallel('b', 'c')), /no Parallel in a Split/],
  [batches('a', MultiTask('b', 'c')), /no MultiTask in a BatchSplit/],
  [Average('a', Average('b', 'c')), /no Average in a Average/],
  [Stack('c', batches('a', batches('b', 'c'))), /refuses BatchSplit\[b, c\]: so deep inside others/],
  [Parallel('a', Stack('b', split('a', 'c'))), /refuses Split\[a, c\]: so deep/],
  [split('a', 'l'), /fails on Split\[a, l\]: .*\('l'\)/],
  [Stack('a', split('b', 'u')), /fails on Split\[b, u\]: .*\('u'\)/],
  [Fuse('a', 'd'), /fails on Fuse\[a, d\]: .*'a' and 'd' differ in mh_adapter/],
  [Stack('c', Fuse('a', 'q')), /fails on Fuse\[a, q\]: .*of 'a' and 'q' one leaves out 0/],
  [Average('l', 'i'), /fails on Average\[l, i\]: it has no mean of what adds to weights/]
]
const taken: readonly Exclude<AdapterSetup, null>[] = [
  'a',
  Stack('a', Fuse('b', 'c')),
  Stack('a', batches('b', Stack('a', 'c'))),
  split('a', batches('b', 'c')),
  batches('a', Average('l', 'c')),
  Parallel('a', batches('b', 'c')),
  Average('a', split('b', 'c')),
  MultiTask('a', Fuse('b', 'c'))
]

test.serial('a setup that Python refuses is saved with a warning that names the block', async (t) => {
  using model = await open('bert-tiny')
  for (const name of 'abc') model.addAdapter(name)
  model.addAdapter('l', 'lora[r=2]')
  model.addAdapter('i', 'ia3')
  model.addAdapter('u', 'seq_bn|ia3')
  model.addAdapter('d', 'double_seq_bn')
  model.addAdapter('q', 'seq_bn[leave_out=[0]]')
  for (const pair of ['bc', 'ad', 'aq']) model.addAdapterFusion([...pair])
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_FAILS_IN_PYTHON')
  const told = async (setup: Exclude<AdapterSetup, null>) => {
    const folder = scratch(t)
    await model.saveAdapterSetup(folder, setup)
    await soon()
    await model.loadAdapterSetup(folder, { overwriteOk: true })
    return warnings.splice(0)
  }
  for (const [setup, text] of refused) {
    const [only, ...others] = await told(setup)
    t.regex(only ?? '', text)
    t.regex(only ?? '', /^save the setup: the adapter library .* here alone/)
    t.is(others.length, 0)
  }
  for (const setup of taken) t.deepEqual(await told(setup), [], JSON.stringify(setup))
})

test.serial('a fusion that Python cannot read is saved with a warning, alone and in a whole model', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_FAILS_IN_PYTHON')
  for (const save of ['saveAdapterFusion', 'save'] as const) {
    using model = await open('bert-tiny')
    for (const name of 'ab') model.addAdapter(name)
    model.addAdapter('d', 'double_seq_bn')
    for (const pair of ['ab', 'ad']) model.addAdapterFusion([...pair])
    if (save === 'save') await model.save(scratch(t))
    else for (const name of model.adapterFusions.keys()) await model.saveAdapterFusion(scratch(t), name)
    await soon()
    const [only, ...others] = warnings.splice(0)
    t.regex(only ?? '', /^save the fusion 'a,d': .*'a' and 'd' differ in mh_adapter/)
    t.is(others.length, 0)
  }
})
