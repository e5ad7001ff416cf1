// Byte-pair learning of a WordPiece vocabulary: words begin as single characters (`##c` inside a word), and the pair
// of neighbours that occurs most often becomes a piece of its own, again and again. Ties go to the pair whose left piece
// is older, so the same text gives the same vocabulary.

/** Pair of piece ids as one number; 2^20 pieces are far more than any vocabulary here. */
const pairKey = (/** @type {number} */ left, /** @type {number} */ right) => left * 0x100000 + right

/**
 * The words that BERT's own splitting makes: lower case, each punctuation mark alone. ASCII only.
 * @param {Iterable<string>} lines
 * @returns {Map<string, number>} how often each word occurs
 */
export function countWords(lines) {
  const counts = new Map()
  for (const line of lines) {
    for (const word of line.toLowerCase().match(/[a-z0-9]+|[!-/:-@[-`{-~]/g) ?? []) {
      counts.set(word, (counts.get(word) ?? 0) + 1)
    }
  }
  return counts
}

/**
 * @param {Map<string, number>} words
 * @param {string[]} first pieces that are there in any case: special tokens, the alphabet
 * @param {number} size of the vocabulary
 * @returns {string[]} the pieces in the order of their ids
 */
export function learnPieces(words, first, size) {
  const pieces = [...first]
  const ids = new Map(pieces.map((piece, id) => [piece, id]))
  const idOf = (/** @type {string} */ piece) => {
    const known = ids.get(piece)
    if (known !== undefined) return known
    ids.set(piece, pieces.length)
    return pieces.push(piece) - 1
  }
  const corpus = [...words].map(([word, count]) => ({
    count,
    symbols: Array.from(word, (char, at) => idOf(at === 0 ? char : `##${char}`))
  }))
  const pairs = new PairCounts()
  for (const [word, { symbols, count }] of corpus.entries()) pairs.add(symbols, count, word)
  while (pieces.length < size) {
    const best = pairs.takeMostFrequent()
    if (best === undefined) throw new Error(`Learning pieces: the text gives ${pieces.length} pieces, not ${size}.`)
    const [left, right] = best
    const merged = idOf(`${pieces[left]}${(pieces[right] ?? '').replace(/^##/, '')}`)
    for (const word of pairs.wordsWith(left, right)) {
      const entry = corpus[word]
      if (entry === undefined) continue
      pairs.add(entry.symbols, -entry.count, word)
      entry.symbols = mergePair(entry.symbols, left, right, merged)
      pairs.add(entry.symbols, entry.count, word)
    }
  }
  return pieces
}

/** @param {number[]} symbols @param {number} left @param {number} right @param {number} merged */
function mergePair(symbols, left, right, merged) {
  const result = []
  for (let i = 0; i < symbols.length; i++) {
    const here = /** @type {number} */ (symbols[i])
    const isPair = here === left && symbols[i + 1] === right
    result.push(isPair ? merged : here)
    if (isPair) i++
  }
  return result
}

/** How often each pair of neighbours occurs, and where; a heap that is corrected when read finds the largest. */
class PairCounts {
  /** @type {Map<number, number>} */ counts = new Map()
  /** @type {Map<number, Set<number>>} */ places = new Map()
  /** @type {{ key: number, count: number }[]} */ heap = []
  /** @type {Set<number>} pairs whose entry in the heap is older than their count */ grown = new Set()

  /** @param {number[]} symbols @param {number} count negative: takes away @param {number} word */
  add(symbols, count, word) {
    for (let i = 1; i < symbols.length; i++) {
      const key = pairKey(/** @type {number} */ (symbols[i - 1]), /** @type {number} */ (symbols[i]))
      this.counts.set(key, (this.counts.get(key) ?? 0) + count)
      if (count < 0) continue
      this.grown.add(key)
      const places = this.places.get(key)
      if (places === undefined) this.places.set(key, new Set([word]))
      else places.add(word)
    }
  }

  /** @returns {[left: number, right: number] | undefined} */
  takeMostFrequent() {
    for (const key of this.grown) this.#push({ key, count: this.counts.get(key) ?? 0 })
    this.grown.clear()
    for (let top = this.#pop(); top !== undefined; top = this.#pop()) {
      const count = this.counts.get(top.key) ?? 0
      if (count <= 0) continue
      if (count === top.count) {
        return [Math.floor(top.key / 0x100000), top.key % 0x100000]
      }
      // Counts that fell wait here; those that grew have a newer entry as well, which came out first.
      if (count < top.count) this.#push({ key: top.key, count })
    }
    return undefined
  }

  /** @param {number} left @param {number} right @returns {number[]} a copy: merging changes the sets */
  wordsWith(left, right) {
    const key = pairKey(left, right)
    const words = [...(this.places.get(key) ?? [])]
    this.places.delete(key)
    return words
  }

  /** @param {{ key: number, count: number }} entry */
  #push(entry) {
    const heap = this.heap
    let at = heap.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(heap, at, parent)) break
      swap(heap, at, parent)
      at = parent
    }
  }

  #pop() {
    const heap = this.heap
    if (heap.length === 0) return undefined
    swap(heap, 0, heap.length - 1)
    const top = heap.pop()
    for (let at = 0; ; ) {
      let first = at
      if (2 * at + 1 < heap.length && before(heap, 2 * at + 1, first)) first = 2 * at + 1
      if (2 * at + 2 < heap.length && before(heap, 2 * at + 2, first)) first = 2 * at + 2
      if (first === at) return top
      swap(heap, at, first)
      at = first
    }
  }
}

/** @param {{ key: number, count: number }[]} heap @param {number} a @param {number} b */
function before(heap, a, b) {
  const [x, y] = [heap[a], heap[b]]
  if (x === undefined || y === undefined) return false
  return x.count > y.count || (x.count === y.count && x.key < y.key)
}

/** @template T @param {T[]} list @param {number} a @param {number} b */
function swap(list, a, b) {
  const kept = /** @type {T} */ (list[a])
  list[a] = /** @type {T} */ (list[b])
  list[b] = kept
}
