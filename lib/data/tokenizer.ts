import { Tokenizer } from '@huggingface/tokenizers'
import * as check from '../config/check.js'
import { AdapterError } from '../native/errors.js'
import { takeAddedTokens } from './added-tokens.js'
import { takeLongWords } from './long-unigram.js'
import { separatorOf, slices } from './text-slices.js'
import { withinTime } from './time-limit.js'
import { type TokenSpans, tokenSpans } from './token-spans.js'
import { readTokenizerFiles, type TokenizerFiles } from './tokenizer-files.js'
import { type Json, lowersText, mayTakeForever } from './tokenizer-parts.js'
import { splitAsInRust } from './tokenizer-splits.js'
import { keep, longestFirst } from './truncate.js'

/** One row as ids, special tokens included, without padding. */
export interface EncodedText {
  readonly inputIds: Int32Array
  readonly tokenTypeIds: Int32Array
}

/** Also says from which word each token came: -1 for special tokens. */
export interface EncodedWords extends EncodedText {
  readonly wordIds: Int32Array
}

export interface EncodeOptions {
  /** Most tokens of a row, special ones included; the rest is cut off. Default: the tokenizer's own limit. */
  readonly maxLength?: number | undefined
}

/** A text's tokens without special ones, and what each covers of it. */
export interface SpannedTokens {
  readonly tokens: readonly string[]
  readonly spans: TokenSpans
}

interface Processed {
  readonly tokens: readonly string[]
  /** Of a second text, where the processor leaves the two apart. */
  readonly tokens_pair?: readonly string[] | null
  readonly token_type_ids?: readonly number[] | undefined
}

type PostProcess = (first: readonly string[], second: readonly string[] | null, special: boolean) => Processed

/** Text to ids and back, as Hugging Face's fast tokenizers do it. */
export class TextTokenizer {
  /** Most tokens the tokenizer's own files allow; Infinity where they set no limit. */
  readonly modelMaxLength: number
  readonly vocabSize: number
  readonly padId: number | undefined
  readonly clsId: number | undefined
  readonly sepId: number | undefined
  readonly maskId: number | undefined
  readonly unknownId: number | undefined
  /** Ids that stand for no text. */
  readonly specialIds: ReadonlySet<number>

  readonly #tokenizer: Tokenizer
  readonly #postProcess: PostProcess
  readonly #truncationSide: 'left' | 'right'
  readonly #separator: RegExp | undefined
  readonly #isLimited: boolean
  readonly #wordPrefix: string
  readonly #isByteLevel: boolean
  readonly #isLowered: boolean
  /** Of added tokens that are found in normalized text as something else than they are called. */
  readonly #addedIds: ReadonlyMap<string, number>
  /** Whether decoding takes away spaces before punctuation; as in transformers only where the config says so. */
  readonly #cleansUp: boolean

  constructor(files: TokenizerFiles) {
    const { model, config } = check.checkObject('files', files) as unknown as TokenizerFiles
    check.checkObject('files.model', model)
    check.checkObject('files.config', config)
    this.#isLimited = mayTakeForever(model)
    try {
      this.#tokenizer = this.#isLimited
        ? withinTime(longestLoad, () => new Tokenizer(model, config))
        : new Tokenizer(model, config)
      splitAsInRust(this.#tokenizer, model)
      this.#addedIds = takeAddedTokens(this.#tokenizer, model)
    } catch (cause) {
      const { message } = cause as Error
      // Such as `Unknown Normalizer type: Nmt`.
      const code = message.startsWith('Unknown ') ? 'ERR_UNSUPPORTED' : 'ERR_INVALID_FILE'
      throw new AdapterError(code, 'read the tokenizer', `tokenizer.json cannot be used: ${message}`, { cause })
    }
    if ((model['model'] as Json)['type'] === 'Unigram') takeLongWords(this.#tokenizer)
    const postProcess = postProcessor(this.#tokenizer, model['post_processor'])
    this.#postProcess = (...parts) => whole(() => postProcess(...parts))
    this.#truncationSide = config['truncation_side'] === 'left' ? 'left' : 'right'
    this.#separator = separatorOf(model, config, this.#addedIds.keys())
    this.#wordPrefix = needsSpace(model['pre_tokenizer']) ? ' ' : ''
    this.#isByteLevel = splitsBytes(model['pre_tokenizer'])
    this.#isLowered = lowersText(model)
    this.#cleansUp = config['clean_up_tokenization_spaces'] === true
    const limit = config['model_max_length']
    // Hugging Face writes 1e30 for "no limit".
    this.modelMaxLength = typeof limit === 'number' && limit > 0 && limit < 1e9 ? Math.floor(limit) : Infinity
    this.vocabSize = this.#tokenizer.get_vocab().size
    this.padId = this.#special(config['pad_token'])
    this.clsId = this.#special(config['cls_token'] ?? config['bos_token'])
    this.sepId = this.#special(config['sep_token'] ?? config['eos_token'])
    this.maskId = this.#special(config['mask_token'])
    this.unknownId = this.#special(config['unk_token'])
    this.specialIds = new Set(
      [...this.#tokenizer.get_added_tokens_decoder().values()].filter((token) => token.special).map((token) => token.id)
    )
  }

  /** From a folder with tokenizer.json, with vocab.txt of a BERT model, or with vocab.json and merges.txt of a RoBERTa or GPT-2 model. */
  static fromFolder(folder: string): TextTokenizer {
    return new TextTokenizer(readTokenizerFiles(check.checkNonEmptyString('folder', folder)))
  }

  encode(text: string, textPair?: string | null, options: EncodeOptions = {}): EncodedText {
    // An empty second text is none, as in Python.
    const texts = textPair
      ? [check.checkString('text', text), check.checkString('textPair', textPair)]
      : [check.checkString('text', text)]
    const room = this.#room(texts.length > 1, options)
    const most = this.#truncationSide === 'right' ? room + 1 : Infinity
    let pieces = texts.map((one) => this.#pieces(one, most))
    // Of two that both are too long the longer one keeps an odd token.
    const isOpen = room % 2 === 1 && pieces.length > 1 && pieces.every(({ length }) => length >= most)
    if (isOpen) pieces = texts.map((one) => this.#pieces(one))
    return this.#toIds(...this.#truncate(pieces[0] ?? [], pieces[1] ?? null, room))
  }

  /** A text that comes word by word, for labels that belong to words. */
  encodeWords(words: readonly string[], options: EncodeOptions = {}): EncodedWords {
    const room = this.#room(false, options)
    const most = this.#truncationSide === 'right' ? room : Infinity
    const pieces: { piece: string; index: number }[] = []
    words.forEach((word, index) => {
      check.checkString(`words[${index}]`, word)
      if (pieces.length < most) for (const piece of this.#word(word)) pieces.push({ piece, index })
    })
    const [kept] = this.#truncate(pieces, null, room)
    const encoded = this.#toIds(
      kept.map(({ piece }) => piece),
      null
    )
    const wordIds = new Int32Array(encoded.inputIds.length).fill(-1)
    const before = this.#specialsBefore()
    kept.forEach(({ index }, i) => {
      wordIds[before + i] = index
    })
    return { ...encoded, wordIds }
  }

  /** The tokens of a text alone, of any length, for those who ask where they stand. */
  tokens(text: string): SpannedTokens {
    const tokens = this.#pieces(check.checkString('text', text))
    return { tokens, spans: tokenSpans(text, tokens, this.#isByteLevel) }
  }

  /** A pair whose tokens are there already; `secondAt`: where those of the second begin. */
  encodePair(first: readonly string[], second: readonly string[]): EncodedText & { readonly secondAt: number } {
    const marker = '\u0000'
    const secondAt = this.#postProcess(first, [marker], true).tokens.indexOf(marker)
    return { ...this.#toIds(first, second), secondAt }
  }

  /** @param skipSpecialTokens leaves out such as [CLS]. Default true; Python's is false */
  decode(ids: ArrayLike<number>, skipSpecialTokens = true): string {
    if (typeof ids !== 'object' || typeof ids?.length !== 'number')
      throw check.typeError('ids', 'an array of token ids', ids)
    if (ids.length === 0) return ''
    const options = { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: this.#cleansUp }
    const decode = () => this.#tokenizer.decode(Array.from(ids), options)
    return this.#isLimited ? whole(() => this.#inTime(ids.length, decode)) : decode()
  }

  tokenToId(token: string): number | undefined {
    return this.#tokenizer.token_to_id(token)
  }

  idToToken(id: number): string | undefined {
    return this.#tokenizer.id_to_token(id)
  }

  /** Special tokens that a row (or a pair) gets around its text. */
  specialTokenCount(isPair: boolean): number {
    return this.#postProcess([], isPair ? [] : null, true).tokens.length
  }

  #special(token: unknown): number | undefined {
    return typeof token === 'string' ? this.#tokenizer.token_to_id(token) : undefined
  }

  /** All of a text's tokens, or of a long one at least its first `most`. */
  #pieces(text: string, most = Infinity): string[] {
    if (this.#separator === undefined) {
      return this.#tokenize(text)
    }
    const pieces: string[] = []
    for (const slice of slices(text, this.#separator)) {
      for (const piece of this.#tokenize(slice)) pieces.push(piece)
      if (pieces.length >= most) break
    }
    return pieces
  }

  #tokenize(text: string): string[] {
    // Of a word's last Σ JavaScript makes ς, and the library that vocabularies were made with σ, as of every other.
    const given = this.#isLowered ? text.replaceAll('Σ', 'σ') : text
    return whole(() => this.#inTime(given.length, () => this.#tokenizer.tokenize(given)))
  }

  /** What a file brings of its own must not hold the thread for ever. `length`: of the text or the ids. */
  #inTime<T>(length: number, work: () => T): T {
    return this.#isLimited ? withinTime(patience + length / 100, work) : work()
  }

  #word(word: string): string[] {
    return word === '' ? [] : this.#pieces(this.#wordPrefix + word)
  }

  /** Most tokens that a row may have of its own. */
  #room(isPair: boolean, options: EncodeOptions): number {
    const maxLength = options.maxLength ?? this.modelMaxLength
    if (maxLength === Infinity) return Infinity
    const special = this.specialTokenCount(isPair)
    return check.checkInteger('maxLength', maxLength, special + 1) - special
  }

  #truncate<T>(first: readonly T[], second: readonly T[] | null, room: number): [readonly T[], readonly T[] | null] {
    const [one, two] = longestFirst(first.length, second?.length ?? 0, room)
    const side = this.#truncationSide
    return [keep(first, one, side), second === null ? null : keep(second, two, side)]
  }

  #toIds(first: readonly string[], second: readonly string[] | null): EncodedText {
    const { tokens, token_type_ids: types } = this.#postProcess(first, second, true)
    const inputIds = Int32Array.from(tokens, (token) => this.#id(token))
    return { inputIds, tokenTypeIds: types === undefined ? new Int32Array(tokens.length) : Int32Array.from(types) }
  }

  #id(token: string): number {
    const id =
      this.#addedIds.get(token) ??
      this.#tokenizer.token_to_id(token) ??
      this.#tokenizer.model?.unk_token_id ??
      this.unknownId
    if (id !== undefined) return id
    throw new AdapterError(
      'ERR_TOKENIZER',
      'encode text',
      `the vocabulary has no token '${token}' and no unknown token`
    )
  }

  #specialsBefore(): number {
    const marker = '\u0000'
    return this.#postProcess([marker], null, true).tokens.indexOf(marker)
  }
}

/** Milliseconds for a vocabulary, which takes a second where it is large. */
const longestLoad = 60_000
/** Milliseconds of processor time for a short text; a hundred more for each 10,000 characters, ten times what such a tokenizer takes. */
const patience = 2000

/** A tokenizer.json may load and still make no sense; what the library stumbles over then is no error of the caller. */
function whole<T>(run: () => T): T {
  try {
    return run()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const isSlow = code === 'ERR_SCRIPT_EXECUTION_TIMEOUT'
    const problem = isSlow
      ? `an expression in tokenizer.json, or another of its parts, takes too long on this text: ${message}`
      : `tokenizer.json does not work: ${message}`
    throw new AdapterError('ERR_TOKENIZER', 'encode text', problem, { cause })
  }
}

/**
 * The library's RobertaProcessing gives the second text of a pair the type 1; Hugging Face gives all tokens the type 0,
 * and the models have no second type.
 */
function postProcessor(tokenizer: Tokenizer, config: unknown): PostProcess {
  const run = tokenizer.post_processor as unknown as PostProcess | null
  if (run === null) return (first, second) => ({ tokens: [...first, ...(second ?? [])] })
  const types = check.isPlainObject(config) ? [config, ...((config['processors'] as unknown[]) ?? [])] : []
  const isRoberta = types.some((part) => check.isPlainObject(part) && part['type'] === 'RobertaProcessing')
  return (first, second, special) => {
    const { tokens, tokens_pair: others, token_type_ids: typeIds } = run(first, second, special)
    return { tokens: [...tokens, ...(others ?? [])], token_type_ids: isRoberta ? undefined : typeIds }
  }
}

/** Byte-level vocabularies hold words with the space before them; a word alone must get one. */
function needsSpace(preTokenizer: unknown): boolean {
  return (
    check.isPlainObject(preTokenizer) &&
    preTokenizer['type'] === 'ByteLevel' &&
    preTokenizer['add_prefix_space'] !== true
  )
}

/** Whether tokens spell bytes, each as a character of its own. */
function splitsBytes(preTokenizer: unknown): boolean {
  if (!check.isPlainObject(preTokenizer)) return false
  if (preTokenizer['type'] === 'ByteLevel') return true
  const parts = preTokenizer['pretokenizers']
  return Array.isArray(parts) && parts.some(splitsBytes)
}
