import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { runInNewContext } from 'node:vm'
import test, { type ExecutionContext } from 'ava'
import { AdapterTrainer, evaluate, type Model, MultiTaskTrainer, type Row, trainSweep } from '../../lib/index.js'
import { moved, quiet, ready, scratch, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(32)
const inputIds = rows.map((row) => row.inputIds)

/** The model is free, answers, and trains as if nothing had been. */
async function usable(t: ExecutionContext, model: Model): Promise<void> {
  t.truthy((await model.forward({ inputIds })).logits)
  t.notThrows(() => model.addAdapter('later'))
  t.notThrows(() => model.trainAdapter('a'))
  t.is((await new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 2 } }).train()).step, 2)
}

/** What a promise rejects with: ava does not take a DOMException for an error. */
async function failure(run: () => Promise<unknown>): Promise<Error | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    return error as Error
  }
}

test('a signal that is aborted already: nothing happens', async (t) => {
  const model = await ready(t)
  const before = snapshot(model)
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 5 } })
  const reason = new Error('not today')
  t.is(await t.throwsAsync(trainer.train({ signal: AbortSignal.abort(reason) })), reason)
  t.is((await failure(() => trainer.train({ signal: AbortSignal.abort() })))?.name, 'AbortError')
  t.deepEqual(moved(before, snapshot(model)), [])
  await usable(t, model)
})

test('aborted while rows are made ready: no trainer goes through the rest of them', async (t) => {
  // Every row is looked at before the first step, and again for what a checkpoint says of them.
  let seen = 0
  const many = {
    length: 40_000,
    at: (index: number) => {
      seen++
      return rows[index % rows.length] as (typeof rows)[number]
    }
  }
  const args = { ...quiet, maxSteps: 5, outputDir: scratch(t), saveStrategy: 'steps' } as const
  for (const when of [500, 30_000, 50_000]) {
    const model = await ready(t)
    model.addAdapter('b')
    model.addClassificationHead('b')
    const runs = [
      (signal: AbortSignal) => new AdapterTrainer({ model, trainDataset: many, args }).train({ signal }),
      (signal: AbortSignal) =>
        new MultiTaskTrainer({ model, tasks: { a: { dataset: many }, b: { dataset: rows } }, args }).train({ signal }),
      (signal: AbortSignal) => trainSweep(model, many, { seed: [1, 2] }, { head: 'a', args, signal })
    ]
    for (const run of runs) {
      seen = 0
      const controller = new AbortController()
      const watch = setInterval(() => {
        if (seen > when) controller.abort()
      })
      const error = await failure(() => run(controller.signal))
      clearInterval(watch)
      t.is(error?.name, 'AbortError')
      t.true(seen < when + 8000, `${seen} rows were looked at, aborted behind ${when}`)
      t.deepEqual(readdirSync(args.outputDir), [])
      t.notThrows(() => model.trainAdapter('a'))
    }
  }
})

test('aborted while it runs: it stops between two steps, with the signal’s reason', async (t) => {
  const [model, three] = [await ready(t), await ready(t)]
  const controller = new AbortController()
  const reason = new Error('enough')
  const args = { ...quiet, maxSteps: 100, lrSchedulerType: 'constant' } as const
  const steps: number[] = []
  const error = await t.throwsAsync(async () => {
    for await (const event of new AdapterTrainer({ model, trainDataset: rows, args }).run({
      signal: controller.signal
    })) {
      if (event.type === 'step') steps.push(event.step)
      if (steps.length === 3) controller.abort(reason)
    }
  })
  t.is(error, reason)
  t.deepEqual(steps, [1, 2, 3])
  await new AdapterTrainer({ model: three, trainDataset: rows, args: { ...args, maxSteps: 3 } }).train()
  t.deepEqual(moved(snapshot(three), snapshot(model)), [])
  await usable(t, model)
})

test('aborted while it waits for rows, measures or a callback that never come: the model is free', async (t) => {
  const model = await ready(t)
  const never = () => new Promise<never>(() => undefined)
  let closed = 0
  const hanging = () => ({
    async *[Symbol.asyncIterator]() {
      yield* rows.slice(0, 4)
      await never()
    }
  })
  /** Says when it is let go of, which a generator that waits cannot. */
  const source = () => {
    const next = async () => (given++ < 4 ? { done: false, value: rows[0] } : await never())
    let given = 0
    return { [Symbol.asyncIterator]: () => ({ next, return: async () => ({ done: true, value: closed++ }) }) }
  }
  const args = { ...quiet, maxSteps: 4, evalStrategy: 'steps', evalSteps: 1 } as const
  const plain = { ...quiet, maxSteps: 4 }
  const { evalStrategy: _, evalSteps: __, ...unmeasured } = args
  const of = (options: object) => (signal: AbortSignal) =>
    new AdapterTrainer({ model, trainDataset: rows, args, evalDataset: rows, ...options }).train({ signal })
  const tasks =
    (task: object, options: object = {}) =>
    (signal: AbortSignal) =>
      new MultiTaskTrainer({ model, tasks: { a: { dataset: rows, ...task } }, args: plain, ...options }).train({
        signal
      })
  const kinds: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
    rows: of({ trainDataset: source() as AsyncIterable<Row> }),
    'rows to measure on': of({ evalDataset: { one: rows, other: hanging() } }),
    measures: of({ computeMetrics: never }),
    callback: of({ callbacks: [{ onStepEnd: never }] }),
    'the state of one': of({
      args: { ...unmeasured, outputDir: scratch(t), saveStrategy: 'steps', saveSteps: 1 },
      evalDataset: undefined,
      callbacks: [{ onStepEnd: () => undefined, saveState: never }]
    }),
    'tasks: rows': tasks({ dataset: hanging() }),
    'tasks: measures': tasks({ evalDataset: rows, computeMetrics: never }, { args }),
    'tasks: callback': tasks({}, { callbacks: [{ onStepEnd: never }] }),
    'sweep: rows': (signal) => trainSweep(model, hanging(), { seed: [1] }, { head: 'a', args: plain, signal }),
    'sweep: event': (signal) =>
      trainSweep(model, rows, { seed: [1] }, { head: 'a', args: plain, signal, onEvent: never }),
    'evaluate: rows': (signal) => evaluate(model, hanging(), { signal })
  }
  for (const [name, run] of Object.entries(kinds)) {
    const reason = new Error(name)
    const controller = new AbortController()
    const timer = setTimeout(() => controller.abort(reason), 200)
    t.is(await failure(() => run(controller.signal)), reason)
    clearTimeout(timer)
    t.notThrows(() => model.trainAdapter('a'), name)
  }
  t.is(closed, 1)
  await usable(t, model)
})

test('an abort that saves waits for the callback of the step that it saves', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const controller = new AbortController()
  const seen: number[] = []
  const onStepEnd = async ({ step }: { readonly step: number }) => {
    if (step === 2) controller.abort()
    await new Promise((resolve) => setTimeout(resolve, 20))
    seen.push(step)
  }
  const args = { ...quiet, outputDir, maxSteps: 9 }
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args, callbacks: [{ onStepEnd }] })
  const error = await failure(() => trainer.train({ signal: controller.signal, saveOnAbort: true }))
  t.is(error?.name, 'AbortError')
  t.deepEqual(seen, [1, 2])
  t.deepEqual(readdirSync(outputDir), ['checkpoint-2'])
})

test('aborted in the middle of a step: it ends before its next micro-batch, and nothing has moved', async (t) => {
  const model = await ready(t)
  const before = snapshot(model)
  const controller = new AbortController()
  const args = { ...quiet, maxSteps: 2, gradientAccumulationSteps: 4000 }
  const many = Array.from({ length: 4000 }, () => rows).flat()
  const trainer = new AdapterTrainer({ model, trainDataset: many, args })
  const run = trainer.run({ signal: controller.signal })
  const first = run.next()
  setTimeout(() => controller.abort(), 300)
  t.is((await failure(() => first))?.name, 'AbortError')
  t.deepEqual(moved(before, snapshot(model)), [])
  await usable(t, model)
})

test('several tasks aborted in the middle of a step: what was done before it is saved where that is asked for', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const controller = new AbortController()
  const args = { ...quiet, outputDir, maxSteps: 100, gradientAccumulationSteps: 400 }
  const dataset = Array.from({ length: 400 }, () => rows).flat()
  const folders: string[] = []
  let done = 0
  const trainer = new MultiTaskTrainer({ model, tasks: { a: { dataset } }, args })
  const error = await failure(async () => {
    for await (const event of trainer.run({ signal: controller.signal, saveOnAbort: true })) {
      // On a machine that has much to do the timer may come in a later step.
      if (event.type === 'step' && ++done === 1) setTimeout(() => controller.abort(), 50)
      if (event.type === 'save') folders.push(event.folder)
    }
  })
  t.is(error?.name, 'AbortError')
  t.deepEqual(folders, [join(outputDir, `checkpoint-${done}`)])
  await usable(t, model)
})

test('a signal in the place of the options is refused, and so is what has no fields', async (t) => {
  const model = await ready(t)
  const trainer = new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 1 } })
  const { signal } = new AbortController()
  for (const wrong of [signal, new AbortController(), new Map([['signal', signal]])] as never[]) {
    const error = { instanceOf: TypeError, message: /^options: expected an object, got / }
    await t.throwsAsync(async () => trainer.train(wrong), error)
    await t.throwsAsync(async () => trainer.run(wrong).next(), error)
    await t.throwsAsync(async () => model.predict(rows, wrong), error)
  }
  // Of another realm, as test runners make them.
  t.is((await trainer.train(runInNewContext('({ saveOnAbort: false })'))).step, 1)
})

test('leaving the loop early frees the model and keeps the checkpoints', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const args = { ...quiet, outputDir, maxSteps: 100, saveStrategy: 'steps', saveSteps: 2 } as const
  for await (const event of new AdapterTrainer({ model, trainDataset: rows, args }).run()) {
    if (event.type === 'save' && event.step === 4) break
  }
  t.deepEqual(readdirSync(outputDir).sort(), ['checkpoint-2', 'checkpoint-4'])
  await usable(t, model)
})

test('an error thrown in the loop comes out, and the model is free', async (t) => {
  const model = await ready(t)
  await t.throwsAsync(
    async () => {
      for await (const _ of new AdapterTrainer({ model, trainDataset: rows, args: { ...quiet, maxSteps: 9 } }).run()) {
        throw new Error('mine')
      }
    },
    { message: 'mine' }
  )
  await usable(t, model)
})

test('a dataset that throws while it is read frees the model', async (t) => {
  const model = await ready(t)
  const broken = (async function* () {
    yield { inputIds: [5], label: 0 }
    throw new Error('the disk is gone')
  })()
  await t.throwsAsync(new AdapterTrainer({ model, trainDataset: broken, args: quiet }).train(), {
    message: 'the disk is gone'
  })
  await usable(t, model)
})

test('aborted during an evaluation', async (t) => {
  const model = await ready(t)
  const controller = new AbortController()
  const many = tinyRows(400)
  const trainer = new AdapterTrainer({
    model,
    trainDataset: rows,
    evalDataset: many,
    args: { ...quiet, maxSteps: 10, evalStrategy: 'steps', evalSteps: 1, perDeviceEvalBatchSize: 1 }
  })
  const error = await failure(async () => {
    for await (const event of trainer.run({ signal: controller.signal })) {
      if (event.type === 'step') setTimeout(() => controller.abort(), 1)
      if (event.type === 'evaluate') t.fail('the evaluation was to be cut short')
    }
  })
  t.is(error?.name, 'AbortError')
  await usable(t, model)
})

test('saveOnAbort: what was done is saved, and a resumed run ends with the same bits', async (t) => {
  const args = { ...quiet, maxSteps: 9, evalStrategy: 'steps', evalSteps: 2, metricForBestModel: 'loss' } as const
  const outputDir = scratch(t)
  const trainer = (model: Model, more: object = {}) =>
    new AdapterTrainer({ model, trainDataset: rows, evalDataset: rows, args: { ...args, outputDir, ...more } })
  const [whole, stopped, resumed] = [await ready(t), await ready(t), await ready(t)]
  const { best } = await trainer(whole).train()
  const controller = new AbortController()
  const types: string[] = []
  const error = await failure(async () => {
    for await (const event of trainer(stopped).run({ signal: controller.signal, saveOnAbort: true })) {
      types.push(event.type)
      // The evaluation of this step comes, although the signal was there before.
      if (event.type === 'step' && event.step === 4) controller.abort()
    }
  })
  t.is(error?.name, 'AbortError')
  t.deepEqual(types.slice(-3), ['step', 'evaluate', 'save'])
  t.deepEqual(readdirSync(outputDir), ['checkpoint-4'])
  const result = await trainer(resumed, { resumeFromCheckpoint: true }).train()
  t.deepEqual(result.best, best)
  t.deepEqual(moved(snapshot(whole), snapshot(resumed)), [])
  await t.throwsAsync(trainer(resumed).train({ saveOnAbort: 'yes' as never }), {
    message: /saveOnAbort: expected true or false/
  })
})
