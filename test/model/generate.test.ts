import { readFileSync } from 'node:fs'
import test from 'ava'
import { type AdapterConfigSource, AutoModel, type Model, MultiTask, Split, Stack } from '../../lib/index.js'
import { fixtures, Group } from '../parity/support/fixtures.js'

interface Case {
  readonly adapter?: { readonly name: string; readonly config: AdapterConfigSource }
  readonly weights: { readonly [name: string]: string }
  readonly input: { readonly inputIds: number[][] }
  readonly expected: { readonly ids: number[][] }
}

const group = new Group<Case>('generate')
const folder = `${fixtures}/models/gpt2-tiny`
const config = JSON.parse(readFileSync(`${folder}/config.json`, 'utf8'))

async function gpt2(): Promise<Model> {
  const model = await AutoModel.fromPretrained(folder)
  for (const { adapter, weights } of group.cases) {
    if (adapter) model.addAdapter(adapter.name, adapter.config)
    model.loadStateDict(group.tensors(weights))
  }
  return model
}

const rowsOf = (ids: readonly number[][]) => ids.map((inputIds) => ({ inputIds }))
const listed = (answers: readonly { readonly ids: Int32Array }[]) => answers.map(({ ids }) => [...ids])
const greedy = { maxNewTokens: 6, eosTokenId: null }

for (const { adapter, input, expected } of group.cases) {
  const name = adapter?.name ?? null
  test(`rows of different lengths go on as in PyTorch, with ${name ?? 'no adapter'}`, async (t) => {
    using model = await gpt2()
    const answers = await model.generate(rowsOf(input.inputIds), { ...greedy, adapters: name })
    t.deepEqual(listed(answers), expected.ids)
  })
}

test('each row has its own adapter', async (t) => {
  using model = await gpt2()
  const all = group.cases.flatMap(({ adapter, input, expected }) =>
    input.inputIds.map((row, i) => ({ adapter: adapter?.name ?? null, row, ids: expected.ids[i] }))
  )
  // Neighbours use different adapters, and rows of one length lie apart.
  const mixed = all.map((_, i) => all[(i * 5) % all.length]).filter((one) => one !== undefined)
  t.is(new Set(mixed).size, all.length)
  const answers = await model.generate(rowsOf(mixed.map(({ row }) => row)), {
    ...greedy,
    adapters: mixed.map(({ adapter }) => adapter)
  })
  t.deepEqual(
    listed(answers),
    mixed.map(({ ids }) => ids)
  )
})

test('rows say their task themselves: each goes on as its adapter does in PyTorch', async (t) => {
  using model = await gpt2()
  const setup = MultiTask('a', 'b', null)
  const [a, b, none] = group.cases as [Case, Case, Case]
  // By name and by number, neighbours apart.
  const tasks = ['b', 0, 2, 'a'] as const
  const cases = [b, a, none, a]
  const rows = rowsOf(a.input.inputIds)
  const own = rows.map((row, i) => ({ ...row, taskId: tasks[i] }))
  const expected = cases.map(({ expected }, i) => expected.ids[i])
  t.deepEqual(listed(await model.generate(own, { ...greedy, adapters: setup })), expected)
  model.setActiveAdapters(setup)
  t.deepEqual(listed(await model.generate(own, greedy)), expected)
  const streamed: number[][] = own.map(() => [])
  for await (const { row, token } of model.generateStream(own, greedy)) streamed[row]?.push(token)
  t.deepEqual(streamed, expected)
  // What the call says counts more.
  t.deepEqual(listed(await model.generate(own, { ...greedy, taskIds: ['a', 'a', 'a', 'a'] })), a.expected.ids)
  t.notDeepEqual(a.expected.ids, expected)

  const wrong = (taskId?: string | number) => model.generate([{ ...rows[0], inputIds: [5], taskId }, ...own], greedy)
  await t.throwsAsync(wrong(), { message: /taskIds\[0\]: expected one of 'a', 'b'/ })
  await t.throwsAsync(wrong(3), { message: /taskIds\[0\].*got 3/ })
  await t.throwsAsync(wrong('bb'), { message: /taskIds\[0\].*Did you mean 'b'/ })
  await t.throwsAsync(model.generate(rows, greedy), { message: /taskIds: MultiTask needs one for each row/ })
})

test('what the cache gives is what whole rows give, with a stack and a head', async (t) => {
  using model = await gpt2()
  model.addCausalLmHead('words', { layers: 2 })
  const row = [7, 8, 9]
  const adapters = Stack('a', 'b')
  const [answer] = await model.generate([{ inputIds: row }], { ...greedy, adapters, head: 'words' })
  const ids = [...row]
  for (let i = 0; i < greedy.maxNewTokens; i++) {
    const { logits } = await model.forward({ inputIds: [ids] }, { adapters, head: 'words' })
    const last = logits?.data.subarray(-config.vocab_size) ?? new Float32Array()
    ids.push(last.indexOf(Math.max(...last)))
  }
  t.deepEqual([...(answer?.ids ?? [])], ids.slice(row.length))
})

test('an end token ends its row alone, and is kept', async (t) => {
  using model = await gpt2()
  const { input, expected } = group.cases.find(({ adapter }) => adapter?.name === 'b') as Case
  const end = expected.ids[2]?.[1] ?? -1
  const cut = expected.ids.map((ids) => (ids.includes(end) ? ids.slice(0, ids.indexOf(end) + 1) : ids))
  t.true(cut.some((ids) => ids.length < 6) && cut.some((ids) => ids.length === 6), 'rows must end at different steps')
  const answers = await model.generate(rowsOf(input.inputIds), { ...greedy, adapters: 'b', eosTokenId: [end] })
  t.deepEqual(listed(answers), cut)
})

test('draws follow the seed, and not the rows beside them', async (t) => {
  using model = await gpt2()
  const sampled = { ...greedy, doSample: true, temperature: 3, topK: 0 }
  const rows = rowsOf([[5], [6, 7], [8, 9]])
  const first = listed(await model.generate(rows, { ...sampled, seed: 1 }))
  t.deepEqual(listed(await model.generate(rows, { ...sampled, seed: 1 })), first)
  t.notDeepEqual(listed(await model.generate(rows, { ...sampled, seed: 2 })), first)
  t.deepEqual(listed(await model.generate(rows.slice(0, 1), { ...sampled, seed: 1 })), first.slice(0, 1))
  // A shorter row beside it, or one of other adapters, is computed before it.
  const [alone = []] = listed(await model.generate(rows.slice(1, 2), { ...sampled, seed: 1 }))
  for (const adapters of [null, [null, 'a', null] as const]) {
    const beside = [...rows.slice(1, 2), ...rowsOf([[5], [6, 7]])]
    t.deepEqual(listed(await model.generate(beside, { ...sampled, seed: 1, adapters }))[0], alone)
  }
  const parted = { ...sampled, seed: 1, rowNumbers: [1, 2] }
  t.deepEqual(listed(await model.generate(rows.slice(1), parted)), first.slice(1))
  await t.throwsAsync(model.generate(rows, parted), { message: /^rowNumbers: expected one for each of 3 rows, got 2/ })
  // Ten equal rows under ten seeds are a hundred draws of their own.
  const texts = new Set<string>()
  for (let seed = 1; seed <= 10; seed++)
    for (const ids of listed(await model.generate(rowsOf(Array(10).fill([6, 7])), { ...sampled, seed })))
      texts.add(ids.join())
  t.true(texts.size > 95, `${texts.size}`)

  const likeliest = listed(await model.generate(rows, greedy))
  t.notDeepEqual(first, likeliest)
  for (const narrow of [{ topK: 1 }, { topP: 1e-9 }, { temperature: 1e-4 }]) {
    t.deepEqual(listed(await model.generate(rows, { ...sampled, ...narrow })), likeliest)
  }
})

test('what cannot be written is refused', async (t) => {
  using model = await gpt2()
  const rows = [{ inputIds: [1, 2, 3] }]
  // Twelve positions: three of the prompt and nine new tokens, of which the last is never read.
  t.is((await model.generate(rows, { maxNewTokens: 10, eosTokenId: null }))[0]?.ids.length, 10)
  await t.throwsAsync(model.generate(rows, { maxNewTokens: 11 }), {
    code: 'ERR_OUT_OF_RANGE',
    message: /a row of 3 and 11 new ones/
  })
  await t.throwsAsync(model.generate(['text']), { message: /no tokenizer/ })
  await t.throwsAsync(model.generate(rows, { temperature: 0 }), { message: /temperature/ })
  // What says how tokens are drawn is not passed over where none is.
  for (const one of [{ temperature: 0.5 }, { topK: 5 }, { topP: 0.9 }]) {
    const [name = ''] = Object.keys(one)
    await t.throwsAsync(model.generate(rows, one), {
      message: new RegExp(`^${name}: .* without doSample .*--do-sample$`)
    })
  }
  for (const [option, message] of [
    [{ maxLength: 9 }, /'maxLength' is maxNewTokens here, without the prompt/],
    [{ numBeams: 2 }, /'numBeams' is not here: there are no beams/]
  ] as const) {
    await t.throwsAsync(model.generate(rows, option as object), { message })
  }
  await t.throwsAsync(model.generate(rows, { adapters: ['a', 'b'] }), { message: /adapters/ })
  // Not with the second token: the first would have been handed out.
  const split = Stack('a', Split('a', 'b', { splits: [1, 2] }))
  t.throws(() => model.generateStream(rows, { adapters: split }), {
    code: 'ERR_UNSUPPORTED',
    message: /Split shares out/
  })
  model.addClassificationHead('c')
  await t.throwsAsync(model.generate(rows, { head: 'c' }), { message: /causal_lm head/ })
  t.is(
    (await model.generate(rows, { maxNewTokens: 2 })).length,
    1,
    'the active head does not write: the word embedding does'
  )

  using bert = await AutoModel.fromPretrained(`${fixtures}/models/bert-tiny`)
  await t.throwsAsync(bert.generate(rows), { code: 'ERR_UNSUPPORTED', message: /type bert/ })
  t.throws(() => bert.addCausalLmHead('w'), { code: 'ERR_UNSUPPORTED' })
  t.throws(() => model.addMaskedLmHead('w'), { code: 'ERR_UNSUPPORTED' })
})

test('a signal ends the call between two tokens, and leaves the model free', async (t) => {
  using model = await gpt2()
  const rows = rowsOf([[5, 6], [7]])
  const early = AbortSignal.abort(new Error('not at all'))
  await t.throwsAsync(model.generate(rows, { ...greedy, signal: early }), { message: 'not at all' })
  const controller = new AbortController()
  const many = Array.from({ length: 400 }, () => [5])
  const work = model.generate(rowsOf(many), { ...greedy, maxNewTokens: 11, signal: controller.signal })
  // Behind it in the queue, so that it cannot have ended before the signal comes.
  const answer = model.forward({ inputIds: [[5, 6]] }, { head: null })
  controller.abort(new Error('enough'))
  await t.throwsAsync(work, { message: 'enough' })
  t.deepEqual((await answer).lastHiddenState?.shape, [1, 2, 8])
  const unused = new AbortController().signal
  t.deepEqual(
    listed(await model.generate(rows, { ...greedy, signal: unused })),
    listed(await model.generate(rows, greedy))
  )
  await t.throwsAsync(model.generate(rows, { signal: 'stop' as never }), { instanceOf: TypeError })
})
