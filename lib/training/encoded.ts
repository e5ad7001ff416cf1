import { setImmediate } from 'node:timers/promises'
import { isChoiceHead } from '../config/choice-heads.js'
import { lastAdapters } from '../config/composition.js'
import type { HeadConfig } from '../config/head-config.js'
import { type RowLimits, rowLimits } from '../config/model-config.js'
import { isAnswered, needsTarget } from '../data/answered-rows.js'
import { checkRowFits, collate, collateLabels, type EncodedRow, encodeRow, rowLabel } from '../data/collate.js'
import {
  checkRow,
  collectAny,
  type Dataset,
  type IndexedRows,
  isIndexed,
  nonEmpty,
  placeOf,
  type Row
} from '../data/dataset.js'
import { missingLabel } from '../data/missing-label.js'
import { Pauses } from '../data/pauses.js'
import { questionLabel } from '../data/questions.js'
import { Recent } from '../data/recent.js'
import { type HeadRule, headOfRow } from '../model/head-rule.js'
import type { Model } from '../model/model.js'
import { noHead } from '../model/no-head.js'
import type { ForwardOptions } from '../model/options.js'
import { passOptions } from '../model/passes.js'
import { limitsUnder } from '../model/row-room.js'
import { type AdapterSetup, channelCount, forTask, isUniform, rowSetups } from '../model/setup.js'
import { AdapterError } from '../native/errors.js'
import type { NativeBatch, NativeForwardOptions } from '../native/pass-types.js'
import { checkMaskable, evaluationMasks, type Masking, maskRows } from './masks.js'

/** A batch with labels, and what one pass over it is told. */
export interface LabelledBatch {
  readonly batch: NativeBatch
  readonly pass: NativeForwardOptions
  /** Each head that answers with the labels of its rows. */
  readonly answers: readonly BatchAnswers[]
}

export interface BatchAnswers {
  readonly head: string
  readonly labels: Int32Array | Float32Array
  /** As the core's answers come. */
  readonly rows: readonly EncodedRow[]
  /** Which row of the dataset each is and, under a setup that makes copies, which of them. */
  readonly places: readonly { readonly row: number; readonly copy: number }[]
}

/** What rows pass through and which head reads them, where it is not what is active. */
export interface Reading {
  readonly setup: AdapterSetup
  readonly head: string
  /** The caller says what becomes of a dataset without rows. */
  readonly mayBeEmpty?: boolean
}

export interface PackOptions {
  /** Of each row, for what is drawn anew in every epoch. */
  readonly epochs?: readonly number[]
  /** Ends the packing between two rows; it then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Of rows that stay on disk, how many are kept beside a batch's own. */
const recentRows = 64

/**
 * Rows of a dataset as numbers under the model's active adapters, each tokenized when it is first asked for. Rows that
 * stay on disk are read and tokenized anew in every epoch. Rows without labels for a masked_lm head are kept as they are and
 * masked batch by batch.
 */
export class EncodedDataset {
  /** By what reads them. */
  readonly #encoded = new Map<string, (EncodedRow | undefined)[]>()
  readonly #recentRows = new Recent<number, Row>(recentRows)
  readonly #recentlyEncoded = new Recent<string, EncodedRow>(recentRows)
  /** Whether words of some rows are hidden, which a head is to guess. */
  #hidesWords = false
  /** Of each head its config as text. */
  readonly #readers = new Map<string, string>()

  private constructor(
    private readonly rows: readonly Row[] | IndexedRows,
    /** What the rows were read from. */
    readonly source: Dataset,
    private readonly model: Model,
    private readonly name: string,
    private readonly reading: Reading | undefined,
    private readonly masking: Masking,
    private readonly signal: AbortSignal | undefined
  ) {}

  /** Between many rows: the thread does what else it has to, and an abort ends what is being made ready. */
  async pause(): Promise<void> {
    await setImmediate()
    this.signal?.throwIfAborted()
  }

  /** Every row and label is checked now: a mistake in the last row must not show after an hour of training. */
  static async of(
    dataset: Dataset,
    model: Model,
    name: string,
    reading?: Reading,
    masking: Masking = evaluationMasks(),
    signal?: AbortSignal
  ): Promise<EncodedDataset> {
    const rows = isIndexed(dataset) ? dataset : await collectAny(dataset, name, signal)
    if (reading?.mayBeEmpty !== true) nonEmpty(rows, name)
    const encoded = new EncodedDataset(rows, dataset, model, name, reading, masking, signal)
    const { staysOnDisk } = encoded
    for (let i = 0; i < rows.length; i++) {
      const row = encoded.row(i)
      const place = placeOf(row, `${name}[${i}]`)
      if (staysOnDisk) checkRow(row, place)
      const limits = encoded.#limitsOf(i)
      checkRowFits(row, limits, place)
      const configs = encoded.headsOf(i).map((head) => model.heads.get(head) as HeadConfig)
      for (const config of configs) {
        if (rowLabel(row, config, place, limits) !== undefined) continue
        if (limits.decoder != null && !isAnswered(row, config)) throw needsTarget(place)
        if (config.headType === 'masked_lm') {
          checkMaskable(model, place)
          requireMaskedAlone(configs, place)
          encoded.#hidesWords = true
        } else if (config.headType !== 'causal_lm') {
          throw missingLabel(row, config, place)
        }
      }
      if (i % 512 === 511) await encoded.pause()
    }
    return encoded
  }

  /** Rows that stay on disk, none of them read or checked yet. */
  static unread(rows: IndexedRows, model: Model, name: string, masking: Masking): EncodedDataset {
    nonEmpty(rows, name)
    return new EncodedDataset(rows, rows, model, name, undefined, masking, undefined)
  }

  get staysOnDisk(): boolean {
    return !Array.isArray(this.rows)
  }

  /** Whether the model reads rows as it would without labels: no word hidden, and no decoder that reads what it should write. */
  get isReadAlike(): boolean {
    return !this.#hidesWords && rowLimits(this.model.config).decoder == null
  }

  /** Whether some question has no answer in its context. */
  get hasNoAnswers(): boolean {
    for (let i = 0; i < this.length; i++) {
      const asks = this.headsOf(i).some((head) => this.model.heads.get(head)?.headType === 'question_answering')
      if (asks && questionLabel(this.row(i), this.#placeOf(i))?.length === 0) return true
    }
    return false
  }

  row(index: number): Row {
    const { rows } = this
    if (Array.isArray(rows)) return rows[index] as Row
    return this.#recentRows.take(index, () => (rows as IndexedRows).at(index))
  }

  #placeOf(index: number): string {
    return placeOf(this.row(index), `${this.name}[${index}]`)
  }

  get length(): number {
    return this.rows.length
  }

  /** The heads that answer; an error where some row would have none. */
  requireHeads(operation: string): ReadonlyMap<string, HeadConfig> {
    return requireHeads(this.model, operation, this.reading)
  }

  get #setup(): AdapterSetup {
    return this.reading === undefined ? this.model.activeAdapters : this.reading.setup
  }

  #setupOf(index: number): AdapterSetup {
    return forTask(this.#setup, this.row(index).taskId, this.#placeOf(index))
  }

  #limitsOf(index: number): RowLimits {
    return limitsUnder(this.model, [this.#setupOf(index)])
  }

  /** The heads that may answer a row: with MultiTask that of its task, with Parallel one for each child. */
  headsOf(index: number): readonly string[] {
    const { heads } = this.model
    const setup = this.#setupOf(index)
    const rule = ruleOf(this.model, this.reading)
    const names = lastAdapters(setup).map((last) => headOfRow(rule, heads, last))
    const found = [...new Set(names)].map((name) => name ?? noHead(this.model, 'train', lastAdapters(setup).join(', ')))
    requireOneReading(found, heads)
    return found
  }

  /** A row's label as a head reads it, before tokens are known; undefined where it has none. */
  labelOf(index: number, head: string): Float32Array | Int32Array | undefined {
    const config = this.model.heads.get(head) as HeadConfig
    return rowLabel(this.row(index), config, this.#placeOf(index), this.#limitsOf(index))
  }

  /** A row with the label that a head reads. Heads of one config read the same. */
  at(index: number, head: string): EncodedRow {
    const reader = this.#readers.get(head) ?? JSON.stringify(this.model.heads.get(head))
    this.#readers.set(head, reader)
    const encode = () => this.encode(index, head)
    if (this.staysOnDisk) return this.#recentlyEncoded.take(`${index} ${reader}`, encode)
    const known = this.#encoded.get(reader) ?? new Array<EncodedRow | undefined>(this.length)
    this.#encoded.set(reader, known)
    const encoded = known[index] ?? encode()
    known[index] = encoded
    return encoded
  }

  /** As `at` makes it, whether it is known or not. */
  encode(index: number, head: string): EncodedRow {
    const { tokenizer, source, heads } = this.model
    const options = { tokenizer, source, head: heads.get(head), limits: this.#limitsOf(index) }
    return encodeRow(this.row(index), options, this.#placeOf(index))
  }

  /**
   * These rows as one batch, each under its own part of the active setup and read by its own head. They are tokenized one by
   * one; the thread is not held for longer than a row takes.
   */
  async batch(indices: readonly number[], { epochs = [], signal }: PackOptions = {}): Promise<LabelledBatch> {
    const pauses = new Pauses()
    this.#recentRows.makeRoomFor(indices.length)
    const plain: EncodedRow[] = []
    for (const index of indices) {
      signal?.throwIfAborted()
      const heads = this.headsOf(index)
      this.#recentlyEncoded.makeRoomFor(indices.length * Math.max(heads.length, this.#readers.size))
      const read = heads.map((head) => this.at(index, head))
      plain.push(read[0] as EncodedRow)
      await pauses.take()
    }
    return this.#packed(plain, indices, epochs)
  }

  #packed(plain: readonly EncodedRow[], indices: readonly number[], epochs: readonly number[]): LabelledBatch {
    const { model } = this
    const setup = this.#setup
    const count = indices.length
    const taskIds = indices.map((index) => this.row(index).taskId ?? '')
    const masked = this.#masked(plain, indices, epochs)
    const first = plain.map((row, i) => masked.get(i) ?? row)
    const channels = channelCount(setup)
    const batch = collate(
      first.map((row) => ({ ...row, label: undefined })),
      isUniform(setup) ? undefined : groupsOf(rowSetups(setup, { rows: count, taskIds }, model.known), count)
    )
    const { native: options, heads } = passOptions(model, passed(this.reading), {
      rows: count,
      taskIds,
      order: batch.order
    })
    const native = { ...options, frozenStates: true }
    const several = typeof heads === 'object' && heads !== null
    const names = several ? heads.names : [heads ?? noHead(model, 'train', '')]
    const answers = names.map((head, i) => {
      const own = Array.from({ length: count * channels }, (_, row) => row).filter(
        (row) => !several || heads.rows[row] === i
      )
      const rows = own.map((row) => {
        const given = batch.order[row % count] ?? 0
        return masked.get(given) ?? this.at(indices[given] ?? 0, head)
      })
      const places = own.map((row) => {
        return { row: indices[batch.order[row % count] ?? 0] ?? 0, copy: Math.floor(row / count) }
      })
      return { head, labels: collateLabels(rows) ?? new Int32Array(), rows, places }
    })
    const pass = forParts(
      native,
      Array.from(batch.order, (row) => first[row] as EncodedRow)
    )
    if (several) return { batch, pass: { ...pass, headLabels: answers.map(({ labels }) => labels) }, answers }
    // Copies of a row have its labels.
    const { labels } = answers[0] as LabelledBatch['answers'][number]
    return { batch: { ...batch, labels: labels.subarray(0, labels.length / channels) }, pass, answers }
  }

  /** Those of a batch that are there to be masked, by their place in it. */
  #masked(rows: readonly EncodedRow[], indices: readonly number[], epochs: readonly number[]): Map<number, EncodedRow> {
    const { model } = this
    const isMasked = (i: number) =>
      rows[i]?.label === undefined &&
      model.heads.get(this.headsOf(indices[i] ?? 0)[0] as string)?.headType === 'masked_lm'
    const places = [...rows.keys()].filter(isMasked)
    if (places.length === 0) return new Map()
    const numbers = places.map((i) => [epochs[i] ?? 0, indices[i] ?? 0] as const)
    const words = { tokenizer: model.tokenizer, source: model.source, vocabSize: rowLimits(model.config).vocabSize }
    const found = maskRows(
      places.map((i) => rows[i] as EncodedRow),
      numbers,
      words,
      this.masking
    )
    return new Map(places.map((place, i) => [place, found[i] as EncodedRow]))
  }
}

/** Words that one head has to guess another must not see. */
function requireMaskedAlone(configs: readonly HeadConfig[], place: string): void {
  const other = configs.find(({ headType }) => headType !== 'masked_lm')
  if (other === undefined) return
  throw new AdapterError(
    'ERR_UNSUPPORTED',
    'read the dataset',
    `${place} has no label, and heads of two kinds read it`,
    {
      expected: 'labels, or masked_lm heads alone, for which its words are masked',
      got: `a head of kind ${other.headType} beside masked_lm`
    }
  )
}

/** A reading names its head, unless its setup makes copies, each of which has one of its own. */
function ruleOf({ headChoice }: Model, reading: Reading | undefined): HeadRule {
  if (reading === undefined) return headChoice.rule
  return isUniform(reading.setup) ? { chosen: reading.head, otherwise: null } : { chosen: undefined, otherwise: null }
}

function passed(reading: Reading | undefined): ForwardOptions {
  if (reading === undefined) return {}
  return { adapters: reading.setup, ...(isUniform(reading.setup) && { head: reading.head }) }
}

/** The core's rows of a row, its choices or windows, pass through what the row does. */
function forParts(pass: NativeForwardOptions, rows: readonly EncodedRow[]): NativeForwardOptions {
  const counts = rows.map(({ parts }) => parts?.length ?? 1)
  if (counts.every((count) => count === 1)) return pass
  const each = (values: Int32Array | undefined) =>
    values &&
    Int32Array.from(Array.from(values).flatMap((value, i) => new Array(counts[i % counts.length]).fill(value)))
  return { ...pass, rowSetups: each(pass.rowSetups), rowHeads: each(pass.rowHeads) }
}

/** One number a row: rows that pass through the same in every copy share it. */
function groupsOf(setups: readonly unknown[], count: number): number[] {
  const known = new Map<string, number>()
  return Array.from({ length: count }, (_, row) => {
    const key = JSON.stringify(setups.filter((_setup, i) => i % count === row))
    return known.get(key) ?? known.set(key, known.size).size - 1
  })
}

/** Windows, choices and words are made for one head. */
function requireOneReading(names: readonly string[], heads: ReadonlyMap<string, HeadConfig>): void {
  const kinds = new Set(names.map((name) => heads.get(name)?.headType))
  if (kinds.size < 2 || ![...kinds].some((headType) => headType !== undefined && isChoiceHead({ headType }))) return
  throw new AdapterError('ERR_UNSUPPORTED', 'train', `heads ${names.join(' and ')} read a row in different ways`, {
    expected: 'children of Parallel whose heads are of one kind',
    got: [...kinds].join(', ')
  })
}

/** The heads that answer under the active adapters; an error where some row would have none. */
export function requireHeads(model: Model, operation: string, reading?: Reading): ReadonlyMap<string, HeadConfig> {
  const { activeAdapters, heads } = model
  const rule = ruleOf(model, reading)
  const found = new Map<string, HeadConfig>()
  for (const last of lastAdapters(reading === undefined ? activeAdapters : reading.setup)) {
    const name = headOfRow(rule, heads, last)
    const config = name === null ? undefined : heads.get(name)
    if (name === null || config === undefined) noHead(model, operation, found.size === 0 ? '' : `${last}`)
    found.set(name, config)
  }
  return found
}
