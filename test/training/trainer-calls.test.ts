import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  AdapterTrainer,
  AutoModel,
  type CallbackRun,
  evaluate,
  type Model,
  MultiTaskTrainer,
  type StepEvent,
  type TrainerCallback,
  type TrainingArguments
} from '../../lib/index.js'
import { load, make, moved, quiet, ready, scratch, snapshot, tiny, tinyRows } from '../model/support.js'
import { tasks, withTasks } from '../tasks/support.js'

const trainDataset = tinyRows(12)
const evalDataset = tinyRows(6, { seed: 9 })
const unlabelled = evalDataset.map(({ inputIds }) => ({ inputIds }))

const trainerOf = (model: Model, args: TrainingArguments = {}) =>
  new AdapterTrainer({ model, trainDataset, evalDataset, args: { ...quiet, maxSteps: 3, ...args } })

test('a checkpoint that is named a little beside is found for the caller, and a controller is no signal', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const saves = { outputDir, saveStrategy: 'steps', saveSteps: 2 } as const
  await trainerOf(model, saves).train()
  const checkpoint = join(outputDir, 'checkpoint-2')
  const resumed = (resumeFromCheckpoint: unknown) =>
    trainerOf(model, { ...saves, resumeFromCheckpoint } as TrainingArguments).train()
  const hints: string[] = []
  for (const from of ['checkpoint-2', outputDir]) {
    const error = await t.throwsAsync(resumed(from), { code: 'ERR_FILE_NOT_FOUND' })
    hints.push((error as Error & { hint: string }).hint)
  }
  // One more is behind the last step, the third.
  const newest = join(outputDir, 'checkpoint-3')
  t.deepEqual(hints, [`Did you mean '${checkpoint}', or true for the newest?`, `Its newest is ${newest}.`])
  t.throws(() => trainerOf(model, { resumeFromCheckpoint: 2 as never }), {
    message: /expected true for the newest, or/
  })
  const signal = new AbortController() as never
  const wrong = { message: /^signal: expected an AbortSignal, / }
  await t.throwsAsync(trainerOf(model).train({ signal }), wrong)
  await t.throwsAsync(model.predict(evalDataset, { signal }), wrong)
  await t.throwsAsync(evaluate(model, evalDataset, { signal }), wrong)
})

test('predict answers rows and, where they have labels, measures as evaluate does', async (t) => {
  const model = await ready(t)
  const trainer = trainerOf(model, { classWeights: [1, 3] })
  await trainer.train()
  const { predictions, ...measured } = await trainer.predict(evalDataset)
  t.deepEqual(predictions, await model.predict(evalDataset))
  const { seconds: _, ...expected } = await trainer.evaluate()
  const { seconds, ...found } = measured
  t.deepEqual(found, expected)
  t.true((seconds ?? 0) > 0)
  t.deepEqual(Object.keys(await trainer.predict(unlabelled)), ['predictions'])
  t.deepEqual((await trainer.predict(unlabelled)).predictions, predictions)
  // One that lost its label is told, not left out of the measure.
  const [first] = unlabelled
  const half = [...evalDataset, first as (typeof unlabelled)[0]]
  await t.throwsAsync(trainer.predict(half), { code: 'ERR_NO_LABELS', message: /testDataset\[6\] has no label/ })
  const gone = trainer.predict(evalDataset, { signal: AbortSignal.abort(new Error('enough')) })
  await t.throwsAsync(gone, { message: 'enough' })
})

test('evaluate takes other rows than those of the trainer', async (t) => {
  const model = await ready(t)
  const other = tinyRows(5, { seed: 3 })
  const trainer = trainerOf(model)
  const { seconds: _, ...found } = await trainer.evaluate({ evalDataset: other })
  const { seconds: __, ...expected } = await evaluate(model, other)
  t.deepEqual(found, expected)
  const none = new AdapterTrainer({ model, trainDataset, args: quiet })
  t.is((await none.evaluate({ evalDataset: other })).rows, 5)
  await t.throwsAsync(none.evaluate(), {
    message: /evalDataset: the trainer has none, and evaluate\(\) was given none/
  })
  await t.throwsAsync(none.evaluate(other as never), {
    message: /rows as an option: evaluate\(\{ evalDataset: rows \}\)/
  })
  await t.throwsAsync(none.train({ resumeFromCheckpoint: true } as never), {
    message: /'resumeFromCheckpoint' is a training argument: args: \{ resumeFromCheckpoint: true \}/
  })
})

test('saveModel writes adapters with their heads, other heads and fusions into outputDir, or where it is told', async (t) => {
  const model = await ready(t)
  model.addAdapter('b')
  model.addAdapterFusion(['a', 'b'], 'dynamic', { name: 'both' })
  model.addTaggingHead('tags', { numLabels: 3 })
  const outputDir = scratch(t)
  const trainer = trainerOf(model, { outputDir })
  await trainer.train()
  await trainer.saveModel()
  t.deepEqual(readdirSync(outputDir).sort(), ['a', 'b', 'both', 'tags'])
  const loaded = await load(t, { seed: 3 })
  for (const name of ['a', 'b']) await loaded.loadAdapter(join(outputDir, name))
  await loaded.loadHead(join(outputDir, 'tags'))
  await loaded.loadAdapterFusion(join(outputDir, 'both'), { as: 'both' })
  t.deepEqual(moved(snapshot(model), snapshot(loaded)), [])
  const other = scratch(t)
  await trainer.saveModel(other)
  t.deepEqual(readdirSync(other).sort(), ['a', 'b', 'both', 'tags'])
  await t.throwsAsync(trainer.saveModel(''), { message: /folder: expected a string that is not empty/ })
})

test('where the base model trains, saveModel writes all of it', async (t) => {
  const model = await AutoModel.fromPretrained(tiny)
  t.teardown(() => model.dispose())
  model.addClassificationHead('a')
  model.trainAll()
  const outputDir = scratch(t)
  const trainer = trainerOf(model, { outputDir, maxSteps: 1 })
  await trainer.train()
  await trainer.saveModel()
  const loaded = await AutoModel.fromPretrained(outputDir)
  t.teardown(() => loaded.dispose())
  t.deepEqual(moved(snapshot(model), snapshot(loaded)), [])
  t.is(loaded.activeHead, 'a')
})

class Counter implements TrainerCallback {
  seen = 0
  onStepEnd(_: StepEvent, __: CallbackRun): void {
    this.seen++
  }
}

const countsOf = async (t: ExecutionContext, trainer: AdapterTrainer | MultiTaskTrainer) => {
  const counter = new Counter()
  trainer.addCallback(counter as never)
  await trainer.train()
  t.is(counter.seen, 3)
  t.is(trainer.removeCallback(counter as never), counter as never)
  await trainer.train()
  t.is(counter.seen, 3)
  t.is(trainer.removeCallback(counter as never), undefined)
}

test('callbacks are added and taken out between runs, an object or the first of a class', async (t) => {
  const model = await ready(t)
  const given: TrainerCallback[] = [{ onStepEnd: () => {} }, new Counter()]
  const trainer = new AdapterTrainer({ model, trainDataset, args: { ...quiet, maxSteps: 3 }, callbacks: given })
  t.is(trainer.removeCallback(Counter), given[1])
  t.is(trainer.removeCallback(Counter), undefined)
  t.is(given.length, 2)
  await countsOf(t, trainer)
  await countsOf(t, new MultiTaskTrainer({ model: await withTasks(t), tasks, args: { ...quiet, maxSteps: 3 } }))
  t.throws(() => trainer.addCallback(Counter as never), {
    message:
      /addCallback: expected an object with methods such as onStepEnd; of a class, new Counter\(\), got a function/
  })
  t.throws(() => trainer.addCallback({ onStep: () => {} } as never), { message: /addCallback: nothing calls 'onStep'/ })
})

test('while a run goes on, its callbacks stay as they are, and saveModel works', async (t) => {
  const model = await make(t)
  model.addAdapter('a')
  model.addClassificationHead('a')
  model.trainAdapter('a')
  const outputDir = scratch(t)
  const trainer = trainerOf(model, { outputDir })
  const busy = { code: 'ERR_BUSY', message: /Callback: a training run holds the model/ }
  trainer.addCallback({
    onStepEnd: async ({ step }) => {
      t.throws(() => trainer.addCallback(new Counter()), busy)
      t.throws(() => trainer.removeCallback(Counter), busy)
      if (step === 1) await trainer.saveModel(join(outputDir, 'first'))
    }
  })
  await trainer.train()
  t.true(existsSync(join(outputDir, 'first', 'a', 'adapter_config.json')))
})

test('what stands in the place of rows is told what does', async (t) => {
  const model = await ready(t)
  const make = (rows: unknown) => new AdapterTrainer({ model, trainDataset: rows as never, args: quiet }).train()
  await t.throwsAsync(make('train.jsonl'), { message: /trainDataset: .* such as readRows\('train\.jsonl'\)/ })
  await t.throwsAsync(make({ train: trainDataset, test: evalDataset }), { message: /one of those under train, test/ })
  await t.throwsAsync(make(trainDataset[0]), { message: /async iterable of rows, got an object$/ })
  const named = [{ inputIds: [5, 6], label: 'good' }]
  const unnamed = /no label names: expected an id from 0 to 1, got 'good'\. A head with `labels: \[\.{3}\]` reads names/
  await t.throwsAsync(make(named), { message: unnamed })
  const tasks = (task: unknown) => () => new MultiTaskTrainer({ model, tasks: { a: task as never }, args: quiet })
  t.throws(tasks(trainDataset), { message: /tasks\.a: expected an object with rows in it: \{ dataset: rows \}/ })
  t.throws(tasks({ trainDataset }), { message: /tasks\.a: 'trainDataset' is called 'dataset' here/ })
  t.throws(() => new AdapterTrainer({ model, trainDataset, callbacks: [{ on_step_end: () => {} } as never] }), {
    message: /nothing calls 'on_step_end'\. Did you mean 'onStepEnd'\?/
  })
})

test('steps below 1 are a share of all, rounded up, as with Hugging Face, of one task and of several', async (t) => {
  const steps = { loggingStrategy: 'steps', evalStrategy: 'steps', saveStrategy: 'steps' } as const
  const shares = { loggingSteps: 0.25, evalSteps: 0.4, saveSteps: 0.5 }
  const often: TrainingArguments = { ...quiet, ...steps, ...shares, numTrainEpochs: 4 }
  const of = async (trainer: { run(): AsyncIterable<{ type: string; step: number }> }) => {
    const all: string[] = []
    for await (const { type, step } of trainer.run()) if (type !== 'step') all.push(`${type} ${step}`)
    return all
  }
  const expected = [
    ...['log 3', 'evaluate 5', 'log 6', 'save 6', 'log 9', 'evaluate 10', 'log 12', 'save 12', 'end 12']
  ]
  const model = await ready(t)
  t.deepEqual(await of(trainerOf(model, { ...often, maxSteps: -1, outputDir: scratch(t) })), expected)
  const task = { dataset: trainDataset, evalDataset }
  const several = new MultiTaskTrainer({ model, tasks: { a: task }, args: { ...often, outputDir: scratch(t) } })
  t.deepEqual(await of(several), expected)
  t.throws(() => trainerOf(model, { saveSteps: 1.5 }), {
    message: /saveSteps: expected a positive integer, or below 1 a share of all steps, got 1\.5/
  })
})
