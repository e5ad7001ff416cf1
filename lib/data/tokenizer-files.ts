import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isPlainObject } from '../config/check.js'
import { readJsonObject, readText } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'

export interface TokenizerFiles {
  /** The content of tokenizer.json. */
  readonly model: Readonly<Record<string, unknown>>
  /** The content of tokenizer_config.json, its token objects replaced by their text. */
  readonly config: Readonly<Record<string, unknown>>
}

const operation = 'read the tokenizer'
// XLM-RoBERTa's is 17 MB.
const largestTokenizer = 128 * 1024 * 1024

export function hasTokenizer(folder: string): boolean {
  return ['tokenizer.json', 'vocab.txt'].some((name) => existsSync(join(folder, name)))
}

export function readTokenizerFiles(folder: string): TokenizerFiles {
  const config = {
    ...optional(join(folder, 'special_tokens_map.json')),
    ...optional(join(folder, 'tokenizer_config.json'))
  }
  const tokens = Object.fromEntries(Object.entries(config).map(([key, value]) => [key, tokenText(value)]))
  const file = join(folder, 'tokenizer.json')
  if (existsSync(file)) {
    const model = readJsonObject(file, operation, largestTokenizer)
    checkModel(model, file)
    return { model: withConfiguredNormalizer(model, tokens), config: tokens }
  }
  const vocabulary = join(folder, 'vocab.txt')
  if (!existsSync(vocabulary)) throw missing(folder)
  return { model: bertTokenizer(readText(vocabulary, operation, largestTokenizer), tokens), config: tokens }
}

function optional(file: string): Record<string, unknown> {
  return existsSync(file) ? readJsonObject(file, operation) : {}
}

/** A token is written as its text, or as an object that holds it. */
function tokenText(value: unknown): unknown {
  return isPlainObject(value) && typeof value['content'] === 'string' ? value['content'] : value
}

function missing(folder: string): AdapterError {
  return new AdapterError('ERR_FILE_NOT_FOUND', operation, `${folder} holds no tokenizer`, {
    expected: 'tokenizer.json, or vocab.txt of a BERT model',
    hint: 'Save the tokenizer with use_fast=True, or give ids instead of text.'
  })
}

// An id beyond any vocabulary would make the library fill an array up to it.
const largestId = 1 << 24

function checkModel(tokenizer: Readonly<Record<string, unknown>>, file: string): void {
  const fail: (problem: string) => never = (problem) => {
    throw new AdapterError('ERR_INVALID_FILE', operation, `${file}: ${problem}`, {
      hint: 'Write or download the file again.'
    })
  }
  const { model, added_tokens: added } = tokenizer
  if (!isPlainObject(model)) fail('it has no "model"')
  if (!Array.isArray(added)) fail('it has no list "added_tokens"')
  const isId = (id: unknown) => Number.isInteger(id) && (id as number) >= 0 && (id as number) < largestId
  for (const token of added) {
    const isToken = isPlainObject(token) && typeof token['content'] === 'string' && isId(token['id'])
    if (!isToken) fail(`an added token is not { id, content }: ${JSON.stringify(token)?.slice(0, 80)}`)
  }
  const { vocab } = model
  if (isPlainObject(vocab)) {
    const wrong = Object.entries(vocab).find(([, id]) => !isId(id))
    if (wrong !== undefined) fail(`the id of '${wrong[0].slice(0, 40)}' is ${String(wrong[1]).slice(0, 40)}`)
  } else if (!Array.isArray(vocab)) {
    fail('its model has no vocabulary')
  }
}

/** BertTokenizerFast lets tokenizer_config.json overrule the normalizer that tokenizer.json was saved with. */
function withConfiguredNormalizer(
  model: Readonly<Record<string, unknown>>,
  config: Readonly<Record<string, unknown>>
): Readonly<Record<string, unknown>> {
  const { normalizer } = model
  const isBert = String(config['tokenizer_class'] ?? '').startsWith('Bert')
  if (!isBert || !isPlainObject(normalizer) || normalizer['type'] !== 'BertNormalizer') return model
  const { do_lower_case, strip_accents, tokenize_chinese_chars } = config
  return {
    ...model,
    normalizer: {
      ...normalizer,
      ...(do_lower_case === undefined ? {} : { lowercase: do_lower_case }),
      ...(strip_accents === undefined ? {} : { strip_accents }),
      ...(tokenize_chinese_chars === undefined ? {} : { handle_chinese_chars: tokenize_chinese_chars })
    }
  }
}

/** What `BertTokenizerFast` makes of a vocab.txt: one token a line, its number the id. */
function bertTokenizer(vocabulary: string, config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const lines = vocabulary.replace(/\r?\n$/, '').split(/\r?\n/)
  const vocab = Object.fromEntries(lines.map((token, id) => [token, id]))
  const special = (key: string, fallback: string) => String(config[key] ?? fallback)
  const names = {
    pad: special('pad_token', '[PAD]'),
    unk: special('unk_token', '[UNK]'),
    cls: special('cls_token', '[CLS]'),
    sep: special('sep_token', '[SEP]'),
    mask: special('mask_token', '[MASK]')
  }
  const id = (token: string): number => {
    if (Object.hasOwn(vocab, token)) return vocab[token] ?? 0
    throw new AdapterError('ERR_INVALID_FILE', operation, `vocab.txt has no line '${token}'`, {
      hint: 'Name the special tokens in tokenizer_config.json (cls_token, sep_token, …).'
    })
  }
  return {
    added_tokens: Object.values(names).map((content) => ({
      ...{ id: id(content), content, special: true },
      ...{ single_word: false, lstrip: false, rstrip: false, normalized: false }
    })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: config['tokenize_chinese_chars'] ?? true,
      strip_accents: config['strip_accents'] ?? null,
      lowercase: config['do_lower_case'] ?? true
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: [names.sep, id(names.sep)], cls: [names.cls, id(names.cls)] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: names.unk,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab
    }
  }
}
