import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { TextTokenizer } from '../../lib/data/tokenizer.js'
import { hasTokenizer, readTokenizerFiles } from '../../lib/data/tokenizer-files.js'

const folder = 'test/data/fixtures/tokenizers'

interface Encodings {
  readonly rows: readonly { text: string; pair: string | null; maxLength: number; ids: number[]; types: number[] }[]
  readonly words: readonly { words: string[]; maxLength: number; ids: number[]; wordIds: number[] }[]
}

// From fixtures/make_tokenizers.py.
function reference(name: string): Encodings {
  return JSON.parse(readFileSync(join(folder, name, 'encodings.json'), 'utf8')) as Encodings
}

for (const name of ['bert', 'roberta', 'xlm-roberta', 'bert-vocab']) {
  test(`${name}: ids and types as in Python`, (t) => {
    const tokenizer = TextTokenizer.fromFolder(join(folder, name))
    for (const { text, pair, maxLength, ids, types } of reference(name === 'bert-vocab' ? 'bert' : name).rows) {
      const encoded = tokenizer.encode(text, pair, { maxLength })
      const what = JSON.stringify({ text, pair, maxLength })
      t.deepEqual([...encoded.inputIds], ids, what)
      t.deepEqual([...encoded.tokenTypeIds], types, what)
    }
  })
}

for (const name of ['bert', 'roberta', 'xlm-roberta']) {
  test(`${name}: words as in Python`, (t) => {
    const tokenizer = TextTokenizer.fromFolder(join(folder, name))
    for (const { words, maxLength, ids, wordIds } of reference(name).words) {
      const encoded = tokenizer.encodeWords(words, { maxLength })
      t.deepEqual([...encoded.inputIds], ids, words.join('|'))
      t.deepEqual([...encoded.wordIds], wordIds, words.join('|'))
    }
  })
}

test('special tokens and limits', (t) => {
  const bert = TextTokenizer.fromFolder(join(folder, 'bert'))
  t.deepEqual([bert.padId, bert.unknownId, bert.clsId, bert.sepId, bert.maskId], [0, 1, 2, 3, 4])
  t.deepEqual([...bert.specialIds], [0, 1, 2, 3, 4])
  t.is(bert.modelMaxLength, 64)
  t.is(bert.specialTokenCount(false), 2)
  t.is(bert.specialTokenCount(true), 3)
  const roberta = TextTokenizer.fromFolder(join(folder, 'roberta'))
  t.deepEqual([roberta.clsId, roberta.padId, roberta.sepId, roberta.unknownId, roberta.maskId], [0, 1, 2, 3, 4])
  t.is(roberta.specialTokenCount(true), 4)
  t.is(TextTokenizer.fromFolder(join(folder, 'bert-vocab')).modelMaxLength, Infinity)
})

test("without maxLength the tokenizer's own limit cuts", (t) => {
  const tokenizer = TextTokenizer.fromFolder(join(folder, 'bert'))
  const long = 'animal '.repeat(100)
  t.is(tokenizer.encode(long).inputIds.length, 64)
  t.is(tokenizer.encode(long, null, { maxLength: 300 }).inputIds.length > 64, true)
})

test('truncation_side left keeps the ends of texts, of pairs that of the longer one, and of words', (t) => {
  const files = readTokenizerFiles(join(folder, 'bert'))
  const whole = new TextTokenizer(files)
  const left = new TextTokenizer({ ...files, config: { ...files.config, truncation_side: 'left' } })
  const [text, other] = ['a small furry animal that hunts alone at night', 'a tool']
  const ids = (of: { readonly inputIds: ArrayLike<number> }) => Array.from(of.inputIds)
  const inner = ids(whole.encode(text)).slice(1, -1)
  const [first, last] = [ids(whole.encode(text))[0] ?? 0, ids(whole.encode(text)).at(-1) ?? 0]
  t.deepEqual(ids(left.encode(text, null, { maxLength: 7 })), [first, ...inner.slice(-5), last])
  t.deepEqual(ids(whole.encode(text, null, { maxLength: 7 })), [first, ...inner.slice(0, 5), last])
  const second = ids(whole.encode(other)).slice(1, -1)
  const maxLength = 3 + 4 + second.length
  t.deepEqual(ids(left.encode(text, other, { maxLength })), [first, ...inner.slice(-4), last, ...second, last])
  const words = ['a', 'small', 'furry', 'animal']
  const all = whole.encodeWords(words)
  const cut = left.encodeWords(words, { maxLength: 5 })
  t.deepEqual(ids(cut), [first, ...ids(all).slice(1, -1).slice(-3), last])
  t.deepEqual(Array.from(cut.wordIds), [-1, ...Array.from(all.wordIds).slice(1, -1).slice(-3), -1])
})

test('decode', (t) => {
  const tokenizer = TextTokenizer.fromFolder(join(folder, 'bert'))
  const { inputIds } = tokenizer.encode('a small furry animal')
  t.is(tokenizer.decode(inputIds), 'a small furry animal')
  t.is(tokenizer.decode(inputIds, false), '[CLS] a small furry animal [SEP]')
  t.is(tokenizer.decode([]), '')
  for (const ids of [null, 5, 'cat'])
    t.throws(() => tokenizer.decode(ids as never), { message: /^ids: expected an array/ })
})

test('a row must have room for its special tokens and one more', (t) => {
  const tokenizer = TextTokenizer.fromFolder(join(folder, 'bert'))
  t.throws(() => tokenizer.encode('a', 'b', { maxLength: 3 }), {
    instanceOf: RangeError,
    message: /integer from 4, got 3/
  })
  t.throws(() => tokenizer.encode(3 as never), { message: /text: expected a string/ })
})

test('broken folders', (t) => {
  const copy = mkdtempSync(join(tmpdir(), 'tokenizer-'))
  t.false(hasTokenizer(copy))
  t.throws(() => TextTokenizer.fromFolder(copy), {
    code: 'ERR_FILE_NOT_FOUND',
    message: /tokenizer\.json, or vocab\.txt/
  })
  cpSync(join(folder, 'bert'), copy, { recursive: true })
  t.true(hasTokenizer(copy))
  const file = join(copy, 'tokenizer.json')
  const whole = JSON.parse(readFileSync(file, 'utf8')) as Record<string, Record<string, unknown>>
  const broken: [object, RegExp][] = [
    [{ ...whole, model: undefined }, /no "model"/],
    [{ ...whole, added_tokens: [{ id: 2 ** 40, content: 'x' }] }, /an added token is not/],
    [{ ...whole, model: { ...whole['model'], vocab: { a: -1 } } }, /the id of 'a' is -1/]
  ]
  for (const [content, message] of broken) {
    writeFileSync(file, JSON.stringify(content))
    t.throws(() => TextTokenizer.fromFolder(copy), { code: 'ERR_INVALID_FILE', message })
  }
  writeFileSync(file, JSON.stringify({ ...whole, pre_tokenizer: { type: 'Magic' } }))
  t.throws(() => TextTokenizer.fromFolder(copy), { code: 'ERR_UNSUPPORTED', message: /cannot be used: .*Magic/ })
  writeFileSync(file, '{"model":')
  t.throws(() => TextTokenizer.fromFolder(copy), { code: 'ERR_INVALID_FILE', message: /not valid JSON/ })
})

test('a vocabulary without the special tokens', (t) => {
  const copy = mkdtempSync(join(tmpdir(), 'tokenizer-'))
  writeFileSync(join(copy, 'vocab.txt'), 'a\nb\n')
  t.throws(() => TextTokenizer.fromFolder(copy), { message: /vocab\.txt has no line '\[UNK\]'/ })
})

test('tokenizer_config.json overrules the case of a BERT tokenizer', (t) => {
  const copy = mkdtempSync(join(tmpdir(), 'tokenizer-'))
  cpSync(join(folder, 'bert'), copy, { recursive: true })
  const file = join(copy, 'tokenizer_config.json')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), do_lower_case: false }))
  const tokenizer = TextTokenizer.fromFolder(copy)
  // The vocabulary has no capital letters.
  t.deepEqual([...tokenizer.encode('A').inputIds], [2, 1, 3])
})

// As transformers 4.57.6 reads such folders.
test("what tokenizer_config.json does not say of a BERT tokenizer is the class's default, whatever tokenizer.json has", (t) => {
  const copy = mkdtempSync(join(tmpdir(), 'tokenizer-'))
  cpSync(join(folder, 'bert'), copy, { recursive: true })
  const change = (file: string, change: (json: Record<string, unknown>) => object) => {
    const json = JSON.parse(readFileSync(join(copy, file), 'utf8')) as Record<string, unknown>
    writeFileSync(join(copy, file), JSON.stringify(change(json)))
  }
  change('tokenizer.json', (json) => ({
    ...json,
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      lowercase: false,
      strip_accents: false
    }
  }))
  const idsAs = (tokenizerClass: string | undefined, modelType = 'bert') => {
    writeFileSync(join(copy, 'config.json'), JSON.stringify({ model_type: modelType }))
    change('tokenizer_config.json', ({ do_lower_case: _, strip_accents: __, ...rest }) => ({
      ...rest,
      tokenizer_class: tokenizerClass
    }))
    return [...TextTokenizer.fromFolder(copy).encode('Á').inputIds]
  }
  const small = [...TextTokenizer.fromFolder(join(folder, 'bert')).encode('a').inputIds]
  for (const name of ['BertTokenizer', 'BertTokenizerFast', 'DistilBertTokenizer', 'ElectraTokenizerFast', undefined]) {
    t.deepEqual(idsAs(name), small, name)
  }
  for (const name of ['PreTrainedTokenizerFast', 'BertweetTokenizer']) t.deepEqual(idsAs(name), [2, 1, 3], name)
  t.deepEqual(idsAs(undefined, 'roberta'), [2, 1, 3])
})

// As transformers 4.57.6 does with what `add_tokens(['COVID', 'Größe', AddedToken('single', single_word=True)])` saved.
test('added tokens are found in normalized text, and those of one word not inside of words', (t) => {
  const copy = mkdtempSync(join(tmpdir(), 'tokenizer-'))
  cpSync(join(folder, 'bert'), copy, { recursive: true })
  const file = join(copy, 'tokenizer.json')
  const json = JSON.parse(readFileSync(file, 'utf8'))
  const plain = TextTokenizer.fromFolder(join(folder, 'bert'))
  const first = plain.vocabSize
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false }
  const added = ['COVID', 'Größe', 'single'].map((content, i) => ({ id: first + i, content, ...flags }))
  const single = { ...added[2], single_word: true }
  writeFileSync(file, JSON.stringify({ ...json, added_tokens: [...json.added_tokens, added[0], added[1], single] }))
  const tokenizer = TextTokenizer.fromFolder(copy)
  const idsOf = (one: TextTokenizer, text: string) => [...one.encode(text).inputIds].slice(1, -1)
  for (const [texts, id] of [
    [['COVID', 'covid', 'Covid'], first],
    [['Größe', 'größe'], first + 1],
    [['single', 'Single'], first + 2]
  ] as const)
    for (const text of texts)
      for (const [before, behind] of [
        ['', ''],
        ['a ', ' b'],
        ['a, ', '.']
      ] as const)
        t.deepEqual(
          idsOf(tokenizer, before + text + behind),
          [...idsOf(plain, before), id, ...idsOf(plain, behind)],
          before + text + behind
        )
  for (const text of ['singles', 'asingle', 'single_', 'singleé x'])
    t.deepEqual(idsOf(tokenizer, text), idsOf(plain, text), text)
  t.deepEqual(idsOf(tokenizer, 'acovidb'), [...idsOf(plain, 'a'), first, ...idsOf(plain, 'b')])
})

test('a byte-level post-processor alone, as in GPT-2, keeps both texts of a pair', (t) => {
  const file = (name: string) =>
    JSON.parse(readFileSync(join(folder, 'roberta', name), 'utf8')) as Record<string, unknown>
  const model = { ...file('tokenizer.json'), post_processor: { type: 'ByteLevel', trim_offsets: true } }
  const tokenizer = new TextTokenizer({ model, config: file('tokenizer_config.json') })
  const [first, second] = ['a small cat', 'on the mat'].map((text) => [...tokenizer.encode(text).inputIds])
  t.true((second ?? []).length > 0)
  t.deepEqual([...tokenizer.encode('a small cat', 'on the mat').inputIds], [...(first ?? []), ...(second ?? [])])
})

test('a unigram tokenizer takes long texts without spaces', (t) => {
  const tokenizer = TextTokenizer.fromFolder(join(folder, 'xlm-roberta'))
  const [once, often] = [1, 130_000].map((count) => tokenizer.encode('\u5b57'.repeat(count), null, { maxLength: 12 }))
  // Characters that the vocabulary lacks are one unknown token together.
  t.deepEqual(often, once)
})

// As transformers 4.57.6 reads such folders.
test('whether a space comes before a text is said by tokenizer_config.json, or else no, whatever tokenizer.json has', (t) => {
  const copy = mkdtempSync(join(tmpdir(), 'tokenizer-'))
  const whole = JSON.parse(readFileSync(join(folder, 'roberta/tokenizer.json'), 'utf8')) as Record<string, object>
  const write = (file: string, json: object) => writeFileSync(join(copy, file), JSON.stringify(json))
  const comes = (config: object, saved: boolean, modelType = 'roberta', wrap = (part: object) => part) => {
    write('tokenizer.json', { ...whole, pre_tokenizer: wrap({ ...whole['pre_tokenizer'], add_prefix_space: saved }) })
    write('tokenizer_config.json', config)
    write('config.json', { model_type: modelType })
    return TextTokenizer.fromFolder(copy).tokens('animal').tokens[0]?.startsWith('Ġ')
  }
  for (const saved of [true, false]) {
    for (const name of ['RobertaTokenizer', 'GPT2TokenizerFast', 'PreTrainedTokenizerFast', undefined]) {
      const config = { tokenizer_class: name }
      t.false(comes(config, saved), `${name}, ${saved}`)
      for (const space of [true, false]) t.is(comes({ ...config, add_prefix_space: space }, saved), space)
      t.is(comes({ ...config, add_prefix_space: null }, saved), saved)
    }
    t.is(comes({ tokenizer_class: 'LlamaTokenizer' }, saved), saved)
    t.is(comes({}, saved, 'llama'), saved)
    t.is(
      comes({}, saved, 'roberta', (part) => ({ type: 'Sequence', pretokenizers: [part] })),
      saved
    )
  }
})

test('a tokenizer of no files is refused by what is missing', (t) => {
  for (const [files, message] of [
    [undefined, /^files: expected an object, got undefined/],
    [{}, /^files\.model: expected an object/],
    [{ model: {} }, /^files\.config: expected an object/]
  ] as const)
    t.throws(() => new TextTokenizer(files as never), { instanceOf: TypeError, message })
})
