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
