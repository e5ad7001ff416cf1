import type { Tokenizer } from '@huggingface/tokenizers'
import { isPlainObject } from '../config/check.js'
import { charsmapOf } from './charsmap.js'
import type { Json } from './tokenizer-parts.js'

// Where the library in JavaScript splits a text otherwise than the one in Rust, with which vocabularies are made: white space,
// letters and digits are Unicode's there, not those of JavaScript's \s (which has U+FEFF and lacks U+0085), \w and \d; and
// what is split at may stand alone, go with what is before or behind it, or be left out.

const space = '\\p{White_Space}'
/** What a word is made of, as \w in Rust. */
export const letter = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}'
/** BERT's: also what is in ASCII and neither a letter, a digit nor white space. */
const mark = '\\p{P}!-\\/:-@\\[-`{-~'

const words = new RegExp(`[${letter}]+|[^${letter}${space}]+`, 'gu')
const solid = new RegExp(`[^${space}]+`, 'gu')
const bertWords = new RegExp(`[^${space}${mark}]+|[${mark}]`, 'gu')
const byteWords = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${space}\\p{L}\\p{N}]+|${space}+(?![^${space}])|${space}+`,
  'gu'
)
/** What BERT's takes for a word each, as the library in Rust has it. */
export const han =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu
const marks = new RegExp(`[${mark}]`, 'gu')

const isSpace = (char: string): boolean => /\p{White_Space}/u.test(char)

/** A normalizer or a pre-tokenizer of the library. */
interface Part {
  readonly normalizers?: readonly Part[]
  readonly tokenizers?: readonly Part[]
  normalize: (text: string) => string
  /** BertNormalizer's. */
  tokenize_chinese_chars?: (text: string) => string
  pre_tokenize_text: (text: string) => string[]
  pattern?: RegExp | null
}

/**
 * Makes the parts of a tokenizer split as those in Rust do.
 * @param model the content of tokenizer.json that it was made from
 */
export function splitAsInRust(tokenizer: Tokenizer, model: Json): void {
  mendNormalizer(tokenizer.normalizer as unknown as Part, model['normalizer'])
  mendPreTokenizer(tokenizer.pre_tokenizer as unknown as Part, model['pre_tokenizer'])
}

function mendNormalizer(part: Part, config: unknown): void {
  if (!isPlainObject(config)) return
  if (config['type'] === 'Sequence')
    part.normalizers?.forEach((one, i) => {
      mendNormalizer(one, (config['normalizers'] as unknown[])[i])
    })
  if (config['type'] === 'BertNormalizer') part.tokenize_chinese_chars = (text) => text.replace(han, ' $& ')
  if (config['type'] === 'Precompiled' && typeof config['precompiled_charsmap'] === 'string') {
    part.normalize = charsmapOf(config['precompiled_charsmap'])
  }
  if (config['type'] !== 'Strip') return
  const { strip_left: left, strip_right: right } = config
  part.normalize = (text) => {
    let [from, to] = [0, text.length]
    while (left && from < to && isSpace(text.charAt(from))) from++
    while (right && from < to && isSpace(text.charAt(to - 1))) to--
    return text.slice(from, to)
  }
}

function mendPreTokenizer(part: Part, config: unknown): void {
  if (!isPlainObject(config)) return
  if (config['type'] === 'Sequence')
    part.tokenizers?.forEach((one, i) => {
      mendPreTokenizer(one, (config['pretokenizers'] as unknown[])[i])
    })
  const split = splitOf(part, config)
  if (split !== undefined) part.pre_tokenize_text = split
  if (config['type'] === 'ByteLevel') part.pattern = byteWords
}

/** Undefined where the library does it right, and faster. */
function splitOf({ pattern }: Part, config: Json): Part['pre_tokenize_text'] | undefined {
  const behavior = behaviorOf(config['behavior'])
  const invert = config['invert'] === true
  switch (config['type']) {
    case 'Whitespace':
      return (text) => text.match(words) ?? []
    case 'WhitespaceSplit':
      return (text) => text.match(solid) ?? []
    case 'BertPreTokenizer':
      return (text) => text.match(bertWords) ?? []
    case 'Digits':
      return (text) => pieces(text, /\p{N}/gu, config['individual_digits'] === true ? 'isolated' : 'contiguous')
    case 'Punctuation':
      return (text) => pieces(text, marks, behavior)
    case 'Split':
      if (pattern == null || behavior === (invert ? 'removed' : 'isolated')) return undefined
      return (text) => pieces(text, pattern, behavior, invert)
    default:
      return undefined
  }
}

/** MergedWithPrevious, as files have it, or merged_with_previous, as Python calls it. */
const behaviorOf = (behavior: unknown): string => String(behavior).toLowerCase().replaceAll('_', '')

interface Piece {
  text: string
  readonly isMatch: boolean
}

/** What a text falls into at each match of a pattern. */
function pieces(text: string, pattern: RegExp, behavior: string, invert = false): string[] {
  const all = matchesIn(text, pattern).map((piece) => (invert ? { ...piece, isMatch: !piece.isMatch } : piece))
  return joined(all, behavior).map((piece) => piece.text)
}

function matchesIn(text: string, pattern: RegExp): Piece[] {
  const found: Piece[] = []
  let end = 0
  for (const { 0: match, index } of text.matchAll(pattern)) {
    found.push({ text: text.slice(end, index), isMatch: false }, { text: match, isMatch: true })
    end = index + match.length
  }
  found.push({ text: text.slice(end), isMatch: false })
  return found.filter((piece) => piece.text !== '')
}

function joined(all: readonly Piece[], behavior: string): readonly Piece[] {
  switch (behavior) {
    case 'removed':
      return all.filter(({ isMatch }) => !isMatch)
    case 'contiguous':
      return folded(all, (piece, last) => piece.isMatch === last.isMatch)
    case 'mergedwithprevious':
      return folded(all, (piece, last) => piece.isMatch && !last.isMatch)
    case 'mergedwithnext':
      return folded(all, (piece, last) => !piece.isMatch && last.isMatch)
    default:
      // isolated, which is Punctuation's where nothing is said
      return all
  }
}

/** Each piece, or what it goes on with: `joins` is asked for it and the piece before it. */
function folded(all: readonly Piece[], joins: (piece: Piece, last: Piece) => boolean): Piece[] {
  const result: Piece[] = []
  all.forEach((piece, i) => {
    const [last, before] = [result.at(-1), all[i - 1]]
    if (last !== undefined && before !== undefined && joins(piece, before)) last.text += piece.text
    else result.push({ ...piece })
  })
  return result
}
