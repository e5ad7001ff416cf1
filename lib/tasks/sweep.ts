import type { AdapterConfigSource } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import { type CompositionBlock, Parallel, Stack } from '../config/composition.js'
import type { HeadConfig } from '../config/head-config.js'
import { taskArguments } from '../config/task-arguments.js'
import {
  commonArguments,
  type ResolvedTrainingArguments,
  type TrainingArguments
} from '../config/training-arguments.js'
import { warnOnce } from '../config/warn-once.js'
import { unlessAborted } from '../data/abort.js'
import { collectRows, type Dataset, isIndexed } from '../data/dataset.js'
import { outsideScope } from '../model/adapter-setup.js'
import { checkModel } from '../model/check-model.js'
import type { Model } from '../model/model.js'
import { checkOptions } from '../model/options.js'
import { checkKnown } from '../model/setup.js'
import { countParameters, isAdapterParameter } from '../model/summary.js'
import { checkCallbacks, type TrainerCallback } from '../training/callbacks.js'
import { EncodedDataset, type Reading } from '../training/encoded.js'
import { checkComputeMetrics } from '../training/evaluate.js'
import { checkEvalDataset, type EvalDataset, evaluationNames, evaluationSets } from '../training/evaluation-sets.js'
import { evaluationMasks, trainingMasks } from '../training/masks.js'
import type { MemoryPlan } from '../training/memory-plan.js'
import type { ComputeMetrics } from '../training/own-metrics.js'
import { processBytes } from '../training/process-bytes.js'
import { samplerFor } from '../training/run.js'
import { checkDatasetArguments, requireEvaluationRows } from '../training/trainer-options.js'
import { checkComparable, checkEvaluated, isComparable } from './comparable.js'
import type { TaskResult, TasksEvent } from './events.js'
import { Feed } from './feed.js'
import { tasksFingerprint } from './fingerprint.js'
import { Learner, type LearnerOptions } from './learner.js'
import { trainOnly } from './owners.js'
import { planTasks } from './plan-memory.js'
import { recordedTasksRun } from './recorded.js'
import type { TasksRun } from './run-state.js'
import { datasetNames, datasetOf, inOneOrder, placeOf, type SweepDataset } from './sweep-data.js'
import { type SweepGrid, type SweepPoint, sweepPoints } from './sweep-grid.js'
import { rankingOf } from './sweep-ranking.js'
import { TaskSampler } from './task-sampler.js'

export interface SweepOptions {
  /** What the grid's fields change. Default 'seq_bn'. */
  readonly config?: AdapterConfigSource | undefined
  /** A head of the model whose config each gets a head of. Default: the active head. */
  readonly head?: string | undefined
  /** The adapters are called `<name>-1`, `<name>-2` and so on. Default 'sweep'. */
  readonly name?: string | undefined
  /** Adapters of the model that stand still below each, the lowest first, such as MAD-X's language adapter. Default none. */
  readonly below?: readonly string[] | undefined
  /** For all; what the grid has goes before. */
  readonly args?: TrainingArguments | undefined
  /** Rows to measure on, or several sets by their names, as AdapterTrainer takes them. */
  readonly evalDataset?: EvalDataset | undefined
  readonly computeMetrics?: ComputeMetrics | undefined
  /** Which adapters stay in the model: the best, which is then active, or all. Default 'best'. */
  readonly keep?: 'best' | 'all' | undefined
  /** One whose loss is not finite ends by itself ('stopOne') or ends the sweep ('throw'). Default 'stopOne'. */
  readonly onNotFinite?: 'throw' | 'stopOne' | undefined
  /** The next step waits for what it gives. */
  readonly onEvent?: ((event: TasksEvent) => void | Promise<void>) | undefined
  /** Called while it goes on; they may ask it to stop, evaluate, log or save. */
  readonly callbacks?: readonly TrainerCallback<TasksEvent>[] | undefined
  readonly signal?: AbortSignal | undefined
  /**
   * When the signal stops it, a checkpoint is written first; what goes with the step, its evaluation and callbacks, then comes
   * to its end. Default false.
   */
  readonly saveOnAbort?: boolean | undefined
}

/** One of a sweep's adapters. */
export interface SweepMember extends TaskResult {
  /** Of the adapter and its head. */
  readonly name: string
  /** What it has of the grid. */
  readonly values: Readonly<Record<string, unknown>>
  /** Of the adapter. */
  readonly parameters: number
  /**
   * The evaluation that it is ranked by, that of the parameters it ends with: with loadBestModelAtEnd the best, otherwise
   * the last.
   */
  readonly keptEvaluation?: NonNullable<TaskResult['evaluation']>
}

export interface SweepResult {
  /** In the order of the grid, the last name varying fastest. */
  readonly members: readonly SweepMember[]
  /**
   * The adapters' names, the best first: by metricForBestModel (default: the loss) of their `keptEvaluation`; equal ones, and
   * all without evaluations, by the mean loss of training, then in the grid's order. Those whose loss was not finite come last.
   */
  readonly ranking: readonly string[]
  /** The first of the ranking. */
  readonly best: string
  readonly seconds: number
}

const keys = [
  ...['config', 'head', 'name', 'args', 'evalDataset', 'computeMetrics', 'keep', 'onNotFinite', 'onEvent', 'signal'],
  ...['saveOnAbort', 'callbacks', 'below']
]

/**
 * Trains adapters that differ in what the grid says, all in one pass through the model per step: what lies below the
 * lowest adapter is computed once for all of them. Each has its own head, optimizer and schedule, and learns what it
 * would learn alone on the same batches (AdapterTrainer with the same dataSeed; with dropout the numbers drawn are others).
 * Of several datasets the one with most batches says how many steps an epoch has; the others begin anew within it.
 */
export async function trainSweep(
  model: Model,
  dataset: SweepDataset,
  grid: SweepGrid,
  options: SweepOptions = {}
): Promise<SweepResult> {
  const sweep = checkSweep(model, dataset, grid, options)
  const before = model.activeAdapters
  const trainedBefore = model.keepTrainable()
  const learners = addMembers(model, sweep)
  const start = performance.now()
  try {
    let results: Readonly<Record<string, TaskResult>> = {}
    const release = model.hold('a sweep')
    try {
      for await (const event of recordedTasksRun(await runOf(model, dataset, sweep, learners))) {
        if (event.type === 'end') results = event.tasks
        await unlessAborted(options.onEvent?.(event), options.saveOnAbort ? undefined : options.signal)
      }
    } finally {
      release()
    }
    const members = membersOf(model, sweep, learners, results)
    const ranking = rankingOf(members, sweep.each)
    const [best = ''] = ranking
    if (options.keep !== 'all')
      removeMembers(
        model,
        learners.filter(({ name }) => name !== best)
      )
    model.setActiveAdapters(options.keep === 'all' ? before : setupOver(sweep.below, best))
    return { members, ranking, best, seconds: (performance.now() - start) / 1000 }
  } catch (error) {
    removeMembers(model, learners)
    trainedBefore()
    throw error
  }
}

/**
 * What trainSweep with the same arguments will take of memory, its adapters among the parameters: the largest micro-batch of
 * the first 256 steps goes through all of them once, and so does the largest batch of the evaluations that the arguments ask for. They are gone again afterwards, and what trained before trains again.
 */
export async function planSweep(
  model: Model,
  dataset: SweepDataset,
  grid: SweepGrid,
  options: SweepOptions = {}
): Promise<MemoryPlan> {
  const sweep = checkSweep(model, dataset, grid, options)
  const before = processBytes()
  const trainedBefore = model.keepTrainable()
  const learners = addMembers(model, sweep)
  try {
    const release = model.hold('a memory plan')
    try {
      const own = model.namedParameters().filter(({ trainable }) => trainable)
      const made = Float32Array.BYTES_PER_ELEMENT * countParameters(own)
      return await planTasks(
        await runOf(model, dataset, sweep, learners),
        before && { ...before, anonymous: before.anonymous + made }
      )
    } finally {
      release()
    }
  } finally {
    removeMembers(model, learners)
    trainedBefore()
  }
}

function membersOf(
  model: Model,
  { points, name }: Sweep,
  learners: readonly Learner[],
  results: Readonly<Record<string, TaskResult>>
): readonly SweepMember[] {
  const parameters = model.namedParameters()
  return points.map(({ values }, i) => {
    const own = `${name}-${i + 1}`
    const counted = countParameters(parameters.filter((parameter) => isAdapterParameter(parameter, own)))
    const keptEvaluation = learners[i]?.keptEvaluation
    const member = { name: own, values, parameters: counted, ...(results[own] as TaskResult) }
    return { ...member, ...(keptEvaluation && { keptEvaluation }) }
  })
}

interface Sweep {
  readonly name: string
  readonly below: readonly string[]
  readonly head: HeadConfig
  readonly points: readonly SweepPoint[]
  readonly args: ResolvedTrainingArguments
  readonly each: readonly ResolvedTrainingArguments[]
  readonly options: SweepOptions
}

/** What each of a sweep has of the grid, and all of its arguments. */
export function sweepMembers(
  grid: SweepGrid,
  config: AdapterConfigSource,
  input: TrainingArguments,
  datasets: readonly string[] = []
): Pick<Sweep, 'points' | 'each'> {
  const args = commonArguments(input)
  const points = sweepPoints(grid, config, args.seed, datasets)
  const each = points.map((point) => {
    const own = taskArguments('grid', input, point.args)
    const looks = args.evalStrategy !== 'no' && own.metricForBestModel === null
    return looks ? taskArguments('grid', input, { ...point.args, metricForBestModel: 'loss' }) : own
  })
  return { points, each }
}

function checkSweep(model: Model, dataset: SweepDataset, grid: SweepGrid, options: SweepOptions): Sweep {
  checkModel(model)
  checkOptions(options, keys)
  checkEvalDataset('evalDataset', options.evalDataset)
  checkComputeMetrics(options.computeMetrics)
  checkCallbacks(options.callbacks)
  outsideScope('trainSweep')
  check.checkOneOf('keep', options.keep ?? 'best', ['best', 'all'])
  check.checkOneOf('onNotFinite', options.onNotFinite ?? 'stopOne', ['throw', 'stopOne'])
  const input = options.args ?? {}
  const args = commonArguments(input)
  checkDatasetArguments(args)
  requireEvaluationRows(args, options.evalDataset !== undefined, 'an evalDataset')
  const { points, each } = sweepMembers(grid, options.config ?? 'seq_bn', input, datasetNames(dataset))
  const head = options.head ?? model.activeHead
  if (head === null) {
    throw check.valueError(
      'head',
      'the model has none for the adapters to learn through; add one, such as addClassificationHead'
    )
  }
  const name = options.name ?? 'sweep'
  const taken = points.map((_, i) => `${name}-${i + 1}`).find((own) => model.adapters.has(own) || model.heads.has(own))
  if (taken !== undefined) {
    const what = `the model has '${taken}' already, as from a sweep before`
    throw check.valueError('name', `${what}; give another name, such as '${name}-next', or delete what it has`)
  }
  const config = model.heads.get(checkKnown('head', head, model.heads)) as HeadConfig
  const below = check.checkArray('below', options.below ?? []).map((one) => checkKnown('below', one, model.adapters))
  const evaluates = args.evalStrategy !== 'no' || (options.evalDataset !== undefined && hasCallbacks(options))
  if (options.evalDataset !== undefined && !evaluates)
    warnOnce(
      options.evalDataset,
      "trainSweep: evalDataset is given and evalStrategy is 'no': members are ranked by their loss in training. Give " +
        "evalStrategy: 'epoch' for the rows of evalDataset.",
      'TORCH_ADAPTERS_NOT_EVALUATED'
    )
  const sets = evaluationNames(options.evalDataset)
  checkComparable(each, config, { sets, evaluates, hasOwnMetrics: options.computeMetrics !== undefined })
  return { name, below, head: config, points, args, each, options }
}

const hasCallbacks = ({ callbacks = [] }: SweepOptions): boolean => callbacks.length > 0

const setupOver = (below: readonly string[], own: string | CompositionBlock): string | CompositionBlock =>
  below.length === 0 ? own : Stack(...below, own)

function addMembers(model: Model, { name, below, head, points, each }: Sweep): Learner[] {
  const learners: Learner[] = []
  try {
    for (const [i, { config, seed }] of points.entries()) {
      const own = `${name}-${i + 1}`
      model.addAdapter(own, config, { seed })
      const options: LearnerOptions = {
        ...{
          name: own,
          args: each[i] as ResolvedTrainingArguments,
          setup: setupOver(below, own),
          head: own,
          weight: 1
        },
        parts: { adapters: [own], fusions: [], heads: [own] }
      }
      learners.push(new Learner(options))
      model.addHead(own, head, { seed })
    }
    trainOnly(
      model,
      learners.map(({ options }) => options.parts)
    )
    return learners
  } catch (error) {
    removeMembers(model, learners)
    throw error
  }
}

function removeMembers(model: Model, learners: readonly Learner[]): void {
  for (const { name } of learners) {
    if (model.heads.has(name)) model.deleteHead(name)
    model.deleteAdapter(name)
  }
}

/** The sweep as a run of tasks. Each order reads the same rows: what gives them may do so once. */
async function runOf(
  model: Model,
  dataset: SweepDataset,
  { points, args, each, head, below, options }: Sweep,
  learners: readonly Learner[]
): Promise<TasksRun> {
  const feeds: Feed[] = []
  const { evalDataset, computeMetrics, signal, saveOnAbort, callbacks } = options
  const fixed = evaluationMasks(args.mlmProbability)
  const rowsOf = new Map<string | null, Dataset>()
  for (const name of new Set(points.map((point) => point.dataset))) {
    rowsOf.set(name, await readOnce(datasetOf(dataset, name), placeOf(name), signal))
  }
  const measured = evalDataset && (await readSets(evalDataset, signal))
  for (const { dataSeed, dataset: of, own } of inOneOrder(learners, points)) {
    const rows = rowsOf.get(of) as Dataset
    const names = own.map((index) => (learners[index] as Learner).name)
    const reading = readingOf(below, names)
    const masks = trainingMasks({ ...args, dataSeed })
    const data = await EncodedDataset.of(rows, model, placeOf(of), reading, masks, signal)
    const sampler = await samplerFor({ ...args, dataSeed }, data)
    const encode = (own: Dataset, name: string) => EncodedDataset.of(own, model, name, reading, fixed, signal)
    const evaluation = measured && (await evaluationSets(measured, 'evalDataset', encode))
    feeds.push(new Feed({ data, sampler, args, learners: own, evaluation, computeMetrics }))
  }
  const sizes = feeds.map((feed) => ({ rows: feed.options.data.length, steps: (epoch: number) => feed.stepsIn(epoch) }))
  const mode = 'fused'
  const sampling = 'round_robin'
  return {
    ...{ model, args, learners, feeds, signal, saveOnAbort, callbacks },
    beside: { members: Object.fromEntries(learners.map(({ name }, i) => [name, points[i]?.values ?? {}])) },
    goOn: options.onNotFinite !== 'throw',
    sampler: new TaskSampler({ sizes, sampling, mode, seed: args.seed }),
    onPlan: (plan) => {
      if (!isComparable(each, head) && !hasCallbacks(options)) checkEvaluated(args, plan)
    },
    fingerprint: async () => ({
      ...(await tasksFingerprint(model, args, { learners, feeds, mode, sampler: sampling })),
      seeds: points.map(({ seed }) => seed)
    })
  }
}

const readOnce = async (dataset: Dataset, name: string, signal: AbortSignal | undefined): Promise<Dataset> =>
  isIndexed(dataset) ? dataset : await collectRows(dataset, name, signal)

async function readSets(evalDataset: EvalDataset, signal: AbortSignal | undefined): Promise<EvalDataset> {
  const sets = await evaluationSets(evalDataset, 'evalDataset', (own, name) => readOnce(own, name, signal))
  const [only] = sets
  if (only !== undefined && only.name === undefined) return only.rows
  return Object.fromEntries(sets.map(({ name = '', rows }) => [name, rows]))
}

function readingOf(below: readonly string[], names: readonly string[]): Reading {
  const [only = ''] = names
  const own = names.length === 1 ? only : Parallel(...names)
  return { setup: setupOver(below, own), head: only }
}
