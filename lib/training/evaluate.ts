import { setImmediate } from 'node:timers/promises'
import * as check from '../config/check.js'
import type { HeadConfig } from '../config/head-config.js'
import { rowLimits } from '../config/model-config.js'
import { checkRowIds, collate, type EncodedRow, encodeRow, labelledTokens, rowLabel } from '../data/collate.js'
import { collectRows, type Dataset, placeOf, type Row } from '../data/dataset.js'
import { labelsTokens } from '../data/labels.js'
import type { Model } from '../model/model.js'
import { checkOptions } from '../model/options.js'
import { passOptions } from '../model/passes.js'
import { requireUniform } from '../model/setup.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import { type Metrics, metricCounter } from './metrics.js'

export interface Evaluation {
  /** Mean over rows, or over labelled tokens. */
  readonly loss: number
  readonly metrics: Metrics
  readonly rows: number
  readonly seconds: number
}

export interface EvaluateOptions {
  /** Rows in one pass. Default 32. */
  readonly batchSize?: number | undefined
  readonly signal?: AbortSignal | undefined
}

/** Rows of a dataset as numbers, each tokenized when it is first asked for. */
export class EncodedDataset {
  readonly #encoded: (EncodedRow | undefined)[]

  private constructor(
    readonly rows: readonly Row[],
    private readonly model: Model,
    private readonly head: HeadConfig,
    private readonly name: string
  ) {
    this.#encoded = new Array<EncodedRow | undefined>(rows.length)
  }

  /** Every row and label is checked now: a mistake in the last row must not show after an hour of training. */
  static async of(dataset: Dataset, model: Model, head: HeadConfig, name: string): Promise<EncodedDataset> {
    const rows = await collectRows(dataset, name)
    const limits = rowLimits(model.config)
    for (const [i, row] of rows.entries()) {
      const place = placeOf(row, `${name}[${i}]`)
      checkRowIds(row, limits, place)
      if (rowLabel(row, head, place) === undefined && head.headType !== 'causal_lm') {
        throw new AdapterError('ERR_NO_LABELS', 'read the dataset', `${place} has no label`, {
          hint: 'Rows to train or evaluate on need one; predict() answers rows without.'
        })
      }
      if (i % 1024 === 1023) await setImmediate()
    }
    return new EncodedDataset(rows, model, head, name)
  }

  get length(): number {
    return this.rows.length
  }

  at(index: number): EncodedRow {
    const known = this.#encoded[index]
    if (known !== undefined) return known
    const limits = rowLimits(this.model.config)
    const options = { tokenizer: this.model.tokenizer, head: this.head, limits }
    const row = this.rows[index] as Row
    const encoded = encodeRow(row, options, placeOf(row, `${this.name}[${index}]`))
    this.#encoded[index] = encoded
    return encoded
  }
}

/** The head that is active, with its config; an error where there is none. */
export function requireHead(model: Model, operation: string): { readonly name: string; readonly config: HeadConfig } {
  const name = model.activeHead
  const config = name === null ? undefined : model.heads.get(name)
  if (name !== null && config !== undefined) return { name, config }
  throw new AdapterError('ERR_NO_HEAD', operation, 'the model has no active head', {
    hint: 'Add one, such as model.addClassificationHead(name, { numLabels: 2 }), before training'
  })
}

/** Loss and metrics of the active adapters and head over a dataset. */
export async function evaluate(model: Model, dataset: Dataset, options: EvaluateOptions = {}): Promise<Evaluation> {
  checkOptions(options, ['batchSize', 'signal'])
  if (options.batchSize !== undefined) check.checkPositiveInteger('batchSize', options.batchSize)
  const head = requireHead(model, 'evaluate')
  return await evaluateEncoded(model, await EncodedDataset.of(dataset, model, head.config, 'dataset'), options)
}

export async function evaluateEncoded(
  model: Model,
  dataset: EncodedDataset,
  options: EvaluateOptions
): Promise<Evaluation> {
  const head = requireHead(model, 'evaluate')
  requireUniform(model.activeAdapters, 'evaluate')
  const { batchSize = 32, signal } = options
  const start = performance.now()
  const counter = metricCounter(head.config)
  let lossSum = 0
  let weightSum = 0
  for (let from = 0; from < dataset.length; from += batchSize) {
    signal?.throwIfAborted()
    const count = Math.min(batchSize, dataset.length - from)
    const batch = collate(Array.from({ length: count }, (_, i) => dataset.at(from + i)))
    const labels = batch.labels as NonNullable<typeof batch.labels>
    const weight = labelsTokens(head.config) ? labelledTokens(labels as Int32Array) : count
    if (weight === 0) continue
    const { native } = model
    const result = await nativeCall(() => native.forward(batch, passOptions(model, {}, { rows: count })))
    lossSum += (result.loss ?? 0) * weight
    weightSum += weight
    if (result.logits !== undefined) counter.add(result.logits.data, labels)
  }
  return {
    loss: weightSum === 0 ? Number.NaN : lossSum / weightSum,
    metrics: counter.result(),
    rows: dataset.length,
    seconds: (performance.now() - start) / 1000
  }
}
