import * as check from '../config/check.js'
import {
  type IndexedRows,
  isIndexed,
  type Label,
  labelField,
  labelItems,
  labelOf,
  labelPlace,
  placeOf,
  type Row,
  withPlace
} from './dataset.js'
import { ignoredLabel } from './labels.js'

/** Names under what stands in the rows: `{ 1: 'World', 2: 'Sports' }`; or a list, for numbers from 0. */
export type LabelNames = { readonly [label: string]: string } | readonly string[]

type Rows = IndexedRows | Iterable<Row> | AsyncIterable<Row>

/**
 * A dataset with names in place of its labels, such as numbers that do not begin at 0 (a head reads numbers as ids). Each
 * label needs a name; several a row are named one by one, and -100 stays.
 */
export function nameLabels(dataset: IndexedRows, names: LabelNames): IndexedRows
export function nameLabels(dataset: readonly Row[] | Iterable<Row>, names: LabelNames): Row[]
export function nameLabels(dataset: AsyncIterable<Row>, names: LabelNames): AsyncIterable<Row>
export function nameLabels(dataset: Rows, given: LabelNames): Rows {
  const names = Array.isArray(given) ? { ...given } : check.checkObject('names', given)
  for (const [label, name] of Object.entries(names)) check.checkNonEmptyString(`names['${label}']`, name)
  const named = (row: Row, index: number) => withNames(row, names, placeOf(row, `dataset[${index}]`))
  if (isIndexed(dataset)) return { length: dataset.length, at: (index) => named(dataset.at(index), index) }
  if (typeof dataset !== 'object' || dataset === null || !(Symbol.asyncIterator in dataset)) {
    return Array.from(dataset as Iterable<Row>, named)
  }
  return later(dataset, named)
}

async function* later(rows: AsyncIterable<Row>, named: (row: Row, index: number) => Row): AsyncGenerator<Row> {
  let index = 0
  for await (const row of rows) yield named(row, index++)
}

function withNames(row: Row, names: Readonly<Record<string, unknown>>, place: string): Row {
  const label = labelOf(row)
  if (label === null) return row
  const isList = typeof label === 'object'
  const found = labelItems(label).map((item) => {
    if (isList && item === ignoredLabel) return item
    const name = Object.hasOwn(names, String(item)) ? names[String(item)] : undefined
    if (name !== undefined) return name
    throw check.valueError(
      labelPlace(row, place),
      `no name for ${check.describe(item)}; there are names for ${check.quoted(Object.keys(names))}`
    )
  })
  return withPlace({ ...row, [labelField(row)]: (isList ? found : found[0]) as Label } as Row, place)
}
