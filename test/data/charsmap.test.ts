import test from 'ava'
import { charsmapOf } from '../../lib/data/charsmap.js'

/** As SentencePiece writes one; each node of the trie has 256 places of its own. */
function mapOf(pairs: Readonly<Record<string, string>>): string {
  const units: number[] = []
  let texts = ''
  let nodes = 1
  const newNode = () => 256 * nodes++
  const link = (at: number, byte: number) => {
    const child = newNode()
    // The place of the node's children is a distance by exclusive or.
    units[at] = ((at ^ child) << 10) | byte
    return child
  }
  const root = link(0, 0)
  const children = new Map<string, number>()
  for (const [key, value] of Object.entries(pairs)) {
    let [base, path, at] = [root, '', 0]
    for (const byte of Buffer.from(key)) {
      path += `${byte} `
      at = base ^ byte
      base = children.get(path) ?? link(at, byte)
      children.set(path, base)
    }
    units[at] = (units[at] ?? 0) | 0x100
    units[base] = Buffer.byteLength(texts)
    texts += `${value}\0`
  }
  const trie = Buffer.alloc(4 * 256 * (nodes + 1))
  units.forEach((unit, i) => {
    trie.writeUInt32LE(unit >>> 0, 4 * i)
  })
  const length = Buffer.alloc(4)
  length.writeUInt32LE(trie.length)
  return Buffer.concat([length, trie, Buffer.from(texts)]).toString('base64')
}

const map = mapOf({
  H: 'h',
  '\r': ' ',
  é: 'e',
  ﬁ: 'fi',
  '\u200b': '',
  '\u200d': '~',
  'e\u0301': 'E',
  eb: 'no grapheme'
})

// What Python's tokenizers 0.22 gives for the same map.
const cases: Readonly<Record<string, string>> = {
  '': '',
  'Hello, H': 'hello, h',
  'a\rb': 'a b',
  // A line break of two is one grapheme, and its beginning is known.
  'a\r\nb': 'a b',
  'a\nb': 'a\nb',
  éﬁ: 'efi',
  'e\u0301x': 'Ex',
  'a\u200bb': 'ab',
  eb: 'eb',
  // Too long for a grapheme to be looked up: character by character.
  '\u{1f468}\u200d\u{1f469}': '\u{1f468}~\u{1f469}',
  'H\u0301\u0302\u0303': 'h\u0301\u0302\u0303',
  'H\u0301': 'h',
  ΩЖ中: 'ΩЖ中'
}

test('a text is mapped grapheme by grapheme, or character by character', (t) => {
  const apply = charsmapOf(map)
  for (const [text, expected] of Object.entries(cases)) t.is(apply(text), expected, JSON.stringify(text))
  t.is(apply(Object.keys(cases).join(' ')), Object.values(cases).join(' '))
})

test('what is no map is said to be none', (t) => {
  for (const bytes of [[], [1, 2], [255, 255, 0, 0], [3, 0, 0, 0, 1, 2, 3]]) {
    t.throws(() => charsmapOf(Buffer.from(bytes).toString('base64')), {
      message: /^precompiled_charsmap: expected a map/
    })
  }
})
