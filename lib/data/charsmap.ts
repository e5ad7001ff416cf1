/*
 * SentencePiece's map of characters, as tokenizer.json's Precompiled normalizer has it: in base64 the length of a trie in
 * bytes, the trie (a double array of darts-clone: numbers of 32 bits), and the texts that its values point to, each ended by
 * a zero byte. Text is mapped as the library in Rust does it: a grapheme of less than six bytes by the shortest beginning
 * that the trie has, any other one character by character.
 */

const mostBytes = 5

const graphemes = new Intl.Segmenter('en', { granularity: 'grapheme' })
const encoder = new TextEncoder()

/** What a map does to a text. */
export function charsmapOf(base64: string): (text: string) => string {
  const map = new Charsmap(Buffer.from(base64, 'base64'))
  return (text) => map.apply(text)
}

class Charsmap {
  readonly #trie: Uint32Array
  readonly #texts: Buffer
  /** What characters become, as far as they have been met; undefined: they stay. */
  readonly #known = new Map<string, string | undefined>()

  constructor(bytes: Buffer) {
    const length = bytes.length < 4 ? Number.NaN : bytes.readUInt32LE(0)
    if (!(length % 4 === 0 && length <= bytes.length - 4)) {
      throw new Error(
        `precompiled_charsmap: expected a map of SentencePiece's, got ${bytes.length} bytes that are none`
      )
    }
    this.#trie = Uint32Array.from({ length: length / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i))
    this.#texts = bytes.subarray(4 + length)
  }

  apply(text: string): string {
    let result = ''
    for (const whole of isPlain(text) ? text : wholes(text)) {
      const mapped =
        whole.length <= mostBytes && encoder.encode(whole).length <= mostBytes ? this.#mapped(whole) : undefined
      if (mapped !== undefined) result += mapped
      else for (const char of whole) result += this.#mapped(char) ?? char
    }
    return result
  }

  #mapped(part: string): string | undefined {
    if (!this.#known.has(part)) this.#known.set(part, this.#lookUp(encoder.encode(part)))
    return this.#known.get(part)
  }

  #lookUp(key: Uint8Array): string | undefined {
    const unit = (at: number) => this.#trie[at] ?? 0
    let at = offsetOf(unit(0))
    for (const byte of key) {
      at ^= byte
      const found = unit(at)
      if (byte === 0 || (found & 0x800000ff) !== byte) return undefined
      at ^= offsetOf(found)
      if (((found >>> 8) & 1) === 1) return this.#textAt(unit(at) & 0x7fffffff)
    }
    return undefined
  }

  #textAt(start: number): string {
    const end = this.#texts.indexOf(0, start)
    return this.#texts.toString('utf8', start, end < 0 ? this.#texts.length : end)
  }
}

const offsetOf = (unit: number): number => (unit >>> 10) << ((unit & 0x200) >>> 6)

/** Each of its characters is a grapheme: ASCII but for a line break of two. */
const isPlain = (text: string): boolean => /^\p{ASCII}*$/u.test(text) && !text.includes('\r\n')

function* wholes(text: string): Generator<string> {
  for (const { segment } of graphemes.segment(text)) yield segment
}
