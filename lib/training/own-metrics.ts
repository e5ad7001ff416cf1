import { isChoiceHead } from '../config/choice-heads.js'
import { type HeadConfig, labelNames, predictsWords } from '../config/head-config.js'
import { unlessAborted } from '../data/abort.js'
import { type EncodedRow, lengthOf, partsOf } from '../data/collate.js'
import { answerCount } from '../model/part-answers.js'
import { AdapterError } from '../native/errors.js'
import type { BatchAnswers } from './encoded.js'

/**
 * All answers of one head over the evaluation data, in the order of the dataset's rows (with Parallel all rows for each child,
 * child after child); they are kept in memory until then.
 */
export interface Predictions {
  readonly head: string
  /** The head's label names in the order of their ids; empty where it has none. */
  readonly labelNames: readonly string[]
  /** Row-major, `width` numbers for each answer; of heads that choose one after the other, and width is 1. */
  readonly logits: Float32Array
  readonly width: number
  /** As training reads them: one a row, or one a token with -100 where none stands; several labels: one for each logit. */
  readonly labels: Int32Array | Float32Array
  /** Which row of the dataset each is, from 0: of rows that this head answers. */
  readonly rows: readonly number[]
  /** Tokens of each of `rows`: where the answers are for tokens, a row's own are as many. */
  readonly rowLengths: readonly number[]
}

/** Measures of the user's own, by name, but for 'loss': Hugging Face's compute_metrics. Called once for each head of an evaluation. */
export type ComputeMetrics = (
  predictions: Predictions
) => Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>

interface RowAnswers {
  readonly row: number
  readonly copy: number
  readonly length: number
  readonly logits: Float32Array
  readonly label: Int32Array | Float32Array
}

/** Keeps what computeMetrics is given. */
export class PredictionCollector {
  readonly #answers: RowAnswers[] = []

  constructor(
    private readonly head: string,
    private readonly config: HeadConfig
  ) {}

  add({ rows, places }: BatchAnswers, logits: Float32Array): void {
    const own = logits.slice()
    const counts = rows.map((row) => this.#sizeOf(row, (part) => answerCount(this.config, part, lengthOf(part))))
    const width = own.length / counts.reduce((sum, count) => sum + count, 0)
    let at = 0
    for (const [i, encoded] of rows.entries()) {
      const from = at
      at += (counts[i] ?? 0) * width
      const place = places[i] as BatchAnswers['places'][number]
      const label = encoded.label ?? new Int32Array()
      this.#answers.push({ ...place, length: this.#sizeOf(encoded, lengthOf), logits: own.subarray(from, at), label })
    }
  }

  /** Of a row's parts together. Words that answer may be others than those that are read. */
  #sizeOf(row: EncodedRow, ofPart: (part: EncodedRow) => number): number {
    if (predictsWords(this.config)) return row.label?.length ?? 0
    return partsOf(row).reduce((sum, part) => sum + ofPart(part), 0)
  }

  async measure(compute: ComputeMetrics, signal: AbortSignal | undefined): Promise<Readonly<Record<string, number>>> {
    const all = this.#answers.sort((a, b) => a.copy - b.copy || a.row - b.row)
    const logits = joined(
      all.map((one) => one.logits),
      (length) => new Float32Array(length)
    )
    const isFloat = all[0]?.label instanceof Float32Array
    const labels = joined(
      all.map(({ label }) => label),
      (length) => (isFloat ? new Float32Array(length) : new Int32Array(length))
    )
    const own = compute({
      ...{ head: this.head, labelNames: labelNames(this.config) },
      ...{ rows: all.map(({ row }) => row), rowLengths: all.map(({ length }) => length) },
      ...{ logits, labels, width: this.#width(logits.length, labels.length) }
    })
    return checked(await unlessAborted(own, signal))
  }

  #width(logits: number, labels: number): number {
    if (isChoiceHead(this.config)) return 1
    return predictsWords(this.config) ? logits / Math.max(1, labels) : this.config.numLabels
  }
}

function joined<T extends Float32Array | Int32Array>(parts: readonly T[], make: (length: number) => T): T {
  const whole = make(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

function checked(own: unknown): Readonly<Record<string, number>> {
  const entries = typeof own === 'object' && own !== null ? Object.entries(own) : undefined
  const wrong = entries?.find(([, value]) => typeof value !== 'number')
  if (entries?.some(([name]) => name === 'loss')) {
    const problem = "computeMetrics gave 'loss', the name of the loss that every evaluation has"
    throw new AdapterError('ERR_INVALID_ARGUMENT', 'evaluate', problem, { hint: 'Give it another name.' })
  }
  if (entries !== undefined && wrong === undefined) return Object.fromEntries(entries)
  throw new AdapterError('ERR_INVALID_ARGUMENT', 'evaluate', 'computeMetrics gave no metrics', {
    expected: 'an object of numbers by name',
    got: wrong === undefined ? String(own) : `${wrong[0]}: ${typeof wrong[1]}`
  })
}
