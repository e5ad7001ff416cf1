import test from 'ava'
import {
  type AdapterError,
  AdapterTrainer,
  type Composition,
  type Dataset,
  type EvalDataset,
  evaluate,
  type Model,
  MultiTaskTrainer,
  Parallel,
  type Predictions,
  type TrainingArguments,
  type TrainingEvent
} from '../../lib/index.js'
import { fill, largestDifference, load, quiet, ready, scratch, tinyRows } from '../model/support.js'

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
  t.deepEqual(
    seen[0]?.rowLengths,
    rows.map(({ inputIds }) => inputIds.length)
  )
  t.is(result.metrics['hits'], result.metrics.accuracy)
  t.is(result.metrics.macroF1, -1)
})

const uneven = [9, 3, 7, 1, 5].map((length, row) => Array.from({ length }, (_, i) => 10 + 9 * row + i))

/** What computeMetrics is given, in batches of two rows. */
async function given(model: Model, data: Dataset, adapters?: Composition): Promise<Predictions> {
  const seen: Predictions[] = []
  const computeMetrics = (predictions: Predictions) => {
    seen.push(predictions)
    return {}
  }
  await evaluate(model, data, { batchSize: 2, computeMetrics, adapters })
  return seen[0] as Predictions
}

const joined = (values: readonly ArrayLike<number>[]) => values.flatMap((each) => Array.from(each))

test('answers, labels and lengths come in the order of the dataset, whatever the lengths of its rows', async (t) => {
  const model = await load(t)
  const alone = async (inputIds: number[]) => (await model.forward({ inputIds: [inputIds] })).logits?.data ?? []
  const check = async (data: Dataset, labels: readonly ArrayLike<number>[]) => {
    const got = await given(model, data)
    t.deepEqual(got.rows, [0, 1, 2, 3, 4])
    t.deepEqual(
      got.rowLengths,
      uneven.map(({ length }) => length)
    )
    t.deepEqual(Array.from(got.labels), joined(labels))
    const wanted = joined(await Promise.all(uneven.map(alone)))
    t.is(got.logits.length, wanted.length)
    t.true(largestDifference(got.logits, wanted) < 1e-5)
    return got
  }
  model.addClassificationHead('classes', { numLabels: 5 })
  const classes = uneven.map((_, label) => [label])
  t.is(
    (
      await check(
        uneven.map((inputIds, label) => ({ inputIds, label })),
        classes
      )
    ).width,
    5
  )
  model.addMultiLabelClassificationHead('several', { numLabels: 3 })
  model.activeHead = 'several'
  const several = uneven.map((_, row) => [Number(row > 2), 1, Number(row < 1)])
  await check(
    uneven.map((inputIds, row) => ({ inputIds, label: several[row] as number[] })),
    several
  )
  model.addTaggingHead('tags', { numLabels: 3 })
  model.activeHead = 'tags'
  const tags = uneven.map((ids) => ids.map((id) => id % 3))
  await check(
    uneven.map((inputIds, row) => ({ inputIds, labels: tags[row] as number[] })),
    tags
  )
  model.addMaskedLmHead('words')
  model.activeHead = 'words'
  t.is(
    (
      await check(
        uneven.map((inputIds) => ({ inputIds, labels: inputIds })),
        uneven
      )
    ).width,
    99
  )
})

test('with Parallel all rows come for each child, child after child', async (t) => {
  const model = await load(t)
  for (const name of ['a', 'b']) {
    model.addAdapter(name, 'seq_bn')
    fill(model, name)
  }
  model.addClassificationHead('classes', { numLabels: 5 })
  const data = uneven.map((inputIds, label) => ({ inputIds, label }))
  const both = await given(model, data, Parallel('a', 'b'))
  t.deepEqual(both.rows, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
  const each = [await given(model, data, 'a'), await given(model, data, 'b')]
  t.deepEqual(Array.from(both.labels), joined(each.map(({ labels }) => labels)))
  t.true(largestDifference(both.logits, joined(each.map(({ logits }) => logits))) < 1e-5)
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
