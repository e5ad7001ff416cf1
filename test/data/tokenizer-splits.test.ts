import { Tokenizer } from '@huggingface/tokenizers'
import test from 'ava'
import { TextTokenizer } from '../../lib/data/tokenizer.js'
import { splitAsInRust } from '../../lib/data/tokenizer-splits.js'

const model = { type: 'BPE', vocab: { a: 0 }, merges: [] }
const rest = { added_tokens: [], post_processor: null, decoder: null, model }

function tokenizerOf(parts: object) {
  const json = { normalizer: null, pre_tokenizer: null, ...rest, ...parts }
  const tokenizer = new Tokenizer(json as never, {} as never)
  splitAsInRust(tokenizer, json)
  return tokenizer as unknown as {
    pre_tokenizer: (text: string) => string[]
    normalizer: (text: string) => string
  }
}

// Pieces are those of Python's tokenizers 0.22.
const text = 'naïve e\u0301x 1½ ٣४\ufeff !!ab?\u0085_c_ \ufeff'
const start = 'naïve e\u0301x 1½ ٣४\ufeff '
const pieces: Readonly<Record<string, readonly [object, readonly string[]]>> = {
  Whitespace: [{}, ['naïve', 'e\u0301x', '1', '½', '٣४', '\ufeff', '!!', 'ab', '?', '_c_', '\ufeff']],
  WhitespaceSplit: [{}, ['naïve', 'e\u0301x', '1½', '٣४\ufeff', '!!ab?', '_c_', '\ufeff']],
  BertPreTokenizer: [{}, ['naïve', 'e\u0301x', '1½', '٣४\ufeff', '!', '!', 'ab', '?', '_', 'c', '_', '\ufeff']],
  Digits: [{ individual_digits: false }, ['naïve e\u0301x ', '1½', ' ', '٣४', '\ufeff !!ab?\u0085_c_ \ufeff']],
  'Digits, each': [
    { individual_digits: true },
    ['naïve e\u0301x ', '1', '½', ' ', '٣', '४', '\ufeff !!ab?\u0085_c_ \ufeff']
  ],
  Punctuation: [{}, [start, '!', '!', 'ab', '?', '\u0085', '_', 'c', '_', ' \ufeff']],
  'Punctuation, isolated': [{ behavior: 'Isolated' }, [start, '!', '!', 'ab', '?', '\u0085', '_', 'c', '_', ' \ufeff']],
  'Punctuation, contiguous': [{ behavior: 'Contiguous' }, [start, '!!', 'ab', '?', '\u0085', '_', 'c', '_', ' \ufeff']],
  'Punctuation, removed': [{ behavior: 'Removed' }, [start, 'ab', '\u0085', 'c', ' \ufeff']],
  'Punctuation, with what is before it': [
    { behavior: 'MergedWithPrevious' },
    [`${start}!`, '!', 'ab?', '\u0085_', 'c_', ' \ufeff']
  ],
  'Punctuation, with what is behind it': [
    { behavior: 'MergedWithNext' },
    [start, '!', '!ab', '?\u0085', '_c', '_ \ufeff']
  ],
  'Split, removed': [
    { pattern: { String: ' ' }, behavior: 'Removed', invert: false },
    ['naïve', 'e\u0301x', '1½', '٣४\ufeff', '!!ab?\u0085_c_', '\ufeff']
  ],
  'Split, with what is before it': [
    { pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false },
    ['naïve ', 'e\u0301x ', '1½ ', '٣४\ufeff ', '!!ab?\u0085_c_ ', '\ufeff']
  ],
  'Split, contiguous': [
    { pattern: { Regex: '[ab]' }, behavior: 'Contiguous', invert: false },
    ['n', 'a', 'ïve e\u0301x 1½ ٣४\ufeff !!', 'ab', '?\u0085_c_ \ufeff']
  ],
  'Split, inverted': [
    { pattern: { Regex: '[a-z]+' }, behavior: 'Isolated', invert: true },
    ['na', 'ï', 've', ' ', 'e', '\u0301', 'x', ' 1½ ٣४\ufeff !!', 'ab', '?\u0085_', 'c', '_ \ufeff']
  ]
}

for (const [name, [fields, expected]] of Object.entries(pieces)) {
  test(`${name}: pieces as in Python, inside a Sequence too`, (t) => {
    const part = { type: name.split(',')[0], ...fields }
    t.deepEqual(tokenizerOf({ pre_tokenizer: part }).pre_tokenizer(text), [...expected])
    const sequence = { type: 'Sequence', pretokenizers: [part] }
    t.deepEqual(tokenizerOf({ pre_tokenizer: sequence }).pre_tokenizer(text), [...expected])
  })
}

test('ByteLevel: U+FEFF is no white space, and U+0085 is', (t) => {
  const part = { type: 'ByteLevel', add_prefix_space: false, use_regex: true }
  t.deepEqual(tokenizerOf({ pre_tokenizer: part }).pre_tokenizer('a\ufeff! \u0085 b'), ['a', 'ï»¿!', 'ĠÂħ', 'Ġb'])
})

test('Strip takes the same white space', (t) => {
  const strip = (left: boolean) => ({ type: 'Strip', strip_left: left, strip_right: true })
  t.is(tokenizerOf({ normalizer: strip(true) }).normalizer('\u0085\ufeff a \u0085'), '\ufeff a')
  const sequence = { type: 'Sequence', normalizers: [strip(false)] }
  t.is(tokenizerOf({ normalizer: sequence }).normalizer('\u0085 a \u0085'), '\u0085 a')
})

test('BertNormalizer sets Han apart beyond the first 65,536 characters, too', (t) => {
  const { normalizer } = tokenizerOf({
    normalizer: {
      ...{ type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true },
      ...{ strip_accents: null, lowercase: true }
    }
  })
  // The first and last of each range of Python's tokenizers, which leaves U+2B820 to U+2B91F out; and their neighbours.
  const inside = [
    ...[0x4e00, 0x9fff, 0x3400, 0x4dbf, 0x20000, 0x2a6df, 0x2a700, 0x2b73f],
    ...[0x2b740, 0x2b81f, 0x2b920, 0x2ceaf, 0xf900, 0x2f800, 0x2fa1f]
  ]
  const outside = [0xa000, 0x33ff, 0x4dc0, 0x1ffff, 0x2a6e0, 0x2a6ff, 0x2b820, 0x2b91f, 0x2ceb0, 0x2fa20, 0x30000]
  const apart = (code: number) => normalizer(`a${String.fromCodePoint(code)}b`).split(' ').length
  for (const code of inside) t.is(apart(code), 3, code.toString(16))
  for (const code of outside) t.is(apart(code), 1, code.toString(16))
})

test('a TextTokenizer splits so', (t) => {
  const vocab = { '<unk>': 0, naïve: 1, n: 2, ï: 3 }
  const tokenizer = new TextTokenizer({
    model: {
      ...rest,
      normalizer: null,
      pre_tokenizer: { type: 'Whitespace' },
      model: { type: 'WordLevel', vocab, unk_token: '<unk>' }
    },
    config: {}
  })
  t.deepEqual(tokenizer.tokens('naïve n').tokens, ['naïve', 'n'])
})
