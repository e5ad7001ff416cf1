import { isChoiceHead } from '../config/choice-heads.js'
import { type HeadConfig, hasManyLabels, labelNames, predictsWords } from '../config/head-config.js'
import type { EncodedRow } from '../data/collate.js'
import { ignoredLabel, labelsTokens } from '../data/labels.js'
import { answerCounter } from './answer-metrics.js'
import { f1, share } from './counts.js'
import { chunkTags, EntityCounter } from './entity-metrics.js'
import { RegressionCounter } from './regression-metrics.js'

/**
 * By the kind of head:
 * classification and tagging: accuracy (which is micro F1 there), macroF1, matthews, and of two classes f1 of the second;
 * tagging with label names such as O, B-PER and I-PER, or O, B and I: entityPrecision, entityRecall, entityF1, as seqeval
 * has them;
 * multi-label: accuracy (all labels of a row right), macroF1, microF1; regression: mse, pearson, spearman;
 * language modelling: accuracy, perplexity (e to the mean loss); multiple choice: accuracy;
 * question answering: exactMatch, f1; dependency parsing: uas, las. Beside them those that computeMetrics gives.
 */
export type Metrics = Readonly<Partial<Record<MetricName, number>> & Record<string, number>>

type MetricName =
  | ('accuracy' | 'macroF1' | 'microF1' | 'f1' | 'matthews' | 'entityPrecision' | 'entityRecall' | 'entityF1')
  | ('mse' | 'pearson' | 'spearman' | 'perplexity' | 'exactMatch' | 'uas' | 'las')

/** Takes answers batch by batch; keeps counts, not answers. */
export interface MetricCounter {
  /**
   * @param logits row-major, one row of outputs for each row, or each token of heads that answer for tokens
   * @param rows the rows in the order of the logits, for heads that choose among a row's tokens, choices or words
   */
  add(logits: Float32Array, labels: Int32Array | Float32Array, rows?: readonly EncodedRow[]): void
  result(): Metrics
}

/** @param allowNone question answering: whether some rows have no answer */
export function metricCounter(head: HeadConfig, allowNone = false): MetricCounter {
  if (isChoiceHead(head)) return answerCounter(head, allowNone)
  if (predictsWords(head)) return new HitCounter()
  if (hasManyLabels(head)) return new MultiLabelCounter(head.numLabels)
  if (head.numLabels === 1 && !labelsTokens(head)) return new RegressionCounter()
  const tags = labelsTokens(head) ? chunkTags(labelNames(head)) : undefined
  return tags === undefined ? new ClassCounter(head.numLabels) : new TaggingCounter(tags)
}

/** Names of what evaluations of a head measure beside the loss. */
export function measuresOf(head: HeadConfig): string[] {
  return [...Object.keys(metricCounter(head).result()), ...(predictsWords(head) ? ['perplexity'] : [])]
}

/** The largest of `width` values from `start` on; of equal ones the first. */
function argmax(values: Float32Array, start: number, width: number): number {
  let best = 0
  for (let i = 1; i < width; i++) {
    if ((values[start + i] ?? 0) > (values[start + best] ?? 0)) best = i
  }
  return best
}

function checkSizes(logits: Float32Array, labels: ArrayLike<number>, width: number): void {
  if (logits.length !== labels.length * width) {
    throw new RangeError(`metrics: ${labels.length} labels need ${labels.length * width} outputs, got ${logits.length}`)
  }
}

/** Vocabularies are too large for counts by class. */
export class HitCounter implements MetricCounter {
  #hits = 0
  #total = 0

  add(logits: Float32Array, labels: Int32Array | Float32Array): void {
    const width = labels.length === 0 ? 0 : logits.length / labels.length
    labels.forEach((label, i) => {
      if (label === ignoredLabel) return
      this.#total++
      this.#hits += Number(argmax(logits, i * width, width) === label)
    })
  }

  /** @param best of each token that has a label the word that was thought the likeliest */
  addBest(best: ArrayLike<number>, labels: Int32Array | Float32Array): void {
    let at = 0
    for (const label of labels) {
      if (label === ignoredLabel) continue
      this.#total++
      this.#hits += Number(best[at++] === label)
    }
  }

  result(): Metrics {
    return { accuracy: share(this.#hits, this.#total) }
  }
}

class ClassCounter implements MetricCounter {
  readonly #labelled: Float64Array
  readonly #predicted: Float64Array
  readonly #hits: Float64Array

  constructor(private readonly classes: number) {
    this.#labelled = new Float64Array(classes)
    this.#predicted = new Float64Array(classes)
    this.#hits = new Float64Array(classes)
  }

  add(logits: Float32Array, labels: Int32Array | Float32Array): void {
    checkSizes(logits, labels, this.classes)
    labels.forEach((label, i) => {
      if (label === ignoredLabel) return
      const predicted = argmax(logits, i * this.classes, this.classes)
      increment(this.#labelled, label)
      increment(this.#predicted, predicted)
      if (predicted === label) increment(this.#hits, label)
    })
  }

  result(): Metrics {
    return {
      accuracy: share(sum(this.#hits), sum(this.#labelled)),
      ...(this.classes === 2 && { f1: f1(this.#hits[1] ?? 0, this.#labelled[1] ?? 0, this.#predicted[1] ?? 0) }),
      macroF1: this.#macroF1(),
      matthews: this.#matthews()
    }
  }

  /** Mean over the classes that occur, in the labels or in the answers. */
  #macroF1(): number {
    let total = 0
    let classes = 0
    this.#hits.forEach((hits, i) => {
      const both = (this.#labelled[i] ?? 0) + (this.#predicted[i] ?? 0)
      if (both === 0) return
      classes++
      total += (2 * hits) / both
    })
    return share(total, classes)
  }

  /** Gorodkin's form for any number of classes; 0 where all labels or all answers are one class. */
  #matthews(): number {
    const rows = sum(this.#labelled)
    const agreement = sum(this.#hits) * rows - dot(this.#labelled, this.#predicted)
    const answers = rows * rows - dot(this.#predicted, this.#predicted)
    const truth = rows * rows - dot(this.#labelled, this.#labelled)
    return answers === 0 || truth === 0 ? 0 : agreement / Math.sqrt(answers * truth)
  }
}

/** Tokens one by one, and the entities that their labels make. */
class TaggingCounter implements MetricCounter {
  readonly #tokens: ClassCounter
  readonly #entities = new EntityCounter()

  constructor(private readonly tags: NonNullable<ReturnType<typeof chunkTags>>) {
    this.#tokens = new ClassCounter(tags.length)
  }

  add(logits: Float32Array, labels: Int32Array | Float32Array, rows?: readonly EncodedRow[]): void {
    this.#tokens.add(logits, labels)
    const width = this.tags.length
    const tag = (id: number) => this.tags[id] as (typeof this.tags)[number]
    let start = 0
    for (const length of rows?.map(({ inputIds }) => inputIds.length) ?? [labels.length]) {
      const tokens = Array.from({ length }, (_, i) => start + i).filter((token) => labels[token] !== ignoredLabel)
      this.#entities.add(
        tokens.map((token) => tag(labels[token] ?? 0)),
        tokens.map((token) => tag(argmax(logits, token * width, width)))
      )
      start += length
    }
  }

  result(): Metrics {
    return { ...this.#tokens.result(), ...this.#entities.result() }
  }
}

class MultiLabelCounter implements MetricCounter {
  readonly #labelled: Float64Array
  readonly #predicted: Float64Array
  readonly #hits: Float64Array
  #rows = 0
  #exact = 0

  constructor(private readonly labels: number) {
    this.#labelled = new Float64Array(labels)
    this.#predicted = new Float64Array(labels)
    this.#hits = new Float64Array(labels)
  }

  add(logits: Float32Array, labels: Int32Array | Float32Array): void {
    checkSizes(logits, labels, 1)
    for (let start = 0; start < labels.length; start += this.labels) {
      let exact = 1
      for (let i = 0; i < this.labels; i++) {
        // A probability above one half.
        const predicted = (logits[start + i] ?? 0) > 0
        const labelled = (labels[start + i] ?? 0) > 0.5
        if (predicted) increment(this.#predicted, i)
        if (labelled) increment(this.#labelled, i)
        if (predicted && labelled) increment(this.#hits, i)
        if (predicted !== labelled) exact = 0
      }
      this.#rows++
      this.#exact += exact
    }
  }

  result(): Metrics {
    let total = 0
    this.#hits.forEach((hits, i) => {
      total += share(2 * hits, (this.#labelled[i] ?? 0) + (this.#predicted[i] ?? 0))
    })
    return {
      accuracy: share(this.#exact, this.#rows),
      macroF1: share(total, this.labels),
      microF1: f1(sum(this.#hits), sum(this.#labelled), sum(this.#predicted))
    }
  }
}

function increment(counts: Float64Array, index: number): void {
  counts[index] = (counts[index] ?? 0) + 1
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0)
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((total, value, i) => total + value * (b[i] ?? 0), 0)
}
