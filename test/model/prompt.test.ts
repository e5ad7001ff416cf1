import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  Average,
  BatchSplit,
  Parallel,
  Split,
  Stack,
  TextTokenizer
} from '../../lib/index.js'
import {
  lastHiddenState as answer,
  hidden,
  unevenRows as inputIds,
  largestDifference,
  load,
  moved,
  quiet,
  sameBits,
  scratch,
  snapshot,
  tiny,
  tinyRows,
  trainableNames
} from './support.js'

const key = 'bert.prompt_tuning.prompt_tunings.a.prompt_embedding.weight'

test('what trains is the prompt; the base model keeps every bit', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'prompt_tuning[prompt_length=4]')
  t.is(model.adapterSummary().adapters[0]?.parameters, 4 * hidden)
  model.addClassificationHead('a')
  model.trainAdapter('a')
  const before = snapshot(model)
  await new AdapterTrainer({ model, trainDataset: tinyRows(8), args: { ...quiet, maxSteps: 3 } }).train()
  t.deepEqual(moved(before, snapshot(model)).sort(), trainableNames(model).sort())
})

test('padding changes nothing under a prompt', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'prompt_tuning[prompt_length=3, random_uniform_scale=3]')
  model.setActiveAdapters('a')
  const [alone, long] = [
    [5, 6, 7],
    [8, 9, 10, 11, 12, 13]
  ]
  const shape = [2, 6]
  const data = BigInt64Array.from([...alone, 0, 0, 0, ...long].map(BigInt))
  const mask = Uint8Array.from([1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1])
  const padded = await model.forward(
    { inputIds: { data, shape }, attentionMask: { data: mask, shape } },
    { head: null }
  )
  const one = await model.forward({ inputIds: [alone] }, { head: null })
  const states = one.lastHiddenState?.data ?? new Float32Array(0)
  t.is(states.length, alone.length * hidden)
  t.true(largestDifference(padded.lastHiddenState?.data.subarray(0, states.length) as Float32Array, states) < 1e-6)
})

test('GPT-2 writes after a prompt what whole rows give, whatever the form', async (t) => {
  const gpt2 = await AutoModel.fromPretrained(tiny.replace('bert-tiny', 'gpt2-tiny'))
  t.teardown(() => gpt2.dispose())
  for (const [name, fields] of [
    ['front', ''],
    ['bos', "combine='prefix_after_bos', "],
    ['words', "combine='prefix_words', "]
  ]) {
    gpt2.addAdapter(name as string, `prompt_tuning[${fields}random_uniform_scale=3, prompt_length=2]`)
  }
  gpt2.addAdapter('prefix', 'prefix_tuning_flat[prefix_length=2, shift_positions=True]')
  gpt2.addCausalLmHead('h')
  const setups = ['words', null, 'front', Stack('prefix', 'words'), 'bos', 'prefix', Stack('words', 'front')]
  const rows = setups.map((_, i) => [7 + i, 8, 9].slice(0, 1 + (i % 3)))
  const options = { maxNewTokens: 4, eosTokenId: null, head: 'h' } as const
  const written = await gpt2.generate(
    rows.map((inputIds) => ({ inputIds })),
    { ...options, adapters: setups }
  )
  const texts = new Set<string>()
  for (const [i, adapters] of setups.entries()) {
    const row = [...(rows[i] ?? [])]
    const { length } = row
    for (let step = 0; step < 4; step++) {
      const { logits } = await gpt2.forward({ inputIds: [row] }, { adapters, head: 'h' })
      t.deepEqual(logits?.shape, [1, row.length, 37])
      const last = [...(logits?.data.slice(-37) ?? [])]
      row.push(last.indexOf(Math.max(...last)))
    }
    t.deepEqual([...(written[i]?.ids ?? [])], row.slice(length), `row ${i}`)
    texts.add(row.slice(length).join(' '))
  }
  t.true(texts.size > 3)
  await t.throwsAsync(gpt2.generate([{ inputIds: [5, 6, 7, 8] }], { ...options, maxNewTokens: 8, adapters: 'words' }), {
    message: /longer than the model has positions/
  })
})

test('GPT-2 answers a row of one token alike, whatever is asked beside it: a prompt behind the token is not seen', async (t) => {
  const gpt2 = await AutoModel.fromPretrained(tiny.replace('bert-tiny', 'gpt2-tiny'))
  t.teardown(() => gpt2.dispose())
  gpt2.addAdapter('bos', "prompt_tuning[combine='prefix_after_bos', random_uniform_scale=3, prompt_length=2]")
  gpt2.addAdapter('front', 'prompt_tuning[random_uniform_scale=3, prompt_length=2]')
  gpt2.addAdapter('gated', 'lora[use_gating=True]')
  gpt2.addClassificationHead('h', { numLabels: 3 })
  const of = async (rows: number[][], adapters: (string | null)[], outputHiddenStates = false) => {
    const { logits } = await gpt2.forward({ inputIds: rows }, { adapters, head: 'h', outputHiddenStates })
    return (logits?.data ?? new Float32Array()).slice(0, 3)
  }
  for (const [name, isSeen] of [
    ['bos', false],
    ['front', true]
  ] as const) {
    const alone = await of([[8]], [name])
    for (const other of [
      await of([[8]], [name], true),
      await of([[8], [5, 6]], [name, 'gated']),
      await of([[8], [5]], [name, null])
    ]) {
      t.true(largestDifference(other, alone) < 1e-5, name)
    }
    t.is(largestDifference(await of([[8]], [null]), alone) > 1e-3, isSeen)
  }
})

test('each row has its own: lists, BatchSplit and Parallel give what each gives alone', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'prompt_tuning[prompt_length=2]')
  model.addAdapter('b', "prompt_tuning[prompt_length=3, combine='prefix_after_bos']")
  model.addAdapter('u', 'prompt_tuning[prompt_length=1]|seq_bn|loreft')
  const width = 5 * hidden
  const check = async (got: Float32Array, names: (string | null)[]) => {
    for (const [i, adapters] of names.entries()) {
      const ids = inputIds[i % 3] ?? []
      const { lastHiddenState } = await model.forward({ inputIds: [ids] }, { adapters, head: null })
      const expected = lastHiddenState?.data ?? new Float32Array()
      t.is(expected.length, ids.length * hidden)
      t.true(largestDifference(got.slice(i * width, i * width + expected.length), expected) < 1e-5, `row ${i}`)
    }
  }
  await check(await answer(model, { adapters: ['a', null, 'b'] }), ['a', null, 'b'])
  await check(await answer(model, { adapters: BatchSplit('u', 'b', { batchSizes: [1, 2] }) }), ['u', 'b', 'b'])
  await check(await answer(model, { adapters: Parallel('a', 'u') }), ['a', 'a', 'a', 'u', 'u', 'u'])
})

test('heads: one that reads a token reads the first of all, the others the row’s own tokens', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'prompt_tuning[prompt_length=2]')
  model.addClassificationHead('a')
  model.addTaggingHead('tags', { numLabels: 3 })
  model.setActiveAdapters('a')
  const { logits } = await model.forward({ inputIds })
  const all = await model.forward({ inputIds }, { outputHiddenStates: true })
  t.true(largestDifference(logits?.data ?? [], all.logits?.data ?? [1]) < 1e-5)
  const tags = await model.forward({ inputIds }, { head: 'tags' })
  t.deepEqual(tags.logits?.shape, [3, 5, 3])
  const [answers] = await model.predict([{ inputIds: [9, 8, 50] }], { adapters: ['a'] })
  t.true(largestDifference(answers?.logits ?? [], logits?.data.slice(2, 4) ?? [1]) < 1e-5)
})

test('a prompt starts as a text, from its start again where it is short', async (t) => {
  const folder = scratch(t)
  cpSync(tiny, folder, { recursive: true })
  const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...Array.from({ length: 94 }, (_, i) => `w${i}`)]
  writeFileSync(join(folder, 'vocab.txt'), words.join('\n'))
  const model = await AutoModel.fromPretrained(folder)
  t.teardown(() => model.dispose())
  const config = "prompt_tuning[prompt_length=5, prompt_init='from_string', prompt_init_text='w0']"
  model.addAdapter('a', config)
  const table = model.parameter('bert.embeddings.word_embeddings.weight').data
  const start = model.parameter(key).data
  for (const [i, id] of [2, 5, 3, 2, 5].entries()) {
    t.true(sameBits(start.slice(i * hidden, (i + 1) * hidden), table.slice(id * hidden, (id + 1) * hidden)), `row ${i}`)
  }
  await model.saveAdapter(join(folder, 'adapter'), 'a')
  const other = await load(t)
  t.throws(() => other.addAdapter('a', config), { code: 'ERR_TOKENIZER', message: /needs the tokenizer/ })
  await other.loadAdapter(join(folder, 'adapter'))
  t.true(sameBits(other.parameter(key).data, start))
})

test('random numbers keep to their scale, and a seed of the config gives them again', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'prompt_tuning[random_uniform_scale=0.01, init_weights_seed=3]')
  const values = model.parameter(key).data
  t.true(Math.max(...values.map(Math.abs)) <= 0.01)
  model.addAdapter('a', 'prompt_tuning[random_uniform_scale=0.01, init_weights_seed=3]', { overwriteOk: true })
  t.true(sameBits(model.parameter(key).data, values))
})

test('blocks that have no meaning for a prompt are refused by name; folders in every format', async (t) => {
  const folder = scratch(t)
  const model = await load(t)
  model.addAdapter('a', "prompt_tuning[combine='prefix_after_bos']|seq_bn")
  model.addAdapter('s', 'seq_bn')
  await t.throwsAsync(answer(model, { adapters: Average('a', 's') }), {
    code: 'ERR_UNSUPPORTED',
    message: /Average.*tokens of a prompt/s
  })
  t.throws(() => model.addAdapterFusion(['a', 's']), { code: 'ERR_UNSUPPORTED', message: /adds tokens to a row/ })
  const expected = await answer(model, { adapters: Stack('a', 's') })
  for (const format of ['safetensors', 'bin', 'pt'] as const) {
    await model.saveAdapter(join(folder, format), 'a', { format })
    const name = await model.loadAdapter(join(folder, format), { as: 'b', overwriteOk: true })
    t.deepEqual(model.adapters.get(name), model.adapters.get('a'))
    t.true(sameBits(await answer(model, { adapters: Stack(name, 's') }), expected), format)
  }
})

test('a Split above a prompt counts its tokens, and says so where they do not add up', async (t) => {
  const model = await load(t)
  model.addAdapter('p', 'prompt_tuning[prompt_length=3]')
  for (const name of ['a', 'b']) model.addAdapter(name, 'seq_bn')
  const answered = (splits: number[]) =>
    model.forward({ inputIds: [[5, 6, 7, 8]] }, { adapters: Stack('p', Split('a', 'b', { splits })), head: null })
  t.is((await answered([5, 2])).lastHiddenState?.data.length, 4 * hidden)
  await t.throwsAsync(answered([2, 2]), {
    code: 'ERR_OUT_OF_RANGE',
    message:
      /tokens and those of its prompt \(expected rows of 4 tokens, special tokens and the prompt included, got a row of 4, and 3 of its prompt\)/
  })
})

test('texts are cut to the positions that prompts and prefixes of PEFT’s form leave', async (t) => {
  const tokenizer = TextTokenizer.fromFolder('test/data/fixtures/tokenizers/bert')
  const fields = {
    model_type: 'bert',
    hidden_size: 16,
    num_attention_heads: 2,
    num_hidden_layers: 1,
    intermediate_size: 16
  }
  const sizes = { vocab_size: 400, max_position_embeddings: 24 }
  using model = await AutoModel.fromConfig({ ...fields, ...sizes }, { tokenizer })
  model.addAdapter('words', { architecture: 'prompt_tuning', prompt_length: 3, combine: 'prefix_words' })
  model.addAdapter('keys', { architecture: 'prefix_tuning', flat: true, prefix_length: 5, shift_positions: true })
  model.addClassificationHead('c', { numLabels: 2 })
  model.addQuestionAnsweringHead('q')
  const text = 'the cat sat on the mat '.repeat(20)
  const cut = (maxLength: number) => [...tokenizer.encode(text, null, { maxLength }).inputIds]
  const setups = ['words', 'keys', Stack('words', 'keys'), null]
  const answers = await model.predict(Array(4).fill(text), { adapters: setups, head: 'c' })
  for (const [i, length] of [21, 19, 16, 24].entries()) {
    const adapters = setups[i] ?? null
    const [own] = await model.predict([{ inputIds: cut(length) }], { adapters, head: 'c' })
    t.true(largestDifference(answers[i]?.logits ?? [], own?.logits ?? [1]) < 1e-6, `${i}`)
    const message = new RegExp(`at most ${length} ids`)
    const long = [...cut(length), 5]
    await t.throwsAsync(model.predict([{ inputIds: long }], { adapters, head: 'c' }), { message })
  }
  t.is((await model.predict([{ question: 'who', context: text }], { adapters: 'keys', head: 'q' })).length, 1)
  for (const name of ['words', 'keys']) {
    model.trainAdapter(name)
    model.activeHead = 'c'
    const trainDataset = [{ text, label: 1 }]
    t.is((await new AdapterTrainer({ model, trainDataset, args: { ...quiet, maxSteps: 1 } }).train()).step, 1)
  }
})
