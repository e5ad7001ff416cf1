/** A word's head (0: the root, 1: the first word) and the relation's number. */
export interface ParsedWord {
  readonly head: number
  readonly relation: number
  /** The probability of the head among all, times that of the relation. */
  readonly score: number
}

/**
 * The best tree over a row's words: each has one head, and all lead to the root (Chu & Liu 1965, Edmonds 1967). Heads that
 * each word would choose for itself may run in a circle.
 * @param pairs [words × (words + 1), 1 + relations]: of each head how well it is that, and by which relation
 */
export function parseTree(pairs: Float32Array, width: number): ParsedWord[] {
  const count = Math.round((Math.sqrt(1 + (4 * pairs.length) / width) - 1) / 2)
  const at = (word: number, head: number) => ((word - 1) * (count + 1) + head) * width
  const scores = Array.from({ length: count + 1 }, (_, word) =>
    Array.from({ length: count + 1 }, (_, head) =>
      word === 0 || word === head ? Number.NEGATIVE_INFINITY : (pairs[at(word, head)] ?? 0)
    )
  )
  const heads = arborescence(scores)
  return Array.from({ length: count }, (_, i) => {
    const head = heads[i + 1] ?? 0
    const relations = pairs.subarray(at(i + 1, head) + 1, at(i + 1, head) + width)
    const relation = relations.reduce((best, value, r) => (value > (relations[best] ?? 0) ? r : best), 0)
    const all = Array.from({ length: count + 1 }, (_, other) => pairs[at(i + 1, other)] ?? 0)
    return { head, relation, score: share(all, head) * share(relations, relation) }
  })
}

function share(values: ArrayLike<number>, index: number): number {
  const list = Array.from(values)
  const top = Math.max(...list)
  return Math.exp((list[index] ?? 0) - top) / list.reduce((sum, value) => sum + Math.exp(value - top), 0)
}

/** scores[word][head], node 0 the root; gives each node's head. */
function arborescence(scores: readonly (readonly number[])[]): number[] {
  const heads = scores.map((row, word) => (word === 0 ? 0 : row.indexOf(Math.max(...row))))
  const circle = findCircle(heads)
  if (circle === null) return heads
  // The circle becomes one node; what enters it pays for the edge that it breaks.
  const inside = new Set(circle)
  const outside = scores.map((_, node) => node).filter((node) => !inside.has(node))
  const joined = outside.length
  const own = (node: number) => scores[node]?.[heads[node] ?? 0] ?? 0
  const gain = (node: number, head: number) => (scores[node]?.[head] ?? Number.NEGATIVE_INFINITY) - own(node)
  const best = (nodes: readonly number[], value: (node: number) => number) =>
    nodes.reduce((one, other) => (value(other) > value(one) ? other : one))
  const entry = outside.map((head) => best(circle, (node) => gain(node, head)))
  const exit = outside.map((word) => best(circle, (node) => scores[word]?.[node] ?? Number.NEGATIVE_INFINITY))
  const smaller = outside.map((word, w) => [
    ...outside.map((head) => scores[word]?.[head] ?? Number.NEGATIVE_INFINITY),
    w === 0 ? Number.NEGATIVE_INFINITY : (scores[word]?.[exit[w] ?? 0] ?? Number.NEGATIVE_INFINITY)
  ])
  smaller.push([...outside.map((head, h) => gain(entry[h] ?? 0, head)), Number.NEGATIVE_INFINITY])
  const solved = arborescence(smaller)
  outside.forEach((word, w) => {
    const head = solved[w] ?? 0
    if (word !== 0) heads[word] = head === joined ? (exit[w] ?? 0) : (outside[head] ?? 0)
  })
  const into = solved[joined] ?? 0
  heads[entry[into] ?? 0] = outside[into] ?? 0
  return heads
}

function findCircle(heads: readonly number[]): number[] | null {
  const done = new Set<number>([0])
  for (let start = 1; start < heads.length; start++) {
    const path: number[] = []
    let node = start
    while (!done.has(node) && !path.includes(node)) {
      path.push(node)
      node = heads[node] ?? 0
    }
    if (path.includes(node)) return path.slice(path.indexOf(node))
    for (const passed of path) done.add(passed)
  }
  return null
}
