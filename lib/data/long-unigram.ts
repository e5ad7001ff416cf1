import type { Tokenizer } from '@huggingface/tokenizers'

interface UnigramModel {
  encode(words: readonly string[]): string[]
  tokenize(word: string): string[]
}

/** Of a unigram model: the library gives all tokens of a word to one call as arguments, for which a long word has too many. */
export function takeLongWords({ model }: Tokenizer): void {
  const unigram = model as unknown as UnigramModel
  unigram.encode = (words) => words.flatMap((word) => unigram.tokenize(word))
}
