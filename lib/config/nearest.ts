/** Cost to turn one word into another: insertions, deletions, substitutions and swapped neighbours, each 1. */
export function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      let cost = Math.min((previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, substitution)
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        cost = Math.min(cost, (beforePrevious[column - 2] ?? 0) + 1)
      }
      current.push(cost)
    }
    beforePrevious = previous
    previous = current
  }
  return previous[b.length] ?? 0
}

// A word far longer than any option is not a misspelling, and the distance table is quadratic.
export const longestWord = 64

/** Case, `_` and `-` are the usual slips (`warmup_ratio` for `warmupRatio`), so they cost nothing. */
export function plain(word: string): string {
  return word.toLowerCase().replace(/[_\-\s]/g, '')
}

/** The choice that a misspelled word most likely meant, if any is near enough to name. */
export function nearest(word: string, choices: Iterable<string>): string | undefined {
  if (word.length > longestWord) return undefined
  const wanted = plain(word)
  const all = [...choices]
  let best: string | undefined
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1
  for (const choice of all) {
    const other = plain(choice)
    const distance = editDistance(wanted, other)
    // Words of which nothing is alike are not near, however short.
    if (distance < bestDistance && distance < Math.max(wanted.length, other.length)) {
      best = choice
      bestDistance = distance
    }
  }
  return best ?? begunWith(wanted, all) ?? ofSameWords(word, all)
}

// `out` for `output`: too far from it as a misspelling, but the only choice that begins so.
function begunWith(wanted: string, choices: readonly string[]): string | undefined {
  if (wanted.length < 3) return undefined
  const begun = choices.filter((choice) => plain(choice).startsWith(wanted))
  return begun.length === 1 ? begun[0] : undefined
}

const wordsOf = (name: string) => name.split(/[_\-\s]|(?<=[a-z\d])(?=[A-Z])/).map((one) => one.toLowerCase())

const areOne = (a: string, b: string) => (a.length < b.length ? b.startsWith(a) : a.startsWith(b))

// `saveLimit` for `saveTotalLimit`: the only choice that has all its words, in their order, in short or at length.
function ofSameWords(word: string, choices: readonly string[]): string | undefined {
  const wanted = wordsOf(word)
  if (wanted.length < 2 || wanted.some(({ length }) => length < 3)) return undefined
  const has = (choice: string) => {
    let found = 0
    for (const one of wordsOf(choice)) if (areOne(wanted[found] ?? '-', one)) found++
    return found === wanted.length
  }
  const all = choices.filter(has)
  return all.length === 1 ? all[0] : undefined
}

/** ` Did you mean 'x'?` or nothing: the tail of a message about an unknown name. */
export function didYouMean(word: string, choices: Iterable<string>): string {
  const guess = nearest(word, choices)
  return guess === undefined ? '' : ` Did you mean '${guess}'?`
}
