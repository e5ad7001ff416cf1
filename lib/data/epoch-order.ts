import { Random } from './random.js'

// In pieces: each generator gives nothing between them, and what it made at its end.

/** Rows that are handled at a stretch: a millisecond or two. */
const piece = 1 << 14

/** All at once. */
export function drained<T>(work: Generator<void, T, undefined>): T {
  for (;;) {
    const { done, value } = work.next()
    if (done === true) return value
  }
}

/** The numbers from 0, in the random order of these seeds, or without any as they are. */
export function* shuffled(
  length: number,
  seeds: readonly number[] | undefined
): Generator<void, Uint32Array, undefined> {
  const rows = new Uint32Array(length)
  for (let row = 0; row < length; row++) rows[row] = row
  if (seeds === undefined) return rows
  const random = Random.fromSeed(...seeds)
  for (let from = length - 1; from > 0; from -= piece) {
    random.shuffle(rows, from, Math.max(0, from - piece))
    yield
  }
  return rows
}

/**
 * As transformers' get_length_grouped_indices: the random order is cut into stretches of up to 50 groups, each sorted from
 * the longest row down, and the longest row of all comes first, so that memory that does not suffice shows at once.
 */
export function* byLength(
  order: Uint32Array,
  lengths: Uint32Array,
  groupSize: number
): Generator<void, Uint32Array, undefined> {
  const lengthOf = (row: number) => lengths[row] ?? 0
  const longestOf = lengths.reduce((most, length) => Math.max(most, length), 0)
  const stretch = groupSize * Math.max(1, Math.min(50, Math.floor(order.length / (groupSize * 4))))
  const result = new Uint32Array(order.length)
  let longest = 0
  for (let start = 0; start < order.length; start += stretch) {
    const rows = order.subarray(start, start + stretch)
    // Numbers that sort by length, then by place: without a comparison in JavaScript.
    const keys = new Float64Array(rows.length)
    for (let i = 0; i < rows.length; i++) keys[i] = (longestOf - lengthOf(rows[i] ?? 0)) * rows.length + i
    keys.sort()
    for (let i = 0; i < rows.length; i++) result[start + i] = rows[(keys[i] ?? 0) % rows.length] ?? 0
    if (lengthOf(result[start] ?? 0) > lengthOf(result[longest] ?? 0)) longest = start
    yield
  }
  const first = result[0] ?? 0
  result[0] = result[longest] ?? 0
  result[longest] = first
  return result
}

/** Where the batch that begins at a place ends: a row with more tokens is a batch alone. */
function endWithin(start: number, order: Uint32Array, lengths: Uint32Array, maxTokens: number): number {
  let at = start
  let tokens = 0
  while (at < order.length) {
    tokens += lengths[order[at] ?? 0] ?? 0
    if (at > start && tokens > maxTokens) break
    at++
  }
  return at
}

/** Batches of at most so many tokens, each as full as the order allows. */
export function* batchesWithin(
  order: Uint32Array,
  lengths: Uint32Array,
  maxTokens: number
): Generator<Uint32Array, void, undefined> {
  for (let start = 0; start < order.length; ) {
    const end = endWithin(start, order, lengths, maxTokens)
    yield order.subarray(start, end)
    start = end
  }
}

/** How many there are of them. */
export function* countWithin(
  order: Uint32Array,
  lengths: Uint32Array,
  maxTokens: number
): Generator<void, number, undefined> {
  let [count, counted] = [0, 0]
  for (let start = 0; start < order.length; start = endWithin(start, order, lengths, maxTokens)) {
    count++
    if (start - counted < piece) continue
    counted = start
    yield
  }
  return count
}
