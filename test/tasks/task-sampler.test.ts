import test from 'ava'
import { TaskSampler, type TaskSamplerOptions } from '../../lib/tasks/task-sampler.js'

const sizes = [10, 3, 6].map((steps) => ({ rows: steps * 4, steps: () => steps }))

/** The counts of so many rounds of one epoch, added up, and how many rounds it has. */
function epoch(options: Omit<TaskSamplerOptions, 'sizes' | 'seed'>, number = 0) {
  const totals = [0, 0, 0]
  const orders: string[] = []
  for (const { counts, epoch, count } of new TaskSampler({ ...options, sizes, seed: 3 }).rounds()) {
    if (epoch > number) return { totals, orders }
    if (epoch < number) continue
    counts.forEach((value, task) => {
      totals[task] = (totals[task] ?? 0) + value
    })
    orders.push(counts.join())
    if (orders.length > count) throw new Error('more rounds than it says')
  }
  throw new Error('it ended')
}

test('exhaustive has every batch of every task once', (t) => {
  for (const mode of ['fused', 'alternate'] as const) {
    for (const number of [0, 1]) t.deepEqual(epoch({ sampling: 'exhaustive', mode }, number).totals, [10, 3, 6])
  }
  const { orders } = epoch({ sampling: 'exhaustive', mode: 'fused' })
  t.is(orders.length, 10)
  const where = orders.flatMap((counts, round) => (counts.split(',')[1] === '1' ? [round] : []))
  t.deepEqual(where, [3, 6, 9], 'a small task is spread over the epoch')
  const [first, second] = [0, 1].map((number) => epoch({ sampling: 'exhaustive', mode: 'alternate' }, number).orders)
  t.notDeepEqual(first, second)
})

test('round robin takes one of each in turn until the longest is through', (t) => {
  t.deepEqual(epoch({ sampling: 'round_robin', mode: 'fused' }).totals, [10, 10, 10])
  const { totals, orders } = epoch({ sampling: 'round_robin', mode: 'alternate' })
  t.deepEqual(totals, [10, 10, 10])
  t.deepEqual(orders.slice(0, 4), ['1,0,0', '0,1,0', '0,0,1', '1,0,0'])
})

test('sequential is the plain loop over tasks', (t) => {
  const { orders } = epoch({ sampling: 'sequential', mode: 'alternate' })
  t.deepEqual(orders, [...Array(10).fill('1,0,0'), ...Array(3).fill('0,1,0'), ...Array(6).fill('0,0,1')])
})

test('draws follow n, its root, and its power by temperature', (t) => {
  for (const mode of ['fused', 'alternate'] as const) {
    for (const [sampling, power] of [
      ['proportional', 1],
      ['sqrt', 0.5],
      [{ temperature: 5 }, 0.2]
    ] as const) {
      const sampler = new TaskSampler({ sizes, sampling, mode, seed: 11 })
      const totals = [0, 0, 0]
      let rounds = 0
      for (const { counts } of sampler.rounds()) {
        counts.forEach((value, task) => {
          totals[task] = (totals[task] ?? 0) + value
        })
        if (++rounds === 6000) break
      }
      const all = totals.reduce((sum, value) => sum + value, 0)
      t.is(all, mode === 'fused' ? 18_000 : 6000)
      const weights = sizes.map(({ rows }) => rows ** power)
      const sum = weights.reduce((total, weight) => total + weight, 0)
      totals.forEach((value, task) => {
        t.true(Math.abs(value / all - (weights[task] ?? 0) / sum) < 0.025, `${JSON.stringify(sampling)}, task ${task}`)
      })
    }
  }
})

test('the same seed gives the same rounds, and a number of epochs its rounds', (t) => {
  const options = { sizes, sampling: 'sqrt', mode: 'fused' } as const
  const first = (seed: number) => {
    const orders = []
    for (const { counts } of new TaskSampler({ ...options, seed }).rounds()) {
      orders.push(counts.join())
      if (orders.length === 50) return orders
    }
    return []
  }
  t.deepEqual(first(1), first(1))
  t.notDeepEqual(first(1), first(2))
  const sampler = new TaskSampler({ ...options, seed: 1 })
  t.is(sampler.roundsIn(2), 14)
  t.is(sampler.roundsIn(1.5), 11)
  t.is(new TaskSampler({ ...options, sampling: 'exhaustive', mode: 'alternate', seed: 1 }).roundsIn(0.5), 10)
})
