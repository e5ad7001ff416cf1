import type { Row } from '../data/dataset.js'
import { type GeneratedToken, streamTokens } from './generate-stream.js'
import { type GenerateOptions, planGeneration, stoppable } from './generation-plan.js'
import type { Model } from './model.js'
import { ModelSurgery } from './surgery.js'

/** What the model wrote after one row. */
export interface Generation {
  /** New tokens, the one that ended the row included. */
  readonly ids: Int32Array
  /** The same as text without special tokens, where the model has a tokenizer. */
  readonly text?: string
}

async function generate(
  model: Model,
  rows: readonly (Row | string)[],
  options: GenerateOptions
): Promise<Generation[]> {
  const plan = planGeneration(model, rows, options)
  if (plan === undefined) return []
  const { batch, pass, how } = plan
  const { native, tokenizer } = model
  const { signal } = options
  const written = await stoppable(native, signal, (stopId) => native.generate(batch, pass, { ...how, stopId }))
  const answers = new Array<Generation>(batch.order.length)
  batch.order.forEach((row, i) => {
    const ids = written[i] ?? new Int32Array()
    answers[row] = tokenizer === undefined ? { ids } : { ids, text: tokenizer.decode(ids) }
  })
  return answers
}

async function* nothing(): AsyncGenerator<never, void, undefined> {}

/** What a causal model can do besides. */
export abstract class TextWriter extends ModelSurgery {
  /** Goes on writing after rows of text or ids: the likeliest token each time, or a draw. For causal models (GPT-2). */
  async generate(rows: readonly (Row | string)[], options: GenerateOptions = {}): Promise<Generation[]> {
    this.usable('generate')
    return generate(this as unknown as Model, rows, options)
  }

  /**
   * The same, token by token as they are made: of each step one of every row that still runs. Whoever leaves the loop, or
   * aborts the signal, ends the work before its next token. The work begins with the first token that is asked for.
   */
  generateStream(
    rows: readonly (Row | string)[],
    options: GenerateOptions = {}
  ): AsyncGenerator<GeneratedToken, void, undefined> {
    this.usable('generateStream')
    const model = this as unknown as Model
    // What is active counts where the call stands, not where its first token is asked for.
    const plan = planGeneration(model, rows, options)
    return plan === undefined ? nothing() : streamTokens(model, plan, options.signal)
  }
}
