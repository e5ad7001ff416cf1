import { existsSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import type { AdapterConfig } from '../config/adapter-config.js'
import { quoted } from '../config/check.js'
import { counted } from '../config/counted.js'
import type { HeadConfig } from '../config/head-config.js'
import { taskArguments } from '../config/task-arguments.js'
import { adapterConfigFile, type FolderFormat, headConfigFile } from '../exchange/folder-files.js'
import { checkAdapterName } from '../exchange/write-folder.js'
import { saveAnyAdapter } from '../model/exchange.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import { argumentsOfAll, argumentsOfEach, averagedMetric } from '../tasks/common-best.js'
import type { TasksEndEvent, TasksEvent } from '../tasks/events.js'
import type { MultiTaskResult, TaskOptions } from '../tasks/multi-task-trainer.js'
import { checkMode, checkOnNotFinite, checkTogether } from '../tasks/task-sampling.js'
import { describeBest } from '../training/best-words.js'
import { fromOptions, inputFile, usageError } from './arguments.js'
import { type Below, findBelow, withWholePath } from './below.js'
import { type EvalRows, eachEvalRows, evalNames, readEvalRows, wholeEvalPaths } from './eval-sets.js'
import { labelsToText } from './label-list.js'
import { addNewHead } from './new-head.js'
import { jsonLine } from './output.js'
import type { HeadOfModel } from './own-head.js'
import { closeRows, labelNamesOf, type TrainingRows, trainingRows } from './rows.js'
import { taskConfigs } from './task-configs.js'
import { readTasks, samplingOf, type TaskSettings } from './train-config.js'
import { headFor } from './train-head.js'
import type { tasksOptions } from './train-options.js'
import { printPlan } from './train-plan.js'
import { checkBest, type ParsedTraining, planTraining, type TrainValues } from './train-setup.js'
import { checkpointFolder, describeHead, refuseKnown } from './train-what.js'
import { TrainingModel } from './training-model.js'
import { runTrainingIn } from './training-run.js'
import { withProgress } from './with-progress.js'

interface ReadTask {
  readonly name: string
  /** Of the adapter; several tasks may share one. */
  readonly adapter: string
  readonly config: AdapterConfig
  readonly head: HeadConfig
  readonly train: TrainingRows
  readonly evaluation: EvalRows | undefined
  readonly below: Below
  readonly options: Pick<TaskOptions, 'args' | 'weight'>
}

type Values = TrainValues & { readonly [K in keyof typeof tasksOptions]?: string | undefined } & {
  readonly plan: boolean
  readonly below?: readonly string[] | undefined
}

/** `train --tasks`: an adapter and a head for each task, or heads over adapters that they share. */
export async function trainTasks(parsed: ParsedTraining<Values>): Promise<number> {
  const { values } = parsed
  for (const option of ['train', 'eval', 'head', 'labels', 'report'] as const) {
    if (values[option] !== undefined) throw usageError(`--${option}: each of the tasks has its own; leave it out`)
  }
  const how = fromOptions(() => howTasksMeet(values))
  const settings = await readTasks(values.tasks ?? '')
  const hasEvaluation = Object.values(settings).some((task) => task.eval !== undefined)
  const { plan, folder, args } = await planTraining(parsed, { hasEvaluation, check: argumentsOfAll })
  const { config } = plan
  if (config === null) throw usageError(`--tune: tasks train adapters, got '${plan.tuning}'`)
  const adapters = Object.entries(settings).flatMap(([name, task]) => [task.adapter ?? name, name])
  const belowOf = async (place: string, given: readonly string[]) =>
    await findBelow(place, given, adapters, values.offline || undefined)
  const common = await belowOf('--below', values.below ?? [])
  const configs = taskConfigs(settings, config)
  using model = new TrainingModel(values)
  const own = { source: model.source, read: () => model.ownHead(args.seed) }
  const tasks: ReadTask[] = []
  const empty: string[] = []
  for (const [name, task] of Object.entries(settings)) {
    const below = task.below === undefined ? common : await belowOf(`tasks.${name}.below`, task.below)
    const read = await readTask(name, task, {
      configs,
      model: own,
      below,
      mayBeEmpty: how.onNotFinite === 'stopTask'
    })
    if (read === undefined) empty.push(name)
    else tasks.push(read)
  }
  if (tasks.length === 0) throw usageError('--tasks: none of them has rows')
  checkSame(tasks)
  checkNames(tasks)
  for (const { name, head, evaluation, options } of tasks) {
    const own = fromOptions(() => taskArguments(`tasks.${name}`, argumentsOfEach(args), options.args))
    if (evaluation === undefined) continue
    for (const metricForBestModel of [own.metricForBestModel, averagedMetric(args) ?? null]) {
      checkBest({ ...own, metricForBestModel }, head, evalNames(settings[name]?.eval), `--best for tasks.${name}`)
    }
  }
  checkFree(folder, tasks, values)
  const { json } = values
  const trainerOf = async (model: Model) => {
    const { MultiTaskTrainer } = await import('../tasks/multi-task-trainer.js')
    return new MultiTaskTrainer({ model, args, ...how, tasks: Object.fromEntries(tasks.map(taskOptions)) })
  }
  return await runTrainingIn<TasksEvent, TasksEndEvent | undefined>({
    ...{ values, model, folder, args },
    rows: tasks.flatMap(({ train, evaluation }) => [train, ...eachEvalRows(evaluation)]),
    record: {
      ...{ ...values, onNotFinite: values['on-not-finite'], tasks: withWholePaths(settings) },
      below: values.below && common.record
    },
    heads: tasks.map(({ name, head }) => `${name}: ${describeHead(head)}`).join(''),
    prepare: async (model) => await addTasks(model, tasks),
    plan: values.plan ? async (model) => await printPlan(await trainerOf(model), json) : undefined,
    train: async (model, { signal, onEvent }) => {
      const trainer = await trainerOf(model)
      return await withProgress(json, async (show) => {
        for (const task of empty) show({ type: 'taskEnd', task, step: 0, reason: 'noRows' })
        let end: TasksEndEvent | undefined
        for await (const event of trainer.run({ signal, saveOnAbort: true })) {
          onEvent(event)
          show(event)
          if (event.type === 'end') end = event
        }
        return end
      })
    },
    finish: async (model, end) => {
      const trained = tasks.filter(({ name }) => (end?.tasks[name]?.steps ?? 0) > 0)
      await saveTasks(model, folder, trained, plan.format)
      const untrained = tasks.filter((task) => !trained.includes(task)).map(({ name }) => name)
      if (json) process.stdout.write(jsonLine({ ...end, type: 'result', folder, untrained: [...untrained, ...empty] }))
      else if (end !== undefined) process.stdout.write(describeTasks(end, folder))
      if (untrained.length > 0) process.stderr.write(describeUntrained(untrained, end))
    }
  })
}

function howTasksMeet(values: Values) {
  const { mode: given, sampler: text } = values
  const mode = checkMode('--mode', given ?? 'fused')
  const sampler = samplingOf(text ?? 'exhaustive')
  checkTogether(sampler, mode)
  return { mode, sampler, onNotFinite: checkOnNotFinite('--on-not-finite', values['on-not-finite'] ?? 'throw') }
}

/** What tasks have that does not say otherwise. */
interface Common {
  /** By the adapters' names. */
  readonly configs: ReadonlyMap<string, AdapterConfig>
  readonly model: HeadOfModel
  readonly below: Below
  readonly mayBeEmpty: boolean
}

/** Undefined: it has no rows, and may have none. */
async function readTask(
  name: string,
  settings: TaskSettings,
  { configs, model, below, mayBeEmpty }: Common
): Promise<ReadTask | undefined> {
  const { train: file, eval: measured, head, labels, adapter = name, weight, below: _, config: __, ...args } = settings
  const place = `tasks.${name}`
  for (const one of [name, adapter]) checkFolderName(one)
  if (file === undefined) throw usageError(`${place}.train is missing`)
  const train = await rowsOf(`${place}.train`, file, true)
  if (train.length === 0) {
    if (mayBeEmpty) return undefined
    throw new AdapterError('ERR_INVALID_FILE', '', `${place}.train: ${file} has no rows`, {
      hint: 'Check that this is the right file, leave the task out, or go on without it: --on-not-finite stopTask.'
    })
  }
  return {
    ...{ name, adapter, train, below },
    evaluation:
      measured === undefined ? undefined : await readEvalRows(measured, (one) => rowsOf(`${place}.eval`, one)),
    config: configs.get(adapter) as AdapterConfig,
    head: await headOf(place, train, async () =>
      headFor(train, head, labels && labelsToText(labels), await labelNamesOf(file), model)
    ),
    options: { args, weight }
  }
}

/** What is wrong with the labels of a task's rows, or with what it says of them, is said of the task. */
async function headOf(place: string, rows: TrainingRows, read: () => Promise<HeadConfig>): Promise<HeadConfig> {
  try {
    return await read()
  } catch (error) {
    closeRows(rows)
    const { code, message, ...rest } = error as AdapterError
    const { problem = message, hint } = error instanceof AdapterError ? error : rest
    // Options of the command line are fields of a task, and `training rows` its train.
    const said = problem.replace(/^--(head|labels)\b/, '$1').replace(/^training rows\b/, 'train')
    const own = /^(head|labels|train)\b/.test(said) ? `${place}.${said}` : `${place}: ${said}`
    throw new AdapterError(code, '', own, { ...(hint && { hint }), cause: error })
  }
}

/** Whatever is wrong with the rows is a mistake in this task's. */
async function rowsOf(place: string, file: string, mayBeEmpty = false): Promise<TrainingRows> {
  const path = inputFile(place, file)
  try {
    return await trainingRows(path, mayBeEmpty)
  } catch (error) {
    if (!(error instanceof AdapterError)) throw error
    const { code, problem, hint } = error
    throw new AdapterError(code, '', `${place}: ${problem}`, { ...(hint && { hint }), cause: error })
  }
}

async function addTasks(model: Model, tasks: readonly ReadTask[]): Promise<void> {
  for (const { name, adapter } of tasks) for (const one of [name, adapter]) refuseKnown(model, one, `tasks.${name}`)
  const loaded = new Set<string>()
  for (const { name, adapter, config, head, below } of tasks) {
    await below.load(model, loaded)
    if (!model.adapters.has(adapter)) fromOptions(() => model.addAdapter(adapter, config))
    addNewHead(model, name, head)
  }
}

const taskOptions = ({ name, adapter, train, evaluation, below, options }: ReadTask): [string, TaskOptions] => [
  name,
  {
    ...{ ...options, adapter: below.under(adapter), train: [adapter], head: name, dataset: train },
    evalDataset: evaluation
  }
]

/** Each name is a folder in that of the run, beside its checkpoints. */
function checkFolderName(name: string): void {
  fromOptions(() => checkAdapterName(name, 'tasks'))
  if (/[/\\]/.test(name)) throw usageError(`tasks: '${name}' becomes a folder, whose name has no / or \\`)
  const checkpoints = basename(checkpointFolder(''))
  if (name === checkpoints)
    throw usageError(`tasks: '${name}' is the folder of the run's checkpoints; give another name`)
}

/** A name stands for one adapter, whichever task says it. */
function checkSame(tasks: readonly ReadTask[]): void {
  const folders = new Map<string, string>()
  for (const { name: task, below } of tasks) {
    for (const { name, folder } of below.sources) {
      const known = folders.get(name) ?? folder
      if (known !== folder)
        throw usageError(`tasks.${task}.below: '${name}' is ${folder}, and ${known} in another task`)
      folders.set(name, folder)
    }
  }
}

/** A task's folder holds an adapter of its name. */
function checkNames(tasks: readonly ReadTask[]): void {
  const users = new Map(tasks.map(({ name, adapter }) => [adapter, name]))
  for (const { name, adapter } of tasks) {
    const user = users.get(name)
    if (user === undefined || adapter === name) continue
    throw usageError(
      `tasks.${user}.adapter: '${name}' is a task, whose adapter is '${adapter}'; give the adapter another name`
    )
  }
}

/** What an earlier run left is replaced only where that was asked for. */
function checkFree(folder: string, tasks: readonly ReadTask[], values: TrainValues): void {
  if (values.plan || values.overwrite || values.resume || values['resume-from'] !== undefined) return
  const isTaken = (name: string) =>
    [adapterConfigFile, headConfigFile].some((file) => existsSync(join(folder, name, file)))
  const taken = tasks.flatMap(({ name, adapter }) => [name, adapter]).find(isTaken)
  if (taken === undefined) return
  throw usageError(
    `--output: expected a new folder, got ${folder}, which holds '${taken}'; --overwrite replaces what is there`
  )
}

/**
 * Each task's folder has all that answers its rows: its head, and its adapter, or a copy of one that tasks share, which
 * then has a folder of its own, too.
 */
async function saveTasks(
  model: Model,
  folder: string,
  tasks: readonly ReadTask[],
  format: FolderFormat
): Promise<void> {
  const adapters = new Set(tasks.map(({ adapter }) => adapter))
  for (const adapter of adapters) await saveAnyAdapter(model, join(folder, adapter), adapter, { format })
  for (const { name, adapter } of tasks) {
    if (adapter === name) continue
    model.averageAdapter(name, [adapter])
    await saveAnyAdapter(model, join(folder, name), name, { format })
  }
}

const withWholePaths = (tasks: Readonly<Record<string, TaskSettings>>): object =>
  Object.fromEntries(
    Object.entries(tasks).map(([name, { train, eval: measured, below, ...rest }]) => [
      name,
      {
        ...rest,
        ...(train && { train: resolve(train) }),
        ...(measured && { eval: wholeEvalPaths(measured) }),
        ...(below && { below: below.map(withWholePath) })
      }
    ])
  )

function describeTasks(result: MultiTaskResult, folder: string): string {
  const { tasks, step, stoppedEarly } = result
  const lines = Object.entries(tasks).map(([name, task]) => {
    const { steps, loss, ended } = task
    if (steps === 0) return `task '${name}': no step, nothing was saved\n`
    const kept = result.best !== undefined && result.isBest !== false ? 'the best of all together' : 'the last step'
    const best = describeBest(task, undefined, { among: ' of all tasks together', kept })
    const top = best === undefined ? '' : `, ${best}`
    const early = ended === undefined ? '' : `, ended early (${ended})`
    return `task '${name}': ${counted(steps, 'step')}, mean loss ${loss.toFixed(4)}${top}${early}\n`
  })
  const early = stoppedEarly ? `ended early, at step ${step}\n` : ''
  const best = describeBest(result)
  const top = best === undefined ? '' : `all together: ${best}\n`
  return `${lines.join('')}${top}${early}the tasks are in ${folder}\n`
}

/** A task that had no turn has learned nothing: its folder would look as if it had. */
function describeUntrained(names: readonly string[], end: TasksEndEvent | undefined): string {
  const notFinite = names.filter((name) => end?.tasks[name]?.ended === 'notFinite')
  const unread = names.filter((name) => !notFinite.includes(name))
  const of = (all: readonly string[]) => `${all.length === 1 ? 'task' : 'tasks'} ${quoted(all)}`
  return [
    ...(unread.length === 0
      ? []
      : [
          `${of(unread)} had no turn in ${counted(end?.step ?? 0, 'step')} and learned nothing: nothing of it was saved. ` +
            'Give more --max-steps or --epochs, or --sampler round_robin\n'
        ]),
    ...(notFinite.length === 0
      ? []
      : [
          `${of(notFinite)}: the first loss was not finite, nothing was saved. Lower the learning rate, check the rows\n`
        ])
  ].join('')
}
