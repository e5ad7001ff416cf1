import test from 'ava'
import { tokenSpans } from '../../lib/data/token-spans.js'
import { TextTokenizer } from '../../lib/data/tokenizer.js'

// Offsets of Python's tokenizers 0.22 for WordPiece with these words, accents kept and stripped.
const known: readonly [string, readonly (readonly [string, number, number])[]][] = [
  [
    'हिन्दी है x',
    [
      ['हिन्दी', 0, 6],
      ['है', 7, 9],
      ['x', 10, 11]
    ]
  ],
  [
    'हिन्दी है x',
    [
      ['हि', 0, 2],
      ['##न्द', 2, 5],
      ['##ी', 5, 6],
      ['है', 7, 9],
      ['x', 10, 11]
    ]
  ],
  [
    'हिन्दी है x',
    [
      ['हि', 0, 2],
      ['##न', 2, 3],
      ['##दी', 4, 6],
      ['ह', 7, 8],
      ['x', 10, 11]
    ]
  ],
  [
    'cafe\u0301 x',
    [
      ['cafe', 0, 4],
      ['x', 6, 7]
    ]
  ],
  [
    'caf\u00e9 x',
    [
      ['cafe', 0, 4],
      ['x', 5, 6]
    ]
  ],
  [
    'ab हिन्दी है',
    [
      ['ab', 0, 2],
      ['[UNK]', 3, 9],
      ['है', 10, 12]
    ]
  ]
]

test('combining marks belong to the token that has them', (t) => {
  for (const [text, tokens] of known) {
    const spans = tokenSpans(
      text,
      tokens.map(([token]) => token),
      false
    )
    t.deepEqual(
      [...spans],
      tokens.flatMap(([, start, end]) => [start, end]),
      text
    )
  }
})

test('the Σ at the end of a word in capitals is the σ of the vocabulary', (t) => {
  const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'οδοσ', 'οδος', 'a']
  const model = {
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    ...{ post_processor: null, decoder: { type: 'WordPiece', prefix: '##', cleanup: true }, added_tokens: [] },
    model: {
      ...{ type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100 },
      vocab: Object.fromEntries(words.map((word, i) => [word, i]))
    }
  }
  const tokenizer = new TextTokenizer({ model, config: {} } as never)
  t.deepEqual(tokenizer.tokens('ΟΔΟΣ οδος a').tokens, ['οδοσ', 'οδος', 'a'])
})
