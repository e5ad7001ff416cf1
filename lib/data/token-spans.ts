/** For each token the characters of the text that it stands for, [start, end) twice a token; -1: none that is known. */
export type TokenSpans = Int32Array

/**
 * Where tokens stand in their text. The tokens of a byte-level vocabulary spell the text byte by byte; those of the others
 * spell it as it is once case, accents and forms of letters are set aside. A token for unknown words gets what lies between
 * its neighbours.
 */
export function tokenSpans(text: string, tokens: readonly string[], isByteLevel: boolean): TokenSpans {
  return (isByteLevel ? byteSpans(text, tokens) : undefined) ?? letterSpans(text, tokens)
}

/** Undefined where the tokens do not spell the text. */
function byteSpans(text: string, tokens: readonly string[]): TokenSpans | undefined {
  const { bytes, starts, ends } = utf8(text)
  const total = tokens.reduce((sum, token) => sum + token.length, 0)
  // The space that some tokenizers put in front of a text.
  let at = bytes.length - total
  if (at !== 0 && at !== -1) return undefined
  const spans = new Int32Array(2 * tokens.length).fill(-1)
  tokens.forEach((token, i) => {
    let first = Math.max(0, at)
    at += token.length
    let last = at
    while (first < last && isSpace(bytes[first])) first++
    while (last > first && isSpace(bytes[last - 1])) last--
    if (first < last) spans.set([starts[first] ?? 0, ends[last - 1] ?? 0], 2 * i)
  })
  return spans
}

const isSpace = (byte: number | undefined) => byte === 32 || (byte !== undefined && byte >= 9 && byte <= 13)

/** Each byte's character, from where to where. */
function utf8(text: string): { bytes: Uint8Array; starts: Int32Array; ends: Int32Array } {
  const bytes = new TextEncoder().encode(text)
  const starts = new Int32Array(bytes.length)
  const ends = new Int32Array(bytes.length)
  let at = 0
  let byte = 0
  for (const character of text) {
    const count = new TextEncoder().encode(character).length
    starts.fill(at, byte, byte + count)
    ends.fill(at + character.length, byte, byte + count)
    at += character.length
    byte += count
  }
  return { bytes, starts, ends }
}

/** A text without what tokenizers may change: upper case hides that a lower-case sigma has two forms. */
function plainLetters(text: string): string {
  return text
    .normalize('NFKD')
    .toUpperCase()
    .normalize('NFKD')
    .replace(/[\p{M}\p{Z}\p{C}\s]/gu, '')
}

interface Letters {
  readonly letters: string
  /** For each of the letters the character that it comes from. */
  readonly starts: readonly number[]
  readonly ends: readonly number[]
}

function lettersOf(text: string): Letters {
  const parts: string[] = []
  const starts: number[] = []
  const ends: number[] = []
  let at = 0
  for (const character of text) {
    const plain = plainLetters(character)
    for (let i = 0; i < plain.length; i++) {
      starts.push(at)
      ends.push(at + character.length)
    }
    parts.push(plain)
    at += character.length
  }
  return { letters: parts.join(''), starts, ends }
}

/** `##` continues a word, `▁` and `Ġ` stand for the space before one. */
const withoutSigns = (token: string) => token.replace(/^##(?=.)/, '').replace(/[▁Ġ]/g, '')

/** How far an unknown word may reach. */
const longestUnknown = 256

/** Combining marks that a text begins or ends with: vowel signs, accents that are characters of their own. */
const marksBefore = (text: string) => [...(/^\p{M}+/u.exec(text.normalize('NFD'))?.[0] ?? '')].length
const marksBehind = (text: string) => [...(/\p{M}+$/u.exec(text.normalize('NFD'))?.[0] ?? '')].length

/** Behind so many marks of the text, or as many as are there. */
function behindMarks(text: string, from: number, most: number): number {
  let at = from
  for (let left = most; left > 0; left--) {
    const character = String.fromCodePoint(text.codePointAt(at) ?? 0)
    if (!/\p{M}/u.test(character)) break
    at += character.length
  }
  return at
}

function letterSpans(text: string, tokens: readonly string[]): TokenSpans {
  const { letters, starts, ends } = lettersOf(text)
  const signless = tokens.map(withoutSigns)
  const spelled = signless.map(plainLetters)
  // Tokenizers that strip accents have none; of the others' tokens marks are a part as letters are.
  const keepsMarks = signless.some((token) => /\p{M}/u.test(token.normalize('NFD')))
  const spans = new Int32Array(2 * tokens.length).fill(-1)
  /** Where the last token ends. */
  let ended = 0
  const mark = (token: number, start: number, end: number) => {
    if (end > start) spans.set([start, end], 2 * token)
    ended = Math.max(ended, end)
  }
  /** A token of these letters, with the marks that it has around them. */
  const markLetters = (token: number, first: number, last: number) => {
    const own = signless[token] ?? ''
    const leading = marksBefore(own)
    const begin = leading > 0 && behindMarks(text, ended, 1) > ended ? ended : undefined
    if (first === last) {
      if (begin !== undefined) mark(token, begin, behindMarks(text, begin, leading))
      return
    }
    const end = ends[last - 1] ?? 0
    const inLast = marksBehind(text.slice(starts[last - 1], end))
    mark(token, begin ?? starts[first] ?? 0, behindMarks(text, end, marksBehind(own) - inLast))
  }
  const beginsWord = (at: number) => {
    const start = starts[at] ?? 0
    return start === 0 || !/[\p{L}\p{N}]/u.test(text.charAt(start - 1)) || !/[\p{L}\p{N}]/u.test(text.charAt(start))
  }
  /** The next place, from `at` on, where a known word can stand. */
  const find = (word: string, at: number): number => {
    let found = letters.indexOf(word, at)
    while (found >= 0 && !beginsWord(found)) found = letters.indexOf(word, found + 1)
    return found - at > longestUnknown ? -1 : found
  }
  let at = 0
  for (let i = 0; i < tokens.length; i++) {
    const word = spelled[i] ?? ''
    if (letters.startsWith(word, at)) {
      markLetters(i, at, at + word.length)
      at += word.length
      continue
    }
    // Unknown, as may be some of those that follow; each stands for a character at least.
    let next = i + 1
    let found = -1
    for (; next < tokens.length && found < 0; next++) found = find(spelled[next] ?? '', at + next - i)
    const end = found < 0 ? letters.length : found
    const last = found < 0 ? tokens.length : next - 1
    const behind = end > at ? behindMarks(text, ends[end - 1] ?? 0, keepsMarks ? text.length : 0) : 0
    for (let unknown = i; unknown < last; unknown++) mark(unknown, starts[at] ?? 0, behind)
    at = end
    i = last - 1
  }
  return spans
}
