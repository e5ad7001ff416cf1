import test, { type ExecutionContext } from 'ava'
import {
  type AdapterSetup,
  Average,
  BatchSplit,
  batchInferenceWithAdapters,
  Fuse,
  type Model,
  MultiTask,
  OutputAdapterConfig,
  Parallel,
  type Prediction,
  Split,
  Stack
} from '../../lib/index.js'
import { alone, inputIds, rows, tolerance, withFour } from './four-adapters.js'
import { fill, hidden, largestDifference, load } from './support.js'

/** Rows of a batch under one setup are what each gives alone under its own. */
async function checkRows(
  t: ExecutionContext,
  model: Model,
  setup: AdapterSetup,
  own: AdapterSetup[],
  taskIds?: (string | number)[]
) {
  const { logits } = await model.forward({ inputIds }, { adapters: setup, head: 'a', taskIds })
  for (const [row, single] of own.entries()) {
    const got = logits?.data.subarray(row * 2, row * 2 + 2) ?? []
    t.true(largestDifference(got, await alone(model, row % inputIds.length, single)) < tolerance, `row ${row}`)
  }
}

test('a Stack in a Fuse: a first adapter that adds nothing changes nothing (D34)', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'nothing', 'bb']) model.addAdapter(name, 'seq_bn[reduction_factor=4]')
  for (const name of ['a', 'bb']) fill(model, name)
  const isUp = ({ name }: { name: string }) => /adapter_up/.test(name)
  fill(model, 'nothing', { scale: 0, which: isUp })
  const [plain, stacked] = [Fuse('a', 'bb', { name: 'f' }), Fuse(Stack('nothing', 'a'), 'bb', { name: 'g' })]
  for (const fusion of [plain, stacked]) model.addAdapterFusion(fusion, 'dynamic', { seed: 3 })
  const states = async (adapters: AdapterSetup) =>
    (await model.forward({ inputIds }, { adapters })).lastHiddenState?.data ?? []
  const [one, other] = [await states(plain), await states(stacked)]
  t.true(largestDifference(one, await states('bb')) > 0.01)
  t.true(largestDifference(one, other) < 1e-5)
})

test('BatchSplit: each child its rows, in their order; empty parts, nested, null', async (t) => {
  const model = await withFour(t)
  await checkRows(t, model, BatchSplit('a', 'b', { batchSizes: [2, 3] }), ['a', 'a', 'b', 'b', 'b'])
  await checkRows(t, model, BatchSplit('a', null, 'c', { batchSizes: [0, 3, 2] }), [null, null, null, 'c', 'c'])
  const nested = BatchSplit(BatchSplit('a', 'b', { batchSizes: [1, 1] }), Stack('c', 'd'), { batchSizes: [2, 3] })
  await checkRows(t, model, nested, ['a', 'b', Stack('c', 'd'), Stack('c', 'd'), Stack('c', 'd')])
  const inside = Stack('a', BatchSplit('b', 'c', { batchSizes: [4, 1] }))
  await checkRows(t, model, inside, [
    Stack('a', 'b'),
    Stack('a', 'b'),
    Stack('a', 'b'),
    Stack('a', 'b'),
    Stack('a', 'c')
  ])
  await t.throwsAsync(model.forward({ inputIds }, { adapters: BatchSplit('a', 'b', { batchSizes: 3 }) }), {
    message: /its sizes are for 6 rows, and 5 came/
  })
})

test('MultiTask: each row goes to the child that its task id names', async (t) => {
  const model = await withFour(t)
  const setup = MultiTask('a', Stack('b', 'c'), 'd')
  await checkRows(t, model, setup, ['d', 'a', Stack('b', 'c'), 'a', 'd'], [2, 'a', 1, 0, 'd'])
  const split = BatchSplit(MultiTask('a', 'b'), 'c', { batchSizes: [3, 2] })
  await checkRows(t, model, split, ['b', 'a', 'b', 'c', 'c'], ['b', 'a', 'b', 'a', 'a'])
  const wrong = (taskIds?: (string | number)[]) => model.forward({ inputIds }, { adapters: setup, taskIds })
  await t.throwsAsync(wrong(), {
    message: /taskIds: MultiTask needs one for each row, .*: one of 'a', 'Stack\[b, c\]', 'd', or its number/
  })
  await t.throwsAsync(wrong([0, 1]), { message: /2 task ids for 5 rows/ })
  await t.throwsAsync(wrong([0, 1, 2, 3, 0]), { message: /taskIds\[3\].*got 3/ })
  await t.throwsAsync(wrong(['a', 'a', 'a', 'a', 'dd']), { message: /taskIds\[4\].*Did you mean 'd'/ })
})

test('below Parallel in a Stack each row of every copy keeps its part of the batch, and its task', async (t) => {
  const model = await withFour(t)
  const own = ['a', 'a', 'b', 'b', 'b']
  const each = ['c', 'd'].flatMap((top) => own.map((below) => Stack(below, top)))
  await checkRows(t, model, Stack(BatchSplit('a', 'b', { batchSizes: [2, 3] }), Parallel('c', 'd')), each)
  await checkRows(t, model, Stack(MultiTask('a', 'b'), Parallel('c', 'd')), each, own)
})

test('MultiTask: predict takes a row’s own task, as training does', async (t) => {
  const model = await withFour(t)
  const setup = MultiTask('a', Stack('b', 'c'), 'd')
  const ids = [2, 'a', 'Stack[b, c]', '0', 'd']
  const own = rows.map(({ inputIds }, i) => ({ inputIds, taskId: ids[i] as string | number }))
  const answers = await model.predict(own, { adapters: setup })
  const expected = await model.predict(rows, { adapters: ['d', 'a', Stack('b', 'c'), 'a', 'd'] })
  t.deepEqual(answers, expected)
  model.setActiveAdapters(setup)
  t.deepEqual(await model.predict(own), expected)
  // What the call says comes first.
  const taskIds = ['a', 'a', 'd', 'd', 0]
  t.deepEqual(await model.predict(own, { taskIds }), await model.predict(rows, { taskIds }))
  await t.throwsAsync(model.predict([...own, ...rows.slice(0, 1)]), { message: /taskIds\[5\]: expected one of 'a'/ })
  await t.throwsAsync(model.predict(rows), { message: /MultiTask needs one for each row/ })
})

test('Parallel: every row once for each child, one child after the other', async (t) => {
  const model = await withFour(t)
  const five = (setup: AdapterSetup) => Array.from({ length: 5 }, () => setup)
  await checkRows(t, model, Parallel('a', Stack('b', 'c'), null), [
    ...five('a'),
    ...five(Stack('b', 'c')),
    ...five(null)
  ])
  await checkRows(t, model, Stack('a', Parallel('b', 'c')), [...five(Stack('a', 'b')), ...five(Stack('a', 'c'))])
  const both = Stack(Parallel('a', 'b'), Parallel('c', 'd'))
  await checkRows(t, model, both, [...five(Stack('a', 'c')), ...five(Stack('b', 'd'))])
  const uneven = Stack(Parallel('a', 'b'), Parallel('a', 'b', 'c'))
  await t.throwsAsync(model.forward({ inputIds }, { adapters: uneven }), {
    message: /have 2 and 3 children.*Give the shorter ones null.*Parallel\('a', null\)/
  })
  const filled = Stack(Parallel('a', 'b', null), Parallel('a', 'b', 'c'))
  await checkRows(t, model, filled, [...five(Stack('a', 'a')), ...five(Stack('b', 'b')), ...five('c')])

  const hiddenStates = await model.forward({ inputIds }, { adapters: Parallel('a', 'b'), head: null })
  t.deepEqual(hiddenStates.lastHiddenState?.shape, [10, 6, hidden])
  const answers = await model.predict(rows, { adapters: Parallel('a', 'b') })
  t.deepEqual(
    answers.map(({ logits }) => logits.length),
    [2, 2, 2, 2, 2, 3, 3, 3, 3, 3]
  )
})

test('predict: heads follow the rows through every block', async (t) => {
  const model = await withFour(t)
  const setup = BatchSplit('a', Average('a', 'c'), Fuse('a', 'd', { name: 'f' }), { batchSizes: [1, 2, 2] })
  const answers = await model.predict(rows, { adapters: setup })
  t.deepEqual(
    answers.map(({ logits }) => logits.length),
    [2, 4, 4, 5, 5]
  )
  for (const [row, own] of (['a', Average('a', 'c'), Average('a', 'c')] as const).entries()) {
    const [single] = await model.predict([rows[row] ?? { inputIds: [] }], { adapters: own })
    t.true(largestDifference(single?.logits ?? [], answers[row]?.logits ?? []) < tolerance)
  }
})

test('rows of one batch under different blocks', async (t) => {
  const model = await withFour(t)
  const own: AdapterSetup[] = [
    Split('a', 'b', { splits: [2, 4] }),
    Fuse('a', 'd', { name: 'f' }),
    Average('a', null, { weights: [3, 1] }),
    null,
    Stack('d', Fuse('a', 'd', { name: 'f' }))
  ]
  await checkRows(t, model, own as never, own)
  const wrong = [BatchSplit('a', 'b', { batchSizes: 1 }), null, null, null, null]
  await t.throwsAsync(model.forward({ inputIds }, { adapters: wrong }), {
    message: /adapters\[0\].*BatchSplit\[a, b\] shares a batch out, and this is one row of it: name the row's own child/
  })
})

test('predict: a row under a Parallel of its own, among others, lists the answers of its children', async (t) => {
  const model = await withFour(t)
  const own: AdapterSetup[] = [
    'd',
    Parallel('b', Stack('c', 'd'), null),
    null,
    Stack('a', Parallel('b', 'c')),
    MultiTask('a', Parallel('b', 'd'))
  ]
  const taskIds = ['a', 'a', 'a', 'a', 1]
  const answers = await model.predict(rows, { adapters: own, taskIds, batchSize: 3 })
  t.deepEqual(
    answers.map(({ branches }) => branches?.length),
    [undefined, 3, undefined, 2, 2]
  )
  const children: AdapterSetup[][] = [
    ['d'],
    ['b', Stack('c', 'd'), null],
    [null],
    [Stack('a', 'b'), Stack('a', 'c')],
    ['b', 'd']
  ]
  for (const [row, setups] of children.entries()) {
    const { branches, ...rest } = answers[row] as Prediction
    for (const [i, setup] of setups.entries()) {
      const got = branches === undefined ? rest : branches[i]
      const [alone] = await model.predict([rows[row] as (typeof rows)[0]], { adapters: [setup] })
      t.is(got?.labelId, alone?.labelId)
      t.true(largestDifference(got?.logits ?? [], alone?.logits ?? []) < tolerance, `row ${row}, branch ${i}`)
    }
    if (branches === undefined) continue
    t.deepEqual(Object.keys(rest), ['logits'])
    t.deepEqual(
      [...rest.logits],
      branches.flatMap(({ logits }) => [...logits])
    )
  }
  // A task without a Parallel gives one answer, and so do the same rows as a batch of their own.
  const [single] = await model.predict(rows.slice(4), { adapters: own.slice(4), taskIds: [0] })
  t.is(single?.branches, undefined)
  const mixed = batchInferenceWithAdapters(model, rows.slice(0, 2), own.slice(0, 2))
  t.deepEqual((await mixed)[1]?.branches?.length, 3)
  await t.throwsAsync(model.forward({ inputIds }, { adapters: own, taskIds }), {
    message:
      /adapters\[1\]: Parallel\[b, Stack\[c, d\], null\] gives one row 3 answers: predict lists them as its branches/
  })
})

test('a split that does not fit a row names both lengths, and the model goes on', async (t) => {
  const model = await withFour(t)
  await t.throwsAsync(model.forward({ inputIds }, { adapters: Split('a', 'b', { splits: [2, 4] }) }), {
    code: 'ERR_OUT_OF_RANGE',
    message: /expected rows of 6 tokens.*got a row of 1/
  })
  t.truthy((await model.forward({ inputIds })).logits)
})

test('fusions: added, taken away, and in the way of their adapters', async (t) => {
  const model = await withFour(t)
  t.is(model.addAdapterFusion(['a', 'b']), 'a,b')
  t.deepEqual(model.adapterFusions.get('a,b')?.adapters, ['a', 'b'])
  t.throws(() => model.addAdapterFusion(['a', 'b']), { message: /the fusion 'a,b' exists already; pass overwriteOk/ })
  t.throws(() => model.addAdapterFusion(['a', 'x']), { message: /no 'x' here/ })
  t.throws(() => model.deleteAdapter('b'), { message: /the fusion 'a,b' reads 'b'; delete it first/ })
  t.throws(() => model.trainAdapterFusion('a'), { message: /a setup with a Fuse block/ })
  const before = model.namedParameters().length
  model.setActiveAdapters(Fuse('a', 'b'))
  model.deleteAdapterFusion('a,b')
  t.is(model.activeAdapters, null)
  t.is(before - model.namedParameters().length, 2 * 2 * 5)
  t.notThrows(() => model.deleteAdapter('b'))
})

test('trainAdapterFusion trains the fusion and the head alone; with unfreezeAdapters the adapters, too', async (t) => {
  const model = await withFour(t)
  const setup = Fuse('a', 'd', { name: 'f' })
  model.trainAdapterFusion(setup)
  const trains = () => model.namedParameters().flatMap(({ name, trainable }) => (trainable ? [name] : []))
  t.true(trains().every((name) => /adapter_fusion_layer\.f\.|^heads\.d\./.test(name)))
  const { gradients } = await model.gradients({ inputIds, labels: [0, 1, 2, 3, 4] })
  t.deepEqual([...gradients.keys()].sort(), trains().sort())
  model.trainAdapterFusion(setup, { unfreezeAdapters: true })
  t.true(
    trains().some((name) => name.includes('.adapters.a.')) && trains().some((name) => name.includes('.adapters.d.'))
  )
  t.false(trains().some((name) => name.includes('.adapters.b.')))
})

test('Parallel: what copies have in common is computed once, and answers are those of rows repeated by hand', async (t) => {
  const model = await load(t)
  const configs = {
    late: 'seq_bn[leave_out=[0]]',
    later: 'lora[leave_out=[0]]',
    early: 'double_seq_bn',
    inv: 'seq_bn_inv[leave_out=[0]]',
    prompt: 'prompt_tuning[prompt_length=3]',
    prefix: 'prefix_tuning_flat[prefix_length=2]',
    reft: 'loreft[layers=[1]]'
  }
  for (const [name, config] of Object.entries(configs)) {
    model.addAdapter(name, config)
    fill(model, name, { scale: 0.3 })
  }
  model.addAdapter('out', new OutputAdapterConfig({ adapterSize: 4 }))
  fill(model, 'out', { scale: 0.3 })
  model.addClassificationHead('h', { numLabels: 3, usePooler: true })
  model.addTaggingHead('tags', { numLabels: 4 })
  model.addMaskedLmHead('words')
  const sets = [
    ['late', 'later'],
    ['late', 'early'],
    ['inv', 'late'],
    ['prompt', 'late', null],
    ['prefix', 'reft'],
    ['out', null],
    [null, null]
  ]
  for (const children of sets) {
    const again = children.flatMap(() => inputIds)
    const adapters = children.flatMap((child) => inputIds.map(() => child))
    for (const head of ['h', 'tags', 'words', null]) {
      const what = `${children} by ${head}`
      const options = { head, outputHiddenStates: head !== 'h' }
      const once = await model.forward({ inputIds }, { adapters: Parallel(...children), ...options })
      const repeated = await model.forward({ inputIds: again }, { adapters, ...options })
      t.deepEqual(once.logits?.shape, repeated.logits?.shape)
      t.true(largestDifference(once.logits?.data ?? [], repeated.logits?.data ?? []) < tolerance, what)
      t.is(once.hiddenStates?.length, repeated.hiddenStates?.length)
      for (const [i, state] of (repeated.hiddenStates ?? []).entries()) {
        t.true(largestDifference(once.hiddenStates?.[i]?.data ?? [], state.data) < tolerance, `${what}, layer ${i}`)
      }
    }
  }
  // A layer that is skipped, or has no adapter, is no reason to part.
  const skipped = await model.forward({ inputIds }, { adapters: Parallel('late', 'early'), head: 'h', skipLayers: [0] })
  const each = await model.forward({ inputIds }, { adapters: 'early', head: 'h', skipLayers: [0] })
  t.true(largestDifference(skipped.logits?.data.subarray(15) ?? [], each.logits?.data ?? []) < tolerance)
})

test('what a missing fusion advises can be done, or says that nothing can', async (t) => {
  const model = await load(t)
  model.addAdapter('a')
  model.addAdapter('l', 'lora')
  model.addClassificationHead('h')
  t.throws(() => model.setActiveAdapters(Fuse('a', null)), { message: /model\.addAdapterFusion\(\['a', null\]\)/ })
  model.addAdapterFusion(Fuse('a', null))
  t.notThrows(() => model.setActiveAdapters(Fuse('a', null)))
  t.throws(() => model.setActiveAdapters(Fuse('a', 'l')), { message: /There can be none: 'l' changes weights.*Stack/ })
  const others: [config: string, why: RegExp, instead: RegExp][] = [
    ['ia3', /changes weights/, /, or weigh several of them: Average\.$/],
    ['loreft', /changes hidden states of some tokens/, /, or weigh several of them: Average\.$/],
    ['prefix_tuning_flat', /adds keys and values to attention/, /Fuse\(…\)\)\.$/],
    ['prompt_tuning', /adds tokens to a row/, /Fuse\(…\)\)\.$/],
    [
      'lora|seq_bn',
      /is a union of lora and bottleneck, of which lora changes weights/,
      /train its bottleneck as an adapter of its own\.$/
    ],
    ['seq_bn_inv', /has an invertible part/, /Fuse\(…\)\)\.$/]
  ]
  for (const [i, [config, why, instead]] of others.entries()) {
    model.addAdapter(`o${i}`, config)
    const refusals = [() => model.addAdapterFusion(['a', `o${i}`]), () => model.setActiveAdapters(Fuse('a', `o${i}`))]
    for (const refusal of refusals) {
      const { message = '' } = t.throws(refusal) ?? {}
      t.regex(message, why)
      t.true(message.includes(`Put it in front of the block: Stack('o${i}', Fuse(…))`), message)
      t.regex(message, instead)
    }
    // And so it can be: a fusion behind each of them.
    const [inFront] = await model.predict([rows[0] ?? { inputIds: [] }], {
      adapters: Stack(`o${i}`, Fuse('a', null)),
      head: 'h'
    })
    t.is(inFront?.logits.length, 2)
  }
  // A child may be a block; the hint is a call that works.
  for (const name of ['x', 'y']) model.addAdapter(name)
  const nested = Fuse('a', Stack('x', 'y'))
  t.throws(() => model.setActiveAdapters(nested), {
    message: /there is no fusion .*Add it first: model\.addAdapterFusion\(Fuse\('a', Stack\('x', 'y'\)\)\)\./
  })
  t.notThrows(() => model.addAdapterFusion(nested))
  t.throws(() => model.addAdapter('z', 'seq_bn', { leaveOut: [0] } as never), {
    message: /'leaveOut' belongs in the config: 'seq_bn\[leave_out=\[0\]\]'/
  })
  t.notThrows(() => model.addAdapter('z', 'seq_bn[leave_out=[0]]'))
})
