import { cpSync } from 'node:fs'
import test, { type ExecutionContext } from 'ava'
import { TextStream } from '../../lib/data/text-stream.js'
import {
  AutoModel,
  adapterSetup,
  type GeneratedToken,
  type Model,
  Parallel,
  Stack,
  TextTokenizer
} from '../../lib/index.js'
import { scratch } from './support.js'

const bytes = 'test/data/fixtures/tokenizers/roberta'
const rows = ['a cat', 'cat', { inputIds: [7, 8, 9, 10] }]
const how = { maxNewTokens: 12, eosTokenId: null }
const drawn = { ...how, doSample: true, temperature: 3, topK: 0, seed: 3 }

/** A GPT-2 with random weights and a tokenizer of bytes, whose tokens may be parts of a character. */
async function writer(t: ExecutionContext, fields: object = {}): Promise<Model> {
  const sizes = { n_embd: 16, n_head: 2, n_layer: 2, n_positions: 40, vocab_size: 330 }
  using made = await AutoModel.fromConfig({ model_type: 'gpt2', ...sizes, ...fields }, { seed: 5 })
  const folder = scratch(t)
  await made.savePretrained(folder)
  for (const file of ['tokenizer.json', 'tokenizer_config.json']) cpSync(`${bytes}/${file}`, `${folder}/${file}`)
  const model = await AutoModel.fromPretrained(folder, { seed: 5 })
  t.teardown(() => model.dispose())
  for (const name of ['a', 'b']) model.addAdapter(name, 'lora[init_weights="bert", alpha=64]')
  return model
}

async function all(tokens: AsyncIterable<GeneratedToken>): Promise<GeneratedToken[]> {
  const list = []
  for await (const token of tokens) list.push(token)
  return list
}

const setups = [
  ['greedily', { ...how, adapters: null }],
  ['by draws, each row with its own adapters', { ...drawn, adapters: ['b', null, Stack('a', 'b')] }],
  ['with an end token', { ...drawn, eosTokenId: Array.from({ length: 100 }, (_, i) => 3 * i), adapters: 'a' }],
  ['with two answers for each row', { ...drawn, adapters: Parallel('a', 'b') }]
] as const

for (const [name, options] of setups) {
  test(`tokens one by one are what generate gives: ${name}`, async (t) => {
    const model = await writer(t)
    const answers = await model.generate(rows, options)
    const tokens = await all(model.generateStream(rows, options))
    t.is(new Set(tokens.map(({ row }) => row)).size, answers.length)
    for (const [row, { ids, text }] of answers.entries()) {
      const own = tokens.filter((token) => token.row === row)
      t.deepEqual(
        own.map(({ token }) => token),
        [...ids]
      )
      t.is(own.map((token) => token.text).join(''), text as string)
      t.deepEqual(
        own.map(({ done }) => done),
        own.map((_, i) => i === own.length - 1)
      )
    }
    // Step by step: a token of each row before the second of any.
    const firsts = tokens.slice(0, answers.length).map(({ row }) => row)
    t.is(new Set(firsts).size, answers.length)
  })
}

test('without a tokenizer there is no text; without rows there is nothing', async (t) => {
  using model = await AutoModel.fromPretrained('test/parity/fixtures/models/gpt2-tiny')
  const tokens = await all(model.generateStream([{ inputIds: [5] }], { maxNewTokens: 2, eosTokenId: null }))
  t.deepEqual(
    tokens.map((token) => Object.keys(token)),
    [
      ['row', 'token', 'done'],
      ['row', 'token', 'done']
    ]
  )
  t.deepEqual(await all(model.generateStream([])), [])
})

/** Some hundred steps, each of some milliseconds. */
const slow = { n_embd: 256, n_head: 4, n_layer: 4, n_positions: 200 }
const long = { maxNewTokens: 150, eosTokenId: null }

test.serial('tokens come while others are still made, and the event loop is free', async (t) => {
  const model = await writer(t, slow)
  const turnsAtToken: number[] = []
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  for await (const _ of model.generateStream(['a'], long)) turnsAtToken.push(turns)
  clearInterval(timer)
  t.is(turnsAtToken.length, 150)
  const between = turns - (turnsAtToken[0] as number)
  t.true(between > 20, `${between} turns of the event loop from the first token to the last`)
})

test.serial('a signal or a break ends the work, and leaves the model free', async (t) => {
  const model = await writer(t, slow)
  const controller = new AbortController()
  let seen = 0
  const aborted = async () => {
    for await (const _ of model.generateStream(['a'], { ...long, signal: controller.signal })) {
      if (++seen === 2) controller.abort(new Error('enough'))
    }
  }
  await t.throwsAsync(aborted, { message: 'enough' })
  t.is(seen, 2)
  await t.throwsAsync(all(model.generateStream(['a'], { ...long, signal: controller.signal })), { message: 'enough' })

  // A machine that has much to do may make any one of them late, but not each.
  let early = false
  for (let attempt = 0; attempt < 10 && !early; attempt++) {
    const whole = performance.now()
    await model.generate(['a'], long)
    const start = performance.now()
    for await (const { token } of model.generateStream(['a'], long)) if (token >= 0) break
    await model.forward({ inputIds: [[5]] }, { head: null })
    early = performance.now() - start < (start - whole) / 2
  }
  t.true(early, 'the rest must not have been written')

  // Two at once, and one that nobody asks for its first token.
  model.generateStream(['a'], long)
  const both = await Promise.all([
    all(model.generateStream(rows, how)),
    all(model.generateStream(rows, { ...how, adapters: 'a' }))
  ])
  t.deepEqual(
    both.map((tokens) => tokens.length),
    [36, 36]
  )
})

test('mistakes are told by the call, and what the rows need when the first token is asked for', async (t) => {
  const model = await writer(t)
  t.throws(() => model.generateStream(rows, { topP: 2 }), { message: /topP/ })
  await t.throwsAsync(model.generateStream(rows, { ...how, maxNewTokens: 39 }).next(), { code: 'ERR_OUT_OF_RANGE' })
  t.throws(() => model.generateStream(rows, { signal: 'stop' as never }), { instanceOf: TypeError })
  t.throws(() => model.generateStream(rows, { tokens: 3 } as never), { message: /unknown option 'tokens'/ })
  model.dispose()
  t.throws(() => model.generateStream(rows), { code: 'ERR_DISPOSED' })
})

test('what is active counts where the call stands, in a scope and outside', async (t) => {
  const model = await writer(t)
  const tokens = async (stream: AsyncIterable<GeneratedToken>) => (await all(stream)).map(({ token }) => token)
  const adapted = await tokens(model.generateStream(rows, { ...drawn, adapters: 'a' }))
  const bare = await tokens(model.generateStream(rows, drawn))
  t.notDeepEqual(adapted, bare)
  t.deepEqual(await tokens(adapterSetup('a', () => model.generateStream(rows, drawn))), adapted)
  const before = model.generateStream(rows, drawn)
  model.setActiveAdapters('a')
  t.deepEqual(await tokens(before), bare)
})

test('text comes in whole characters, and spaces only when they stay', (t) => {
  for (const folder of ['roberta', 'bert', 'xlm-roberta']) {
    const tokenizer = TextTokenizer.fromFolder(`test/data/fixtures/tokenizers/${folder}`)
    for (const text of ['a café 🙂 für 東京', "I 'm here . don 't , ok ! we 've", 'the cat sat on the mat']) {
      const ids = [...tokenizer.encode(text).inputIds]
      const stream = new TextStream(tokenizer)
      const pieces = ids.map((id, i) => stream.push(id, i === ids.length - 1))
      t.is(pieces.join(''), tokenizer.decode(ids), `${folder}: ${text}`)
      t.false(
        pieces.slice(0, -1).some((piece) => piece.includes('\ufffd')),
        `${folder}: ${text}`
      )
      t.true(pieces.filter((piece) => piece !== '').length > 3)
    }
  }
})
