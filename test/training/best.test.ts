import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { trainingArguments } from '../../lib/config/training-arguments.js'
import {
  type AdapterError,
  AdapterTrainer,
  evaluate,
  type Model,
  type TrainingArguments,
  type TrainingEvent
} from '../../lib/index.js'
import { BestModel } from '../../lib/training/best.js'
import { Plateau } from '../../lib/training/plateau.js'
import { soon, warningsOf } from '../exchange/warnings.js'
import { makeReady, moved, quiet, scratch, snapshot, tinyRows } from '../model/support.js'

const rows = tinyRows(24)
/** What is learned makes these worse, sooner or later: the first evaluation is the best. */
const wrong = tinyRows(12, { seed: 3 }).map((row) => ({ ...row, label: 1 - row.label }))

const ready = (t: ExecutionContext): Promise<Model> => makeReady(t, { hidden_dropout_prob: 0.1 })

const recipe = (outputDir: string, args: TrainingArguments = {}): TrainingArguments => ({
  ...quiet,
  outputDir,
  maxSteps: 24,
  evalStrategy: 'steps',
  evalSteps: 2,
  ...args
})

async function run(model: Model, args: TrainingArguments, evalDataset = wrong): Promise<TrainingEvent[]> {
  const all: TrainingEvent[] = []
  for await (const event of new AdapterTrainer({ model, trainDataset: rows, evalDataset, args }).run()) all.push(event)
  return all
}

const endOf = (events: readonly TrainingEvent[]) => events.find((event) => event.type === 'end')
const lossesOf = (events: readonly TrainingEvent[]) =>
  events.flatMap((event) => (event.type === 'evaluate' ? [event.loss] : []))

/** How many evaluations of these losses a run does, and which of them is its best. */
function follow(losses: readonly number[], args: TrainingArguments): [number, number | undefined] {
  const best = new BestModel(trainingArguments({ evalStrategy: 'epoch', ...args }), undefined)
  let count = 0
  for (const loss of losses) {
    best.take(++count, { loss, metrics: { accuracy: 1 - loss } })
    if (best.isOver) break
  }
  return [count, best.best?.step]
}

test('patience counts evaluations that are no better, and begins again with one that is', (t) => {
  const losses = [0.5, 0.6, 0.4, 0.41, 0.42, 0.3, 0.2]
  t.deepEqual(follow(losses, { earlyStoppingPatience: 1 }), [2, 1])
  t.deepEqual(follow(losses, { earlyStoppingPatience: 2 }), [5, 3])
  t.deepEqual(follow(losses, { earlyStoppingPatience: 3 }), [7, 7])
  t.deepEqual(follow(losses, { loadBestModelAtEnd: true }), [7, 7])
  t.deepEqual(follow(losses, { earlyStoppingPatience: 2, metricForBestModel: 'eval_accuracy' }), [5, 3])
  // The largest loss, as asked for.
  t.deepEqual(follow(losses, { earlyStoppingPatience: 2, greaterIsBetter: true }), [4, 2])
  // Equal is no better, and no number is no better either.
  t.deepEqual(follow([0.5, 0.5, Number.NaN, 0.4], { earlyStoppingPatience: 2 }), [3, 1])
})

test('evaluations that are no numbers count for the patience behind the first, also over a resume', (t) => {
  const nan = Number.NaN
  // transformers: the first sets best_metric to infinity, and the counter to 0.
  t.deepEqual(follow([nan, nan, nan, nan, 0.1], { earlyStoppingPatience: 2 }), [3, undefined])
  t.deepEqual(follow([nan, nan, 0.5, nan, nan, 0.1], { earlyStoppingPatience: 2 }), [5, 3])
  const infinite = Number.POSITIVE_INFINITY
  t.deepEqual(follow([infinite, infinite, 0.5, 0.6, 0.7], { earlyStoppingPatience: 2 }), [5, 3])
  const args = trainingArguments({ evalStrategy: 'epoch', earlyStoppingPatience: 2 })
  let best = new BestModel(args, undefined)
  const over = [nan, nan, nan].map((loss, step) => {
    best.take(step, { loss, metrics: {} })
    best = new BestModel(args, best.saved)
    return best.isOver
  })
  t.deepEqual(over, [false, false, true])
})

test('what the learning rate follows need not be finite at first, as in ReduceLROnPlateau', (t) => {
  for (const first of [Number.POSITIVE_INFINITY, Number.NaN]) {
    const lrSchedulerKwargs = { patience: 1 }
    const args = { evalStrategy: 'epoch', learningRate: 1, lrSchedulerType: 'reduce_lr_on_plateau', lrSchedulerKwargs }
    const plateau = new Plateau(trainingArguments(args as TrainingArguments), undefined)
    t.deepEqual(
      [first, first, first, 0.5, 0.6].map((loss) => plateau.take(loss)),
      [1, 0.1, 0.1, 0.1, 0.1]
    )
  }
})

test('a gain below the threshold is the best, and does not count for the patience', (t) => {
  const args = { earlyStoppingPatience: 2, earlyStoppingThreshold: 0.1 }
  t.deepEqual(follow([0.5, 0.45, 0.41, 0.1], args), [3, 3])
  t.deepEqual(follow([0.5, 0.45, 0.3, 0.29, 0.28, 0.1], args), [5, 5])
  // A gain of the threshold itself is none either, as in transformers.
  t.deepEqual(follow([0.5, 0.375, 0.25, 0.1], { ...args, earlyStoppingThreshold: 0.125 }), [3, 3])
})

test('a run ends early and gives back the best model; its checkpoint outlives saveTotalLimit', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const args = { earlyStoppingPatience: 3, loadBestModelAtEnd: true, saveStrategy: 'steps', saveSteps: 2 } as const
  const events = await run(model, recipe(outputDir, { ...args, saveTotalLimit: 1 }))
  const losses = lossesOf(events)
  const end = endOf(events)
  const best = losses.indexOf(Math.min(...losses))
  t.is(losses.length, best + 4)
  t.like(end, { step: 2 * losses.length, stoppedEarly: true })
  t.deepEqual(end?.best, { metric: 'loss', value: Math.min(...losses), step: 2 * (best + 1) })
  t.deepEqual(readdirSync(outputDir).sort(), [`checkpoint-${2 * (best + 1)}`, `checkpoint-${2 * losses.length}`].sort())
  t.is((await evaluate(model, wrong, { batchSize: 8 })).loss, Math.min(...losses))
})

test('where no evaluation gives a number there is no best, and that is said', async (t) => {
  const warnings = warningsOf(t, 'TORCH_ADAPTERS_NO_BEST')
  const model = await ready(t)
  const args = recipe(scratch(t), {
    metricForBestModel: 'mine',
    greaterIsBetter: true,
    loadBestModelAtEnd: true,
    maxSteps: 4
  })
  const computeMetrics = () => ({ mine: Number.NaN })
  const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset: wrong, args, computeMetrics })
  const result = await trainer.train()
  await soon()
  t.is(result.best, undefined)
  t.is(warnings.length, 1)
  t.regex(warnings[0] ?? '', /no evaluation gave a number for 'mine'.*the model stays as its last step left it/)
})

test('a best checkpoint that is gone at the end: the run is whole in its last one, and goes on from there', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const args = recipe(outputDir, { loadBestModelAtEnd: true, saveStrategy: 'steps', saveSteps: 2 })
  const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset: wrong, args })
  const tidied = async () => {
    for await (const event of trainer.run()) {
      if (event.type !== 'step' || event.step !== 23) continue
      for (const name of readdirSync(outputDir)) rmSync(join(outputDir, name), { recursive: true })
    }
  }
  const error = await t.throwsAsync<AdapterError>(tidied, { code: 'ERR_FILE_IO' })
  t.regex(error?.message ?? '', /^train: the best checkpoint, .*checkpoint-\d+, cannot be brought back: open /)
  t.is(
    error?.hint,
    `The run came to its end, and ${join(outputDir, 'checkpoint-24')} is whole. Resume without loadBestModelAtEnd.`
  )
  const last = snapshot(model)
  const again = await ready(t)
  await run(again, { ...args, loadBestModelAtEnd: false, resumeFromCheckpoint: true })
  t.deepEqual(snapshot(again), last)
})

test('without loadBestModelAtEnd the model is the last', async (t) => {
  const model = await ready(t)
  const events = await run(model, recipe(scratch(t), { earlyStoppingPatience: 2 }))
  const loss = lossesOf(events).at(-1) ?? Number.NaN
  t.is((await evaluate(model, wrong, { batchSize: 8 })).loss, loss)
  t.true(loss !== endOf(events)?.best?.value)
})

test('the best is saved whatever saveStrategy says, by a metric as well', async (t) => {
  const model = await ready(t)
  const outputDir = scratch(t)
  const args = recipe(outputDir, { loadBestModelAtEnd: true, metricForBestModel: 'accuracy', saveTotalLimit: 1 })
  const events = await run(model, args, rows)
  const accuracies = events.flatMap((event) => (event.type === 'evaluate' ? [event.metrics.accuracy ?? 0] : []))
  const best = accuracies.indexOf(Math.max(...accuracies))
  // And where it ended, for a run that is made longer.
  const kept = [...new Set([2 * (best + 1), 2 * accuracies.length])]
  t.deepEqual(readdirSync(outputDir).toSorted(), kept.map((step) => `checkpoint-${step}`).toSorted())
  t.is((await evaluate(model, rows)).metrics.accuracy, Math.max(...accuracies))
  t.is(endOf(events)?.stoppedEarly, undefined)
})

test('a resumed run remembers its best and its patience', async (t) => {
  const args = { earlyStoppingPatience: 3, loadBestModelAtEnd: true, saveStrategy: 'steps', saveSteps: 1 } as const
  const whole = await ready(t)
  const outputDir = scratch(t)
  const events = await run(whole, recipe(outputDir, args))
  const { step: last, best } = endOf(events) ?? { step: 0 }
  for (const from of [1, 2, last - 3, last - 1, last]) {
    const model = await ready(t)
    const folder = scratch(t)
    const resumeFromCheckpoint = join(outputDir, `checkpoint-${from}`)
    const end = endOf(await run(model, recipe(folder, { ...args, resumeFromCheckpoint })))
    t.like(end, { step: last, steps: last - from }, `from step ${from}`)
    t.deepEqual(end?.best, best)
    t.deepEqual(moved(snapshot(whole), snapshot(model)), [], `from step ${from}`)
    t.true(from < (best?.step ?? 0) || existsSync(join(folder, `checkpoint-${best?.step}`)))
  }
  // More patience goes on where the run ended.
  const model = await ready(t)
  const resumeFromCheckpoint = join(outputDir, `checkpoint-${last}`)
  const more = { ...args, earlyStoppingPatience: 5, resumeFromCheckpoint }
  t.true((endOf(await run(model, recipe(outputDir, more)))?.steps ?? 0) > 0)
  rmSync(join(outputDir, `checkpoint-${best?.step}`, 'a', 'adapter.safetensors'))
  await t.throwsAsync(run(model, recipe(outputDir, more)), {
    message: /the best checkpoint so far, \S+, cannot be read: a\/adapter\.safetensors is missing/
  })
  rmSync(join(outputDir, `checkpoint-${best?.step}`), { recursive: true })
  await t.throwsAsync(run(model, recipe(outputDir, more)), { message: /the best checkpoint so far is gone/ })
})

test('a finished run that is made longer goes on from where it ended, not from its best', async (t) => {
  const args = { maxSteps: 8, loadBestModelAtEnd: true, lrSchedulerType: 'constant' } as const
  const whole = await ready(t)
  const events = await run(whole, recipe(scratch(t), { ...args, maxSteps: 12, loadBestModelAtEnd: false }))
  const model = await ready(t)
  const outputDir = scratch(t)
  t.true((endOf(await run(model, recipe(outputDir, args)))?.best?.step ?? 8) < 8)
  const rest = await run(await ready(t), recipe(outputDir, { ...args, maxSteps: 12, resumeFromCheckpoint: true }))
  t.is(endOf(rest)?.steps, 4)
  const losses = (list: TrainingEvent[]) => list.flatMap((event) => (event.type === 'step' ? [event.loss] : []))
  t.deepEqual(losses(rest), losses(events).slice(8))
})

test('a metric that no evaluation has, and arguments that could not work', async (t) => {
  const model = await ready(t)
  await t.throwsAsync(run(model, recipe(scratch(t), { metricForBestModel: 'f2', earlyStoppingPatience: 1 })), {
    message: "args.metricForBestModel: no evaluation has 'f2'. Did you mean 'f1'?"
  })
  const cases: [TrainingArguments, RegExp][] = [
    [{ loadBestModelAtEnd: true }, /args\.loadBestModelAtEnd: it needs evaluations/],
    [{ earlyStoppingPatience: 2 }, /args\.earlyStoppingPatience: it needs evaluations/],
    [{ earlyStoppingPatience: 0, evalStrategy: 'epoch' }, /expected a positive integer/],
    [{ earlyStoppingThreshold: 0.1, evalStrategy: 'epoch' }, /it needs earlyStoppingPatience/]
  ]
  for (const [args, message] of cases) t.throws(() => trainingArguments(args), { message })
  const of = (metricForBestModel: string) => trainingArguments({ metricForBestModel }).greaterIsBetter
  t.deepEqual(
    ['accuracy', 'eval_loss', 'loss', 'a.loss', 'mse', 'a.mse', 'perplexity', 'rmse', 'a.mae', 'wer'].map(of),
    [true, ...new Array<boolean>(9).fill(false)]
  )
})

test("saveStrategy 'best' writes a checkpoint after each evaluation that is the best, and no other", async (t) => {
  const outputDir = scratch(t)
  const model = await ready(t)
  const args = recipe(outputDir, { saveStrategy: 'best', metricForBestModel: 'accuracy', maxSteps: 12 })
  const events = await run(model, args, rows)
  const best = new BestModel(trainingArguments(args), undefined)
  const expected = events.flatMap((event) =>
    event.type === 'evaluate' && best.take(event.step, event) ? [event.step] : []
  )
  t.true(expected.length > 0 && expected.length < 6)
  t.deepEqual(
    events.flatMap((event) => (event.type === 'save' ? [event.step] : [])),
    expected
  )
  t.deepEqual(readdirSync(outputDir).sort(), expected.map((step) => `checkpoint-${step}`).sort())
  t.is(endOf(events)?.best?.metric, 'accuracy')
})

test('with reduce_lr_on_plateau a resumed run goes on with the same bits', async (t) => {
  const outputDir = scratch(t)
  const args: TrainingArguments = {
    lrSchedulerType: 'reduce_lr_on_plateau',
    lrSchedulerKwargs: { factor: 0.5, patience: 0, cooldown: 1 },
    maxSteps: 16,
    saveStrategy: 'steps',
    saveSteps: 1
  }
  const whole = await ready(t)
  const events = await run(whole, recipe(outputDir, args))
  const stepsOf = (all: readonly TrainingEvent[]) =>
    all.flatMap((event) => (event.type === 'step' ? [[event.loss, event.learningRate]] : []))
  t.true(new Set(stepsOf(events).map(([, rate]) => rate)).size > 2)
  for (const step of [3, 6, 7, 12]) {
    const model = await ready(t)
    const from = join(outputDir, `checkpoint-${step}`)
    const rest = await run(model, recipe(scratch(t), { ...args, resumeFromCheckpoint: from }))
    t.deepEqual(stepsOf(rest), stepsOf(events).slice(step), `from step ${step}`)
    t.deepEqual(moved(snapshot(whole), snapshot(model)), [])
  }
})

test('with reduce_lr_on_plateau a run that is evaluated at other steps is another run', async (t) => {
  const outputDir = scratch(t)
  const own = { lrSchedulerType: 'reduce_lr_on_plateau', saveStrategy: 'steps', saveSteps: 2, maxSteps: 4 } as const
  await run(await ready(t), recipe(outputDir, own))
  const other = recipe(outputDir, { ...own, evalSteps: 3, resumeFromCheckpoint: true })
  await t.throwsAsync(run(await ready(t), other), { code: 'ERR_RESUME', message: /evalSteps 2.*evalSteps 3/s })
})

test('a misspelled measure is refused before the first step, one of the caller is not', async (t) => {
  const model = await ready(t)
  const given = { model, trainDataset: rows, evalDataset: rows }
  const named = (metricForBestModel: string) => recipe(scratch(t), { metricForBestModel, maxSteps: 2 })
  let steps = 0
  const refused = async () => {
    for await (const event of new AdapterTrainer({ ...given, args: named('acuracy') }).run()) {
      steps += Number(event.type === 'step')
    }
  }
  await t.throwsAsync(refused, { message: /no evaluation has 'acuracy'\. Did you mean 'accuracy'\?/ })
  t.is(steps, 0)
  const computeMetrics = () => ({ mine: 1 })
  const { best } = await new AdapterTrainer({ ...given, computeMetrics, args: named('mine') }).train()
  t.is(best?.value, 1)
})
