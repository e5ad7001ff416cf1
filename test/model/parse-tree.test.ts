import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { parseTree } from '../../lib/model/parse-tree.js'

/** Every choice of heads that leads to the root, the best of them. */
function bestByHand(scores: readonly (readonly number[])[]): number {
  const count = scores.length
  let best = Number.NEGATIVE_INFINITY
  for (let code = 0; code < (count + 1) ** count; code++) {
    const heads = scores.map((_, i) => Math.floor(code / (count + 1) ** i) % (count + 1))
    const leads = heads.every((_, word) => {
      let node = word + 1
      for (let step = 0; step <= count && node > 0; step++) node = heads[node - 1] ?? 0
      return node === 0
    })
    if (leads)
      best = Math.max(
        best,
        heads.reduce((sum, head, i) => sum + (scores[i]?.[head] ?? 0), 0)
      )
  }
  return best
}

test('the best tree of all, also where each word’s best head makes a circle', (t) => {
  const random = Random.fromSeed(7)
  for (let round = 0; round < 60; round++) {
    const count = 1 + (round % 5)
    const scores = Array.from({ length: count }, () => Array.from({ length: count + 1 }, () => random.nextFloat() * 4))
    const pairs = Float32Array.from(scores.flatMap((row) => row.flatMap((value) => [value, 1, 2])))
    const tree = parseTree(pairs, 3)
    const sum = tree.reduce((total, { head }, i) => total + (scores[i]?.[head] ?? 0), 0)
    t.true(Math.abs(sum - bestByHand(scores)) < 1e-5, `${round}: ${sum}`)
    t.true(tree.every(({ relation, score }) => relation === 1 && score > 0 && score <= 1))
  }
})

test('two words that choose each other: one of them goes to the root', (t) => {
  const pairs = Float32Array.of(0, 0, 9, /* second */ 1, 9, 0)
  t.deepEqual(
    parseTree(pairs, 1).map(({ head }) => head),
    [2, 0]
  )
  t.deepEqual(parseTree(new Float32Array(), 4), [])
})
