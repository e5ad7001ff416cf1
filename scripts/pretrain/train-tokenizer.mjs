// Writes the quickstart encoder's folder, all but the weights: its vocabulary, learned from the train split; the
// tokenizer and model descriptions as Hugging Face's BERT folders have them; WordNet's licence, which has to stand
// beside everything made from it.
//
//   node scripts/pretrain/train-tokenizer.mjs [FOLDER]
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { argv, exit, stdout } from 'node:process'
import { fileURLToPath } from 'node:url'
import { readWordnet, wordnetLicense } from '../quickstart/wordnet.mjs'
import { vocabularyLines } from './corpus.mjs'
import { countWords, learnPieces } from './word-pieces.mjs'

const vocabularySize = 8192
const positions = 256
const specialTokens = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']

/** Everything printable in ASCII can be spelled, so that an odd sign in a user's text is no [UNK]. */
function alphabet() {
  const chars = Array.from({ length: 0x7f - 0x21 }, (_, i) => String.fromCharCode(0x21 + i))
  const kept = chars.filter((char) => char === char.toLowerCase())
  return [...kept, ...kept.filter((char) => /[a-z0-9]/.test(char)).map((char) => `##${char}`)]
}

const modelConfig = {
  architectures: ['BertForMaskedLM'],
  model_type: 'bert',
  vocab_size: vocabularySize,
  hidden_size: 128,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  intermediate_size: 512,
  hidden_act: 'gelu',
  // Sees each text too few times to learn it by heart: dropout would only slow it.
  hidden_dropout_prob: 0,
  attention_probs_dropout_prob: 0,
  max_position_embeddings: positions,
  type_vocab_size: 2,
  initializer_range: 0.02,
  layer_norm_eps: 1e-12,
  pad_token_id: 0,
  position_embedding_type: 'absolute',
  tie_word_embeddings: true,
  torch_dtype: 'float16'
}

const tokenizerConfig = {
  tokenizer_class: 'BertTokenizer',
  do_lower_case: true,
  model_max_length: positions,
  pad_token: '[PAD]',
  unk_token: '[UNK]',
  cls_token: '[CLS]',
  sep_token: '[SEP]',
  mask_token: '[MASK]'
}

/** @param {string[]} pieces */
function tokenizerFile(pieces) {
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  const special = (/** @type {string} */ id, /** @type {number} */ type) => ({ SpecialToken: { id, type_id: type } })
  const sequence = (/** @type {string} */ id, /** @type {number} */ type) => ({ Sequence: { id, type_id: type } })
  const single = [special('[CLS]', 0), sequence('A', 0), special('[SEP]', 0)]
  const inTemplate = ['[CLS]', '[SEP]'].map((id) => [id, { id, ids: [pieces.indexOf(id)], tokens: [id] }])
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({ id, content, ...flags })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single,
      pair: [...single, sequence('B', 1), special('[SEP]', 1)],
      special_tokens: Object.fromEntries(inTemplate)
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id]))
    }
  }
}

const licenceIntroduction = `The vocabulary, the weights and the description in this folder were learned from the definitions, examples and
words of WordNet 3.1. The licence of WordNet:

`

const folder = argv[2] ?? fileURLToPath(new URL('../../models/wordnet-bert-mini', import.meta.url))
if (folder.startsWith('-')) {
  stdout.write('node scripts/pretrain/train-tokenizer.mjs [FOLDER]  (default: models/wordnet-bert-mini)\n')
  exit(folder === '--help' ? 0 : 1)
}
const words = countWords(vocabularyLines(readWordnet()))
const pieces = learnPieces(words, [...specialTokens, ...alphabet()], vocabularySize)
const json = (/** @type {unknown} */ value) => `${JSON.stringify(value, null, 2)}\n`

mkdirSync(folder, { recursive: true })
writeFileSync(join(folder, 'vocab.txt'), `${pieces.join('\n')}\n`)
writeFileSync(join(folder, 'tokenizer.json'), json(tokenizerFile(pieces)))
writeFileSync(join(folder, 'tokenizer_config.json'), json(tokenizerConfig))
writeFileSync(join(folder, 'config.json'), json(modelConfig))
writeFileSync(join(folder, 'WORDNET-LICENSE.txt'), licenceIntroduction + wordnetLicense())
stdout.write(`${folder}: ${pieces.length} pieces from ${words.size} words\n`)
