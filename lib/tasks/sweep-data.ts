// Which rows each of a sweep's adapters reads, and in whose company.
import { isPlainObject } from '../config/check.js'
import { type Dataset, isIndexed } from '../data/dataset.js'
import type { Learner } from './learner.js'
import type { SweepPoint } from './sweep-grid.js'

/** Rows for all of a sweep, or by name those that `grid.dataset` gives out, such as the parts of a cross-validation. */
export type SweepDataset = Dataset | Readonly<Record<string, Dataset>>

/** Whether these are datasets by name: one dataset has a length or an iterator. */
function isNamed(dataset: SweepDataset): dataset is Readonly<Record<string, Dataset>> {
  return (
    isPlainObject(dataset) && !isIndexed(dataset) && !(Symbol.iterator in dataset || Symbol.asyncIterator in dataset)
  )
}

/** Empty: there is one for all. */
export const datasetNames = (dataset: SweepDataset): readonly string[] => (isNamed(dataset) ? Object.keys(dataset) : [])

/** @param name null: the one for all */
export const datasetOf = (dataset: SweepDataset, name: string | null): Dataset =>
  isNamed(dataset) ? (dataset[name ?? ''] as Dataset) : dataset

/** What errors call it. */
export const placeOf = (name: string | null): string => (name === null ? 'dataset' : `dataset.${name}`)

interface OneOrder {
  readonly dataset: string | null
  readonly dataSeed: number
  /** Numbers of the learners. */
  readonly own: number[]
}

/** Those that see the same rows in the same order share every pass. */
export function inOneOrder(learners: readonly Learner[], points: readonly SweepPoint[]): readonly OneOrder[] {
  const groups = new Map<string, OneOrder>()
  for (const [index, { options }] of learners.entries()) {
    const dataset = points[index]?.dataset ?? null
    const dataSeed = options.args.dataSeed ?? options.args.seed
    const key = JSON.stringify([dataset, dataSeed])
    const group = groups.get(key) ?? { dataset, dataSeed, own: [] }
    group.own.push(index)
    groups.set(key, group)
  }
  return [...groups.values()]
}
