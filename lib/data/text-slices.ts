import { isPlainObject } from '../config/check.js'
import { type Json, partsOf, spaces } from './tokenizer-parts.js'
import { han } from './tokenizer-splits.js'

// Tokenizing takes the thread for as long as a text is. Most tokenizers read what stands on one side of a space as if there
// were nothing on the other: their tokens of a text are those of its slices, one after the other, and of a long text that is
// cut afterwards the first slices are enough. So it is with line breaks for those that split at all white space, and with
// Chinese characters for BERT's, which takes each for a word.

/** Characters of a slice: about a millisecond's work. */
const sliceLength = 2048

/** A text in slices, each but the first beginning with a separator that stands between two plain characters. */
export function* slices(text: string, separator: RegExp): Generator<string> {
  const search = new RegExp(separator, 'g')
  let start = 0
  search.lastIndex = sliceLength
  for (let found = search.exec(text); found !== null; found = search.exec(text)) {
    const at = found.index
    if (!isPlain(text[at - 1]) || !isPlain(text[at + 1])) continue
    yield text.slice(start, at)
    start = at
    search.lastIndex = start + sliceLength
  }
  yield text.slice(start)
}

/** No space, nothing that a normalizer makes one of, and no half of a character. */
const isPlain = (char = ' ') => /[\p{L}\p{N}\p{P}]/u.test(char) && !/\s/.test(char.normalize('NFKC'))

/**
 * Before what a text may be cut so that its tokens are those of the slices; undefined: there may be no such place.
 * @param found what added tokens are looked for as in normalized text, where it is not what they are called
 */
export function separatorOf(tokenizer: Json, config: Json, found: Iterable<string> = []): RegExp | undefined {
  const { normalizer, pre_tokenizer: preTokenizer, added_tokens: added, model } = tokenizer
  const normalizers = partsOf(normalizer, 'normalizers')
  const splits = partsOf(preTokenizer, 'pretokenizers')
  const [first] = splits.filter(isSplitter)
  const isKnown =
    config['remove_space'] !== true &&
    normalizers.every(isLocal) &&
    splits.every((part) => isSplitter(part) || ['Punctuation', 'Digits'].includes(String(part['type']))) &&
    (added as readonly Json[]).every(({ rstrip }) => rstrip !== true) &&
    !(splits.some(({ type }) => type === 'Metaspace') && spansWords(model as Json))
  if (first === undefined || !isKnown) return undefined
  const spaced = normalizers.some(
    ({ type, handle_chinese_chars: apart }) => type === 'BertNormalizer' && apart !== false
  )
  const breaks = first['type'] === 'ByteLevel' ? first['add_prefix_space'] !== true : first['type'] !== 'Metaspace'
  const separators = [...(spaced ? [/[ \n\u4e00-\u9fff]/] : []), ...(breaks ? [/[ \n]/] : []), / /]
  // What is looked for as a whole must not be cut through. The spaces that BERT's normalizer puts around Chinese characters
  // are never a text's own.
  const contents = (added as readonly Json[]).map(({ content }) => String(content))
  const wholes = [...contents, ...Array.from(found, (text) => (spaced ? text.replace(spacedHan, '$1') : text))]
  // A normalizer that changes a separator may join what stands on its two sides.
  const patterns = normalizers.flatMap(({ pattern }) => (isPlainObject(pattern) ? [String(pattern['String'])] : []))
  return separators.find(
    (one) => wholes.every((text) => !one.test(text.slice(1))) && patterns.every((text) => !one.test(text))
  )
}

const spacedHan = new RegExp(` (${han.source}) `, 'gu')

const byCharacter = ['BertNormalizer', 'Lowercase', 'NFC', 'NFD', 'NFKC', 'NFKD', 'StripAccents', 'Precompiled']

/** Whether a normalizer does to a place what it would do without the rest of the text. */
function isLocal({ type, pattern, strip_left: left }: Json): boolean {
  if (type === 'Strip') return left !== true
  if (type !== 'Replace') return byCharacter.includes(String(type))
  const { String: text, Regex: expression } = isPlainObject(pattern) ? pattern : {}
  return typeof text === 'string' || expression === spaces
}

function isSplitter({ type, use_regex: usesExpression }: Json): boolean {
  if (type === 'ByteLevel') return usesExpression !== false
  return ['BertPreTokenizer', 'Whitespace', 'WhitespaceSplit', 'Metaspace'].includes(String(type))
}

/** Whether a token goes on behind a space, which Metaspace leaves to the vocabulary. */
function spansWords({ vocab }: Json): boolean {
  const tokens = Array.isArray(vocab)
    ? vocab.map((entry) => String((entry as unknown[])[0]))
    : Object.keys(vocab as Json)
  return tokens.some((token) => /[^▁]▁/.test(token))
}
