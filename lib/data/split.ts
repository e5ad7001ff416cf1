import { setImmediate } from 'node:timers/promises'
import * as check from '../config/check.js'
import { collectRows, type Dataset, type IndexedRows, isIndexed, labelOf, placeOf, type Row } from './dataset.js'
import { Random } from './random.js'

export interface SplitOptions {
  /** Share of the rows, below 1, or their number. Default: what trainSize leaves, without it 0.25. */
  readonly testSize?: number | undefined
  /** Share of the rows, below 1, or their number. Default: what testSize leaves. */
  readonly trainSize?: number | undefined
  /** Rows are drawn; false: the last ones are the test. Default true. */
  readonly shuffle?: boolean | undefined
  /** The same seed gives the same split. Default 42. */
  readonly seed?: number | undefined
  /** Both parts have each label's share: true, or the field whose values count instead of labels. Default false. */
  readonly stratify?: boolean | string | undefined
}

export interface DatasetSplit<Rows> {
  readonly train: Rows
  readonly test: Rows
}

/**
 * Two parts of a dataset, as train_test_split of Hugging Face's datasets makes them. Rows that stay on disk stay there: the
 * parts know their numbers alone.
 */
export function trainTestSplit(dataset: IndexedRows, options?: SplitOptions): Promise<DatasetSplit<IndexedRows>>
export function trainTestSplit(dataset: Dataset, options?: SplitOptions): Promise<DatasetSplit<readonly Row[]>>
export async function trainTestSplit(
  dataset: Dataset,
  options: SplitOptions = {}
): Promise<DatasetSplit<IndexedRows | readonly Row[]>> {
  const given = check.checkFields<SplitOptions>('options', options, rules)
  const { shuffle = true, seed = 42, stratify = false } = given
  if (stratify !== false && !shuffle) throw check.valueError('options.stratify', 'it draws rows: it needs shuffle')
  const rows = isIndexed(dataset) ? dataset : await collectRows(dataset)
  const sizes = sizesOf(rows.length, given)
  const order = Uint32Array.from({ length: rows.length }, (_, row) => row)
  const part = (numbers: Uint32Array) => partOf(rows, numbers)
  if (!shuffle) {
    const { train, test } = sizes
    return { train: part(order.slice(0, train)), test: part(order.slice(train, train + test)) }
  }
  const random = Random.fromSeed(seed)
  random.shuffle(order)
  if (stratify === false) {
    return { test: part(order.slice(0, sizes.test)), train: part(order.slice(sizes.test, sizes.test + sizes.train)) }
  }
  const groups = [...(await groupsOf(rows, order, stratify)).values()]
  checkGroups(groups, sizes)
  const test = shares(groups, sizes.test)
  const left = groups.map((group, i) => group.slice(test[i]))
  const train = shares(left, sizes.train)
  const drawn = (from: readonly (readonly number[])[], counts: readonly number[]) =>
    random.shuffle(Uint32Array.from(from.flatMap((group, i) => group.slice(0, counts[i]))))
  return { test: part(drawn(groups, test)), train: part(drawn(left, train)) }
}

const size = (name: string, value: unknown): number => {
  const number = check.checkNumber(name, value, { above: 0 })
  if (number < 1 || Number.isSafeInteger(number)) return number
  throw check.rangeError(name, 'a share below 1, or a number of rows', value)
}

const rules: check.FieldRules<SplitOptions> = {
  testSize: size,
  trainSize: size,
  shuffle: check.checkBoolean,
  seed: (name, value) => check.checkInteger(name, value, 0),
  stratify: (name, value) => (typeof value === 'boolean' ? value : check.checkNonEmptyString(name, value))
}

/** A share of the test is rounded up and one of the training rows down, as scikit-learn has it. */
function sizesOf(rows: number, { testSize, trainSize }: SplitOptions): { train: number; test: number } {
  const given = testSize ?? (trainSize === undefined ? 0.25 : undefined)
  const test = given === undefined ? undefined : given < 1 ? Math.ceil(given * rows) : given
  const train = trainSize === undefined ? undefined : trainSize < 1 ? Math.floor(trainSize * rows) : trainSize
  const sizes = { test: test ?? rows - (train ?? 0), train: train ?? rows - (test ?? 0) }
  if (sizes.test >= 1 && sizes.train >= 1 && sizes.test + sizes.train <= rows) return sizes
  const got = `${sizes.train} to train on and ${sizes.test} to test`
  throw check.valueError('options', `expected two parts with rows of ${rows}, got ${got}`)
}

async function groupsOf(
  rows: readonly Row[] | IndexedRows,
  order: Uint32Array,
  by: true | string
): Promise<Map<string, number[]>> {
  const groups = new Map<string, number[]>()
  for (const [i, number] of order.entries()) {
    const row = rows.at(number) as Row
    const value = by === true ? labelOf(row) : (row as unknown as Record<string, unknown>)[by]
    if (value == null) {
      const what = by === true ? 'label' : by
      throw check.valueError(placeOf(row, `dataset[${number}]`), `this row has no ${what} to stratify by`)
    }
    const key = JSON.stringify(ArrayBuffer.isView(value) ? Array.from(value as Int32Array) : value)
    const group = groups.get(key) ?? []
    groups.set(key, group)
    group.push(number)
    if (i % 1024 === 1023) await setImmediate()
  }
  return groups
}

function checkGroups(groups: readonly (readonly number[])[], sizes: { train: number; test: number }): void {
  const single = groups.filter((group) => group.length < 2).length
  if (single > 0)
    throw check.valueError('options.stratify', `${single} of ${groups.length} values stand in one row alone`)
  const fewest = Math.min(sizes.train, sizes.test)
  if (fewest >= groups.length) return
  throw check.valueError('options.stratify', `a part of ${fewest} rows cannot have each of ${groups.length} values`)
}

/** Each group's part of `count`, its exact share rounded down; what is left goes where the most was cut off. */
function shares(groups: readonly (readonly number[])[], count: number): number[] {
  const all = groups.reduce((sum, group) => sum + group.length, 0)
  const exact = groups.map((group) => (group.length * count) / all)
  const result = exact.map(Math.floor)
  const cut = (i: number) => (exact[i] ?? 0) - Math.floor(exact[i] ?? 0)
  const byCut = [...groups.keys()].sort((a, b) => cut(b) - cut(a) || a - b)
  const missing = count - result.reduce((sum, part) => sum + part, 0)
  for (const i of byCut.slice(0, missing)) result[i] = (result[i] ?? 0) + 1
  return result
}

function partOf(rows: readonly Row[] | IndexedRows, numbers: Uint32Array): IndexedRows | readonly Row[] {
  if (Array.isArray(rows)) return Array.from(numbers, (number) => rows[number] as Row)
  return {
    length: numbers.length,
    at: (index) => (rows as IndexedRows).at(numbers[index] ?? rows.length)
  }
}
