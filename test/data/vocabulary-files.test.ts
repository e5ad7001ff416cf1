import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { TextTokenizer } from '../../lib/data/tokenizer.js'
import { hasTokenizer } from '../../lib/data/tokenizer-files.js'
import { AutoModel, evaluate } from '../../lib/index.js'
import { scratch, tinyConfig } from '../model/support.js'

const fixtures = 'test/data/fixtures/vocabularies'

interface Encodings {
  readonly vocabSize: number
  readonly special: number[]
  readonly rows: readonly { text: string; pair: string | null; ids: number[]; converted?: number[]; types?: number[] }[]
}

// From fixtures/make_vocabularies.py: transformers' slow tokenizers, and what it converts them to where that differs.
for (const name of readdirSync(fixtures)) {
  test(`${name}: ids and types as those of the slow tokenizer`, (t) => {
    const folder = join(fixtures, name)
    const { vocabSize, special, rows } = JSON.parse(readFileSync(join(folder, 'encodings.json'), 'utf8')) as Encodings
    t.true(hasTokenizer(folder))
    const tokenizer = TextTokenizer.fromFolder(folder)
    for (const { text, pair, ids, converted = ids, types = converted.map(() => 0) } of rows) {
      const encoded = tokenizer.encode(text, pair, { maxLength: 1000 })
      const what = JSON.stringify({ text, pair })
      t.deepEqual([...encoded.inputIds], converted, what)
      t.deepEqual([...encoded.tokenTypeIds], types, what)
    }
    t.is(tokenizer.vocabSize, vocabSize)
    t.deepEqual([...tokenizer.specialIds].sort(), special.sort())
  })
}

interface Gpt2Case {
  readonly files: Readonly<Record<string, object>>
  readonly vocabSize: number
  readonly special: number[]
  readonly rows: readonly (readonly number[])[]
}

// Of the same script: RoBERTa's files as GPT-2's tokenizer reads them, and the ids of RoBERTa's rows.
const gpt2 = JSON.parse(readFileSync('test/data/fixtures/gpt2.json', 'utf8')) as Readonly<Record<string, Gpt2Case>>
for (const [name, { files, vocabSize, special, rows }] of Object.entries(gpt2)) {
  test(`GPT-2, ${name}: ids as those of transformers`, (t) => {
    const folder = scratch(t)
    for (const file of ['vocab.json', 'merges.txt']) cpSync(join(fixtures, 'roberta', file), join(folder, file))
    for (const [file, json] of Object.entries(files)) writeFileSync(join(folder, file), JSON.stringify(json))
    t.true(hasTokenizer(folder))
    const tokenizer = TextTokenizer.fromFolder(folder)
    const texts = JSON.parse(readFileSync(join(fixtures, 'roberta/encodings.json'), 'utf8')) as Encodings
    t.is(texts.rows.length, rows.length)
    texts.rows.forEach(({ text, pair }, i) => {
      const { inputIds, tokenTypeIds } = tokenizer.encode(text, pair)
      t.deepEqual([...inputIds], rows[i], JSON.stringify({ text, pair }))
      t.true(tokenTypeIds.every((type) => type === 0))
    })
    t.is(tokenizer.vocabSize, vocabSize)
    t.deepEqual([...tokenizer.specialIds].sort(), special.sort())
  })
}

test('text for a model whose tokenizer is in files that are not read: the error names them', async (t) => {
  const folder = scratch(t)
  const model = await AutoModel.fromConfig(tinyConfig, { seed: 1 })
  t.teardown(() => model.dispose())
  await model.save(folder)
  const open = async () => {
    const opened = await AutoModel.fromPretrained(folder)
    t.teardown(() => opened.dispose())
    t.is(opened.tokenizer, undefined)
    opened.addClassificationHead('c', { numLabels: 2 })
    opened.addDependencyParsingHead('tree', { labels: ['a'] })
    opened.addMaskedLmHead('words')
    return opened
  }
  const plain = await open()
  await t.throwsAsync(plain.predict(['text'], { head: 'c' }), {
    message:
      `rows[0]: the model has no tokenizer, so rows must be inputIds. ${folder} holds none: its tokenizer.json belongs ` +
      `beside config.json. In Python AutoTokenizer.from_pretrained(NAME).save_pretrained('${folder}') writes it`
  })
  writeFileSync(join(folder, 'sentencepiece.bpe.model'), '')
  writeFileSync(join(folder, 'vocab.json'), '{}')
  const message =
    /no tokenizer.* holds sentencepiece\.bpe\.model and vocab\.json, and read are tokenizer\.json, .*GPT-2/
  const model2 = await open()
  await t.throwsAsync(model2.predict(['text'], { head: 'c' }), { message })
  await t.throwsAsync(model2.predict([{ words: ['a'] }], { head: 'tree' }), { message })
  await t.throwsAsync(evaluate(model2, [{ inputIds: [1, 2] }], { head: 'words' }), { message })
})

test('decoding keeps spaces before punctuation, unless the config has them cleaned up', (t) => {
  const folder = scratch(t)
  for (const file of ['vocab.json', 'merges.txt']) cpSync(join(fixtures, 'roberta', file), join(folder, file))
  const decoded = (config: object) => {
    writeFileSync(
      join(folder, 'tokenizer_config.json'),
      JSON.stringify({ tokenizer_class: 'GPT2Tokenizer', ...config })
    )
    const tokenizer = TextTokenizer.fromFolder(folder)
    return tokenizer.decode(tokenizer.encode('a , b .').inputIds)
  }
  t.is(decoded({}), 'a , b .')
  t.is(decoded({ clean_up_tokenization_spaces: null }), 'a , b .')
  t.is(decoded({ clean_up_tokenization_spaces: true }), 'a, b.')
})

test('BERT’s vocab.txt alone has spaces cleaned up, as its class in transformers has', (t) => {
  const folder = scratch(t)
  cpSync('test/data/fixtures/tokenizers/bert-vocab/vocab.txt', join(folder, 'vocab.txt'))
  const decoded = (config: object) => {
    writeFileSync(join(folder, 'tokenizer_config.json'), JSON.stringify(config))
    const tokenizer = TextTokenizer.fromFolder(folder)
    return tokenizer.decode(tokenizer.encode("Don't stop, it's a we're.").inputIds)
  }
  // Those of AutoTokenizer in transformers 4.57.
  t.is(decoded({}), "don't stop, it's a we're.")
  t.is(decoded({ clean_up_tokenization_spaces: true }), "don't stop, it's a we're.")
  t.is(decoded({ clean_up_tokenization_spaces: false }), "don ' t stop, it ' s a we ' re.")
})

test('the special tokens of a folder that names none are those of its class', (t) => {
  const roberta = TextTokenizer.fromFolder(join(fixtures, 'roberta'))
  t.deepEqual([roberta.clsId, roberta.padId, roberta.sepId, roberta.unknownId, roberta.maskId], [0, 1, 2, 3, 4])
  t.is(roberta.specialTokenCount(true), 4)
  const bert = TextTokenizer.fromFolder(join(fixtures, 'bert'))
  t.deepEqual([bert.padId, bert.unknownId, bert.clsId, bert.sepId, bert.maskId], [0, 1, 2, 3, 4])
  t.is(bert.modelMaxLength, Infinity)
  t.is(TextTokenizer.fromFolder(join(fixtures, 'bert-cased')).modelMaxLength, 32)
})

test('words and decoding', (t) => {
  const tokenizer = TextTokenizer.fromFolder(join(fixtures, 'roberta'))
  const { inputIds, wordIds } = tokenizer.encodeWords(['small', 'furry'])
  t.deepEqual([...inputIds], [...tokenizer.encode(' small furry').inputIds])
  t.is(wordIds[1], 0)
  t.is(tokenizer.decode(inputIds), ' small furry')
})

function copy(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'vocabulary-'))
  cpSync(join(fixtures, name), folder, { recursive: true })
  return folder
}

test('damaged and unknown folders', (t) => {
  const folder = copy('roberta')
  const wrong = (message: RegExp, code = 'ERR_INVALID_FILE') => {
    t.throws(() => TextTokenizer.fromFolder(folder), { code, message })
  }
  const vocab = readFileSync(join(folder, 'vocab.json'), 'utf8')
  writeFileSync(join(folder, 'merges.txt'), '#version: 0.2\na b\nabc\n')
  wrong(/merges\.txt, line 3: expected two pieces and a space between them, got 'abc'/)
  writeFileSync(join(folder, 'merges.txt'), '')
  writeFileSync(join(folder, 'vocab.json'), vocab.replace('"<s>"', '"<t>"'))
  wrong(/vocab\.json has no token '<s>'.*tokenizer_config\.json/)
  writeFileSync(join(folder, 'vocab.json'), vocab.replace('"a": 69', '"a": "many"'))
  wrong(/the id of 'a' is "many"/)
  writeFileSync(join(folder, 'vocab.json'), vocab)
  writeFileSync(join(folder, 'added_tokens.json'), `{"huge": ${2 ** 40}}`)
  wrong(/an added token is not/)
  rmSync(join(folder, 'added_tokens.json'))
  writeFileSync(join(folder, 'tokenizer_config.json'), '{"tokenizer_class": "CLIPTokenizer"}')
  t.false(hasTokenizer(folder))
  wrong(
    /belongs to a CLIPTokenizer.*vocab\.json and merges\.txt of a RobertaTokenizer.*GPT2Tokenizer/,
    'ERR_UNSUPPORTED'
  )
  rmSync(join(folder, 'merges.txt'))
  t.false(hasTokenizer(folder))
  wrong(/holds no tokenizer.*vocab\.json and merges\.txt of a RoBERTa or GPT-2 model/, 'ERR_FILE_NOT_FOUND')
})

test('a tokenizer.json with a part that is not known leaves the model open for ids; text is refused with the part', async (t) => {
  const folder = scratch(t)
  const model = await AutoModel.fromConfig(tinyConfig, { seed: 1 })
  t.teardown(() => model.dispose())
  await model.save(folder)
  const file = JSON.parse(readFileSync('test/data/fixtures/tokenizers/bert/tokenizer.json', 'utf8')) as object
  const write = (fields: object) =>
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify({ ...file, ...fields }))
  write({ normalizer: { type: 'Sequence', normalizers: [{ type: 'Nmt' }, { type: 'NFKC' }] } })
  const opened = await AutoModel.fromPretrained(folder)
  t.teardown(() => opened.dispose())
  opened.addClassificationHead('c', { numLabels: 2 })
  t.is((await opened.predict([{ inputIds: [5, 6] }])).length, 1)
  await t.throwsAsync(opened.predict(['text']), {
    message: `rows[0]: the model has no tokenizer, so rows must be inputIds. In ${folder}, tokenizer.json cannot be used: Unknown Normalizer type: Nmt`
  })
  // One that is damaged is still an error at once.
  write({ model: { type: 'WordPiece', vocab: 5 } })
  await t.throwsAsync(AutoModel.fromPretrained(folder), { code: 'ERR_INVALID_FILE' })
})
