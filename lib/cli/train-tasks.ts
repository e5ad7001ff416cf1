import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { AdapterConfig, type AdapterConfigSource } from '../config/adapter-config.js'
import { quoted } from '../config/check.js'
import { counted } from '../config/counted.js'
import type { HeadConfig } from '../config/head-config.js'
import { taskArguments } from '../config/task-arguments.js'
import { adapterConfigFile, type FolderFormat, headConfigFile } from '../exchange/folder-files.js'
import { checkAdapterName } from '../exchange/write-folder.js'
import { saveAnyAdapter } from '../model/exchange.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import type { TasksEndEvent, TasksEvent } from '../tasks/events.js'
import type { MultiTaskResult, TaskOptions } from '../tasks/multi-task-trainer.js'
import { checkMode, checkTogether } from '../tasks/task-sampling.js'
import { fromOptions, inputFile, usageError } from './arguments.js'
import { jsonLine } from './output.js'
import { labelNamesOf, type TrainingRows, trainingRows } from './rows.js'
import { showEvent } from './tasks-progress.js'
import { readTasks, samplingOf, type TaskSettings } from './train-config.js'
import { headFor } from './train-head.js'
import type { tasksOptions } from './train-options.js'
import { printPlan } from './train-plan.js'
import { checkBest, type ParsedTraining, planTraining, type TrainValues } from './train-setup.js'
import { describeHead } from './train-what.js'
import { runTrainingIn } from './training-run.js'

interface ReadTask {
  readonly name: string
  /** Of the adapter; several tasks may share one. */
  readonly adapter: string
  readonly config: AdapterConfig
  readonly head: HeadConfig
  readonly train: TrainingRows
  readonly evaluation: TrainingRows | undefined
  readonly options: Pick<TaskOptions, 'args' | 'weight'>
}

type Values = TrainValues & { readonly [K in keyof typeof tasksOptions]?: string | undefined } & {
  readonly plan: boolean
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
  const { plan, folder, args } = await planTraining(parsed, hasEvaluation)
  const { config } = plan
  if (config === null) throw usageError(`--tune: tasks train adapters, got '${plan.tuning}'`)
  const tasks: ReadTask[] = []
  for (const [name, task] of Object.entries(settings)) tasks.push(await readTask(name, task, config))
  for (const { name, head, evaluation, options } of tasks) {
    const own = fromOptions(() => taskArguments(`tasks.${name}`, args, options.args))
    if (evaluation !== undefined) checkBest(own, head, `--best for tasks.${name}`)
  }
  checkFree(folder, tasks, values)
  const { json } = values
  const trainerOf = async (model: Model) => {
    const { MultiTaskTrainer } = await import('../tasks/multi-task-trainer.js')
    return new MultiTaskTrainer({ model, args, ...how, tasks: Object.fromEntries(tasks.map(taskOptions)) })
  }
  return await runTrainingIn<TasksEvent, TasksEndEvent | undefined>({
    ...{ values, folder, args },
    rows: tasks.flatMap(({ train, evaluation }) => [train, evaluation]),
    record: { ...values, tasks: withWholePaths(settings) },
    heads: tasks.map(({ name, head }) => `${name}: ${describeHead(head)}`).join(''),
    prepare: (model) => addTasks(model, tasks),
    plan: values.plan ? async (model) => await printPlan(await trainerOf(model), json) : undefined,
    train: async (model, { signal, onEvent }) => {
      const trainer = await trainerOf(model)
      let end: TasksEndEvent | undefined
      for await (const event of trainer.run({ signal, saveOnAbort: true })) {
        onEvent(event)
        showEvent(event, json)
        if (event.type === 'end') end = event
      }
      return end
    },
    finish: async (model, end) => {
      const trained = tasks.filter(({ name }) => (end?.tasks[name]?.steps ?? 0) > 0)
      await saveTasks(model, folder, trained, plan.format)
      const untrained = tasks.filter((task) => !trained.includes(task)).map(({ name }) => name)
      if (json) process.stdout.write(jsonLine({ ...end, type: 'result', folder, untrained }))
      else if (end !== undefined) process.stdout.write(describeTasks(end, folder))
      if (untrained.length > 0) process.stderr.write(describeUntrained(untrained, end))
    }
  })
}

function howTasksMeet({ mode: given, sampler: text }: Values) {
  const mode = checkMode('--mode', given ?? 'fused')
  const sampler = samplingOf(text ?? 'exhaustive')
  checkTogether(sampler, mode)
  return { mode, sampler }
}

async function readTask(name: string, settings: TaskSettings, common: AdapterConfig): Promise<ReadTask> {
  const { train: file, eval: measured, config, head, labels, adapter = name, weight, ...args } = settings
  for (const one of [name, adapter]) fromOptions(() => checkAdapterName(one, 'tasks'))
  if (file === undefined) throw usageError(`tasks.${name}.train is missing`)
  const train = await rowsOf(`tasks.${name}.train`, file)
  return {
    ...{ name, adapter, train },
    evaluation: measured === undefined ? undefined : await rowsOf(`tasks.${name}.eval`, measured),
    config: config === undefined ? common : fromOptions(() => AdapterConfig.load(config as AdapterConfigSource)),
    head: await headFor(train, head, labels?.join(','), await labelNamesOf(file)),
    options: { args, weight }
  }
}

/** Whatever is wrong with the rows is a mistake in this task's. */
async function rowsOf(place: string, file: string): Promise<TrainingRows> {
  const path = inputFile(place, file)
  try {
    return await trainingRows(path)
  } catch (error) {
    if (!(error instanceof AdapterError)) throw error
    const { code, problem, hint } = error
    throw new AdapterError(code, '', `${place}: ${problem}`, { ...(hint && { hint }), cause: error })
  }
}

/** The first of those that share an adapter says what it is. */
function addTasks(model: Model, tasks: readonly ReadTask[]): void {
  for (const { name, adapter, config, head } of tasks) {
    if (!model.adapters.has(adapter)) fromOptions(() => model.addAdapter(adapter, config))
    model.addHead(name, head)
  }
}

const taskOptions = ({ name, adapter, train, evaluation, options }: ReadTask): [string, TaskOptions] => [
  name,
  { ...options, adapter, head: name, dataset: train, evalDataset: evaluation }
]

/** What an earlier run left is replaced only where that was asked for. */
function checkFree(folder: string, tasks: readonly ReadTask[], values: TrainValues): void {
  if (values.overwrite || values.resume || values['resume-from'] !== undefined) return
  const isTaken = (name: string) =>
    [adapterConfigFile, headConfigFile].some((file) => existsSync(join(folder, name, file)))
  const taken = tasks.flatMap(({ name, adapter }) => [name, adapter]).find(isTaken)
  if (taken === undefined) return
  throw usageError(
    `--output: expected a new folder, got ${folder}, which holds '${taken}'; --overwrite replaces what is there`
  )
}

/** A task's adapter comes with its head; one that others share has a folder of its own, and each task its head. */
async function saveTasks(
  model: Model,
  folder: string,
  tasks: readonly ReadTask[],
  format: FolderFormat
): Promise<void> {
  const adapters = new Set(tasks.map(({ adapter }) => adapter))
  for (const adapter of adapters) await saveAnyAdapter(model, join(folder, adapter), adapter, { format })
  for (const { name } of tasks) if (!adapters.has(name)) await model.saveHead(join(folder, name), name, { format })
}

const withWholePaths = (tasks: Readonly<Record<string, TaskSettings>>): object =>
  Object.fromEntries(
    Object.entries(tasks).map(([name, { train, eval: measured, ...rest }]) => [
      name,
      { ...rest, ...(train && { train: resolve(train) }), ...(measured && { eval: resolve(measured) }) }
    ])
  )

function describeTasks({ tasks }: MultiTaskResult, folder: string): string {
  const lines = Object.entries(tasks).map(([name, { steps, loss, best, ended }]) => {
    if (steps === 0) return `task '${name}': no step, nothing was saved\n`
    const top = best === undefined ? '' : `, best ${best.metric} ${best.value.toFixed(4)} at step ${best.step}`
    const early = ended === undefined ? '' : `, ended early (${ended})`
    return `task '${name}': ${counted(steps, 'step')}, mean loss ${loss.toFixed(4)}${top}${early}\n`
  })
  return `${lines.join('')}the tasks are in ${folder}\n`
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
