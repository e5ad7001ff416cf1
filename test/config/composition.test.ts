import test from 'ava'
import {
  Average,
  adapterNames,
  BatchSplit,
  type Composition,
  type CompositionBlock,
  compositionFromJson,
  compositionToCode,
  compositionToJson,
  Fuse,
  formatComposition,
  fuseBlocks,
  fusionName,
  lastAdapter,
  MultiTask,
  Parallel,
  parseComposition,
  Split,
  Stack,
  sameComposition
} from '../../lib/config/composition.js'

test('blocks are plain frozen data', (t) => {
  const stack = Stack('en', 'qa')
  t.deepEqual({ ...stack }, { type: 'Stack', children: ['en', 'qa'] })
  t.true(Object.isFrozen(stack))
  t.true(Object.isFrozen(stack.children))
})

test('options of the blocks', (t) => {
  t.deepEqual(Split('a', 'b', { splits: 4 }).splits, [4, 4])
  t.deepEqual(BatchSplit('a', 'b', { batchSizes: [0, 2] }).batchSizes, [0, 2])
  t.deepEqual(Average('a', 'b', { weights: [1, 3] }).weights, [0.25, 0.75])
  t.deepEqual(Average('a', 'b', { weights: [1, 3], normalizeWeights: false }).weights, [1, 3])
  t.deepEqual(Average('a', 'b').weights, [0.5, 0.5])
  t.is(fusionName(Fuse('a', Stack('b', 'c'))), 'a,c')
  t.is(fusionName(Fuse('a', 'b', { name: 'f' })), 'f')
})

test('a name becomes a stack of one', (t) => {
  t.deepEqual(parseComposition('a'), Stack('a'))
})

test('as many blocks stand in one another as the error says', (t) => {
  const nested = (blocks: number): Composition => (blocks === 0 ? 'a' : Stack(nested(blocks - 1), 'b'))
  t.notThrows(() => parseComposition(nested(9)))
  const message = /^composition: blocks are nested more than 9 deep/
  t.throws(() => parseComposition(nested(10)), { message })
  const asData = JSON.parse(JSON.stringify(nested(10)))
  t.throws(() => parseComposition(asData), { message: /nested more than 9 deep/ })
  t.throws(() => compositionFromJson(compositionToJson(nested(10) as CompositionBlock)), { message })
})

test('names in order, each once; the last one', (t) => {
  const setup = Stack('en', Parallel('a', Stack('b', 'a')))
  t.deepEqual(adapterNames(setup), ['en', 'a', 'b'])
  t.is(lastAdapter(setup), 'a')
  t.is(formatComposition(setup), 'Stack[en, Parallel[a, Stack[b, a]]]')
})

test('stacks of different length are not the same', (t) => {
  t.false(sameComposition(Stack('a', 'b'), Stack('a')))
  t.true(sameComposition(Stack('a', 'b'), Stack('a', 'b')))
  t.false(sameComposition(Fuse('a', 'b'), Stack('a', 'b')))
})

// The dicts of adapters 1.3.0: composition.py, to_dict.
test('the dict of adapter_setup.json', (t) => {
  const setup = Stack('en', Split('a', Stack('b', 'c'), { splits: [3, 5] }))
  const json = {
    type: 'Stack',
    children: [
      { type: 'single', children: ['en'] },
      {
        type: 'Split',
        children: [
          { type: 'single', children: ['a'] },
          {
            type: 'Stack',
            children: [
              { type: 'single', children: ['b'] },
              { type: 'single', children: ['c'] }
            ]
          }
        ],
        kwargs: { splits: [3, 5] }
      }
    ]
  }
  t.deepEqual(compositionToJson(setup), json)
  t.deepEqual(compositionFromJson(json), setup)
})

test('every block survives its dict and a structured clone', (t) => {
  const blocks = [
    Fuse('a', 'b'),
    Fuse('a', 'b', { name: 'f' }),
    BatchSplit('a', 'b', { batchSizes: [1, 2] }),
    Average('a', 'b', { weights: [3, 4], normalizeWeights: false }),
    MultiTask('a', Average('b', 'c')),
    Parallel('a', 'b')
  ]
  for (const block of blocks) {
    t.deepEqual(compositionFromJson(JSON.parse(JSON.stringify(compositionToJson(block)))), block)
    t.deepEqual(parseComposition(structuredClone(block)), block)
  }
})

test('weights that were not normalized say so, since Python normalizes what it reads', (t) => {
  const kwargs = (weights: number[]) =>
    compositionToJson(Average('a', 'b', { weights, normalizeWeights: false }))['kwargs']
  t.deepEqual(kwargs([2, -0.5]), { weights: [2, -0.5], normalize_weights: false })
  t.deepEqual(kwargs([0.3, 0.7]), { weights: [0.3, 0.7] })
  t.deepEqual(compositionToJson(Average('a', 'b', { weights: [1, 2] }))['kwargs'], { weights: [1 / 3, 2 / 3] })
})

test('any block may hold any other, and null', (t) => {
  const setup = Stack(
    'en',
    null,
    Parallel(Fuse('a', Stack('b', 'c')), Average(null, Stack('d', Split('e', { splits: 4 }))))
  )
  t.deepEqual(parseComposition(structuredClone(setup)), setup)
  t.deepEqual(compositionFromJson(JSON.parse(JSON.stringify(compositionToJson(setup)))), setup)
  t.deepEqual(adapterNames(setup), ['en', 'a', 'b', 'c', 'd', 'e'])
  t.is(lastAdapter(setup), 'e')
  t.is(lastAdapter(Stack('a', null)), 'a')
  t.is(lastAdapter(Stack(null)), null)
  t.is(formatComposition(Stack('a', null)), 'Stack[a, null]')
  t.deepEqual(fuseBlocks(setup).map(fusionName), ['a,c'])
})

test('wrong blocks', (t) => {
  t.throws(() => Stack(), { message: /at least one adapter/ })
  t.throws(() => Stack(''), { message: /not empty/ })
  t.throws(() => Stack(3 as never), { message: /an adapter's name or Stack\(…\)/ })
  t.throws(() => Split('a', 'b', { splits: [1] }), { message: /1 sizes for 2 adapters/ })
  t.throws(() => BatchSplit('a', { batchSize: 2 } as never), { message: /Did you mean 'batchSizes'\?/ })
  t.throws(() => Average('a', 'b', { weights: [1, -1] }), { message: /add up to 0/ })
  t.throws(() => parseComposition({ type: 'Stakc', children: ['a'] }), { message: /Did you mean 'Stack'\?/ })
  t.throws(() => parseComposition({ type: 'Stack', children: 'a' }), { message: /expected an array/ })
  t.throws(() => parseComposition(null), { instanceOf: TypeError })
  const ring: Record<string, unknown> = { type: 'Split', splits: [1] }
  ring['children'] = [ring]
  t.throws(() => parseComposition(ring), { message: /nested more than/ })
  t.throws(() => compositionFromJson({ type: 'Stack', children: [{ type: 'single', children: [] }] }))
})

test('an adapter runs twice in a Stack, and has no place twice in a Fuse', (t) => {
  t.deepEqual(Stack('a', 'a').children, ['a', 'a'])
  t.throws(() => Fuse('a', 'b', 'a'), { message: /Fuse.*'a' is there twice/ })
})

test('blocks of sizes without any show how they are written', (t) => {
  const split = Split as (...names: string[]) => unknown
  const batchSplit = BatchSplit as (...names: string[]) => unknown
  t.throws(() => split('a', 'b'), { message: /Split\('a', 'b', \{ splits: \[4, 8\] \}\)/ })
  t.throws(() => batchSplit('a', 'b'), { message: /rows.*BatchSplit\('a', 'b', \{ batchSizes: \[4, 8\] \}\)/ })
})

test('a block as code is that block again', (t) => {
  const blocks = { Average, BatchSplit, Fuse, MultiTask, Parallel, Split, Stack }
  const again = new Function(...Object.keys(blocks), 'code', 'return eval(code)')
  for (const block of [
    Fuse('a', Stack('b', null)),
    Fuse('a', Average('b', 'c', { weights: [2, 3] }), { name: 'f' }),
    Stack(Split('a', 'b', { splits: [2, 5] }), BatchSplit('c', Parallel('d', 'e'), { batchSizes: 3 })),
    MultiTask('a', Average('b', 'c', { weights: [2, 3], normalizeWeights: false }))
  ]) {
    t.deepEqual(again(...Object.values(blocks), compositionToCode(block)), block, compositionToCode(block))
  }
})
