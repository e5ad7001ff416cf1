import test from 'ava'
import {
  type AdapterError,
  AdapterTrainer,
  type EvalDataset,
  evaluate,
  MultiTaskTrainer,
  type Predictions,
  type TrainingArguments,
  type TrainingEvent
} from '../../lib/index.js'
import { load, quiet, ready, scratch, tinyRows } from '../model/support.js'

const rows = tinyRows(11)

/** Share of rows whose larger logit is at the label. */
function right({ logits, labels, width }: Predictions): number {
  const hits = Array.from(labels).filter((label, i) => {
    const [zero = 0, one = 0] = logits.subarray(i * width, (i + 1) * width)
    return label === Number(zero < one)
  })
  return hits.length / labels.length
}

test('measures of your own see all answers, beside the built-in ones', async (t) => {
  const model = await ready(t)
  const seen: Predictions[] = []
  const result = await evaluate(model, rows, {
    batchSize: 4,
    computeMetrics: async (predictions) => {
      seen.push(predictions)
      return { hits: right(predictions), macroF1: -1 }
    }
  })
  t.is(seen.length, 1)
  t.like(seen[0], { head: 'a', width: 2, labelNames: ['LABEL_0', 'LABEL_1'] })
  t.is(seen[0]?.logits.length, 22)
  // Batches sort their rows; what belongs together stays so.
  t.deepEqual(seen[0]?.rowLengths.toSorted(), rows.map(({ inputIds }) => inputIds.length).toSorted())
  t.is(result.metrics['hits'], result.metrics.accuracy)
  t.is(result.metrics.macroF1, -1)
})

test('a run is told the best by a measure of your own', async (t) => {
  const model = await ready(t)
  const values = [0.1, 0.7, 0.3]
  let calls = 0
  const trainer = new AdapterTrainer({
    model,
    trainDataset: rows,
    evalDataset: rows,
    args: {
      ...quiet,
      outputDir: scratch(t),
      numTrainEpochs: 3,
      evalStrategy: 'epoch',
      loadBestModelAtEnd: true,
      metricForBestModel: 'mine'
    },
    computeMetrics: () => ({ mine: values[calls++] ?? 0 })
  })
  const events: TrainingEvent[] = []
  for await (const event of trainer.run()) events.push(event)
  t.like(events.at(-1), { type: 'end', best: { metric: 'mine', value: 0.7, step: 6 } })
  calls = 1
  t.is((await trainer.evaluate()).metrics['mine'], 0.7)
})

test('the best by a measure that computeMetrics gives: its own eval_, misspelled ones, those of several sets', async (t) => {
  const model = await ready(t)
  const run = async (metricForBestModel: string, evalDataset: EvalDataset = rows, more: TrainingArguments = {}) => {
    const steps = { maxSteps: 2, evalStrategy: 'steps', evalSteps: 1 } as const
    const args = { ...quiet, ...steps, metricForBestModel, ...more }
    let step = 0
    const computeMetrics = () => ({ eval_mine: 0.5 })
    try {
      const trainer = new AdapterTrainer({ model, trainDataset: rows, evalDataset, args, computeMetrics })
      for await (const event of trainer.run()) {
        if (event.type === 'step') step = event.step
        if (event.type === 'end') return event.best?.value
      }
    } catch (error) {
      const { message, hint } = error as AdapterError
      return `${step}: ${message} ${hint}`
    }
    return undefined
  }
  t.is(await run('eval_mine'), 0.5)
  t.is(await run('mine'), 0.5)
  const misspelled = /^1: evaluate: metricForBestModel: no evaluation has 'acuracy'.* Did you mean 'accuracy'\?/
  t.regex(`${await run('eval_acuracy')}`, misspelled)
  t.regex(`${await run('eval_acuracy', rows, { evalOnStart: true })}`, /^0: .*acuracy/)
  const sets = { one: rows, two: rows }
  t.is(await run('one_eval_mine', sets), 0.5)
  t.regex(
    `${await run('three_eval_mine', sets)}`,
    /^0: args\.metricForBestModel: no evaluation has 'three_eval_mine'\. .*begins with its name: one_, two_/
  )
  const tasks = { a: { dataset: rows, evalDataset: rows, computeMetrics: () => ({ mine: 1 }) } }
  const given = { ...quiet, maxSteps: 2, evalStrategy: 'epoch', evalOnStart: true } as const
  const together = new MultiTaskTrainer({
    model,
    tasks: { a: { ...tasks.a, args: { metricForBestModel: 'mien' } } },
    args: given
  })
  const events: string[] = []
  await t.throwsAsync(
    async () => {
      for await (const { type } of together.run()) events.push(type)
    },
    { message: /no evaluation has 'mien'/ }
  )
  t.deepEqual(events, [])
})

test('what is no metrics is refused', async (t) => {
  const model = await ready(t)
  for (const [computeMetrics, message] of [
    [() => undefined, /computeMetrics gave no metrics.*got undefined/],
    [() => ({ good: 1, bad: 'x' }), /expected an object of numbers by name, got bad: string/],
    [() => ({ loss: 1 }), /computeMetrics gave 'loss'.*another name/]
  ] as const) {
    await t.throwsAsync(evaluate(model, rows, { computeMetrics } as never), { message })
  }
  await t.throwsAsync(evaluate(model, rows, { computeMetrics: 'accuracy' } as never), {
    message: /computeMetrics: expected a function/
  })
  t.throws(() => new AdapterTrainer({ model, trainDataset: rows, computeMetrics: {} } as never), {
    message: /computeMetrics: expected a function/
  })
})

test('language models have their perplexity', async (t) => {
  const model = await load(t)
  model.addMaskedLmHead('a')
  const words = tinyRows(5, { from: 3 }).map(({ inputIds }) => ({ inputIds, labels: inputIds }))
  const { loss, metrics } = await evaluate(model, words)
  t.true(loss > 1)
  t.is(metrics.perplexity, Math.exp(loss))
})
