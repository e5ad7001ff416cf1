import { TextStream } from '../data/text-stream.js'
import { type GenerationPlan, stoppable } from './generation-plan.js'
import type { Model } from './model.js'

/** A token that a model has just written. */
export interface GeneratedToken {
  /** Which row it belongs to: its place in the answers of `generate`. */
  readonly row: number
  readonly token: number
  /**
   * What it adds to the row's text, where the model has a tokenizer: '' while a character is not whole. All of a row's
   * together are the text that `generate` gives.
   */
  readonly text?: string
  /** Whether it is the row's last. */
  readonly done: boolean
}

/** The rows of a step that still ran, as the caller counts them, and each one's token. */
interface Step {
  readonly rows: Int32Array
  readonly tokens: Int32Array
}

/** What the core has told and nobody has taken yet. */
class Arrivals {
  readonly #steps: Step[] = []
  #wake = () => {}
  #ended = false

  add(step: Step): void {
    this.#steps.push(step)
    this.#wake()
  }

  end(): void {
    this.#ended = true
    this.#wake()
  }

  /** Undefined at the end. */
  async next(): Promise<Step | undefined> {
    while (this.#steps.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return this.#steps.shift()
  }
}

export async function* streamTokens(
  { native, tokenizer }: Model,
  { batch, pass, how }: GenerationPlan,
  signal: AbortSignal | undefined
): AsyncGenerator<GeneratedToken, void, undefined> {
  const left = new AbortController()
  const ends = signal === undefined ? left.signal : AbortSignal.any([signal, left.signal])
  const arrivals = new Arrivals()
  const tell = (rows: Int32Array, tokens: Int32Array) => arrivals.add({ rows, tokens })
  const work = stoppable(native, ends, (stopId) => native.generate(batch, pass, { ...how, stopId }, tell))
  // Whoever leaves the loop does not wait for it any more: a failure is told there, or to nobody.
  const settled = work.then(
    () => arrivals.end(),
    () => arrivals.end()
  )
  const counts = new Uint32Array(batch.order.length)
  const texts = Array.from(batch.order, () => (tokenizer === undefined ? undefined : new TextStream(tokenizer)))
  try {
    for (let step = await arrivals.next(); step !== undefined; step = await arrivals.next()) {
      for (const [i, token] of step.tokens.entries()) {
        signal?.throwIfAborted()
        const row = batch.order[step.rows[i] ?? 0] ?? 0
        const count = (counts[row] ?? 0) + 1
        counts[row] = count
        const done = count === how.maxNewTokens || how.endTokens.includes(token)
        const text = texts[row]?.push(token, done)
        yield { row, token, ...(text === undefined ? {} : { text }), done }
      }
    }
    await work
  } finally {
    left.abort()
    await settled
  }
}
