import type { Tokenizer } from '@huggingface/tokenizers'
import { isPlainObject } from '../config/check.js'
import type { Json } from './tokenizer-parts.js'
import { letter } from './tokenizer-splits.js'

// Where the library in JavaScript takes words that were added to a vocabulary otherwise than the one in Rust.

interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  readonly single_word: boolean
}

interface Splitter {
  split: (text: string) => string[]
}

/** What of the library's tokenizer is not in its types. */
interface Parts {
  /** By the content, and where a token is looked for in normalized text by its normalized content. */
  readonly added_tokens_map: ReadonlyMap<string, AddedToken>
  readonly splitter_unnormalized: Splitter
  readonly splitter_normalized: Splitter
  /** What pieces of words are looked up in, added tokens among them. */
  readonly model: { readonly tokens_to_ids: Map<string, number> }
}

const wordBefore = new RegExp(`[${letter}]$`, 'u')
const wordBehind = new RegExp(`^[${letter}]`, 'u')

/**
 * Ids of added tokens by the text that they are found as: an uncased vocabulary finds COVID as covid. Those of one word
 * (`single_word`) are no longer found inside of words.
 * @param model the content of tokenizer.json that it was made from
 */
export function takeAddedTokens(tokenizer: Tokenizer, model: Json): ReadonlyMap<string, number> {
  const parts = tokenizer as unknown as Parts
  const added = parts.added_tokens_map
  const ids = new Map([...added].flatMap(([text, { id, content }]) => (text === content ? [] : [[text, id]])))
  const words = [...added.values()].filter((token) => token.single_word)
  if (words.length === 0) return ids
  for (const splitter of [parts.splitter_unnormalized, parts.splitter_normalized]) {
    const split = splitter.split.bind(splitter)
    splitter.split = (text) => joined(split(text), (section) => added.get(section))
  }
  const { vocab } = model['model'] as Json
  for (const { id, content, special } of words) {
    if (special || !isPlainObject(vocab) || Object.hasOwn(vocab, content)) continue
    parts.model.tokens_to_ids.delete(content)
    ids.set(content, id)
  }
  return ids
}

/** Sections of a text, where each that is no token by itself is a part of the text around it. */
function joined(sections: readonly string[], tokenOf: (section: string) => AddedToken | undefined): string[] {
  const result: string[] = []
  let goesOn = false
  sections.forEach((section, i) => {
    const token = tokenOf(section)
    const isInside = wordBefore.test(sections[i - 1] ?? '') || wordBehind.test(sections[i + 1] ?? '')
    const isText = token === undefined || (token.single_word && isInside)
    if (isText && goesOn) result[result.length - 1] += section
    else result.push(section)
    goesOn = isText
  })
  return result
}
