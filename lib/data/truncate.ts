/**
 * Lengths that two texts keep so that together they fit, `longest_first`: the longer one gives up tokens until both
 * are equally long, then both. The rule (and who keeps the odd token) is that of the Rust tokenizers.
 */
export function longestFirst(first: number, second: number, room: number): [number, number] {
  if (first + second <= room) return [first, second]
  const shorter = Math.min(first, second)
  let short = shorter
  let long = shorter > room ? shorter : Math.max(shorter, room - shorter)
  if (short + long > room) {
    short = Math.floor(room / 2)
    long = short + (room % 2)
  }
  return first > second ? [long, short] : [short, long]
}

/** Keeps `count` items: the first ones, or the last ones where the tokenizer cuts on the left. */
export function keep<T>(items: readonly T[], count: number, side: 'left' | 'right'): readonly T[] {
  if (items.length <= count) return items
  return side === 'right' ? items.slice(0, count) : items.slice(items.length - count)
}
