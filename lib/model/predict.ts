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
import { withImageSize } from '../config/image-shape.js'
import { type EncodedRow, encodeRow, partsOf } from '../data/collate.js'
import { placeOf, type Row, takeRow } from '../data/dataset.js'
import { Pauses } from '../data/pauses.js'
import { checkSuits } from '../data/row-suits.js'
import type { TextTokenizer } from '../data/tokenizer.js'
import type { NativeSetup } from '../native/pass-types.js'
import type { Answer, AnswerOptions } from './best-spans.js'
import { answerOfChoice } from './choice-answers.js'
import { type FusionAttentions, joinAttentions } from './fusion-attentions.js'
import { type HeadRule, headOfRow, headRule } from './head-rule.js'
import type { Model } from './model.js'
import { checkOptions, type PredictOptions } from './options.js'
import { type Copy, type Part, type PartAnswer, type PartPass, passParts } from './part-answers.js'
import { partsRead } from './parts-read.js'
import { limitsUnder } from './row-room.js'
import { type AdapterSetup, rowBranches, rowSetups, setupNames, taskIdsOf } from './setup.js'
import { skippedLayers } from './skip-layers.js'
import { answersByToken, answersByWord, type Best, type TokenPrediction, wordsOf } from './token-answers.js'

/** One row's answer. */
export interface Prediction {
  /** Classification: the label with the highest score. */
  readonly label?: string
  /** The label's id, from 0; labels of one name have different ones. */
  readonly labelId?: number
  /** Classification: the label's probability. Regression: the value. */
  readonly score?: number
  /** Multi-label: every label with a probability of at least one half, and all probabilities. */
  readonly labels?: readonly string[]
  readonly scores?: Float32Array
  /**
   * Tagging: a label for each word of a row of words; for each token of other rows, special tokens included. Language
   * modelling: for each token the one that stands there (masked) or comes next (causal), as its vocabulary has it.
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
  /** Each [tokens, children], windows and choices one after the other. There with outputAdapterFusionAttentions. */
  readonly adapterFusionAttentions?: FusionAttentions
  /** For a row whose own setup has a Parallel block: the answer of each child, and nothing beside but the logits of all. */
  readonly branches?: readonly Prediction[]
  /**
   * [labels], or [tokens × labels] row by row; NaN for a word without an answer. Question answering: [tokens × 2] of all
   * windows. Dependency parsing: [words × (words + 1) × (1 + labels)], for each head how well it is one, and of which kind.
   */
  readonly logits: Float32Array
}

/** A row, and what is asked of it: once, or with Parallel by each copy. `place`: of the answer among all. */
interface Job {
  readonly index: number
  readonly row: Row
  readonly copies: readonly (Copy & { readonly place: number })[]
}

const keys = [
  ...['adapters', 'head', 'taskIds', 'skipLayers', 'outputAdapterFusionAttentions', 'batchSize', 'signal'],
  'imageSize',
  ...['answerCount', 'maxAnswerLength', 'allowNoAnswer']
]

export async function predict(
  model: Model,
  rows: readonly (Row | string)[],
  options: PredictOptions
): Promise<Prediction[]> {
  checkOptions(options, keys)
  const batchSize = check.checkPositiveInteger('batchSize', options.batchSize ?? 32)
  if (typeof rows === 'object' && rows !== null && Symbol.asyncIterator in rows) {
    throw check.typeError('rows', 'an array: for await (const row of readRows(file)) rows.push(row)', rows)
  }
  const checked = check.checkArray('rows', rows).map((row, i) => takeRow(row, `rows[${i}]`))
  const { adapters = model.activeAdapters, taskIds = taskIdsOf(checked) } = options
  if (!Array.isArray(adapters)) setupNames(adapters as AdapterSetup, model.known)
  const rule = headRule(model, options)
  const batch = { rows: checked.length, taskIds }
  const branches = Array.isArray(adapters) ? rowBranches(adapters as AdapterSetup[], batch, model.known) : null
  const each = branches?.flat() ?? rowSetups(adapters, batch, model.known)
  const heads = each.map((setup) => headOf(rule, model, setup, options.head === null))
  const jobs = branches === null ? jobsOf(model, checked, each, heads) : jobsOfBranches(checked, branches, heads)
  const copies = jobs[0]?.copies.length ?? 1
  const pass: Pass = {
    skipLayers: skippedLayers(model, options),
    outputFusionAttentions: options.outputAdapterFusionAttentions ?? false,
    imageSize: options.imageSize,
    rows: Math.max(1, Math.floor(batchSize / copies)),
    signal: options.signal
  }
  const asked = answerOptions(options)
  const answers = new Array<Prediction>(each.length)
  const done = model.reads(partsRead(each, heads))
  try {
    for (let from = 0; from < jobs.length; from += pass.rows) {
      await answer(model, jobs.slice(from, from + pass.rows), { pass, asked, answers })
    }
  } finally {
    done()
  }
  return branches === null ? answers : ofRows(answers, branches)
}

/**
 * With Parallel there is a setup for each row and child, one child after the other. Copies of a row pass together where
 * their heads read the same of it: not where one wants windows or words and another does not.
 */
function jobsOf(model: Model, rows: readonly Row[], each: readonly NativeSetup[], heads: readonly string[]): Job[] {
  const asked = each.map((setup, place) => ({ setup, head: heads[place] as string, place }))
  const ofRow = rows.map((_, index) =>
    Array.from({ length: each.length / rows.length }, (_copy, i) => asked[i * rows.length + index] as (typeof asked)[0])
  )
  const together = ofRow.every((copies) => new Set(copies.map(({ head }) => readingOf(model, head))).size === 1)
  return rows.flatMap((row, index): Job[] => {
    const copies = ofRow[index] ?? []
    return together ? [{ index, row, copies }] : copies.map((copy) => ({ index, row, copies: [copy] }))
  })
}

/** Where rows have setups of their own, each child of a row's Parallel is a row among the others. */
function jobsOfBranches(
  rows: readonly Row[],
  branches: readonly (readonly NativeSetup[])[],
  heads: readonly string[]
): Job[] {
  const each = branches.flatMap((setups, index) => setups.map((setup) => ({ index, setup })))
  return each.map(({ index, setup }, place) => {
    return { index, row: rows[index] as Row, copies: [{ setup, head: heads[place] as string, place }] }
  })
}

/** One answer for each row: of several children, a list of theirs. */
function ofRows(answers: readonly Prediction[], branches: readonly (readonly NativeSetup[])[]): Prediction[] {
  let begin = 0
  return branches.map(({ length }) => {
    const own = answers.slice(begin, begin + length)
    begin += length
    const [first] = own
    if (first !== undefined && length === 1) return first
    return { branches: own, logits: Float32Array.from(own.flatMap(({ logits }) => [...logits])) }
  })
}

/** What a row is made into for a head. */
function readingOf(model: Model, head: string): string {
  const config = model.heads.get(head)
  return config !== undefined && isChoiceHead(config) ? config.headType : 'row'
}

function answerOptions({
  answerCount = 1,
  maxAnswerLength = 30,
  allowNoAnswer = false
}: PredictOptions): AnswerOptions {
  return {
    count: check.checkPositiveInteger('answerCount', answerCount),
    maxLength: check.checkPositiveInteger('maxAnswerLength', maxAnswerLength),
    allowNone: allowNoAnswer
  }
}

function headOf(rule: HeadRule, model: Model, setup: NativeSetup, isNamed: boolean): string {
  const head = headOfRow(rule, model.heads, setup)
  if (head !== null) return head
  throw check.valueError('predict', noHead(rule, model, isNamed))
}

/** `isNamed`: the call itself says that it has none. */
function noHead(rule: HeadRule, { heads }: Model, isNamed: boolean): string {
  if (heads.size === 0) {
    return 'the model has no head to answer with; add one, load an adapter with its head, or use forward'
  }
  if (isNamed) return `head is null, and an answer needs one of ${check.quoted(heads.keys())}; forward works without`
  const why = rule.chosen === null ? 'activeHead is null' : 'none of the heads belongs to these adapters or is active'
  return `${why}; set activeHead to one of ${check.quoted(heads.keys())}, or name one with head`
}

interface Pass extends PartPass {
  /** That go together, each with all its copies. */
  readonly rows: number
  readonly signal: AbortSignal | undefined
}

interface Asked {
  readonly pass: Pass
  readonly asked: AnswerOptions
  /** Takes each answer at its place. */
  readonly answers: Prediction[]
}

/** All rows pass through the encoder together; each is then read by its own head. */
async function answer(model: Model, jobs: readonly Job[], { pass, asked, answers }: Asked): Promise<void> {
  const pauses = new Pauses()
  const encoded: EncodedRow[] = []
  for (const job of jobs) {
    encoded.push(encodeJob(model, job, pass))
    const pause = pauses.take()
    // Short rows go to the core in the call itself, before what its caller does next.
    if (pause !== undefined) await pause
  }
  // A question with a long context is many rows: they go in passes of their own.
  const parts = jobs.flatMap(({ copies }, job) =>
    partsOf(encoded[job] as EncodedRow).map((part): JobPart => ({ job, copies, encoded: part }))
  )
  const found = jobs.map(({ copies }) => copies.map((): PartAnswer[] => []))
  for (let from = 0; from < parts.length; from += pass.rows) {
    pass.signal?.throwIfAborted()
    const some = parts.slice(from, from + pass.rows)
    const values = await passParts(model, some, pass)
    some.forEach(({ job }, i) => {
      values[i]?.forEach((one, copy) => {
        found[job]?.[copy]?.push(one)
      })
    })
  }
  jobs.forEach(({ row, copies }, job) => {
    const question = { row, encoded: encoded[job] as EncodedRow, tokenizer: model.tokenizer }
    copies.forEach(({ head, place }, copy) => {
      const own = found[job]?.[copy] ?? []
      answers[place] = {
        ...answerOf(
          model.heads.get(head) as HeadConfig,
          own.map(({ logits }) => logits),
          question,
          asked
        ),
        ...attentionsOf(own)
      }
    })
  })
}

interface JobPart extends Part {
  readonly job: number
}

/** The answer of logits that are there, each part's own. */
export function predictionOf(
  { tokenizer }: Model,
  config: HeadConfig,
  parts: readonly Float32Array[],
  question: Pick<Question, 'row' | 'encoded'>
): Prediction {
  return answerOf(config, parts, { ...question, tokenizer }, answerOptions({}))
}

function answerOf(
  config: HeadConfig,
  parts: readonly Float32Array[],
  question: Question,
  answers: AnswerOptions
): Prediction {
  if (isChoiceHead(config)) return answerOfChoice(config, parts, { ...question, answers })
  return interpret(parts[0] ?? new Float32Array(), config, question)
}

function attentionsOf(parts: readonly PartAnswer[]): Pick<Prediction, 'adapterFusionAttentions'> {
  const own = parts.flatMap(({ attentions }) => (attentions === undefined ? [] : [attentions]))
  return own.some(({ all }) => all.length > 0) ? { adapterFusionAttentions: joinAttentions(own) } : {}
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

/** Whether a row brings something to learn or to measure, for whichever head. */
export const isLabelled = (row: Row): boolean =>
  labelFields.some((field) => (row as unknown as Readonly<Record<string, unknown>>)[field] != null)

/** As the heads of its copies read it. */
function encodeJob(model: Model, { row, index, copies }: Job, { imageSize }: Pass): EncodedRow {
  const setups = copies.map(({ setup }) => setup)
  const limits = limitsUnder(model, setups, withImageSize(model.config, imageSize))
  const options = { tokenizer: model.tokenizer, source: model.source, limits }
  const place = placeOf(row, `rows[${index}]`)
  const config = model.heads.get(copies[0]?.head ?? '')
  const unlabelled = Object.fromEntries(Object.entries(row).filter(([field]) => !labelFields.includes(field)))
  for (const { head } of copies) checkSuits(unlabelled, model.heads.get(head) as HeadConfig, place)
  if (config === undefined || !isChoiceHead(config)) return encodeRow(row, options, place)
  return encodeRow(unlabelled as unknown as Row, { ...options, head: config }, place)
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
    const bestOf = (values: Float32Array) => best(values, (id) => names[id] ?? tokenizer?.idToToken(id))
    const words = config.headType === 'tagging' ? wordsOf(row) : null
    if (words === null || encoded.wordIds === undefined) return answersByToken(encoded, logits, bestOf, tokenizer)
    return answersByWord(words, encoded.wordIds, logits, bestOf)
  }
  if (hasManyLabels(config)) {
    const scores = logits.map((value) => 1 / (1 + Math.exp(-value)))
    return { labels: names.filter((_, id) => (scores[id] ?? 0) >= 0.5), scores, logits }
  }
  if (config.numLabels === 1) return { score: logits[0] ?? Number.NaN, logits }
  return { ...best(logits, (id) => names[id]), logits }
}

/** The highest logit with its softmax probability. */
function best(logits: Float32Array, nameOf: (id: number) => string | undefined): Best {
  let labelId = 0
  logits.forEach((value, id) => {
    if (value > (logits[labelId] ?? Number.NEGATIVE_INFINITY)) labelId = id
  })
  const top = logits[labelId] ?? 0
  const sum = logits.reduce((total, value) => total + Math.exp(value - top), 0)
  return { label: nameOf(labelId) ?? `${labelId}`, labelId, score: 1 / sum }
}
