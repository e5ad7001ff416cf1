// Four ways to teach an encoder a task: a head on the frozen encoder, an adapter with its head, full fine-tuning, and
// the same adapter on an encoder that knows nothing. Same rows in the same order, as often.
import { AdapterTrainer } from '../../dist/lib/index.js'
import { trainingProgress } from '../../dist/lib/tasks/progress.js'
import { CurveRecorder } from '../../dist/lib/training/report.js'
import { encodeRow, encodeTagged, readerOf } from './encode.mjs'
import { measure, measureTags } from './measures.mjs'

/** @typedef {import('../../dist/lib/index.js').Model} Model */
/** @typedef {import('./tasks.mjs').RowTask} RowTask */
/** @typedef {import('./tasks.mjs').TagTask} TagTask */
/** @typedef {import('./encode.mjs').LabelledRow} LabelledRow */
/** @typedef {import('./encode.mjs').LabelledTokens} LabelledTokens */
/** @typedef {'head' | 'adapter' | 'full' | 'random'} Way */
/**
 * @typedef {object} Trained
 * @property {Model} model
 * @property {number} parameters that were trained
 * @property {number} seconds the evaluations between the steps are in them
 * @property {import('../../dist/lib/training/report.js').RunCurves} curves
 */

/** Adapter and head share it. */
export const adapterName = 'quickstart'

/** The bottleneck has a quarter of the hidden size; one after each feed-forward block. */
const adapterConfig = 'pfeiffer[reduction_factor=4]'

/** Each the best of three on dev (head 2e-3, 5e-3, 1e-2; adapter 3e-3, 5e-3, 1e-2; full 5e-4, 1e-3, 2e-3). */
const learningRates = { head: 5e-3, adapter: 5e-3, full: 1e-3, random: 5e-3 }
const batchSize = 64
const evaluationBatch = 256
/** One epoch, more where the rows are few. */
const fewestSteps = 300
const mostEpochs = 10
/** Points of the learning curves. */
const logs = 24
const evaluations = 8
const devRows = 500

/** @type {Record<Way, string>} */
export const wayTitles = {
  head: 'head alone',
  adapter: 'adapter and head',
  full: 'full fine-tuning',
  random: 'adapter, random encoder'
}

/**
 * @param {RowTask | TagTask} task
 * @param {Model} model with a tokenizer
 * @param {number} rows at most so many of train
 */
export function encodeTask(task, model, rows) {
  const reader = readerOf(model)
  /** @template T @template R @param {{ train: T[], dev: T[], test: T[] }} parts @param {(row: T) => R} encode */
  const all = (parts, encode) => ({
    train: parts.train.slice(0, rows).map(encode),
    dev: parts.dev.slice(0, devRows).map(encode),
    test: parts.test.map(encode)
  })
  return task.kind === 'tagging'
    ? all(task, (row) => encodeTagged(reader, row))
    : all(task, (row) => encodeRow(reader, row, task.labels))
}

/** @param {Model} model @param {Way} way @param {RowTask | TagTask} task */
function prepare(model, way, task) {
  if (way === 'adapter' || way === 'random') model.addAdapter(adapterName, adapterConfig)
  if (task.kind === 'tagging') model.addTaggingHead(adapterName, { labels: task.labels })
  else model.addClassificationHead(adapterName, { labels: task.labels })
  if (way === 'adapter' || way === 'random') model.trainAdapter(adapterName)
  else if (way === 'head') model.trainHead(adapterName)
  else model.trainAll()
}

/**
 * @param {Model} model
 * @param {Way} way
 * @param {RowTask | TagTask} task
 * @param {ReturnType<typeof encodeTask>} data
 * @param {{ seed: number, out: string }} options
 * @returns {Promise<Trained>}
 */
export async function train(model, way, task, data, { seed, out }) {
  prepare(model, way, task)
  const parameters = model.adapterSummary().trainableParameters
  const stepsPerEpoch = Math.ceil(data.train.length / batchSize)
  const epochs = Math.min(mostEpochs, Math.max(1, Math.ceil(fewestSteps / stepsPerEpoch)))
  const steps = epochs * stepsPerEpoch
  const trainer = new AdapterTrainer({
    model,
    trainDataset: data.train,
    evalDataset: data.dev,
    args: {
      outputDir: out,
      numTrainEpochs: epochs,
      perDeviceTrainBatchSize: batchSize,
      perDeviceEvalBatchSize: evaluationBatch,
      learningRate: learningRates[way],
      warmupRatio: 0.06,
      weightDecay: 0.01,
      loggingSteps: Math.max(1, Math.floor(steps / logs)),
      evalStrategy: 'steps',
      evalSteps: Math.max(1, Math.floor(steps / evaluations)),
      saveStrategy: 'no',
      seed
    }
  })
  const recorder = new CurveRecorder(wayTitles[way])
  const times = epochs === 1 ? 'once' : `${epochs} times`
  console.log(`  training: ${wayTitles[way]}, ${parameters.toLocaleString('en')} parameters, each row ${times}`)
  const progress = trainingProgress({ stream: process.stdout })
  let seconds = 0
  try {
    for await (const event of trainer.run()) {
      progress.show(event)
      recorder.record(event)
      if (event.type === 'end') seconds = event.seconds
    }
  } finally {
    progress.stop()
  }
  console.log(`✓ training: ${wayTitles[way]} (${seconds.toFixed(1)} s)`)
  return { model, parameters, seconds, curves: recorder.curves }
}

/**
 * @param {Model} model
 * @param {RowTask | TagTask} task
 * @param {ReturnType<typeof encodeTask>} data
 */
export async function test(model, task, data) {
  if (task.kind === 'tagging') return testTags(model, /** @type {LabelledTokens[]} */ (data.test))
  const rows = /** @type {LabelledRow[]} */ (data.test)
  const answers = await model.predict(rows, { batchSize: evaluationBatch })
  return measure(
    answers.map(({ labelId = 0 }) => labelId),
    rows.map(({ label }) => task.labels.indexOf(label)),
    task.labels.length
  )
}

/** @param {Model} model @param {LabelledTokens[]} rows */
async function testTags(model, rows) {
  const answers = []
  for (let i = 0; i < rows.length; i += evaluationBatch)
    answers.push(...(await tagWords(model, rows.slice(i, i + evaluationBatch))))
  return measureTags(
    answers,
    rows.map((row) => row.tags)
  )
}

/** The likelier of two tags for each word. @param {Model} model @param {LabelledTokens[]} rows */
export async function tagWords(model, rows) {
  const { logits } = await model.forward({
    inputIds: rows.map((row) => row.inputIds),
    tokenTypeIds: rows.map((row) => row.tokenTypeIds)
  })
  if (logits === undefined) throw new Error('the tagging head gave no logits')
  const [, columns = 0] = logits.shape
  const value = (/** @type {number} */ at) => logits.data[at] ?? 0
  return rows.map(({ wordAt }, row) =>
    Array.from(wordAt, (token) => {
      if (token < 0) return 0
      const at = 2 * (row * columns + token)
      return value(at + 1) > value(at) ? 1 : 0
    })
  )
}
