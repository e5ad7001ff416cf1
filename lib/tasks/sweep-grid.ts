import { isDeepStrictEqual } from 'node:util'
import { AdapterConfig, type AdapterConfigSource, type AdapterOverrides } from '../config/adapter-config.js'
import { camelCase } from '../config/case.js'
import * as check from '../config/check.js'
import { explainArgument, ownNameOf } from '../config/foreign-arguments.js'
import { didYouMean } from '../config/nearest.js'
import { isTaskArgument, type TaskArguments, taskArgumentNames } from '../config/task-arguments.js'
import { trainingArguments } from '../config/training-arguments.js'

/**
 * Values to try, each with each: fields of the adapter's config (`reductionFactor: [4, 16]`), whole configs
 * (`config: ['seq_bn', 'lora']`), training arguments that each may have for itself (`learningRate: [1e-3, 3e-4]`),
 * `seed`, which says where adapter and head start, and `dataset`, the names of the rows that each reads, where several are
 * given.
 */
export type SweepGrid = Readonly<Record<string, readonly unknown[]>>

/** What one of a sweep's adapters has of the grid. */
export interface SweepPoint {
  /** By the grid's names. */
  readonly values: Readonly<Record<string, unknown>>
  readonly config: AdapterConfig
  readonly args: TaskArguments
  readonly seed: number
  /** Whose rows it reads; null: there is one dataset for all. */
  readonly dataset: string | null
}

const ofBatches: readonly string[] = [
  ...['perDeviceTrainBatchSize', 'maxTokensPerBatch', 'groupByLength', 'shuffle', 'dataloaderDropLast'],
  'mlmProbability'
]

/** What is neither an argument nor a field of the adapter's config. */
const ofMembers: readonly string[] = ['config', 'seed', 'dataset']

/**
 * The last name varies fastest.
 * @param datasets names of several; none: there is one for all
 */
export function sweepPoints(
  grid: SweepGrid,
  config: AdapterConfigSource,
  seed: number,
  datasets: readonly string[] = []
): SweepPoint[] {
  const names = Object.keys(check.checkObject('grid', grid))
  const configs = names.includes('config') ? check.checkArray('grid.config', grid['config']) : [config]
  const fields = configs.flatMap((one) => fieldsOf(one as AdapterConfigSource))
  checkDatasets(grid, datasets)
  for (const name of names) {
    checkName(name, fields)
    const values = check.checkArray(`grid.${name}`, grid[name])
    if (values.length === 0) throw check.valueError(`grid.${name}`, 'expected at least one value')
    const twice = values.find((value, i) => values.slice(0, i).some((other) => isDeepStrictEqual(other, value)))
    if (twice !== undefined) {
      const text = typeof twice === 'string' ? `'${twice}'` : JSON.stringify(twice)
      throw check.valueError(
        `grid.${name}`,
        `expected each value once, got ${text} twice: those adapters would be the same`
      )
    }
    if (['metricForBestModel', 'greaterIsBetter'].includes(name)) {
      throw check.valueError(`grid.${name}`, 'all of a sweep are compared by one measure: give it in args')
    }
    if (ofBatches.includes(name)) {
      throw check.valueError(`grid.${name}`, 'all of a sweep read the same batches: give it in args')
    }
  }
  let points: Record<string, unknown>[] = [{}]
  for (const name of names) {
    points = points.flatMap((point) => (grid[name] ?? []).map((value) => ({ ...point, [name]: value })))
  }
  return points.map((values) => pointOf(values, config, seed))
}

/** Several datasets are read by those that the grid names, and by nobody else. */
function checkDatasets(grid: SweepGrid, datasets: readonly string[]): void {
  const given = grid['dataset']
  if (given === undefined && datasets.length === 0) return
  if (datasets.length === 0) {
    throw check.valueError('grid.dataset', 'it names datasets, given as { name: rows, … }; got one dataset for all')
  }
  if (given === undefined) {
    const example = `dataset: [${check.quoted(datasets)}]`
    throw check.valueError('grid.dataset', `expected the names of the datasets that are read, such as ${example}`)
  }
  for (const one of check.checkArray('grid.dataset', given)) check.checkOneOf('grid.dataset', one, datasets)
}

/** What may vary is an argument of each one's own, or a field of its adapter's config in either spelling. */
function checkName(name: string, fields: readonly string[]): void {
  if (ofMembers.includes(name) || isTaskArgument(name) || fields.includes(name) || fields.includes(camelCase(name)))
    return
  const own = Object.hasOwn(trainingArguments(), name) ? name : ownNameOf(name)
  if (own !== undefined && !isTaskArgument(own)) {
    const called = own === name ? '' : ` as ${own}`
    throw check.valueError(`grid.${name}`, `all of a sweep train in the same steps: give it in args${called}`)
  }
  const elsewhere = explainArgument(name)
  if (elsewhere !== undefined) throw check.valueError(`grid.${name}`, `'${name}' ${elsewhere}`)
  const known = ['config', 'seed', ...taskArgumentNames.filter((one) => !ofBatches.includes(one)), ...fields]
  const help = didYouMean(name, known) || ` These may: ${known.join(', ')}.`
  throw check.valueError(`grid.${name}`, `nothing of that name can vary.${help}`)
}

function fieldsOf(source: AdapterConfigSource): string[] {
  const config = AdapterConfig.load(source)
  const parts = config.method === 'union' ? config.configs : [config]
  return parts.flatMap((part) => Object.keys(part)).filter((name) => name !== 'method')
}

function pointOf(values: Record<string, unknown>, config: AdapterConfigSource, seed: number): SweepPoint {
  const args: Record<string, unknown> = {}
  const fields: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(values)) {
    if (ofMembers.includes(name)) continue
    if (isTaskArgument(name)) args[name] = value
    else fields[camelCase(name)] = value
  }
  const source = (values['config'] ?? config) as AdapterConfigSource
  const load = () => AdapterConfig.load(source, fields as AdapterOverrides)
  return {
    values,
    config: values['config'] === undefined ? load() : ofConfig(source, load),
    args,
    dataset: (values['dataset'] as string | undefined) ?? null,
    seed: values['seed'] === undefined ? seed : check.checkInteger('grid.seed', values['seed'], 0)
  }
}

/** What one of several configs does not take is said of it. */
function ofConfig(source: AdapterConfigSource, load: () => AdapterConfig): AdapterConfig {
  try {
    return load()
  } catch (error) {
    if (!(error instanceof TypeError || error instanceof RangeError)) throw error
    error.message = `grid.config: of ${JSON.stringify(source)}: ${error.message}`
    throw error
  }
}
