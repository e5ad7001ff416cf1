import type { EncodedQuestion } from '../data/questions.js'

/** A part of the context that may answer the question. */
export interface Answer {
  /** The context's own characters start to end; '' where the context does not answer the question. */
  readonly answer: string
  /** Of the context, as JavaScript counts; for a row of ids the first token and the one behind the last. */
  readonly start: number
  readonly end: number
  /** The probability of its first token times that of its last, among those of all windows. */
  readonly score: number
}

export interface AnswerOptions {
  /** How many different answers at most. */
  readonly count: number
  /** Tokens of an answer at most. */
  readonly maxLength: number
  /** Whether "there is no answer", which is a window's first token, may be one. */
  readonly allowNone: boolean
}

interface Span {
  readonly first: number
  readonly last: number
  readonly value: number
}

/** Tokens without characters of their own, such as a space, neither begin nor end an answer. */
function isPart(spans: Int32Array, token: number): boolean {
  return (spans[2 * token] ?? -1) >= 0
}

/**
 * The best spans of a context over all of its windows, never of the question: first ≤ last, both in one window.
 * @param logits of each window [tokens × 2]: as the first token and as the last
 */
export function bestSpans(
  { context, windowed: { windows, spans } }: EncodedQuestion,
  logits: readonly Float32Array[],
  { count, maxLength, allowNone }: AnswerOptions,
  textOf: (first: number, last: number) => string
): readonly Answer[] {
  const found = new Map<string, Span>()
  const tokens = { first: new Map<number, number>(), last: new Map<number, number>() }
  let none = Number.POSITIVE_INFINITY
  let noneLogits: readonly [number, number] = [0, 0]
  windows.forEach(({ contextAt, first, count: size }, window) => {
    const values = logits[window] ?? new Float32Array()
    const scoreOf = (token: number, side: 0 | 1) =>
      values[2 * (contextAt + token - first) + side] ?? Number.NEGATIVE_INFINITY
    // Nothing answers only where it does in no window.
    const nothing = (values[0] ?? 0) + (values[1] ?? 0)
    if (nothing < none) noneLogits = [values[0] ?? 0, values[1] ?? 0]
    none = Math.min(none, nothing)
    for (let token = first; token < first + size; token++) {
      if (!isPart(spans, token)) continue
      raise(tokens.first, token, scoreOf(token, 0))
      raise(tokens.last, token, scoreOf(token, 1))
      for (let last = token; last < Math.min(token + maxLength, first + size); last++) {
        if (isPart(spans, last))
          keepBest(found, { first: token, last, value: scoreOf(token, 0) + scoreOf(last, 1) }, count)
      }
    }
  })
  const nones = allowNone ? noneLogits : null
  const total =
    logSum([...tokens.first.values(), ...(nones ? [nones[0]] : [])]) +
    logSum([...tokens.last.values(), ...(nones ? [nones[1]] : [])])
  const answers = [...found.values()].map(({ first, last, value }): Answer & { value: number } => {
    const start = spans[2 * first] ?? 0
    const end = spans[2 * last + 1] ?? 0
    const answer = context === null ? textOf(start, end) : context.slice(start, end)
    return { answer, start, end, score: Math.exp(value - total), value }
  })
  if (allowNone) answers.push({ answer: '', start: 0, end: 0, score: Math.exp(none - total), value: none })
  answers.sort((a, b) => b.value - a.value)
  return answers.slice(0, count).map(({ value: _, ...answer }) => answer)
}

function raise(best: Map<number, number>, token: number, value: number): void {
  best.set(token, Math.max(value, best.get(token) ?? Number.NEGATIVE_INFINITY))
}

/** Windows share tokens: a span counts once, with its best value. */
function keepBest(found: Map<string, Span>, span: Span, count: number): void {
  const key = `${span.first} ${span.last}`
  const known = found.get(key)
  if (known !== undefined) {
    if (span.value > known.value) found.set(key, span)
    return
  }
  if (found.size >= count) {
    let [worstKey, worst] = ['', Number.POSITIVE_INFINITY]
    for (const [other, { value }] of found) if (value < worst) [worstKey, worst] = [other, value]
    if (span.value <= worst) return
    found.delete(worstKey)
  }
  found.set(key, span)
}

function logSum(values: readonly number[]): number {
  const top = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY)
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0))
}
