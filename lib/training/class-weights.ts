import * as check from '../config/check.js'
import type { ClassWeights } from '../config/class-weights.js'
import { hasManyLabels, type LabelledHeadConfig } from '../config/head-config.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { classId, ignoredLabel } from '../data/labels.js'
import type { NativeClassWeights } from '../native/trainer-types.js'
import { EncodedDataset } from './encoded.js'
import { hasClasses } from './loss-arguments.js'
import type { EncodedStream } from './stream.js'

/** The weights of each head with classes, as `args.classWeights` and the training rows say. */
export async function headClassWeights(
  { classWeights }: ResolvedTrainingArguments,
  train: EncodedDataset | EncodedStream
): Promise<NativeClassWeights[]> {
  if (classWeights === null) return []
  const heads = [...train.requireHeads('train')].filter((entry): entry is [string, LabelledHeadConfig] =>
    hasClasses(entry[1])
  )
  // Of a stream they are not asked for.
  if (classWeights === 'balanced') return train instanceof EncodedDataset ? await balanced(heads, train) : []
  return heads.map(([head, config]) => ({ head, weights: given(classWeights, head, config) }))
}

/** The heads that answer, each with the same arguments. */
export const headsBy = (
  args: ResolvedTrainingArguments,
  data: EncodedDataset | EncodedStream
): (readonly [string, ResolvedTrainingArguments])[] =>
  Array.from(data.requireHeads('train').keys(), (head) => [head, args])

function given(weights: Exclude<ClassWeights, string>, head: string, config: LabelledHeadConfig): Float32Array {
  if (!Array.isArray(weights)) {
    const result = new Float32Array(config.numLabels).fill(1)
    for (const [label, weight] of Object.entries(weights)) {
      result[classId(config, label, `args.classWeights['${label}']`)] = weight
    }
    return result
  }
  if (weights.length === config.numLabels) return Float32Array.from(weights)
  const expected = `${config.numLabels} numbers, one for each label of '${head}'`
  throw check.rangeError('args.classWeights', expected, weights)
}

async function balanced(
  heads: readonly [string, LabelledHeadConfig][],
  train: EncodedDataset
): Promise<NativeClassWeights[]> {
  const counts = new Map(heads.map(([head, { numLabels }]) => [head, new Float64Array(numLabels)]))
  const rows = new Map<string, number>()
  for (let i = 0; i < train.length; i++) {
    for (const head of train.headsOf(i)) {
      const own = counts.get(head)
      if (own === undefined) continue
      rows.set(head, (rows.get(head) ?? 0) + 1)
      const label = train.labelOf(i, head) ?? []
      if (label instanceof Float32Array) for (const [id, value] of label.entries()) own[id] = (own[id] ?? 0) + value
      else for (const id of label) if (id !== ignoredLabel) own[id] = (own[id] ?? 0) + 1
    }
    if (i % 1024 === 1023) await train.pause()
  }
  return heads.map(([head, config]) => {
    const own = counts.get(head) ?? new Float64Array(config.numLabels)
    return { head, weights: hasManyLabels(config) ? positiveWeights(own, rows.get(head) ?? 0) : inverse(own) }
  })
}

/** A class that no row has counts 1: there is nothing to balance. */
function inverse(counts: Float64Array): Float32Array {
  const labelled = counts.reduce((sum, count) => sum + count, 0)
  const classes = counts.filter((count) => count > 0).length
  return Float32Array.from(counts, (count) => (count === 0 ? 1 : labelled / (classes * count)))
}

/** A label that every row has, or none, counts 1. */
function positiveWeights(counts: Float64Array, rows: number): Float32Array {
  return Float32Array.from(counts, (count) => (count === 0 || count >= rows ? 1 : (rows - count) / count))
}
