import test from 'ava'
import {
  AdapterTrainer,
  MultiTaskTrainer,
  type TrainerCallback,
  type TrainingArguments,
  trainSweep
} from '../../lib/index.js'
import { quiet, scratch } from '../model/support.js'
import { tasks as others, withTasks } from '../tasks/support.js'
import { evalDataset, kinds, ready, recipe, trainDataset } from './callback-runs.js'

test('an epoch in whose middle the run ends is told, too, once, and what is then asked for is done', async (t) => {
  const place: string[] = []
  const ends = (from: 'onStepEnd' | 'onLog' | 'onEvaluate'): TrainerCallback => ({
    onStepEnd: ({ step }, run) => {
      if (step !== 4) return
      if (from === 'onStepEnd') run.stop()
      else if (from === 'onLog') run.log()
      else run.evaluate()
    },
    onLog: (_, run) => {
      if (from === 'onLog') run.stop()
    },
    onEvaluate: ({ step }, run) => {
      if (from === 'onEvaluate' && step === 4) run.stop()
    },
    onEpochEnd: (run) => {
      place.push(`${run.step}`)
      if (run.step === 4) run.save()
    }
  })
  const one = async (callback: TrainerCallback, args: TrainingArguments = {}) => {
    place.length = 0
    const model = await ready(t)
    const own = { ...recipe, outputDir: scratch(t), ...args }
    const all = await kinds(new AdapterTrainer({ model, trainDataset, evalDataset, args: own, callbacks: [callback] }))
    return all.slice(all.indexOf('step 4') + 1)
  }
  t.deepEqual(await one(ends('onStepEnd')), ['save 4', 'end 4'])
  t.deepEqual(place, ['3', '4'])
  t.deepEqual(await one(ends('onLog')), ['log 4', 'save 4', 'end 4'])
  t.deepEqual(place, ['3', '4'])
  t.deepEqual(await one(ends('onEvaluate')), ['evaluate 4', 'save 4', 'end 4'])
  t.deepEqual(place, ['3', '4'])
  // Evaluations that get no better end a run where they are, too.
  const patience = { evalStrategy: 'steps', evalSteps: 2, earlyStoppingPatience: 1, learningRate: 0 } as const
  const epochs: TrainerCallback = { onEpochEnd: ({ step }) => void place.push(`${step}`) }
  await one(epochs, { ...patience, metricForBestModel: 'loss' })
  t.deepEqual(place, ['3', '4'])

  const tasks = { topic: { ...others.topic, evalDataset } }
  for (const from of ['onStepEnd', 'onLog', 'onEvaluate'] as const) {
    place.length = 0
    const args = { ...quiet, outputDir: scratch(t), maxSteps: 9, perDeviceTrainBatchSize: 1 }
    const callback = ends(from) as TrainerCallback<{ type: 'step'; step: number }>
    const model = await withTasks(t)
    const all = await kinds(new MultiTaskTrainer({ model, tasks, args, callbacks: [callback as never] }))
    t.deepEqual(all.slice(-2), ['save 4', 'end 4'], from)
    t.deepEqual(place, ['4'], from)
  }
})

test('a run that ends early tells of its last steps, too', async (t) => {
  const logs: [number, number][] = []
  const losses: number[] = []
  const note: TrainerCallback<{ type: 'step'; step: number; loss: number }> = {
    onStepEnd: ({ loss }) => void losses.push(loss),
    onLog: ({ step, loss }) => void logs.push([step, loss])
  }
  const stopsAt = (last: number): TrainerCallback<{ type: 'step'; step: number }> => ({
    onStepEnd: ({ step }, run) => {
      if (step === last) run.stop()
    }
  })
  const args: TrainingArguments = { ...recipe, loggingStrategy: 'steps', loggingSteps: 3, maxSteps: 9 }
  const told = async (run: Promise<unknown>, steps: readonly (readonly number[])[]) => {
    await run
    const mean = (of: readonly number[]) => of.reduce((sum, step) => sum + (losses[step - 1] as number), 0) / of.length
    t.deepEqual(
      logs.map(([step, loss]) => [step, loss.toFixed(6)]),
      steps.map((of) => [of.at(-1), mean(of).toFixed(6)])
    )
    logs.length = 0
    losses.length = 0
  }
  const model = await ready(t)
  const run = (more: TrainingArguments, callbacks: readonly TrainerCallback[] = [note as never]) =>
    new AdapterTrainer({ model, trainDataset, evalDataset, args: { ...args, ...more }, callbacks }).train()
  const firstFive = [
    [1, 2, 3],
    [4, 5]
  ]
  await told(run({}, [note as never, stopsAt(5) as never]), firstFive)
  await told(run({}, [note as never, stopsAt(3) as never]), [[1, 2, 3]])
  const patience = { metricForBestModel: 'loss', earlyStoppingPatience: 1, learningRate: 0 } as const
  await told(run({ ...patience, evalStrategy: 'steps', evalSteps: 2 }), [[1, 2, 3], [4]])
  await told(run({ loggingStrategy: 'no' }, [note as never, stopsAt(5) as never]), [])

  const several = await withTasks(t)
  const tasks = { topic: { ...others.topic } }
  const callbacks = [note as never, stopsAt(5) as never]
  await told(new MultiTaskTrainer({ model: several, tasks, args, callbacks }).train(), firstFive)
  model.addClassificationHead('mood', { numLabels: 2 })
  const seen = new Set<string>()
  await trainSweep(
    model,
    trainDataset,
    { learningRate: [0.01, 0.02] },
    {
      ...{ head: 'mood', args },
      callbacks: [stopsAt(5) as never, { onLog: ({ step, task }) => void seen.add(`${task} ${step}`) }]
    }
  )
  t.deepEqual([...seen], ['sweep-1 3', 'sweep-2 3', 'sweep-1 5', 'sweep-2 5'])
})
