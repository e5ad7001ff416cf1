import { cpSync, existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import test from 'ava'
import {
  AdapterTrainer,
  type CallbackRun,
  type Model,
  MultiTaskTrainer,
  type TrainerCallback,
  type TrainingArguments,
  type TrainingEvent,
  trainSweep
} from '../../lib/index.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { moved, quiet, scratch, snapshot } from '../model/support.js'
import { tasks as others, withTasks } from '../tasks/support.js'
import { evalDataset, kinds, ready, recipe, trainDataset } from './callback-runs.js'

test('a callback is called for everything that happens, in order, before run() gives it', async (t) => {
  const model = await ready(t)
  const calls: string[] = []
  const note = (name: string) => (event: { step: number }) => {
    calls.push(`${name} ${event.step}`)
  }
  const callback: TrainerCallback = {
    onTrainBegin: (run) => {
      t.is(run.model, model)
      t.is(run.totalSteps, 3)
      t.is(run.args.maxSteps, 3)
      calls.push(`begin ${run.step}`)
    },
    onStepEnd: note('step'),
    onEpochEnd: (run) => note(`epoch ${run.epoch} at`)(run),
    onLog: note('log'),
    onEvaluate: note('evaluate'),
    onSave: (event) => {
      t.true(existsSync(join(event.folder, 'training.safetensors')))
      note('save')(event)
    },
    onTrainEnd: note('end')
  }
  const strategies = { loggingStrategy: 'epoch', evalStrategy: 'epoch', saveStrategy: 'epoch' } as const
  const args = { ...recipe, ...strategies, maxSteps: 3, outputDir: scratch(t) }
  const trainer = new AdapterTrainer({ model, trainDataset, evalDataset, args, callbacks: [callback] })
  const seen: string[] = []
  for await (const { type, step } of trainer.run()) {
    // The newest call is about this event, or behind it about the epoch.
    const about = type === 'step' && step === 3 ? calls.at(-2) : calls.at(-1)
    seen.push(`${type} ${step}`)
    if (!(type === 'step' && step === 3)) t.is(about, `${type} ${step}`)
  }
  t.deepEqual(seen, ['step 1', 'step 2', 'step 3', 'log 3', 'evaluate 3', 'save 3', 'end 3'])
  t.deepEqual(calls, [
    ...['begin 0', 'step 1', 'step 2', 'step 3', 'epoch 1 at 3', 'log 3', 'evaluate 3', 'save 3', 'end 3']
  ])
})

test('a callback may ask for a log, an evaluation, a checkpoint and the end; saveStrategy no keeps nobody from it', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const waited: number[] = []
  const callbacks: TrainerCallback[] = [
    {
      onTrainBegin: (run) => run.evaluate(),
      onStepEnd: ({ step }, run) => {
        if (step === 2) run.log()
        if (step === 4) run.evaluate()
      },
      // Another call waits for it.
      onEvaluate: async ({ step, metrics }, run) => {
        await new Promise((resolve) => setTimeout(resolve, 5))
        const [answer] = await run.model.predict([{ inputIds: [5, 6] }])
        t.truthy(answer?.label)
        t.true(metrics['accuracy'] !== undefined)
        waited.push(step)
        if (step === 4) run.save()
      },
      onSave: (_, run) => run.stop()
    }
  ]
  const trainer = new AdapterTrainer({ model, trainDataset, evalDataset, args: { ...recipe, outputDir }, callbacks })
  const all: TrainingEvent[] = []
  for await (const event of trainer.run()) all.push(event)
  t.deepEqual(
    all.map(({ type, step }) => `${type} ${step}`),
    ['evaluate 0', 'step 1', 'step 2', 'log 2', 'step 3', 'step 4', 'evaluate 4', 'save 4', 'end 4']
  )
  t.like(all.at(-1), { stoppedEarly: true })
  t.deepEqual(waited, [0, 4])
  t.deepEqual(readdirSync(outputDir), ['checkpoint-4'])
})

test('a run with callbacks has the bits of one without, resumed from what they saved, too', async (t) => {
  const whole = await ready(t)
  await new AdapterTrainer({ model: whole, trainDataset, args: recipe }).train()
  /** Saves where it has seen two steps more, and remembers how many it has seen. */
  class Counter implements TrainerCallback {
    seen = 0
    begun = -1
    onTrainBegin() {
      this.begun = this.seen
    }
    onStepEnd({ step }: { step: number }, run: CallbackRun) {
      this.seen++
      t.is(this.seen, step)
      if (step % 2 === 0) run.save()
      run.evaluate()
    }
    // The run waits for both.
    async saveState() {
      await wait(5)
      return { seen: this.seen }
    }
    async loadState(saved: unknown) {
      await wait(5)
      this.seen = (saved as { seen: number }).seen
    }
  }
  const outputDir = scratch(t)
  const through = await ready(t)
  const make = (model: Model, callback: TrainerCallback, args: TrainingArguments) =>
    new AdapterTrainer({
      model,
      trainDataset,
      evalDataset,
      args: { ...recipe, outputDir, ...args },
      callbacks: [callback]
    })
  await make(through, new Counter(), {}).train()
  t.deepEqual(moved(snapshot(whole), snapshot(through)), [])
  t.deepEqual(readdirSync(outputDir), ['checkpoint-2', 'checkpoint-4', 'checkpoint-6'])
  for (const step of [2, 4]) {
    const model = await ready(t)
    const callback = new Counter()
    const folder = scratch(t)
    const from = join(folder, `checkpoint-${step}`)
    cpSync(join(outputDir, `checkpoint-${step}`), from, { recursive: true })
    const { steps } = await make(model, callback, { outputDir: folder, resumeFromCheckpoint: from }).train()
    t.is(steps, 6 - step)
    t.is(callback.begun, step)
    t.deepEqual(moved(snapshot(whole), snapshot(model)), [])
  }
})

test('what a checkpoint could not give back to a callback is refused by its place', async (t) => {
  const circle: unknown[] = []
  circle.push({ circle })
  const cases: [unknown, RegExp][] = [
    [{ seen: [1, new Map()] }, /^callbacks\[1\]\.saveState\(\)\.seen\[1\]: expected what a checkpoint can hold/],
    [Promise.resolve(new Map()), /^callbacks\[1\]\.saveState\(\): expected what a checkpoint can hold/],
    [{ n: 1n }, /saveState\(\)\.n: /],
    [circle, /saveState\(\)\[0\]\.circle: .*not what it stands in itself/]
  ]
  for (const [state, message] of cases) {
    const callbacks: TrainerCallback[] = [{ onLog: () => undefined }, { saveState: () => state }]
    const args: TrainingArguments = { ...recipe, outputDir: scratch(t), saveStrategy: 'steps', saveSteps: 2 }
    await t.throwsAsync(new AdapterTrainer({ model: await ready(t), trainDataset, args, callbacks }).train(), {
      message
    })
  }
})

test('a callback that cannot save or load its state ends the run with its error', async (t) => {
  const args: TrainingArguments = { ...recipe, outputDir: scratch(t), saveStrategy: 'steps', saveSteps: 2 }
  const start = async (callback: TrainerCallback, more: TrainingArguments = {}) =>
    new AdapterTrainer({
      model: await ready(t),
      trainDataset,
      args: { ...args, ...more },
      callbacks: [callback]
    }).train()
  const fails = async () => {
    await wait(1)
    throw new Error('no disk')
  }
  await t.throwsAsync(start({ saveState: fails }), { message: 'no disk' })
  await start({ saveState: () => 1 })
  const resumed = start({ loadState: fails }, { resumeFromCheckpoint: true })
  await t.throwsAsync(resumed, { message: 'no disk' })
})

test('what cannot be done is said, and an error of a callback ends the run and frees the model', async (t) => {
  const model = await ready(t)
  const trainer = (callback: TrainerCallback, rows?: typeof evalDataset) =>
    new AdapterTrainer({ model, trainDataset, evalDataset: rows, args: recipe, callbacks: [callback] })
  const cases: [TrainerCallback, RegExp][] = [
    [
      { onTrainBegin: (run) => run.save() },
      /onTrainBegin asks for save\(\) .*expected save\(\) in onStepEnd, onEpochEnd/
    ],
    [{ onStepEnd: (_, run) => run.evaluate() }, /onStepEnd asks for evaluate\(\), and there are no rows.*evalDataset/],
    [{ onTrainEnd: (_, run) => run.log() }, /onTrainEnd asks for log\(\)/],
    [{ onStepEnd: () => Promise.reject(new Error('mine')) }, /^mine$/]
  ]
  for (const [callback, message] of cases) await t.throwsAsync(trainer(callback).train(), { message })
  model.setActiveAdapters('a')
  const wrong: [unknown, RegExp][] = [
    [
      { onStepEnd: () => {}, onEvalute: () => {} },
      /callbacks\[0\]: nothing calls 'onEvalute'\. Did you mean 'onEvaluate'\?/
    ],
    [{ onBatch: () => {} }, /nothing calls 'onBatch'\. There are onTrainBegin/],
    [{ onStepEnd: 1 }, /callbacks\[0\]\.onStepEnd: expected a function, got 1/],
    [{}, /callbacks\[0\]: it has none of onTrainBegin/],
    [() => {}, /callbacks\[0\]: expected an object, got a function/]
  ]
  for (const [one, message] of wrong) t.throws(() => trainer(one as never), { message })
})

test('tasks and sweeps call them, too', async (t) => {
  const model = await withTasks(t)
  const calls: string[] = []
  const outputDir = scratch(t)
  const { topic, length } = others
  const measured = { topic: { ...topic, evalDataset }, length }
  const trainer = new MultiTaskTrainer({
    ...{ model, tasks: measured, args: { ...quiet, maxSteps: 6, outputDir } },
    callbacks: [
      {
        onStepEnd: ({ step, tasks }, run) => {
          calls.push(`step ${step} ${Object.keys(tasks).join()}`)
          if (step === 2) run.evaluate()
          if (step === 3) run.stop()
        },
        onEvaluate: ({ task, step }, run) => {
          calls.push(`${task} ${step}`)
          run.save()
        },
        onTrainEnd: ({ stoppedEarly }) => {
          calls.push(`early ${stoppedEarly}`)
        }
      }
    ]
  })
  t.deepEqual(await kinds(trainer), ['step 1', 'step 2', 'evaluate 2', 'save 2', 'step 3', 'end 3'])
  t.deepEqual(
    calls.filter((call) => !call.startsWith('step')),
    ['topic 2', 'early true']
  )
  t.deepEqual(readdirSync(outputDir), ['checkpoint-2'])
  model.addClassificationHead('mood', { numLabels: 2 })
  const steps: number[] = []
  const grid = { learningRate: [0.01, 0.02] }
  await trainSweep(model, trainDataset, grid, {
    ...{ head: 'mood', args: { ...quiet, maxSteps: 4 } },
    callbacks: [
      {
        onStepEnd: ({ step, tasks }, run) => {
          t.deepEqual(Object.keys(tasks), ['sweep-1', 'sweep-2'])
          steps.push(step)
          if (step === 2) run.stop()
        }
      }
    ]
  })
  t.deepEqual(steps, [1, 2])
})

test('evalDelay and evalOnStart', async (t) => {
  const evaluated = async (args: TrainingArguments) => {
    const model = await ready(t)
    const trainer = new AdapterTrainer({ model, trainDataset, evalDataset, args: { ...recipe, ...args } })
    return (await kinds(trainer)).filter((one) => one.startsWith('evaluate'))
  }
  // Three steps are an epoch; as transformers 4.57's DefaultFlowCallback: `eval_delay <= epoch` or `<= global_step`.
  t.deepEqual(await evaluated({ evalStrategy: 'steps', evalSteps: 2, evalDelay: 3 }), ['evaluate 4', 'evaluate 6'])
  t.deepEqual(await evaluated({ evalStrategy: 'steps', evalSteps: 2, evalDelay: 4 }), ['evaluate 4', 'evaluate 6'])
  t.deepEqual(await evaluated({ evalStrategy: 'epoch', evalDelay: 1.5 }), ['evaluate 6'])
  t.deepEqual(await evaluated({ evalStrategy: 'epoch', evalDelay: 1, evalOnStart: true }), [
    ...['evaluate 0', 'evaluate 3', 'evaluate 6']
  ])
  const model = await ready(t)
  t.throws(() => new AdapterTrainer({ model, trainDataset, args: { evalOnStart: true } }), {
    message: /args\.evalOnStart: it needs an evalDataset/
  })
  // The first look decides nothing: the best is one of the others, however bad.
  const best = { metricForBestModel: 'loss', greaterIsBetter: true, evalStrategy: 'epoch', evalOnStart: true } as const
  const result = await new AdapterTrainer({ model, trainDataset, evalDataset, args: { ...recipe, ...best } }).train()
  t.true((result.best?.step ?? 0) > 0)
  const tasks = await withTasks(t)
  const { topic, length } = others
  const trainer = new MultiTaskTrainer({
    model: tasks,
    tasks: { topic: { ...topic, evalDataset }, length },
    args: { ...quiet, maxSteps: 4, evalStrategy: 'steps', evalSteps: 1, evalDelay: 3, evalOnStart: true }
  })
  t.deepEqual(
    (await kinds(trainer)).filter((one) => one.startsWith('evaluate')),
    ['evaluate 0', 'evaluate 3', 'evaluate 4']
  )
})

test('a trainer is made of one object; what Hugging Face gives and this one does not take is told', async (t) => {
  const model = await ready(t)
  const make =
    (...given: unknown[]) =>
    () =>
      new (AdapterTrainer as unknown as new (...all: unknown[]) => object)(...given)
  t.throws(make(model, trainDataset), {
    instanceOf: TypeError,
    message: /AdapterTrainer: expected one object: new AdapterTrainer\(\{ model, trainDataset, args \}\), got a Model/
  })
  const several = MultiTaskTrainer as unknown as new (...all: unknown[]) => object
  t.throws(() => new several(model, {}), { message: /new MultiTaskTrainer\(\{ model, tasks, args \}\)/ })
  t.throws(make({ model, trainDataset, tokenizer: {} }), { message: /'tokenizer' is not taken: the model has its own/ })
  t.throws(make({ model, train_dataset: trainDataset }), { message: /Did you mean 'trainDataset'/ })
  t.throws(make({ model, trainDataset, dataCollator: 1 }), { message: /'dataCollator' is not needed/ })
  t.throws(make({ model, trainDataset, signal: 1 }), { message: /trainer\.train\(\{ signal \}\)/ })
})

test('states of callbacks go by their class and their place among equals', async (t) => {
  const args: TrainingArguments = { ...recipe, outputDir: scratch(t), saveStrategy: 'steps', saveSteps: 2 }
  class Keeper {
    loaded: unknown
    constructor(readonly state: unknown) {}
    saveState() {
      return this.state
    }
    loadState(saved: unknown) {
      this.loaded = saved
    }
  }
  class Counter extends Keeper {}
  class Best extends Keeper {}
  const start = async (callbacks: Keeper[], more: TrainingArguments = {}) => {
    const model = await ready(t)
    await new AdapterTrainer({ model, trainDataset, args: { ...args, ...more }, callbacks }).train()
    return callbacks.map(({ loaded }) => loaded)
  }
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_CALLBACK_LEFT_OUT')
  t.deepEqual(await start([new Counter(1), new Best(2), new Counter(3)]), [undefined, undefined, undefined])
  const again = { resumeFromCheckpoint: true }
  const others = [new Keeper(0), new Best(0), new Counter(0), new Counter(0)]
  t.deepEqual(await start(others, again), [undefined, 2, 1, 3])
  await soon()
  t.deepEqual(warnings, [])
  t.deepEqual(await start([new Best(0)], again), [2])
  await soon()
  t.is(warnings.length, 1)
  t.regex(warnings[0] ?? '', /states of 2 callbacks 'Counter', and this run has none of this class: they are left out/)
  const error = await t.throwsAsync(start([new Counter(0), new Best(0)], again), { code: 'ERR_RESUME' })
  t.regex(error?.message ?? '', /the checkpoint has states of 2 callbacks 'Counter', and this run has 1/)
})
