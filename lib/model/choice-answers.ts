import type { ChoiceHeadConfig } from '../config/choice-heads.js'
import { labelNames } from '../config/head-config.js'
import type { EncodedRow } from '../data/collate.js'
import type { Row } from '../data/dataset.js'
import type { TextTokenizer } from '../data/tokenizer.js'
import { type AnswerOptions, bestSpans } from './best-spans.js'
import { parseTree } from './parse-tree.js'
import type { Prediction } from './predict.js'
import type { TokenPrediction } from './token-answers.js'

export interface ChoiceQuestion {
  readonly row: Row
  readonly encoded: EncodedRow
  readonly tokenizer: TextTokenizer | undefined
  readonly answers: AnswerOptions
}

/** @param logits of each part of the row: its windows, its choices, or the row itself */
export function answerOfChoice(
  config: ChoiceHeadConfig,
  logits: readonly Float32Array[],
  question: ChoiceQuestion
): Prediction {
  if (config.headType === 'question_answering') return spanAnswer(logits, question)
  if (config.headType === 'dependency_parsing') {
    return parseAnswer(config, logits[0] ?? new Float32Array(), question)
  }
  const all = Float32Array.from(logits, (one) => one[0] ?? Number.NaN)
  const top = Math.max(...all)
  const sum = all.reduce((total, value) => total + Math.exp(value - top), 0)
  const scores = all.map((value) => Math.exp(value - top) / sum)
  const labelId = all.indexOf(top)
  const { choices } = question.row as unknown as { choices: readonly unknown[] }
  const choice = choices[labelId]
  const label = labelNames(config)[labelId] ?? (typeof choice === 'string' ? choice : `${labelId}`)
  return { label, labelId, score: scores[labelId] ?? Number.NaN, scores, logits: all }
}

function spanAnswer(logits: readonly Float32Array[], { encoded, tokenizer, answers }: ChoiceQuestion): Prediction {
  const { question } = encoded
  const all = Float32Array.from(logits.flatMap((part) => Array.from(part)))
  if (question === undefined) return { logits: all }
  const textOf = (first: number, end: number) => tokenizer?.decode(encoded.inputIds.subarray(first, end)) ?? ''
  const found = bestSpans(question, logits, answers, textOf)
  return { ...found[0], answers: found, logits: all }
}

/** Words that the row was too long for have no answer. */
function parseAnswer(
  config: Extract<ChoiceHeadConfig, { headType: 'dependency_parsing' }>,
  pairs: Float32Array,
  { row, encoded }: ChoiceQuestion
): Prediction {
  const { words } = row as unknown as { words: readonly string[] }
  const names = labelNames(config)
  const kept = encoded.parse?.words ?? new Int32Array()
  const parsed = parseTree(pairs, 1 + config.numLabels)
  const tokens = words.map((word, i): TokenPrediction => {
    const found = parsed[kept.indexOf(i)]
    if (found === undefined) return { word, head: null, label: null, labelId: null, score: null }
    const head = found.head === 0 ? 0 : (kept[found.head - 1] ?? 0) + 1
    const { relation: labelId, score } = found
    return { word, head, label: names[labelId] ?? `${labelId}`, labelId, score }
  })
  return { tokens, logits: pairs }
}
