import * as check from '../config/check.js'
import { type Dataset, isIndexed } from '../data/dataset.js'
import type { EncodedDataset } from './encoded.js'
import { type Evaluation, measuredValues } from './evaluate.js'

/** Rows to measure on, or several sets of them by their names. */
export type EvalDataset = Dataset | Readonly<Record<string, Dataset>>

/** One of the sets; alone it has no name. */
export interface EvaluationSet<Rows = EncodedDataset> {
  readonly name: string | undefined
  readonly rows: Rows
}

/** The sets by their names; undefined where it is one dataset. */
function setsIn(given: unknown): Readonly<Record<string, Dataset>> | undefined {
  if (!check.isPlainObject(given) || isIndexed(given)) return undefined
  if (Symbol.iterator in given || Symbol.asyncIterator in given) return undefined
  return given as Readonly<Record<string, Dataset>>
}

/** No names, or what means something else before a measure's name: `eval_loss`, `mean_loss`. */
const unfit = ['', 'eval', 'mean']

/** @param place of the option, for messages */
export function checkEvalDataset(place: string, given: unknown): void {
  const sets = setsIn(given)
  if (sets === undefined) return
  const names = Object.keys(sets)
  if (names.length === 0)
    throw check.valueError(place, 'it has no sets; expected rows, or several sets: { name: rows }')
  const wrong = names.find((name) => unfit.includes(name))
  if (wrong === undefined) return
  const why = wrong === '' ? 'its measures need a name' : `${wrong}_loss is the mean of several losses`
  throw check.valueError(`${place}['${wrong}']`, `a set cannot be called so: ${why}; give it another name`)
}

/** Names of the sets; none where it is one dataset. */
export const evaluationNames = (given: EvalDataset | undefined): readonly string[] => Object.keys(setsIn(given) ?? {})

/** Each set, made into something. */
export async function evaluationSets<Rows>(
  given: EvalDataset,
  place: string,
  make: (dataset: Dataset, place: string) => Promise<Rows>
): Promise<readonly EvaluationSet<Rows>[]> {
  const sets = setsIn(given)
  if (sets === undefined) return [{ name: undefined, rows: await make(given as Dataset, place) }]
  const all: EvaluationSet<Rows>[] = []
  for (const [name, dataset] of Object.entries(sets)) all.push({ name, rows: await make(dataset, `${place}.${name}`) })
  return all
}

export const countRows = (sets: readonly EvaluationSet[]): number =>
  sets.reduce((sum, { rows }) => sum + rows.length, 0)

/** Measures each set; see joinSets. */
export async function evaluateSets(
  sets: readonly EvaluationSet[],
  measure: (rows: EncodedDataset) => Promise<Evaluation>
): Promise<Evaluation> {
  const each: [string | undefined, Evaluation][] = []
  for (const { name, rows } of sets) each.push([name, await measure(rows)])
  return joinSets(each)
}

/**
 * What several sets gave as one evaluation: each one's loss and metrics as NAME_loss, NAME_accuracy, …, as Hugging Face's
 * Trainer has them behind `eval_`, and the mean of their losses. One without a name is as it is.
 */
export function joinSets(each: readonly (readonly [string | undefined, Evaluation])[]): Evaluation {
  const [first] = each
  if (first !== undefined && first[0] === undefined) return first[1]
  const sum = (of: (own: Evaluation) => number) => each.reduce((total, [, own]) => total + of(own), 0)
  return {
    loss: sum(({ loss }) => loss) / each.length,
    metrics: measuresOfSets(each),
    rows: sum(({ rows }) => rows),
    seconds: sum(({ seconds }) => seconds)
  }
}

function measuresOfSets(each: readonly (readonly [string | undefined, Evaluation])[]): Record<string, number> {
  const found = new Map<string, { set: string | undefined; value: number }>()
  for (const [set, own] of each) {
    for (const [measure, value] of measuredValues(own)) {
      const name = `${set}_${measure}`
      const other = found.get(name)
      if (other !== undefined) {
        const message = `the sets '${other.set}' and '${set}' both have a measure called '${name}'; give one another name`
        throw check.valueError('evalDataset', message)
      }
      found.set(name, { set, value })
    }
  }
  return Object.fromEntries(Array.from(found, ([name, { value }]) => [name, value]))
}
