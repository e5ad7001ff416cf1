import { setTimeout as wait } from 'node:timers/promises'
import test from 'ava'
import { AdapterTrainer, MultiTaskTrainer, type TasksEvent, type TrainingEvent } from '../../lib/index.js'
import { load, quiet, tinyRows } from '../model/support.js'

const trainDataset = tinyRows(16)
const seconds = 1.5
const computeMetrics = async () => {
  await wait(seconds * 1000)
  return { x: 1 }
}
// Steps of a few milliseconds, and an evaluation between two logs that takes seconds.
const args = {
  ...quiet,
  maxSteps: 2,
  loggingStrategy: 'steps',
  loggingSteps: 2,
  evalStrategy: 'steps',
  evalSteps: 1
} as const

async function timeCounted(events: AsyncIterable<TrainingEvent | TasksEvent>): Promise<number> {
  let [tokens, counted] = [0, Number.NaN]
  for await (const event of events) {
    if (event.type === 'step') tokens += event.tokens
    if (event.type === 'log') counted = tokens / event.tokensPerSecond
  }
  return counted
}

test('what a run takes a second leaves out its evaluations, of one task and of several', async (t) => {
  const model = await load(t)
  model.addAdapter('a', 'seq_bn')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  const evalDataset = trainDataset.slice(0, 2)
  const one = new AdapterTrainer({ model, trainDataset, evalDataset, computeMetrics, args })
  const task = { dataset: trainDataset, evalDataset, computeMetrics }
  const several = new MultiTaskTrainer({ model, tasks: { a: task }, args })
  for (const trainer of [one, several]) {
    const counted = await timeCounted(trainer.run())
    t.true(counted > 0 && counted < seconds, `${counted} s`)
  }
})
