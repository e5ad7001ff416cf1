import * as check from '../config/check.js'
import { type HeadConfig, predictsWords } from '../config/head-config.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { labelledTokens } from '../data/collate.js'
import type { Dataset } from '../data/dataset.js'
import { ignoredLabel, labelsTokens } from '../data/labels.js'
import { adapterSetup, scopedSetup } from '../model/adapter-setup.js'
import { checkModel } from '../model/check-model.js'
import type { Model } from '../model/model.js'
import { checkOptions } from '../model/options.js'
import { partsOfSetup } from '../model/parts-read.js'
import { type AdapterSetup, checkKnown, setupNames } from '../model/setup.js'
import { nativeCall } from '../native/errors.js'
import type { NativeHeadLoss } from '../native/pass-types.js'
import type { NativeClassWeights } from '../native/trainer-types.js'
import type { TensorData } from '../native/types.js'
import { type BatchAnswers, EncodedDataset, type LabelledBatch, requireHeads } from './encoded.js'
import { evaluationGroups, evaluationPasses, readsBest } from './evaluation-batches.js'
import { HitCounter, type MetricCounter, type Metrics, metricCounter } from './metrics.js'
import { type ComputeMetrics, PredictionCollector } from './own-metrics.js'

/** What one head did over the rows that it answers. */
export interface HeadEvaluation {
  /** Mean over rows, or over labelled tokens. */
  readonly loss: number
  readonly metrics: Metrics
  readonly rows: number
}

export interface Evaluation {
  /** Mean over rows, or over labelled tokens; of several heads the sum of theirs, as training lowers it. */
  readonly loss: number
  /** Of the one head; where several answer, `heads` has those of each. */
  readonly metrics: Metrics
  /** Each head's own, where rows have different ones. */
  readonly heads?: Readonly<Record<string, HeadEvaluation>>
  readonly rows: number
  readonly seconds: number
}

/** Loss and metrics by the names that metricForBestModel takes, those of several heads as `head.accuracy`. */
export function measuredValues({ loss, metrics, heads = {} }: MeasuredValues): [string, number][] {
  return [
    ['loss', loss],
    ...Object.entries(metrics as Readonly<Record<string, number>>),
    ...Object.entries(heads).flatMap(([head, own]): [string, number][] => [
      [`${head}.loss`, own.loss],
      ...Object.entries(own.metrics as Readonly<Record<string, number>>).map(([name, value]): [string, number] => [
        `${head}.${name}`,
        value
      ])
    ])
  ]
}

type MeasuredValues = Pick<Evaluation, 'loss' | 'metrics' | 'heads'>

export interface MeasureOptions {
  /** Rows in one pass. Default 32. */
  readonly batchSize?: number | undefined
  readonly signal?: AbortSignal | undefined
  /** Measures of your own over all answers, beside the built-in ones; one of the same name takes its place. */
  readonly computeMetrics?: ComputeMetrics | undefined
}

export interface EvaluateOptions extends MeasureOptions {
  /** Which adapters run, for all rows. Default: the active ones. */
  readonly adapters?: AdapterSetup | undefined
  /** Head that answers all rows. Default: the one that `activeHead` describes. */
  readonly head?: string | undefined
}

/** Of an evaluation inside a run. */
export interface RunEvaluateOptions extends MeasureOptions {
  /** Batches whose answers leave the device together; null: each batch's at once. */
  readonly accumulationSteps?: number | null | undefined
  /** Of heads whose loss counts classes differently, or smooths labels. */
  readonly losses?: readonly NativeHeadLoss[] | undefined
  /** Takes what each head gives for the rows of a batch, those without a label that counts among them. */
  readonly onAnswers?: ((answers: BatchAnswers, logits: TensorData) => void) | undefined
}

/**
 * How a run evaluates: by the loss that it lowers, with class weights and label smoothing, as Hugging Face's eval_loss is
 * that of compute_loss. Other than there, the mean does not depend on the batches.
 * @param heads each with the arguments of what trains it
 */
export function evaluationOptions(
  args: ResolvedTrainingArguments,
  heads: Iterable<readonly [string, ResolvedTrainingArguments]>,
  classWeights: readonly NativeClassWeights[]
): RunEvaluateOptions {
  const losses = Array.from(heads, ([head, { labelSmoothingFactor: labelSmoothing }]) => {
    return { head, labelSmoothing, classWeights: classWeights.find((own) => own.head === head)?.weights }
  })
  return { batchSize: args.perDeviceEvalBatchSize, accumulationSteps: args.evalAccumulationSteps, losses }
}

/** Loss and metrics over a dataset, of the active adapters and their heads or of those that the call names. */
export async function evaluate(model: Model, dataset: Dataset, options: EvaluateOptions = {}): Promise<Evaluation> {
  checkModel(model)
  checkOptions(options, ['adapters', 'head', 'batchSize', 'signal', 'computeMetrics'])
  checkComputeMetrics(options.computeMetrics)
  if (options.batchSize !== undefined) check.checkPositiveInteger('batchSize', options.batchSize)
  const { adapters, head, ...rest } = options
  if (adapters === undefined && head === undefined) return await evaluateActive(model, dataset, rest)
  // A scope makes each row's head the one that predict takes for it.
  const setup = adapters === undefined ? model.activeAdapters : checkSetup(adapters, model)
  const skipLayers = adapters === undefined ? model.skippedLayers : []
  const scoped = scopedSetup()?.head
  // Heads child by child are for the scope's own setup.
  const around = adapters === undefined || scoped === null || typeof scoped === 'string' ? scoped : undefined
  const own = head === undefined ? around : checkKnown('head', head, model.heads)
  return await adapterSetup(setup, () => evaluateActive(model, dataset, rest), { head: own, skipLayers })
}

function checkSetup(adapters: unknown, model: Model): AdapterSetup {
  if (Array.isArray(adapters)) {
    const expected = "one setup for all rows, such as 'a' or Stack('a', 'b'); predict takes one for each"
    throw check.typeError('adapters', expected, adapters)
  }
  setupNames(adapters as AdapterSetup, model.known)
  return adapters as AdapterSetup
}

async function evaluateActive(model: Model, dataset: Dataset, options: MeasureOptions): Promise<Evaluation> {
  const heads = requireHeads(model, 'evaluate')
  const done = model.reads(partsOfSetup(model.activeAdapters, heads.keys()))
  try {
    const rows = await EncodedDataset.of(dataset, model, 'dataset', undefined, undefined, options.signal)
    return await evaluateEncoded(model, rows, options)
  } finally {
    done()
  }
}

export async function evaluateEncoded(
  model: Model,
  dataset: EncodedDataset,
  options: RunEvaluateOptions
): Promise<Evaluation> {
  const heads = dataset.requireHeads('evaluate')
  const { signal, computeMetrics, losses = [], onAnswers } = options
  const start = performance.now()
  const results = new Map(
    [...heads].map(([name, config]) => [
      name,
      new HeadResult(name, config, {
        allowNone: config.headType === 'question_answering' && dataset.hasNoAnswers,
        classWeights: losses.find(({ head }) => head === name)?.classWeights,
        computeMetrics
      })
    ])
  )
  const bestLabels = readsBest(heads, options)
  const counts = ({ answers }: LabelledBatch) =>
    onAnswers !== undefined || answers.some(({ head, labels }) => results.get(head)?.counts(labels) === true)
  const groups = evaluationGroups(dataset.length, options)
  for (let group = 0; group < groups.count; group++) {
    signal?.throwIfAborted()
    const batches: LabelledBatch[] = []
    for (const rows of groups.batchesOf(group)) {
      const batch = await dataset.batch(rows, { signal })
      if (counts(batch)) batches.push(batch)
    }
    if (batches.length === 0) continue
    const all = await nativeCall(() =>
      model.native.forwardEach(
        batches.map(({ batch }) => batch),
        batches.map(evaluationPasses(heads, options))
      )
    )
    for (const [at, { loss, logits, headLosses, headLogits }] of all.entries()) {
      batches[at]?.answers.forEach((answers, i) => {
        const own = headLogits === undefined ? { loss, logits } : { loss: headLosses?.[i], logits: headLogits[i] }
        results.get(answers.head)?.add(answers, own.loss, own.logits?.data, bestLabels)
        if (own.logits !== undefined) onAnswers?.(answers, own.logits)
      })
    }
  }
  const each: [string, HeadEvaluation][] = []
  for (const [name, result] of results) each.push([name, await result.evaluation(signal)])
  const [only] = each
  return {
    loss: each.reduce((sum, [, { loss }]) => sum + loss, 0),
    metrics: each.length === 1 && only !== undefined ? only[1].metrics : {},
    ...(each.length > 1 && { heads: Object.fromEntries(each) }),
    rows: dataset.length,
    seconds: (performance.now() - start) / 1000
  }
}

interface HeadResultOptions {
  /** Question answering: whether some rows have no answer. */
  readonly allowNone: boolean
  readonly classWeights: Float32Array | undefined
  readonly computeMetrics: ComputeMetrics | undefined
}

/** One head's loss and metrics, batch by batch. */
class HeadResult {
  readonly #config: HeadConfig
  readonly #classWeights: Float32Array | undefined
  readonly #counter: MetricCounter
  readonly #compute: ComputeMetrics | undefined
  readonly #collector: PredictionCollector | undefined
  #loss = 0
  #weight = 0
  #rows = 0

  constructor(name: string, config: HeadConfig, { allowNone, classWeights, computeMetrics }: HeadResultOptions) {
    this.#config = config
    this.#classWeights = classWeights
    this.#counter = metricCounter(config, allowNone)
    this.#compute = computeMetrics
    this.#collector = computeMetrics && new PredictionCollector(name, config)
  }

  /** Whether a label among these is for the loss. */
  counts(labels: Int32Array | Float32Array): boolean {
    return this.#weightOf(labels, 1) > 0
  }

  add(answers: BatchAnswers, loss: number | undefined, logits: Float32Array | undefined, isBest: boolean): void {
    const { labels, rows } = answers
    if (!this.counts(labels)) return
    const weight = this.#weightOf(labels, rows.length)
    this.#loss += (loss ?? 0) * weight
    this.#weight += weight
    this.#rows += rows.length
    if (logits === undefined) return
    if (isBest && this.#counter instanceof HitCounter) this.#counter.addBest(logits, labels)
    else this.#counter.add(logits, labels, rows)
    this.#collector?.add(answers, logits)
  }

  /** What the batch's mean loss is the mean of: labels by their weights, where two stand together pairs of them, or rows. */
  #weightOf(labels: Int32Array | Float32Array, rows: number): number {
    const { headType } = this.#config
    const weights = this.#classWeights
    if (weights !== undefined && labels instanceof Int32Array) {
      return labels.reduce((sum, label) => sum + (label === ignoredLabel ? 0 : (weights[label] ?? 0)), 0)
    }
    if (headType === 'question_answering' || headType === 'dependency_parsing')
      return labelledTokens(labels as Int32Array) / 2
    return labelsTokens(this.#config) ? labelledTokens(labels as Int32Array) : rows
  }

  async evaluation(signal: AbortSignal | undefined): Promise<HeadEvaluation> {
    const loss = this.#weight === 0 ? Number.NaN : this.#loss / this.#weight
    const own = this.#compute && (await this.#collector?.measure(this.#compute, signal))
    const perplexity = predictsWords(this.#config) ? { perplexity: Math.exp(loss) } : {}
    return { loss, metrics: { ...this.#counter.result(), ...perplexity, ...own }, rows: this.#rows }
  }
}

export function checkComputeMetrics(value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw check.typeError('computeMetrics', 'a function', value)
}
