import { Tokenizer } from '@huggingface/tokenizers'
import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { separatorOf, slices } from '../../lib/data/text-slices.js'
import { TextTokenizer } from '../../lib/data/tokenizer.js'
import { readTokenizerFiles } from '../../lib/data/tokenizer-files.js'

const folders = [
  ...['bert', 'roberta', 'xlm-roberta'].map((name) => `test/data/fixtures/tokenizers/${name}`),
  ...['roberta-prefix-space'].map((name) => `test/data/fixtures/vocabularies/${name}`),
  'models/wordnet-bert-mini'
]

const parts = [
  ...[
    'a small furry animal',
    'It',
    "isn't",
    '3.14',
    '(x)',
    '…',
    '<mask>',
    '[MASK]',
    '</s>',
    'ΟΔΟΣ',
    'Straße',
    'naïve',
    'e\u0301'
  ],
  ...[
    '我喜欢猫',
    'ﷺ',
    '¨',
    'ͺ',
    '\u200b',
    '\u00a0',
    '\n',
    '\t',
    '  ',
    '😀',
    'اللغة العربية',
    '▁',
    '～',
    '``',
    'x'.repeat(120)
  ]
]

/** Words of all kinds, most of them with a space between. */
function textOf(seed: number, length: number): string {
  const random = Random.fromSeed(seed)
  let text = ''
  while (text.length < length) {
    text += `${parts[random.nextBelow(parts.length)]}${random.nextFloat() < 0.85 ? ' ' : ''}`
  }
  return text
}

for (const folder of folders) {
  test(`${folder}: the tokens of a text are those of its slices`, (t) => {
    const { model, config } = readTokenizerFiles(folder)
    const separator = separatorOf(model, config) ?? / /
    const whole = new Tokenizer(model, config)
    const tokenizer = TextTokenizer.fromFolder(folder)
    for (let seed = 0; seed < 4; seed++) {
      const text = textOf(seed, 20_000)
      t.true([...slices(text, separator)].length > 5)
      t.deepEqual(tokenizer.tokens(text).tokens, whole.tokenize(text))
    }
  })

  test(`${folder}: long texts are cut as whole ones are`, (t) => {
    const tokenizer = TextTokenizer.fromFolder(folder)
    const lengths = [10, 5000, 5040]
    for (const maxLength of [9, 50, 1201]) {
      for (const a of lengths) {
        const text = textOf(a, a)
        const { tokens } = tokenizer.tokens(text)
        const room = maxLength - tokenizer.specialTokenCount(false)
        const expected = tokenizer.encodePair(tokens.slice(0, room), []).inputIds
        const { inputIds } = tokenizer.encode(text, null, { maxLength })
        t.deepEqual([...inputIds].slice(0, inputIds.length - 1), [...expected].slice(0, inputIds.length - 1))
        for (const b of lengths) {
          const other = textOf(b + 1, b)
          const all = tokenizer.tokens(other).tokens
          const pair = tokenizer.encode(text, other, { maxLength })
          const both = maxLength - tokenizer.specialTokenCount(true)
          const [first, second] = kept(tokens.length, all.length, both)
          const { inputIds: ids } = tokenizer.encodePair(tokens.slice(0, first), all.slice(0, second))
          t.deepEqual(pair.inputIds, ids, `${maxLength}, ${a}, ${b}`)
        }
      }
    }
  })
}

/** The longer one gives up tokens until both fit; of two that are cut the longer one keeps the odd token. */
function kept(first: number, second: number, room: number): [number, number] {
  const half = Math.floor(room / 2)
  if (first + second <= room) return [first, second]
  if (Math.min(first, second) <= half) {
    return first > second ? [room - second, second] : [first, room - first]
  }
  return first > second ? [room - half, half] : [half, room - half]
}

test('no added token is cut through that is found with a space in normalized text', (t) => {
  const { model, config } = readTokenizerFiles('models/wordnet-bert-mini')
  const vocabulary = model['model'] as { vocab: Record<string, number> }
  const size = Object.keys(vocabulary.vocab).length
  const added = (content: string, fields: object = {}) => {
    const token = {
      id: size,
      content,
      special: false,
      normalized: true,
      single_word: false,
      lstrip: false,
      rstrip: false
    }
    return { ...model, ...fields, added_tokens: [...(model['added_tokens'] as object[]), token] }
  }
  const underscore = { type: 'Replace', pattern: { String: '_' }, content: ' ' }
  const normalizer = { type: 'Sequence', normalizers: [{ type: 'Lowercase' }, underscore] }
  const compatible = { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'Lowercase' }] }
  // What the token is called, what a text has for it, what both are in normalized text, and whether texts are cut nowhere.
  const cases: [string, string, string, boolean, object?][] = [
    ['new\u3000york', 'New York', 'new york', true, { normalizer: compatible }],
    ['new\tyork', 'new york', 'new york', true],
    ['new_york', 'New York', 'new york', true, { normalizer }],
    ['New York', 'new york', 'new york', true],
    ['魔法', '魔法', ' 魔  法 ', false],
    ['Newyork', 'newyork', 'newyork', false]
  ]
  for (const [content, written, found, isWhole, fields] of cases) {
    const changed = added(content, fields)
    const tokenizer = new TextTokenizer({ model: changed, config })
    const text = `a small furry animal of ${written} is `.repeat(400)
    const whole = new Tokenizer(changed, config).tokenize(text)
    t.is(whole.filter((token: string) => !(token in vocabulary.vocab)).length, 400, content)
    t.deepEqual(tokenizer.tokens(text).tokens, whole, content)
    t.is(tokenizer.tokens(`${text} `.repeat(3)).tokens.length, whole.length * 3, content)
    t.is(separatorOf(changed, config, [found]) === undefined, isWhole, content)
  }
})

test('where the text of a tokenizer may be cut', (t) => {
  const { model, config } = readTokenizerFiles('test/data/fixtures/tokenizers/roberta')
  const of = (fields: object) => separatorOf({ ...model, ...fields }, config)?.source
  const space = ' '
  const whiteSpace = '[ \\n]'
  const chinese = '[ \\n\\u4e00-\\u9fff]'
  t.is(of({}), whiteSpace)
  t.is(of({ pre_tokenizer: { type: 'ByteLevel', add_prefix_space: true } }), space)
  t.is(of({ pre_tokenizer: { type: 'Metaspace' } }), space)
  t.is(of({ pre_tokenizer: { type: 'BertPreTokenizer' }, normalizer: { type: 'BertNormalizer' } }), chinese)
  t.is(of({ normalizer: { type: 'BertNormalizer', handle_chinese_chars: false } }), whiteSpace)
  t.is(of({ added_tokens: [{ id: 4, content: 'a\nb' }] }), space)
  t.is(of({ normalizer: { type: 'Replace', pattern: { String: '\n' }, content: ' ' } }), space)
  t.is(of({ normalizer: { type: 'Replace', pattern: { String: '``' }, content: '"' } }), whiteSpace)
  t.is(of({ normalizer: { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' } }), whiteSpace)
})

test('a tokenizer that may see over a space reads texts whole', (t) => {
  const { model, config } = readTokenizerFiles('test/data/fixtures/tokenizers/roberta')
  const of = (fields: object) => separatorOf({ ...model, ...fields }, config)
  t.is(of({ pre_tokenizer: null }), undefined)
  t.is(of({ pre_tokenizer: { type: 'Split', pattern: { Regex: '.+' }, behavior: 'Isolated' } }), undefined)
  t.is(of({ pre_tokenizer: { type: 'ByteLevel', use_regex: false } }), undefined)
  t.is(of({ pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Digits' }] } }), undefined)
  t.is(of({ normalizer: { type: 'Strip', strip_left: true, strip_right: true } }), undefined)
  t.is(of({ normalizer: { type: 'Prepend', prepend: '▁' } }), undefined)
  t.is(of({ normalizer: { type: 'Replace', pattern: { String: 'a b' }, content: 'c' } }), undefined)
  t.is(of({ normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' } }), undefined)
  t.is(of({ normalizer: { type: 'Replace', pattern: { Regex: '.+' }, content: 'c' } }), undefined)
  t.is(of({ normalizer: { type: 'Replace' } }), undefined)
  t.is(of({ added_tokens: [{ id: 4, content: '<mask>', rstrip: true }] }), undefined)
  t.is(of({ added_tokens: [{ id: 4, content: 'of the' }] }), undefined)
  const vocabulary = { type: 'Unigram', vocab: [['▁of▁the', -1]] }
  t.is(of({ pre_tokenizer: { type: 'Metaspace' }, model: vocabulary }), undefined)
  t.is(separatorOf(model, { ...config, remove_space: true }), undefined)
})

test('text is cut at spaces that a normalizer leaves alone', (t) => {
  const count = (text: string, separator = / /) => [...slices(text, separator)].length
  t.is(count('word '.repeat(2000)), 5)
  for (const words of [
    'word  ',
    'word\n',
    'word \u00a8',
    'word\u00a0 ',
    'word \u200b',
    '\u{1f600} ',
    'word',
    '我喜欢猫'
  ]) {
    t.is(count(words.repeat(2000)), 1, JSON.stringify(words))
  }
  t.is(count('word\n'.repeat(2000), /[ \n]/), 5)
  t.is(count('我喜欢猫'.repeat(2000), /[\u4e00-\u9fff]/), 4)
})
