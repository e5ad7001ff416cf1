import * as check from '../config/check.js'
import { type HeadConfig, hasManyLabels, labelNames, predictsWords } from '../config/head-config.js'
import { rowLimits } from '../config/model-config.js'
import { collate, type EncodedRow, encodeRow } from '../data/collate.js'
import { checkRow, placeOf, type Row } from '../data/dataset.js'
import { labelsTokens } from '../data/labels.js'
import type { TextTokenizer } from '../data/tokenizer.js'
import { nativeCall } from '../native/errors.js'
import type { NativeSetup } from '../native/types.js'
import { type HeadRule, headOfRow, headRule } from './head-rule.js'
import type { Model } from './model.js'
import { checkOptions, type PredictOptions } from './options.js'
import { type AdapterSetup, indexSetups, rowSetups, setupNames } from './setup.js'
import { skippedLayers } from './skip-layers.js'
import { answersByToken, answersByWord, type Best, type TokenPrediction, wordsOf } from './token-answers.js'

/** One row's answer. */
export interface Prediction {
  /** Classification: the label with the highest score. */
  readonly label?: string
  readonly labelId?: number
  /** Classification: the label's probability. Regression: the value. */
  readonly score?: number
  /** Multi-label: every label with a probability of at least one half, and all probabilities. */
  readonly labels?: readonly string[]
  readonly scores?: Float32Array
  /**
   * Tagging: a label for each word of a row of words; for each token of other rows, special tokens included. Masked
   * language modelling: a token's id for each token.
   */
  readonly tokens?: readonly TokenPrediction[]
  /** [labels], or [tokens × labels] row by row; NaN for a word without an answer. */
  readonly logits: Float32Array
}

interface Job {
  readonly index: number
  readonly row: Row
  readonly setup: NativeSetup
  readonly head: string
}

const keys = ['adapters', 'head', 'taskIds', 'skipLayers', 'batchSize', 'signal']

export async function predict(
  model: Model,
  rows: readonly (Row | string)[],
  options: PredictOptions
): Promise<Prediction[]> {
  checkOptions(options, keys)
  const batchSize = check.checkPositiveInteger('batchSize', options.batchSize ?? 32)
  const checked = check
    .checkArray('rows', rows)
    .map((row, i) => checkRow(typeof row === 'string' ? { text: row } : row, `rows[${i}]`))
  const { adapters = model.activeAdapters, taskIds } = options
  if (!Array.isArray(adapters)) setupNames(adapters as AdapterSetup, model.known)
  const rule = headRule(model, options)
  // With Parallel there is a setup for each row and child, one child after the other.
  const jobs = rowSetups(adapters, { rows: checked.length, taskIds }, model.known).map((setup, index): Job => {
    return { index, row: checked[index % checked.length] as Row, setup, head: headOf(rule, model, setup) }
  })
  const skipLayers = skippedLayers(model, options)
  const answers = new Array<Prediction>(jobs.length)
  for (let from = 0; from < jobs.length; from += batchSize) {
    options.signal?.throwIfAborted()
    await answer(model, jobs.slice(from, from + batchSize), skipLayers, answers)
  }
  return answers
}

function headOf(rule: HeadRule, model: Model, setup: NativeSetup): string {
  const head = headOfRow(rule, model.heads, setup)
  if (head !== null) return head
  throw check.valueError(
    'predict',
    rule.chosen === null && model.heads.size > 0
      ? 'activeHead is null; set it, activate an adapter that has a head, or name one with head'
      : 'the model has no head to answer with; add one, load an adapter with its head, or use forward'
  )
}

/** One pass through the encoder for all rows; each is then read by its own head. */
async function answer(
  model: Model,
  jobs: readonly Job[],
  skipLayers: readonly number[],
  answers: Prediction[]
): Promise<void> {
  const options = { tokenizer: model.tokenizer, limits: rowLimits(model.config) }
  const encoded = jobs.map((job) => encodeRow(job.row, options, placeOf(job.row, `rows[${job.index}]`)))
  // Rows of one setup stay side by side: each run of them is one product in every adapter.
  const groups = new Map<string, number>()
  const groupOf = (job: Job) => {
    const key = JSON.stringify(job.setup)
    return groups.get(key) ?? groups.set(key, groups.size).size - 1
  }
  const batch = collate(encoded, jobs.map(groupOf))
  const ordered = Array.from(batch.order, (row) => jobs[row] as Job)
  const heads = [...new Set(ordered.map((job) => job.head))]
  const rowHeads = Int32Array.from(ordered, (job) => heads.indexOf(job.head))
  const { native } = model
  const pass = { ...indexSetups(ordered.map((job) => job.setup)), head: null, heads, rowHeads, skipLayers }
  const { headLogits = [] } = await nativeCall(() => native.forward(batch, pass))
  const read = heads.map(() => 0)
  ordered.forEach((job, i) => {
    const head = rowHeads[i] ?? 0
    const logits = headLogits[head]
    const config = model.heads.get(job.head)
    if (logits === undefined || config === undefined) return
    const width = logits.shape[1] ?? 1
    const begin = read[head] ?? 0
    const end = begin + width * (labelsTokens(config) ? (batch.rowLengths[i] ?? 0) : 1)
    read[head] = end
    answers[job.index] = interpret(logits.data.slice(begin, end), config, {
      row: job.row,
      encoded: encoded[batch.order[i] ?? 0] as EncodedRow,
      tokenizer: model.tokenizer
    })
  })
}

interface Question {
  readonly row: Row
  readonly encoded: EncodedRow
  readonly tokenizer: TextTokenizer | undefined
}

function interpret(logits: Float32Array, config: HeadConfig, { row, encoded, tokenizer }: Question): Prediction {
  const names = labelNames(config)
  if (config.headType === 'tagging' || predictsWords(config)) {
    const bestOf = (values: Float32Array) => best(values, names)
    const words = config.headType === 'tagging' ? wordsOf(row) : null
    if (words === null || encoded.wordIds === undefined) return answersByToken(encoded, logits, bestOf, tokenizer)
    return answersByWord(words, encoded.wordIds, logits, bestOf)
  }
  if (hasManyLabels(config)) {
    const scores = logits.map((value) => 1 / (1 + Math.exp(-value)))
    return { labels: names.filter((_, id) => (scores[id] ?? 0) >= 0.5), scores, logits }
  }
  if (config.numLabels === 1) return { score: logits[0] ?? Number.NaN, logits }
  return { ...best(logits, names), logits }
}

/** The highest logit with its softmax probability. */
function best(logits: Float32Array, names: readonly string[]): Best {
  let labelId = 0
  logits.forEach((value, id) => {
    if (value > (logits[labelId] ?? Number.NEGATIVE_INFINITY)) labelId = id
  })
  const top = logits[labelId] ?? 0
  const sum = logits.reduce((total, value) => total + Math.exp(value - top), 0)
  return { label: names[labelId] ?? `${labelId}`, labelId, score: 1 / sum }
}
