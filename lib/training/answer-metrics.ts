import type { ChoiceHeadConfig } from '../config/choice-heads.js'
import { type EncodedRow, partsOf } from '../data/collate.js'
import { ignoredLabel } from '../data/labels.js'
import type { EncodedQuestion, RightAnswer } from '../data/questions.js'
import { type Answer, bestSpans } from '../model/best-spans.js'
import { parseTree } from '../model/parse-tree.js'
import { share } from './counts.js'
import type { MetricCounter, Metrics } from './metrics.js'

/** @param allowNone question answering: some rows have no answer, and "none" is an answer */
export function answerCounter(head: ChoiceHeadConfig, allowNone: boolean): MetricCounter {
  if (head.headType === 'question_answering') return new SpanCounter(allowNone)
  return head.headType === 'multiple_choice' ? new ChoiceCounter() : new ParseCounter(1 + head.numLabels)
}

/** SQuAD's measures (Rajpurkar et al. 2016): the best of a row's right answers counts. */
class SpanCounter implements MetricCounter {
  #rows = 0
  #exact = 0
  #f1 = 0

  constructor(private readonly allowNone: boolean) {}

  add(logits: Float32Array, _labels: ArrayLike<number>, rows: readonly EncodedRow[] = []): void {
    let at = 0
    for (const row of rows) {
      const windows = partsOf(row).map(({ inputIds: { length } }) => {
        at += 2 * length
        return logits.subarray(at - 2 * length, at)
      })
      const { question } = row
      if (question?.answers === undefined) continue
      const options = { count: 1, maxLength: 30, allowNone: this.allowNone }
      const [answer] = bestSpans(question, windows, options, () => '')
      this.#rows++
      const [exact, f1] = scoreOf(answer, question)
      this.#exact += exact
      this.#f1 += f1
    }
  }

  result(): Metrics {
    return { exactMatch: share(this.#exact, this.#rows), f1: share(this.#f1, this.#rows) }
  }
}

function scoreOf(answer: Answer | undefined, { context, answers = [] }: EncodedQuestion): [number, number] {
  const given = answer ?? { answer: '', start: 0, end: 0 }
  const nothing = given.start === given.end
  if (answers.length === 0) return nothing ? [1, 1] : [0, 0]
  const scores = answers.map((right): [number, number] =>
    context === null ? placeScore(given, right) : textScore(given.answer, right.text)
  )
  return [Math.max(...scores.map(([exact]) => exact)), Math.max(...scores.map(([, f1]) => f1))]
}

/** Rows of ids have tokens instead of words. */
function placeScore(given: Pick<Answer, 'start' | 'end'>, right: RightAnswer): [number, number] {
  const common = Math.max(0, Math.min(given.end, right.end) - Math.max(given.start, right.start))
  const exact = given.start === right.start && given.end === right.end
  return [Number(exact), (2 * common) / (given.end - given.start + right.end - right.start)]
}

/** Exact match and F1 of two answers, as SQuAD's own script has them. */
export function textScore(given: string, right: string): [number, number] {
  const one = plainWords(given)
  const other = plainWords(right)
  const exact = Number(one.join(' ') === other.join(' '))
  if (one.length === 0 || other.length === 0) return [exact, exact]
  const left = new Map<string, number>()
  for (const word of other) left.set(word, (left.get(word) ?? 0) + 1)
  const common = one.filter((word) => {
    const count = left.get(word) ?? 0
    left.set(word, count - 1)
    return count > 0
  }).length
  return [exact, (2 * common) / (one.length + other.length)]
}

// Python's white space and ends of words, which JavaScript has for ASCII alone.
const article = /(?<![\p{L}\p{N}_])(a|an|the)(?![\p{L}\p{N}_])/gu
// biome-ignore lint/suspicious/noControlCharactersInRegex: white space to Python
const space = /[^\S\ufeff]|[\x1c-\x1f\x85]/u

/** Without case, punctuation and articles. */
function plainWords(text: string): string[] {
  const letters = text.toLowerCase().replace(/[!-/:-@[-`{-~]/g, '')
  return letters
    .replace(article, ' ')
    .split(space)
    .filter((word) => word !== '')
}

class ChoiceCounter implements MetricCounter {
  #hits = 0
  #total = 0

  add(logits: Float32Array, labels: ArrayLike<number>, rows: readonly EncodedRow[] = []): void {
    let at = 0
    rows.forEach((row, i) => {
      const scores = logits.subarray(at, at + (row.parts?.length ?? 1))
      at += scores.length
      if (labels[i] === ignoredLabel) return
      this.#total++
      this.#hits += Number(scores.indexOf(Math.max(...scores)) === labels[i])
    })
  }

  result(): Metrics {
    return { accuracy: share(this.#hits, this.#total) }
  }
}

/** Attachment scores: words with the right head, and with the right head and relation. */
class ParseCounter implements MetricCounter {
  #words = 0
  #heads = 0
  #both = 0

  constructor(private readonly width: number) {}

  add(logits: Float32Array, labels: ArrayLike<number>, rows: readonly EncodedRow[] = []): void {
    let pair = 0
    let token = 0
    for (const { inputIds, parse } of rows) {
      const { wordIds, words } = parse ?? { wordIds: new Int32Array(), words: new Int32Array() }
      const end = pair + words.length * (words.length + 1) * this.width
      parseTree(logits.subarray(pair, end), this.width).forEach(({ head, relation }, word) => {
        const label = 2 * (token + wordIds.indexOf(word))
        if (labels[label] === ignoredLabel) return
        const isHead = labels[label] === head
        this.#words++
        this.#heads += Number(isHead)
        this.#both += Number(isHead && labels[label + 1] === relation)
      })
      pair = end
      token += inputIds.length
    }
  }

  result(): Metrics {
    return { uas: share(this.#heads, this.#words), las: share(this.#both, this.#words) }
  }
}
