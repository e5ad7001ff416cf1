import * as check from '../config/check.js'
import type { EncodedRow } from './collate.js'
import { concatenate } from './concatenate.js'
import type { Row } from './dataset.js'
import { ignoredLabel } from './labels.js'
import { neededTokenizer, type Tokenized } from './needed-tokenizer.js'
import type { TextTokenizer } from './tokenizer.js'
import { type WindowedContext, windowsOf } from './windows.js'

/** An answer and where its text begins in the context; `answer_start` is SQuAD's spelling. */
export interface GivenAnswer {
  readonly text: string
  readonly answerStart?: number | undefined
  readonly answer_start?: number | undefined
}

/** Several right answers, as SQuAD has them: none where the context does not answer the question. */
export type GivenAnswers =
  | readonly GivenAnswer[]
  | {
      readonly text: readonly string[]
      readonly answerStart?: ArrayLike<number> | undefined
      readonly answer_start?: ArrayLike<number> | undefined
    }

/** A right answer: characters start to end of the context. */
export interface RightAnswer {
  readonly text: string
  readonly start: number
  readonly end: number
}

/** What a row asks for and what is known about it, for those who read the head's scores. */
export interface EncodedQuestion {
  /** Null for a row of ids. */
  readonly context: string | null
  /** For a row of ids each token is its own span. */
  readonly windowed: WindowedContext
  readonly answers: readonly RightAnswer[] | undefined
}

type Fields = Readonly<Record<string, unknown>>

/** Question and context, under either of their names; null for a row of ids. */
function textsOf(row: Row, name: string): { readonly question: string; readonly context: string } | null {
  const { text, textPair, question = text, context = textPair, words, inputIds } = row as unknown as Fields
  if (inputIds != null) return null
  if (words != null) throw check.valueError(name, 'a question is text: expected question and context, got words')
  return {
    question: check.checkString(`${name}.question`, question),
    context: check.checkString(`${name}.context`, context)
  }
}

/** The row's right answers, [] where it says that there is none; undefined where it says nothing. */
export function rightAnswers(row: Row, name: string): readonly RightAnswer[] | undefined {
  const texts = textsOf(row, name)
  const { answers, answerText, answerStart } = row as unknown as Fields
  if (texts === null || (answers == null && answerText == null)) return undefined
  const given = answers == null ? [{ text: answerText, answerStart }] : listed(answers, `${name}.answers`)
  return given.map((answer, i) => located(answer, texts.context, `${name}.answers[${i}]`))
}

const answersForm = '{ text: [...], answer_start: [...] }'

function listed(answers: unknown, name: string): readonly unknown[] {
  if (Array.isArray(answers)) return answers
  if (typeof answers !== 'object') throw check.typeError(name, answersForm, answers)
  const { text, answerStart, answer_start: starts = answerStart } = check.checkObject(name, answers)
  const texts = check.checkArray(`${name}.text`, text)
  if ((starts as ArrayLike<number> | undefined)?.length !== texts.length) {
    throw check.valueError(name, `expected a start for each text: ${answersForm}`)
  }
  return texts.map((one, i) => ({ text: one, answerStart: (starts as ArrayLike<number>)[i] }))
}

/** Python counts characters where JavaScript counts halves of some. */
function located(answer: unknown, context: string, name: string): RightAnswer {
  if (typeof answer !== 'object') throw check.typeError(name, "{ text: '…', answer_start: 0 }", answer)
  const { text: given, answerStart, answer_start: begin = answerStart } = check.checkObject(name, answer)
  const text = check.checkNonEmptyString(`${name}.text`, given)
  const start = check.checkInteger(`${name}.answerStart`, begin, 0)
  const starts = [start, [...context].slice(0, start).join('').length]
  const found = starts.find((at) => context.startsWith(text, at))
  if (found !== undefined) return { text, start: found, end: found + text.length }
  const there = context.slice(start, start + text.length)
  throw check.valueError(name, `expected '${text}' in the context at ${start}, got ${check.describe(there)}`)
}

/** Whether a row has an answer, checked as far as it can be without a tokenizer; undefined where it says nothing. */
export function questionLabel(row: Row, name: string): Int32Array | undefined {
  if (textsOf(row, name) === null) return positions(row, name)
  const answers = rightAnswers(row, name)
  return answers && Int32Array.from(answers.flatMap(({ start, end }) => [start, end]))
}

function positions(row: Row, name: string): Int32Array | undefined {
  const { inputIds, startPosition, endPosition } = row as unknown as Fields
  if (startPosition == null && endPosition == null) return undefined
  const last = (inputIds as ArrayLike<number>).length - 1
  if (startPosition === ignoredLabel && endPosition === ignoredLabel) return Int32Array.of(ignoredLabel, ignoredLabel)
  const start = check.checkInteger(`${name}.startPosition`, startPosition, 0, last)
  return Int32Array.of(start, check.checkInteger(`${name}.endPosition`, endPosition, start, last))
}

/** Windows one after the other, and for each the first and the last token of the row's first right answer. */
export function encodeQuestion(
  row: Row,
  tokenized: Tokenized,
  maxLength: number,
  name: string
): Pick<EncodedRow, 'inputIds' | 'tokenTypeIds' | 'parts' | 'label' | 'question'> {
  const texts = textsOf(row, name)
  if (texts === null) return encodeIds(row, tokenized.tokenizer, name)
  const windowed = windowsOf(neededTokenizer(tokenized, name), texts.question, texts.context, maxLength)
  const answers = rightAnswers(row, name)
  const { windows, spans } = windowed
  return {
    inputIds: concatenate(windows.map((window) => window.inputIds)),
    tokenTypeIds: concatenate(windows.map((window) => window.tokenTypeIds)),
    parts: Int32Array.from(windows, (window) => window.inputIds.length),
    label: answers && Int32Array.from(windows.flatMap((window) => answerIn(window, tokensOf(answers[0], spans)))),
    question: { context: texts.context, windowed, answers }
  }
}

/** The first and the last token that an answer's characters touch. */
function tokensOf(answer: RightAnswer | undefined, spans: Int32Array): readonly [number, number] | null {
  if (answer === undefined) return null
  let first = -1
  let last = -1
  for (let token = 0; 2 * token < spans.length; token++) {
    const start = spans[2 * token] ?? -1
    const end = spans[2 * token + 1] ?? -1
    if (start < 0 || end <= answer.start || start >= answer.end) continue
    if (first < 0) first = token
    last = token
  }
  return first < 0 ? null : [first, last]
}

/** A window without the whole answer points at its first token, as everybody trains it. */
function answerIn(
  { contextAt, first, count }: WindowedContext['windows'][number],
  tokens: readonly [number, number] | null
): [number, number] {
  if (tokens === null || tokens[0] < first || tokens[1] >= first + count) return [0, 0]
  return [contextAt + tokens[0] - first, contextAt + tokens[1] - first]
}

/** The context of ids: the tokens of the second type, or else what follows the first separator. */
function encodeIds(row: Row, tokenizer: TextTokenizer | undefined, name: string) {
  const { inputIds: given, tokenTypeIds: givenTypes } = row as {
    inputIds: ArrayLike<number>
    tokenTypeIds?: ArrayLike<number>
  }
  const inputIds = Int32Array.from(given)
  const tokenTypeIds = givenTypes == null ? new Int32Array(inputIds.length) : Int32Array.from(givenTypes)
  const typed = tokenTypeIds.indexOf(1)
  const separator = tokenizer?.sepId === undefined ? -1 : inputIds.indexOf(tokenizer.sepId)
  let contextAt = typed >= 0 ? typed : separator + 1
  const isSpecial = (at: number) => tokenizer?.specialIds.has(inputIds[at] ?? -1) === true
  while (contextAt < inputIds.length && isSpecial(contextAt)) contextAt++
  let end = inputIds.length
  while (end > contextAt && isSpecial(end - 1)) end--
  const count = end - contextAt
  const windows = [{ inputIds, tokenTypeIds, contextAt, first: 0, count }]
  const spans = Int32Array.from({ length: 2 * count }, (_, i) => contextAt + ((i + 1) >> 1))
  const label = positions(row, name)
  const question: EncodedQuestion = { context: null, windowed: { windows, spans }, answers: label && placed(label) }
  return { inputIds, tokenTypeIds, parts: Int32Array.of(inputIds.length), label, question }
}

/** The first token stands for no answer. */
function placed([first = 0, last = 0]: Int32Array): readonly RightAnswer[] {
  return last <= 0 ? [] : [{ text: '', start: first, end: last + 1 }]
}
