import { isChoiceHead } from '../config/choice-heads.js'
import { type HeadConfig, labelNames, predictsWords } from '../config/head-config.js'
import { unlessAborted } from '../data/abort.js'
import { type EncodedRow, partsOf } from '../data/collate.js'
import { AdapterError } from '../native/errors.js'

/** All answers of one head over the evaluation data, in the order of its batches; they are kept in memory until then. */
export interface Predictions {
  readonly head: string
  /** The head's label names in the order of their ids; empty where it has none. */
  readonly labelNames: readonly string[]
  /** Row-major, `width` numbers for each answer; of heads that choose one after the other, and width is 1. */
  readonly logits: Float32Array
  readonly width: number
  /** As training reads them: one a row, or one a token with -100 where none stands; several labels: one for each logit. */
  readonly labels: Int32Array | Float32Array
  /** Tokens of each row: where the answers are for tokens, a row's own are as many. */
  readonly rowLengths: readonly number[]
}

/** Measures of the user's own, by name, but for 'loss': Hugging Face's compute_metrics. Called once for each head of an evaluation. */
export type ComputeMetrics = (
  predictions: Predictions
) => Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>

/** Keeps what computeMetrics is given. */
export class PredictionCollector {
  readonly #logits: Float32Array[] = []
  readonly #labels: (Int32Array | Float32Array)[] = []
  readonly #rowLengths: number[] = []

  constructor(
    private readonly head: string,
    private readonly config: HeadConfig
  ) {}

  add(logits: Float32Array, labels: Int32Array | Float32Array, rows: readonly EncodedRow[]): void {
    this.#logits.push(logits.slice())
    this.#labels.push(labels.slice())
    for (const row of rows) {
      this.#rowLengths.push(partsOf(row).reduce((sum, { inputIds }) => sum + inputIds.length, 0))
    }
  }

  async measure(compute: ComputeMetrics, signal: AbortSignal | undefined): Promise<Readonly<Record<string, number>>> {
    const logits = joined(this.#logits, (length) => new Float32Array(length))
    const isFloat = this.#labels[0] instanceof Float32Array
    const labels = joined(this.#labels, (length) => (isFloat ? new Float32Array(length) : new Int32Array(length)))
    const own = compute({
      ...{ head: this.head, labelNames: labelNames(this.config), rowLengths: this.#rowLengths },
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
