import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { isPlainObject } from '../config/check.js'
import { readJsonObject, readText } from '../config/read-json.js'
import { AdapterError } from '../native/errors.js'

// Folders of tokenizers that are not in tokenizer.json: the files of transformers' slow tokenizers. From them the content
// of a tokenizer.json is built in memory, as transformers' converters (convert_slow_tokenizer.py) do it.

const operation = 'read the tokenizer'
// XLM-RoBERTa's tokenizer.json is 17 MB.
export const largestTokenizer = 128 * 1024 * 1024

type Json = Readonly<Record<string, unknown>>

/** One kind of slow tokenizer: its files, the classes that read them, and the tokens that its class takes by default. */
interface Kind {
  readonly files: readonly string[]
  readonly classes: readonly string[]
  /** Models whose folders mean this kind where no class is named; of the usual kind of these files: all others. */
  readonly models?: readonly string[]
  /** What the class has where the config says nothing. */
  readonly defaults: Json
  readonly build: (folder: string, config: Json) => Json
}

const kinds: readonly Kind[] = [
  {
    files: ['vocab.txt'],
    classes: ['BertTokenizer', 'DistilBertTokenizer', 'ElectraTokenizer'],
    defaults: {
      ...{ unk_token: '[UNK]', sep_token: '[SEP]', pad_token: '[PAD]', cls_token: '[CLS]', mask_token: '[MASK]' },
      clean_up_tokenization_spaces: true
    },
    build: wordPieces
  },
  {
    files: ['vocab.json', 'merges.txt'],
    classes: ['RobertaTokenizer', 'LongformerTokenizer', 'BartTokenizer'],
    defaults: {
      ...{ bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>', sep_token: '</s>', pad_token: '<pad>' },
      ...{ cls_token: '<s>', mask_token: '<mask>' }
    },
    build: robertaPairs
  },
  {
    files: ['vocab.json', 'merges.txt'],
    classes: ['GPT2Tokenizer'],
    models: ['gpt2', 'gpt_neo', 'gptj', 'opt'],
    defaults: { bos_token: '<|endoftext|>', eos_token: '<|endoftext|>', unk_token: '<|endoftext|>' },
    build: gpt2Pairs
  }
]

export const vocabularyFiles = [...new Set(kinds.flatMap(({ files }) => files))]

/** Kinds whose files are there. */
const kindsIn = (folder: string): Kind[] =>
  kinds.filter(({ files }) => files.every((file) => existsSync(join(folder, file))))

/** The class that reads the folder: the tokenizer's config, and then the model's, may name it, as AutoTokenizer asks them. */
function chosen(folder: string, config: Json): { readonly kind?: Kind | undefined; readonly named: unknown } {
  const found = kindsIn(folder)
  const modelFile = join(folder, 'config.json')
  const model = existsSync(modelFile) ? readJsonObject(modelFile, operation) : {}
  const named = config['tokenizer_class'] ?? model['tokenizer_class']
  if (named != null) {
    const name = String(named).replace(/Fast$/, '')
    return { kind: found.find(({ classes }) => classes.includes(name)), named }
  }
  const ofModel = found.find(({ models }) => models?.includes(String(model['model_type'])))
  return { kind: ofModel ?? found[0], named }
}

export function hasVocabulary(folder: string, config: () => Json): boolean {
  return kindsIn(folder).length > 0 && chosen(folder, config()).kind !== undefined
}

/**
 * The content of tokenizer.json for a folder of vocabulary files, and its config with the special tokens that the class
 * has by default; undefined where the folder has no such files.
 */
export function readVocabulary(
  folder: string,
  config: Json
): { readonly model: Json; readonly config: Json } | undefined {
  const found = kindsIn(folder)
  if (found.length === 0) return undefined
  const { kind, named } = chosen(folder, config)
  if (kind === undefined) {
    const classes = found.flatMap((one) => one.classes)
    throw new AdapterError('ERR_UNSUPPORTED', operation, `${folder} belongs to a ${named}`, {
      expected: `tokenizer.json, or ${found[0]?.files.join(' and ')} of a ${classes.join(', ')}`,
      hint: 'Save it in Python as a fast tokenizer, or give ids instead of text.'
    })
  }
  const given = Object.entries(config).filter(([, value]) => value !== null)
  const full = { ...kind.defaults, ...Object.fromEntries(given) }
  return { model: kind.build(folder, full), config: full }
}

const bad = (problem: string, hint: string): AdapterError =>
  new AdapterError('ERR_INVALID_FILE', operation, problem, { hint })

/** BertTokenizer: one token a line, its number the id. */
function wordPieces(folder: string, config: Json): Json {
  const file = join(folder, 'vocab.txt')
  const lines = readText(file, operation, largestTokenizer)
    .replace(/\r?\n$/, '')
    .split(/\r?\n/)
  const vocab = Object.fromEntries(lines.map((token, id) => [token, id]))
  const { id, addedTokens } = tokens(folder, vocab, config, {
    ...{ lacks: `${file} has no line`, needed: ['unk_token', 'cls_token', 'sep_token'], maskTakesSpace: false }
  })
  const basic = config['do_basic_tokenize'] !== false
  const [cls, sep] = [text(config['cls_token']), text(config['sep_token'])]
  return {
    added_tokens: addedTokens,
    // Without the basic tokenizer nothing is done to the text but to split it at white space.
    normalizer: basic ? normalizer(config) : null,
    pre_tokenizer: { type: basic ? 'BertPreTokenizer' : 'WhitespaceSplit' },
    post_processor: { type: 'BertProcessing', sep: [sep, id(sep)], cls: [cls, id(cls)] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: text(config['unk_token']),
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab
    }
  }
}

function normalizer(config: Json): Json {
  return {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: config['tokenize_chinese_chars'] ?? true,
    strip_accents: config['strip_accents'] ?? null,
    lowercase: config['do_lower_case'] ?? true
  }
}

function robertaPairs(folder: string, config: Json): Json {
  // RoBERTa's mask takes the space before it, as a word does.
  const rule = { needed: ['unk_token', 'cls_token', 'sep_token'], maskTakesSpace: true }
  return bytePairs(folder, config, rule, (id) => {
    const [cls, sep] = [text(config['cls_token']), text(config['sep_token'])]
    return {
      ...{ type: 'RobertaProcessing', sep: [sep, id(sep)], cls: [cls, id(cls)] },
      ...{ trim_offsets: true, add_prefix_space: config['add_prefix_space'] === true }
    }
  })
}

/** Nothing stands around GPT-2's texts, unless its config asks for one token before all. */
function gpt2Pairs(folder: string, config: Json): Json {
  return bytePairs(folder, config, { needed: [], maskTakesSpace: false }, (id) => {
    if (config['add_bos_token'] !== true) {
      return { type: 'ByteLevel', add_prefix_space: true, trim_offsets: false, use_regex: true }
    }
    const bos = text(config['bos_token'])
    const parts = ['A', 'B'].map((part) => ({ Sequence: { id: part, type_id: 0 } }))
    const first = { SpecialToken: { id: bos, type_id: 0 } }
    return {
      ...{ type: 'TemplateProcessing', single: [first, parts[0]], pair: [first, ...parts] },
      special_tokens: { [bos]: { id: bos, ids: [id(bos)], tokens: [bos] } }
    }
  })
}

/** Byte-level byte pair encoding; vocab.json has the ids, merges.txt one merge a line. */
function bytePairs(
  folder: string,
  config: Json,
  rule: Omit<TokenRule, 'lacks'>,
  processor: (id: (token: string) => number) => Json
): Json {
  const file = join(folder, 'vocab.json')
  const vocab = readJsonObject(file, operation, largestTokenizer) as Record<string, number>
  const merges = readMerges(join(folder, 'merges.txt'))
  const { id, addedTokens } = tokens(folder, vocab, config, { lacks: `${file} has no token`, ...rule })
  const space = config['add_prefix_space'] === true
  return {
    added_tokens: addedTokens,
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: space, trim_offsets: true, use_regex: true },
    post_processor: processor(id),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: text(config['unk_token']) },
      ...{ continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false },
      vocab,
      merges
    }
  }
}

function readMerges(file: string): [string, string][] {
  const merges: [string, string][] = []
  const lines = readText(file, operation, largestTokenizer).split(/\r?\n/)
  lines.forEach((line, i) => {
    if (line === '' || (i === 0 && line.startsWith('#version'))) return
    const [left, right, ...rest] = line.split(' ')
    if (left === undefined || right === undefined || rest.length > 0) {
      throw bad(
        `${file}, line ${i + 1}: expected two pieces and a space between them, got '${line.slice(0, 40)}'`,
        'Write or download the file again.'
      )
    }
    merges.push([left, right])
  })
  return merges
}

/** A token is written as its text, or as an object that holds it. */
export function text(token: unknown): string {
  return isPlainObject(token) ? String(token['content']) : String(token)
}

interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  readonly single_word: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
}

function addedToken(token: unknown, id: number, special: boolean): AddedToken {
  const flags = isPlainObject(token) ? token : {}
  const flag = (name: string, otherwise = false) => (flags[name] === undefined ? otherwise : flags[name] === true)
  return {
    ...{ id, content: text(token), special },
    ...{ single_word: flag('single_word'), lstrip: flag('lstrip'), rstrip: flag('rstrip') },
    normalized: flag('normalized', !special)
  }
}

// The order in which transformers gives ids to special tokens that the vocabulary lacks.
const specialKeys = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token']

interface TokenRule {
  /** Begins the error about a token that has no id. */
  readonly lacks: string
  /** Special tokens that must have an id already; others get the next ones. */
  readonly needed: readonly string[]
  readonly maskTakesSpace: boolean
}

/** Tokens that are found before the text is split: those that the folder lists, and the special ones. */
function tokens(
  folder: string,
  vocab: Readonly<Record<string, number>>,
  config: Json,
  { lacks, needed, maskTakesSpace }: TokenRule
) {
  const added = new Map<string, AddedToken>()
  const add = (token: AddedToken) => added.set(token.content, token)
  const named = specialKeys.filter((key) => config[key] != null)
  const { additional_special_tokens: more } = config
  const special = [...named.map((key) => config[key]), ...(Array.isArray(more) ? more : [])]
  const names = new Set(special.map(text))
  const { added_tokens_decoder: listed } = config
  if (isPlainObject(listed)) {
    for (const [id, token] of Object.entries(listed)) {
      add(addedToken(token, Number(id), isPlainObject(token) && token['special'] === true))
    }
  } else if (existsSync(join(folder, 'added_tokens.json'))) {
    const old = readJsonObject(join(folder, 'added_tokens.json'), operation)
    for (const [token, id] of Object.entries(old)) add(addedToken(token, Number(id), names.has(token)))
  }
  const idOf = (token: string) => added.get(token)?.id ?? (Object.hasOwn(vocab, token) ? vocab[token] : undefined)
  for (const key of needed) {
    if (idOf(text(config[key])) !== undefined) continue
    throw bad(
      `${lacks} '${text(config[key])}'`,
      'Name the special tokens in tokenizer_config.json (cls_token, sep_token, …), and its tokenizer_class.'
    )
  }
  let next = new Set([...Object.keys(vocab), ...added.keys()]).size
  for (const token of special) {
    if (added.has(text(token))) continue
    const flags = maskTakesSpace && token === config['mask_token'] ? { content: token, lstrip: true } : token
    add(addedToken(isPlainObject(token) ? token : flags, idOf(text(token)) ?? next++, true))
  }
  return { id: (token: string) => idOf(token) as number, addedTokens: [...added.values()] }
}
