import test from 'ava'
import { Sampler } from '../../lib/data/sampler.js'

const rows = (batches: Iterable<Uint32Array>) => [...batches].map((batch) => [...batch])

test('each epoch holds every row once, in an order of its own', (t) => {
  const sampler = new Sampler({ length: 10, batchSize: 3, seed: 1 })
  const epochs = [0, 1].map((epoch) => rows(sampler.batches(epoch)))
  for (const epoch of epochs) {
    t.deepEqual(
      epoch.map((batch) => batch.length),
      [3, 3, 3, 1]
    )
    t.deepEqual(
      epoch.flat().sort((a, b) => a - b),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    )
  }
  t.notDeepEqual(epochs[0], epochs[1])
})

test('resuming in the middle gives the rest of the same epoch', (t) => {
  const options = { length: 100, batchSize: 8, seed: 9 }
  const whole = rows(new Sampler(options).batches(3))
  t.deepEqual(rows(new Sampler(options).batches(3, 5)), whole.slice(5))
})

test('without shuffling the rows come as they are; dropLast leaves out the rest', (t) => {
  const sampler = new Sampler({ length: 5, batchSize: 2, shuffle: false, dropLast: true })
  t.is(sampler.batchCount(0), 2)
  t.deepEqual(rows(sampler.batches(0)), [
    [0, 1],
    [2, 3]
  ])
})

test('sizes are checked', (t) => {
  t.throws(() => new Sampler({ length: 0, batchSize: 1 }), { message: /length: expected a positive integer/ })
  t.throws(() => new Sampler({ length: 1, batchSize: 0 }))
})

for (const options of [{}, { groupSize: 8 }, { maxTokens: 100 }, { groupSize: 8, maxTokens: 100 }])
  test(`an order that is prepared is the one that is drawn at once, ${JSON.stringify(options)}`, async (t) => {
    const length = 40_000
    const lengths = Uint32Array.from({ length }, (_, i) => 3 + ((i * 31) % 50))
    const all = { length, batchSize: 8, lengths, ...options }
    const [prepared, drawn] = [new Sampler(all), new Sampler(all)]
    for (const epoch of [1, 0]) {
      await prepared.prepare(epoch)
      t.is(prepared.batchCount(epoch), drawn.batchCount(epoch))
      t.deepEqual(prepared.order(epoch), drawn.order(epoch))
      const made = rows(prepared.batches(epoch))
      t.is(made.length, drawn.batchCount(epoch))
      t.deepEqual(made.flat(), [...drawn.order(epoch)])
    }
    t.deepEqual(
      Array.from(drawn.order(0)).sort((a, b) => a - b),
      Array.from({ length }, (_, i) => i)
    )
  })

test('groups of rows of one length begin with the longest, and are sorted in stretches', (t) => {
  const lengths = Uint32Array.from({ length: 64 }, (_, i) => 1 + ((i * 7) % 23))
  const order = new Sampler({ length: 64, batchSize: 2, lengths, groupSize: 2, seed: 3 }).order(0)
  const plain = new Sampler({ length: 64, batchSize: 2, seed: 3 }).order(0)
  // 64 rows in groups of 2: stretches of 16.
  const sorted = [0, 16, 32, 48].flatMap((start) =>
    Array.from(plain.slice(start, start + 16)).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0))
  )
  const longest = sorted.findIndex((row) => lengths[row] === 23)
  const first = sorted[0] ?? 0
  sorted[0] = sorted[longest] ?? 0
  sorted[longest] = first
  t.deepEqual([...order], sorted)
})
