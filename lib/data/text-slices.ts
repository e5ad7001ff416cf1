import { isPlainObject } from '../config/check.js'

// Tokenizing takes the thread for as long as a text is. Most tokenizers read what stands on one side of a space as if there
// were nothing on the other: their tokens of a text are those of its slices, one after the other, and of a long text that is
// cut afterwards the first slices are enough.

type Json = Readonly<Record<string, unknown>>

/** Characters of a slice: a fraction of a millisecond's work. */
const sliceLength = 2048

/** A text in slices, each but the first beginning with a space that stands alone between two plain characters. */
export function* slices(text: string): Generator<string> {
  let start = 0
  for (let at = text.indexOf(' ', sliceLength); at >= 0; at = text.indexOf(' ', at + 1)) {
    if (at - start < sliceLength || !isPlain(text[at - 1]) || !isPlain(text[at + 1])) continue
    yield text.slice(start, at)
    start = at
  }
  yield text.slice(start)
}

/** No space, nothing that a normalizer makes one of, and no half of a character. */
const isPlain = (char = ' ') => /[\p{L}\p{N}\p{P}]/u.test(char) && !/\s/.test(char.normalize('NFKC'))

/** Whether a tokenizer's tokens of a text are those of its slices. Of parts that are not known the answer is no. */
export function readsInSlices(tokenizer: Json, config: Json): boolean {
  const { normalizer, pre_tokenizer: preTokenizer, added_tokens: added, model } = tokenizer
  const splits = partsOf(preTokenizer, 'pretokenizers')
  return (
    config['remove_space'] !== true &&
    partsOf(normalizer, 'normalizers').every(keepsApart) &&
    splits.every((part) => isSplitter(part) || ['Punctuation', 'Digits'].includes(String(part['type']))) &&
    splits.some(isSplitter) &&
    (added as readonly Json[]).every(({ content, rstrip }) => rstrip !== true && !/\s/.test(String(content))) &&
    (!splits.some(({ type }) => type === 'Metaspace') || !spansWords(model as Json))
  )
}

function partsOf(part: unknown, list: string): Json[] {
  if (!isPlainObject(part)) return []
  const parts = part[list]
  return part['type'] === 'Sequence' && Array.isArray(parts) ? parts.flatMap((one) => partsOf(one, list)) : [part]
}

const byCharacter = ['BertNormalizer', 'Lowercase', 'NFC', 'NFD', 'NFKC', 'NFKD', 'StripAccents', 'Precompiled']

function keepsApart({ type, pattern, strip_left: left }: Json): boolean {
  if (type === 'Strip') return left !== true
  if (type !== 'Replace') return byCharacter.includes(String(type))
  const { String: text, Regex: expression } = isPlainObject(pattern) ? pattern : {}
  // A slice begins with its space.
  return typeof text === 'string' ? !text.includes(' ', 1) : expression === ' {2,}'
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
