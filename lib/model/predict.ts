import * as check from '../config/check.js'
import { isChoiceHead } from '../config/choice-heads.js'
import {
  type HeadConfig,
  hasManyLabels,
  type LabelledHeadConfig,
  type LanguageHeadConfig,
  labelNames,
  predictsWords
} from '../config/head-config.js'
import { rowLimits } from '../config/model-config.js'
import { collate, type EncodedRow, encodeRow, partsOf } from '../data/collate.js'
import { checkRow, placeOf, type Row } from '../data/dataset.js'
import { labelsTokens } from '../data/labels.js'
import type { TextTokenizer } from '../data/tokenizer.js'
import { nativeCall } from '../native/errors.js'
import type { NativeSetup } from '../native/types.js'
import type { Answer, AnswerOptions } from './best-spans.js'
import { answerOfChoice } from './choice-answers.js'
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
  /**
   * Question answering: the best answer, its place in the context and its probability (score), and the best few answers.
   * Multiple choice: the right choice's label and number, and all scores.
   */
  readonly answer?: string
  readonly start?: number
  readonly end?: number
  readonly answers?: readonly Answer[]
  /**
   * [labels], or [tokens × labels] row by row; NaN for a word without an answer. Question answering: [tokens × 2] of all
   * windows. Dependency parsing: [words × (words + 1) × (1 + labels)], for each head how well it is one, and of which kind.
   */
  readonly logits: Float32Array
}

interface Job {
  readonly index: number
  readonly row: Row
  readonly setup: NativeSetup
  readonly head: string
}

const keys = [
  ...['adapters', 'head', 'taskIds', 'skipLayers', 'batchSize', 'signal'],
  ...['answerCount', 'maxAnswerLength', 'allowNoAnswer']
]

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
  const pass = { skipLayers: skippedLayers(model, options), batchSize, signal: options.signal }
  const asked = answerOptions(options)
  const answers: Prediction[] = []
  for (let from = 0; from < jobs.length; from += batchSize) {
    answers.push(...(await answer(model, jobs.slice(from, from + batchSize), pass, asked)))
  }
  return answers
}

function answerOptions({
  answerCount = 1,
  maxAnswerLength = 30,
  allowNoAnswer = false
}: PredictOptions): AnswerOptions {
  return {
    count: check.checkPositiveInteger('answerCount', answerCount),
    maxLength: check.checkPositiveInteger('maxAnswerLength', maxAnswerLength),
    allowNone: check.checkBoolean('allowNoAnswer', allowNoAnswer)
  }
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

interface Pass {
  readonly skipLayers: readonly number[]
  readonly batchSize: number
  readonly signal: AbortSignal | undefined
}

/** A row for the core, and the job that it is a part of. */
interface Part {
  readonly job: Job
  readonly encoded: EncodedRow
}

/** All rows pass through the encoder together; each is then read by its own head. */
async function answer(model: Model, jobs: readonly Job[], pass: Pass, answers: AnswerOptions): Promise<Prediction[]> {
  const encoded = jobs.map((job) => encodeJob(model, job))
  // A question with a long context is many rows: they go in passes of their own.
  const parts = jobs.flatMap((job, i) =>
    partsOf(encoded[i] as EncodedRow).map((part): Part => ({ job, encoded: part }))
  )
  const logits = new Map<Job, Float32Array[]>()
  for (let from = 0; from < parts.length; from += pass.batchSize) {
    pass.signal?.throwIfAborted()
    const some = parts.slice(from, from + pass.batchSize)
    const values = await logitsOf(model, some, pass.skipLayers)
    some.forEach(({ job }, i) => {
      const list = logits.get(job) ?? []
      logits.set(job, [...list, values[i] as Float32Array])
    })
  }
  return jobs.map((job, i) => {
    const config = model.heads.get(job.head) as HeadConfig
    const question = { row: job.row, encoded: encoded[i] as EncodedRow, tokenizer: model.tokenizer }
    const own = logits.get(job) ?? []
    if (isChoiceHead(config)) return answerOfChoice(config, own, { ...question, answers })
    return interpret(own[0] ?? new Float32Array(), config, question)
  })
}

/** Nothing is learned from these rows: their labels, right or wrong, do not matter. */
const labelFields = [
  'label',
  'labels',
  'answers',
  'answerText',
  'answerStart',
  'startPosition',
  'endPosition',
  'heads',
  'relations'
]

function encodeJob(model: Model, { row, index, head }: Job): EncodedRow {
  const options = { tokenizer: model.tokenizer, limits: rowLimits(model.config) }
  const place = placeOf(row, `rows[${index}]`)
  const config = model.heads.get(head)
  if (config === undefined || !isChoiceHead(config)) return encodeRow(row, options, place)
  const unlabelled = Object.fromEntries(Object.entries(row).filter(([field]) => !labelFields.includes(field)))
  return encodeRow(unlabelled as unknown as Row, { ...options, head: config }, place)
}

/** One pass: each row's logits. */
async function logitsOf(model: Model, parts: readonly Part[], skipLayers: readonly number[]): Promise<Float32Array[]> {
  // Rows of one setup stay side by side: each run of them is one product in every adapter.
  const groups = new Map<string, number>()
  const groupOf = ({ job }: Part) => {
    const key = JSON.stringify(job.setup)
    return groups.get(key) ?? groups.set(key, groups.size).size - 1
  }
  const batch = collate(
    parts.map((part) => part.encoded),
    parts.map(groupOf)
  )
  const ordered = Array.from(batch.order, (row) => parts[row] as Part)
  const heads = [...new Set(ordered.map(({ job }) => job.head))]
  const rowHeads = Int32Array.from(ordered, ({ job }) => heads.indexOf(job.head))
  const { native } = model
  const pass = { ...indexSetups(ordered.map(({ job }) => job.setup)), head: null, heads, rowHeads, skipLayers }
  const { headLogits = [] } = await nativeCall(() => native.forward(batch, pass))
  const read = heads.map(() => 0)
  const values = new Array<Float32Array>(parts.length)
  ordered.forEach(({ job, encoded }, i) => {
    const head = rowHeads[i] ?? 0
    const logits = headLogits[head]
    const config = model.heads.get(job.head)
    if (logits === undefined || config === undefined) return
    const begin = read[head] ?? 0
    const end = begin + (logits.shape[1] ?? 1) * answerCount(config, encoded)
    read[head] = end
    values[batch.order[i] ?? 0] = logits.data.slice(begin, end)
  })
  return values
}

/** Rows of logits that a head gives for a row. */
function answerCount(config: HeadConfig, { inputIds, parse }: EncodedRow): number {
  if (config.headType === 'dependency_parsing') {
    const words = parse?.words.length ?? 0
    return words * (words + 1)
  }
  return labelsTokens(config) || config.headType === 'question_answering' ? inputIds.length : 1
}

interface Question {
  readonly row: Row
  readonly encoded: EncodedRow
  readonly tokenizer: TextTokenizer | undefined
}

function interpret(
  logits: Float32Array,
  config: LabelledHeadConfig | LanguageHeadConfig,
  { row, encoded, tokenizer }: Question
): Prediction {
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
