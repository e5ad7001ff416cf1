import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AutoModel, type Model, TextTokenizer } from '../../lib/index.js'
import { largestDifference, scratch, tinyConfig } from './support.js'

const pieces = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'new', '##ly', 'york', 'is']

/** The tiny model with a tokenizer that cuts `newly` in two, a tagging head `tags` and a head for masked words `mlm`. */
async function tagger(t: ExecutionContext): Promise<Model> {
  const folder = scratch(t)
  writeFileSync(join(folder, 'vocab.txt'), pieces.join('\n'))
  writeFileSync(
    join(folder, 'tokenizer_config.json'),
    JSON.stringify({ tokenizer_class: 'BertTokenizer', do_lower_case: true, model_max_length: 6 })
  )
  const tokenizer = TextTokenizer.fromFolder(folder)
  const model = await AutoModel.fromConfig({ ...tinyConfig, vocab_size: pieces.length }, { tokenizer, seed: 1 })
  t.teardown(() => model.dispose())
  model.addTaggingHead('tags', { labels: ['O', 'B', 'I'] })
  model.addMaskedLmHead('mlm')
  return model
}

test('tagging rows of words: one answer a word, that of its first token', async (t) => {
  const model = await tagger(t)
  const [byWord, byToken] = await model.predict([{ words: ['New', 'Newly', 'is'] }, { inputIds: [2, 5, 5, 6, 8, 3] }])
  t.deepEqual(
    byWord?.tokens?.map(({ word }) => word),
    ['New', 'Newly', 'is']
  )
  t.is(byToken?.tokens?.length, 6)
  // [CLS] new new ##ly is [SEP]
  const firsts = [1, 2, 4]
  t.deepEqual(
    byWord?.tokens?.map(({ label, score }) => [label, score?.toFixed(4)]),
    firsts.map((i) => [byToken?.tokens?.[i]?.label, byToken?.tokens?.[i]?.score?.toFixed(4)])
  )
  const logits = firsts.flatMap((i) => [...(byToken?.logits.slice(i * 3, i * 3 + 3) ?? [])])
  t.true(largestDifference(byWord?.logits ?? [], logits) < 1e-5)
})

test('words that the row was too long for, or without a token, have no answer but keep their place', async (t) => {
  const model = await tagger(t)
  const [answer] = await model.predict([{ words: ['is', '', 'york', 'newly', 'is', 'new'] }])
  const { tokens = [], logits = new Float32Array() } = answer ?? {}
  t.deepEqual(
    tokens.map(({ label }) => label !== null),
    [true, false, true, true, false, false]
  )
  t.deepEqual(tokens[1], { word: '', label: null, labelId: null, score: null })
  t.deepEqual(
    Array.from({ length: 6 }, (_, i) => Number.isNaN(logits[i * 3])),
    tokens.map(({ label }) => label === null)
  )
})

test('tagging texts, and masked words: one answer a token, with the token', async (t) => {
  const model = await tagger(t)
  const [answer] = await model.predict(['Newly is'])
  const text = ['[CLS]', 'new', '##ly', 'is', '[SEP]']
  t.deepEqual(
    answer?.tokens?.map(({ token }) => token),
    text
  )
  t.true(answer?.tokens?.every(({ label }) => ['O', 'B', 'I'].includes(label ?? '')))
  const [masked] = await model.predict([{ words: ['newly', 'is'] }], { head: 'mlm' })
  t.deepEqual(
    masked?.tokens?.map(({ token }) => token),
    text
  )
})

test('language heads: the label is the piece that its number stands for; without a tokenizer the number', async (t) => {
  const model = await tagger(t)
  const row = { inputIds: [2, 5, 6, 4, 3] }
  const [masked] = await model.predict([row], { head: 'mlm' })
  const labels = masked?.tokens?.map(({ label }) => label)
  t.deepEqual(
    labels,
    masked?.tokens?.map(({ labelId }) => pieces[labelId as number])
  )
  t.is(labels?.length, 5)
  const { tokenizer } = model
  const gpt2 = { model_type: 'gpt2', vocab_size: pieces.length, n_embd: 8, n_layer: 1, n_head: 2, n_positions: 16 }
  for (const given of [tokenizer, undefined]) {
    const writer = await AutoModel.fromConfig(gpt2, { tokenizer: given, seed: 1 })
    t.teardown(() => writer.dispose())
    writer.addCausalLmHead('next')
    const [answer] = await writer.predict([row])
    for (const { label, labelId } of answer?.tokens ?? []) {
      t.is(label, given === undefined ? `${labelId}` : (pieces[labelId as number] as string))
    }
    t.is(answer?.tokens?.length, 5)
  }
})
