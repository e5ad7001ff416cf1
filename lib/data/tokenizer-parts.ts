import { isPlainObject } from '../config/check.js'

export type Json = Readonly<Record<string, unknown>>

/** Of a part of tokenizer.json those that it is made of, or itself. `list`: what a Sequence calls them. */
export function partsOf(part: unknown, list: 'normalizers' | 'pretokenizers' | 'decoders'): Json[] {
  if (!isPlainObject(part)) return []
  const parts = part[list]
  return part['type'] === 'Sequence' && Array.isArray(parts) ? parts.flatMap((one) => partsOf(one, list)) : [part]
}

/** Whether a tokenizer makes small letters of capitals. */
export function lowersText({ normalizer }: Json): boolean {
  return partsOf(normalizer, 'normalizers').some(
    ({ type, lowercase }) => type === 'Lowercase' || (type === 'BertNormalizer' && lowercase !== false)
  )
}

/** The expression that makes one space of several; SentencePiece's tokenizers bring it. */
export const spaces = ' {2,}'

/** Words are cut where they are longer; BERT's tokenizers say 100. */
const usualWord = 1000

/**
 * Whether a file may keep a tokenizer at work for as long as it likes: by a regular expression of its own,
 * or words of any length. What the other parts do takes a time that goes with the text's length.
 */
export function mayTakeForever({ normalizer, pre_tokenizer: preTokenizer, decoder, model }: Json): boolean {
  const parts = [
    ...partsOf(normalizer, 'normalizers'),
    ...partsOf(preTokenizer, 'pretokenizers'),
    ...partsOf(decoder, 'decoders')
  ]
  const { max_input_chars_per_word: longestWord } = model as Json
  return (
    parts.some(({ pattern }) => {
      const expression = isPlainObject(pattern) ? pattern['Regex'] : undefined
      return expression !== undefined && expression !== spaces
    }) ||
    (typeof longestWord === 'number' && longestWord > usualWord)
  )
}
