import { createHash } from 'node:crypto'
import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { unlessAborted } from '../data/abort.js'
import type { Row } from '../data/dataset.js'
import { Pauses } from '../data/pauses.js'
import { type RowStream, rowsOfPass } from '../data/row-stream.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import { EncodedDataset, type LabelledBatch, requireHeads } from './encoded.js'
import { trainingMasks } from './masks.js'
import { prepared } from './prepared.js'

/** Rows to train on that are read, checked and tokenized as the run goes on; a few batches of them are in memory. */
export class EncodedStream {
  constructor(
    readonly rows: RowStream,
    readonly model: Model,
    readonly name: string
  ) {}

  requireHeads(operation: string): ReadonlyMap<string, HeadConfig> {
    return requireHeads(this.model, operation)
  }
}

/** What needs to know all rows before the first step is refused, and what to do instead said. */
export function checkStreamArguments(args: ResolvedTrainingArguments): void {
  const refuse = (name: string, why: string): never => {
    throw check.valueError(`args.${name}`, `trainDataset is a stream, ${why}`)
  }
  if (args.maxSteps < 0) refuse('maxSteps', 'whose length nobody knows: say how many steps to train, not epochs')
  for (const name of ['loggingStrategy', 'evalStrategy', 'saveStrategy'] as const) {
    if (args[name] === 'epoch') refuse(name, "whose epochs end nobody knows when: use 'steps'")
  }
  if (args.groupByLength) refuse('groupByLength', 'whose rows come in their own order')
  if (args.maxTokensPerBatch !== null) refuse('maxTokensPerBatch', 'whose rows are taken by their number')
  if (args.classWeights === 'balanced') refuse('classWeights', 'whose labels nobody has counted: give numbers')
}

/** What the plan of steps has to know: all of them are one epoch, as Hugging Face's Trainer counts without a length. */
export const streamLength = (args: ResolvedTrainingArguments) => ({
  hasBudget: false,
  batchCount: () => args.maxSteps * args.gradientAccumulationSteps
})

/** Each step's micro-batches out of a stream. */
export class StreamFeed {
  readonly #data: EncodedStream
  readonly #args: ResolvedTrainingArguments
  readonly #signal: AbortSignal | undefined
  readonly #groups: AsyncGenerator<Row[][], void, undefined>
  /** Of the rows of all steps up to one, for the last few. */
  readonly #digests = new Map<number, string>([[0, '']])
  #taken = 0

  constructor(data: EncodedStream, args: ResolvedTrainingArguments, signal: AbortSignal | undefined) {
    this.#data = data
    this.#args = args
    this.#signal = signal
    this.#groups = groupsOf(data, args, signal)
  }

  /**
   * Reads past the rows of the first steps.
   * @param digest what digestAfter gave when they were taken
   */
  async skip(steps: number, digest: string | undefined): Promise<void> {
    while (this.#taken < steps) await unlessAborted(this.#take(), this.#signal)
    if (this.digestAfter(steps) === (digest ?? '')) return
    throw new AdapterError('ERR_RESUME', 'resume the training', 'the stream gives other rows than it did', {
      expected: `the same rows in the same order in the first ${steps} steps`,
      got: 'others',
      hint: 'Start a new run in another outputDir.'
    })
  }

  digestAfter(step: number): string {
    return this.#digests.get(step) ?? ''
  }

  async next(): Promise<readonly LabelledBatch[] | undefined> {
    if (this.#taken >= this.#args.maxSteps) return undefined
    // Nothing, and not an error: the run looks at the signal before each step.
    return await unlessAborted<readonly LabelledBatch[]>(this.#next(), this.#signal, () => [])
  }

  /** Begins to read the next step's rows now, and gives them when they are asked for. */
  prepare(): () => Promise<readonly LabelledBatch[] | undefined> {
    return prepared(() => this.next())
  }

  /** Lets go of the stream; one that waits for its source is not waited for. */
  close(): void {
    this.#groups.return().catch(() => undefined)
  }

  async #next(): Promise<LabelledBatch[]> {
    const { model, name } = this.#data
    const signal = this.#signal
    const batches: LabelledBatch[] = []
    for (const rows of await this.#take()) {
      const masking = trainingMasks(this.#args, this.#taken, batches.length)
      const encoded = await EncodedDataset.of(rows, model, name, undefined, masking, signal)
      batches.push(await encoded.batch(Array.from(rows.keys()), { signal }))
    }
    return batches
  }

  async #take(): Promise<Row[][]> {
    const { value = [] } = await this.#groups.next()
    const hash = createHash('sha256').update(this.digestAfter(this.#taken)).update(JSON.stringify(value))
    this.#taken++
    this.#digests.set(this.#taken, hash.digest('hex').slice(0, 16))
    this.#digests.delete(this.#taken - 4)
    return value as Row[][]
  }
}

/** For each step its micro-batches, pass after pass; the last ones of a pass may be smaller, as an epoch's are. */
async function* groupsOf(
  data: EncodedStream,
  args: ResolvedTrainingArguments,
  signal: AbortSignal | undefined
): AsyncGenerator<Row[][], void, undefined> {
  const { gradientAccumulationSteps, shuffleBufferSize } = args
  const seed = args.dataSeed ?? args.seed
  for (let pass = 0; ; pass++) {
    let group: Row[][] = []
    let isEmpty = true
    const rows = rowsOfPass(data.rows, { name: data.name, pass, shuffleBufferSize, seed })
    for await (const batch of batchesOf(rows, args, signal)) {
      isEmpty = false
      group.push(batch)
      if (group.length < gradientAccumulationSteps) continue
      yield group
      group = []
    }
    if (group.length > 0) yield group
    if (isEmpty) {
      throw check.valueError(data.name, 'there is no full batch, and dataloaderDropLast leaves the rest out')
    }
  }
}

async function* batchesOf(
  rows: AsyncIterable<Row>,
  args: ResolvedTrainingArguments,
  signal: AbortSignal | undefined
): AsyncGenerator<Row[], void, undefined> {
  const pauses = new Pauses()
  let batch: Row[] = []
  for await (const row of rows) {
    signal?.throwIfAborted()
    batch.push(row)
    // Rows that are there at once would hold the thread for all of a step's.
    await pauses.take()
    if (batch.length < args.perDeviceTrainBatchSize) continue
    yield batch
    batch = []
  }
  if (batch.length > 0 && !args.dataloaderDropLast) yield batch
}
