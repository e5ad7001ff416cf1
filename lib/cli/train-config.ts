import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import * as check from '../config/check.js'
import { checkPlacement, type Placement } from '../config/exported-placement.js'
import { explainArgument } from '../config/foreign-arguments.js'
import { plain } from '../config/nearest.js'
import { inFile, readJsonObject, readText } from '../config/read-json.js'
import { isTaskArgument, type TaskArguments } from '../config/task-arguments.js'
import { type ResolvedTrainingArguments, type TrainingArguments, trainingRules } from '../config/training-arguments.js'
import { folderFormats } from '../exchange/folder-files.js'
import { type TrunkOption, trunkOptions } from '../model/trunk.js'
import { AdapterError } from '../native/errors.js'
import {
  checkMode,
  checkOnNotFinite,
  checkSampling,
  type OnNotFinite,
  type TaskMode,
  type TaskSampling
} from '../tasks/task-sampling.js'
import { configFile, fromFile, fromOptions, usageError } from './arguments.js'
import { type EvalFiles, evalFiles, evalOptions, wholeEvalPaths } from './eval-sets.js'
import { headKinds } from './head-kinds.js'
import { labelsOfText, labelsToText } from './label-list.js'
import { FileOutput } from './output.js'
import { tunings } from './train-what.js'

/** What of `train` is no training argument. Options of the same names, in kebab-case, go before. */
export interface TrainSettings {
  /** Folder or hub id of the base model, or an archive of torch.export. */
  readonly model: string
  /** Of an archive: the folder of its tokenizer. Default: the one inside of it. */
  readonly tokenizer: string
  /** Of an archive: where adapters stand, 'auto' or patterns of modules, one a layer. Default 'auto'. */
  readonly placement: Placement
  /** Rows to learn from: a JSONL, CSV, TSV or Parquet file. */
  readonly train: string
  /** Rows to measure on after each epoch: a file, or several by names, whose measures are then `NAME_accuracy`, … */
  readonly eval: EvalFiles
  /** Where the result goes. */
  readonly output: string
  /** What trains. Default 'adapter': an adapter and its head, the base model frozen. */
  readonly tune: (typeof tunings)[number]
  /** The adapter's and the head's name. Default: the output folder's. */
  readonly name: string
  /** The adapter's preset or shorthand, or an object as adapter_config.json holds it. Default 'seq_bn'. */
  readonly config: string | Readonly<Record<string, unknown>>
  /** Default: what the labels look like. */
  readonly head: (typeof headKinds)[number]
  /** Label names in the order of their ids. Default: those of the rows, sorted. */
  readonly labels: readonly string[]
  /** Of the result. Default 'safetensors'. */
  readonly format: (typeof folderFormats)[number]
  /** Another place for a page with the curves of loss and metric alone. */
  readonly report: string
  /** 'cpu', 'cuda', 'cuda:1' or 'auto'. Default: what TORCH_ADAPTERS_DEVICE says, or 'cpu'. */
  readonly device: string
  /** Of the base model's matrices. Default 'float32'. */
  readonly trunk: TrunkOption
  /** Threads for the CPU's work. Default: one a core. */
  readonly threads: number
  /** Take what a hub id names from the cache alone. */
  readonly offline: boolean
  /** Write TensorBoard's event files, too. */
  readonly tensorboard: boolean
  /** For `torch-adapters sweep`: values to try, each with each, such as `{ "learningRate": [1e-3, 1e-4] }`. */
  readonly sweep: Readonly<Record<string, readonly unknown[]>>
  /** Several tasks side by side, by their names, instead of train and eval. */
  readonly tasks: Readonly<Record<string, TaskSettings>>
  /** Of several tasks: 'fused', rows of several in each step, or 'alternate', a batch of one. Default 'fused'. */
  readonly mode: TaskMode
  /** Of several tasks: whose batches come when, such as 'proportional' or 'temperature=2'. Default 'exhaustive'. */
  readonly sampler: TaskSampling
  /** Of several tasks: what a loss that is not finite, or a task without rows, ends: the run or that task. Default 'throw'. */
  readonly onNotFinite: OnNotFinite
  /** Adapters that have learned before and lie, as they are, below the one that trains: folders or hub ids, `NAME=ADAPTER`. */
  readonly below: readonly string[]
  /** For `torch-adapters fuse`: the adapters' folders or hub ids, `NAME=ADAPTER` where one gets another name. */
  readonly adapters: readonly string[]
  /** For `torch-adapters fuse`: AdapterHub's name of the fusion's config, also with fields: 'dynamic[temperature=True]'. Default 'dynamic'. */
  readonly fusion: string
}

/** What one of several tasks has for itself, with the training arguments that it may have. */
export interface TaskSettings
  extends TaskArguments,
    Partial<Pick<TrainSettings, 'train' | 'eval' | 'config' | 'head' | 'labels' | 'below'>> {
  /** The adapter's name; tasks with the same one share it. Default: the task's name. */
  readonly adapter?: string
  /** What its loss counts in what it shares with others. Default 1. */
  readonly weight?: number
}

/** Where the result and its checkpoints lie is said once, as `output`; resuming is for the command line. */
const elsewhere = ['outputDir', 'resumeFromCheckpoint'] as const

type Arguments = Omit<ResolvedTrainingArguments, (typeof elsewhere)[number]>
type TrainFile = TrainSettings & Arguments

const settingRules: check.FieldRules<TrainSettings> = {
  model: check.checkNonEmptyString,
  tokenizer: check.checkNonEmptyString,
  placement: checkPlacement,
  train: check.checkNonEmptyString,
  eval: evalFilesIn,
  output: check.checkNonEmptyString,
  tune: (name, value) => check.checkOneOf(name, value, tunings),
  name: check.checkNonEmptyString,
  config: (name, value) => {
    if (check.isPlainObject(value)) return value
    if (typeof value === 'string' && value !== '') return value
    const schema = { anyOf: [{ type: 'string', minLength: 1 }, { type: 'object' }] }
    throw check.typeError(name, 'a preset, a shorthand or an object', value, schema)
  },
  head: (name, value) => check.checkOneOf(name, value, headKinds),
  labels: (name, value) => {
    const schema = { type: 'array', items: { type: 'string', minLength: 1 }, minItems: 1 }
    if (!Array.isArray(value) || value.length === 0) throw check.typeError(name, 'a list of names', value, schema)
    return value.map((one, i) => check.checkNonEmptyString(`${name}[${i}]`, one))
  },
  format: (name, value) => check.checkOneOf(name, value, folderFormats),
  report: check.checkNonEmptyString,
  device: (name, value) => {
    const schema = { type: 'string', pattern: '^(cpu|cuda(:[0-9]+)?)$' }
    if (typeof value !== 'string') throw check.typeError(name, "'cpu' or 'cuda'", value, schema)
    return check.checkNonEmptyString(name, value)
  },
  trunk: (name, value) => check.checkOneOf(name, value, trunkOptions),
  threads: check.checkPositiveInteger,
  offline: check.checkBoolean,
  tensorboard: check.checkBoolean,
  sweep: (name, value) => {
    const list = { type: 'array', minItems: 1 }
    if (!check.isPlainObject(value)) {
      throw check.typeError(name, 'lists of values', value, { type: 'object', additionalProperties: list })
    }
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, check.checkArray(`${name}.${key}`, one)]))
  },
  adapters: (name, value) => adapterList(name, value, 2),
  below: (name, value) => adapterList(name, value, 1),
  fusion: check.checkNonEmptyString,
  mode: checkMode,
  sampler: (name, value) => samplingOf(value, name),
  onNotFinite: checkOnNotFinite,
  tasks: (name, value) => {
    if (check.isPlainObject(value)) return tasksOf(name, value)
    const task = { ...check.fieldsSchema(taskRules()), required: ['train'] }
    const schema = { type: 'object', additionalProperties: task, minProperties: 1 }
    throw check.typeError(name, 'tasks by their names', value, schema)
  }
}

function evalFilesIn(name: string, value: unknown): EvalFiles {
  if (typeof value === 'string') return check.checkNonEmptyString(name, value)
  const file = { type: 'string', minLength: 1 }
  const schema = { anyOf: [file, { type: 'object', additionalProperties: file, minProperties: 1 }] }
  if (!check.isPlainObject(value) || Object.keys(value).length === 0) {
    throw check.typeError(name, 'a file of rows, or several by their names', value, schema)
  }
  const sets = Object.entries(value)
  return Object.fromEntries(sets.map(([set, one]) => [set, check.checkNonEmptyString(`${name}.${set}`, one)]))
}

function adapterList(name: string, value: unknown, minItems: number): readonly string[] {
  const schema = { type: 'array', items: { type: 'string', minLength: 1 }, minItems }
  if (!Array.isArray(value)) throw check.typeError(name, 'a list of adapters', value, schema)
  return value.map((one, i) => check.checkNonEmptyString(`${name}[${i}]`, one))
}

function taskRules(): check.FieldRules<Record<string, unknown>> {
  const { train, eval: measured, config, head, labels, below } = settingRules
  return {
    ...{ train, eval: measured, config, head, labels, below, adapter: check.checkNonEmptyString },
    weight: (name, value) => check.checkNumber(name, value, { from: 0 }),
    ...Object.fromEntries(Object.entries(trainingRules).filter(([name]) => isTaskArgument(name)))
  }
}

/** Tasks from a config, or from a file of their own. */
export function tasksOf(name: string, value: unknown): Readonly<Record<string, TaskSettings>> {
  const rules = taskRules()
  const tasks = Object.entries(check.checkObject(name, value))
  return Object.fromEntries(
    tasks.map(([task, fields]) => [task, check.checkFields(`${name}.${task}`, fields, rules, explainInTask)])
  )
}

const settings = Object.keys(settingRules) as (keyof TrainSettings)[]

const rules: check.FieldRules<TrainFile> = {
  ...settingRules,
  ...(Object.fromEntries(
    Object.entries(trainingRules).filter(([name]) => !(elsewhere as readonly string[]).includes(name))
  ) as check.FieldRules<Arguments>)
}

/** The JSON Schema of a config for `train`. */
export function trainSchema(): check.JsonSchema {
  const { properties, ...rest } = check.fieldsSchema(rules)
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'torch-adapters train',
    description: 'A config for `torch-adapters train`, as JSON or YAML. Options on the command line go before.',
    ...rest,
    properties: { $schema: { type: 'string' }, ...(properties as object) }
  }
}

/** A config as the command line takes it: what is an option there, and the training arguments. */
export interface TrainConfig {
  readonly argv: readonly string[]
  readonly args: TrainingArguments
}

const explainInTask = (name: string): string | undefined =>
  Object.hasOwn(trainingRules, name) ? 'is one for all tasks: give it beside them, or as an option' : explain(name)

/** A config's file, JSON or YAML by its name. Unknown names and wrong values are errors that name the file. */
export async function readTrainConfig(file: string): Promise<TrainConfig> {
  const { $schema: _, ...fields } = await fromFile(() => contentOf(file))
  const known = fromOptions(() => inFile(file, operation, () => check.checkFields('config', fields, rules, explain)))
  const isSetting = (name: string) => (settings as string[]).includes(name)
  const entries = Object.entries(known)
  return {
    argv: entries.filter(([name]) => isSetting(name)).flatMap(([name, value]) => option(name, value)),
    args: Object.fromEntries(entries.filter(([name]) => !isSetting(name)))
  }
}

const operation = 'read the config'

/** What the command line, or a trainer, calls otherwise. */
const ownNames = new Map(
  Object.entries({
    ...{ lrSchedulerArgs: 'lrSchedulerKwargs', save: 'saveStrategy', best: 'metricForBestModel' },
    ...{ outputDir: 'output', evalFile: 'eval', trainFile: 'train', validationFile: 'eval' },
    ...{ modelNameOrPath: 'model', adapterConfig: 'config', adapter: 'config', trainDataset: 'train' },
    ...{ evalDataset: 'eval' }
  }).map(([name, own]) => [plain(name), own])
)

function explain(name: string): string | undefined {
  const own = ownNames.get(plain(name))
  if (own !== undefined) return `is called '${own}' here`
  if (plain(name) !== plain('resumeFromCheckpoint')) return explainArgument(name)
  return 'is for the command line: torch-adapters resume FOLDER, or --resume-from CHECKPOINT'
}

/** The file of --tasks, or what a config has in its place. */
export async function readTasks(source: string): Promise<Readonly<Record<string, TaskSettings>>> {
  if (source.startsWith('{')) return fromOptions(() => tasksOf('tasks', JSON.parse(source)))
  const content = await fromFile(() => contentOf(configFile(source, '--tasks')))
  return fromOptions(() => inFile(source, operation, () => tasksOf('tasks', tasksIn(content, source))))
}

/** A file of tasks may have them under `tasks`; with more beside it is a whole config, which says where all of it goes. */
function tasksIn({ $schema: _, ...content }: Record<string, unknown>, file: string): unknown {
  const { tasks, ...rest } = content
  if (!check.isPlainObject(tasks) || !Object.values(tasks).every(check.isPlainObject)) return content
  const others = Object.keys(rest)
  if (others.length === 0) return tasks
  const what = `is a whole config, with ${others.slice(0, 3).join(', ')} beside its tasks`
  throw usageError(`--tasks: ${file} ${what}: give it without --tasks, as torch-adapters train ${file}`)
}

async function contentOf(file: string): Promise<Record<string, unknown>> {
  const text = readText(file, operation)
  let content: unknown
  try {
    // JSON is YAML, too; its own reader says better what is wrong with it.
    content = /\.ya?ml$/i.test(file) ? (await import('yaml')).parse(text) : JSON.parse(text)
  } catch (cause) {
    const { message } = cause as Error
    throw new AdapterError('ERR_INVALID_FILE', operation, `${file} cannot be read: ${message.split('\n')[0]}`, {
      expected: 'JSON, or YAML in a file whose name ends in .yaml or .yml',
      cause
    })
  }
  return inFile(file, operation, () => check.checkObject('config', content))
}

/** What --sampler takes, and a config, which may have an object, too. */
export function samplingOf(value: unknown, name = '--sampler'): TaskSampling {
  const [isTemperature, number = ''] = (typeof value === 'string' && /^temperature(?:=(.*))?$/.exec(value)) || []
  if (isTemperature === undefined) {
    return checkSampling(name, value, 'temperature=T', [{ type: 'string', pattern: '^temperature=[0-9.]+$' }])
  }
  if (number === '') throw check.valueError(name, "'temperature' needs its number, such as temperature=2")
  return checkSampling(name, { temperature: Number(number) })
}

/** Whether a config names adapters to fuse. */
export const isFusion = ({ argv }: TrainConfig): boolean => argv.some((option) => option.startsWith('--adapter='))

/** Whether a config says what varies. */
export const isSweep = ({ argv }: TrainConfig): boolean => argv.some((option) => option.startsWith('--vary='))

function option(name: string, value: unknown): string[] {
  if (name === 'eval') return evalOptions(value as EvalFiles)
  if (name === 'adapters') return (value as string[]).map((one) => `--adapter=${one}`)
  if (name === 'below') return (value as string[]).map((one) => `--below=${one}`)
  if (name === 'labels') return [`--labels=${labelsToText(value as string[])}`]
  if (name === 'onNotFinite') return [`--on-not-finite=${value}`]
  if (name === 'sweep')
    return Object.entries(value as object).map(([key, one]) => `--vary=${key}=${JSON.stringify(one)}`)
  if (name === 'sampler' && check.isPlainObject(value)) return [`--sampler=temperature=${value['temperature']}`]
  if (value === false) return []
  if (value === true) return [`--${name}`]
  const text = Array.isArray(value)
    ? value.join(',')
    : check.isPlainObject(value)
      ? JSON.stringify(value)
      : String(value)
  return [`--${name}=${text}`]
}

/** The config of a run in its folder, from which `resume` goes on. */
export const runConfigFile = 'train.json'

/** Whether it is there and no run wrote it: each of theirs has these fields, and none says where it lies. */
export function isForeignConfig(file: string): boolean {
  if (!existsSync(file)) return false
  try {
    const { trunk, reportTo, output } = readJsonObject(file, operation)
    return trunk === undefined || reportTo === undefined || output !== undefined
  } catch {
    return true
  }
}

type Values = Readonly<Record<string, unknown>>

/** Keeps what a run was started with: a config for `train`, whole, with paths that hold from everywhere. */
export function writeTrainConfig(folder: string, values: Values, args: TrainingArguments): void {
  const paths = ['train', 'report', 'tokenizer']
  const given = settings.filter((name) => name !== 'output' && values[name] !== undefined && values[name] !== false)
  const own = given.map((name) => {
    const value = values[name] as string | true
    if (name === 'labels') return [name, labelsOfText(String(value))]
    if (name === 'eval') return [name, wholeEvalPaths(evalFiles(values[name] as readonly string[]) as EvalFiles)]
    if (name === 'sampler') return [name, samplingOf(value)]
    if (name === 'threads') return [name, Number(value)]
    if (name === 'placement' && value !== 'auto') return [name, JSON.parse(String(value))]
    const isPath = paths.includes(name) || (name === 'model' && existsSync(String(value)))
    return [name, isPath ? resolve(String(value)) : value]
  })
  // A folder that is moved has its own files still.
  const isOwn = args.loggingDir == null || resolve(args.loggingDir) === resolve(folder)
  const unsaid: readonly string[] = [...elsewhere, 'loggingDir']
  const rest = Object.entries(args).filter(([name]) => !unsaid.includes(name))
  if (!isOwn) rest.push(['loggingDir', resolve(args.loggingDir ?? '')])
  const output = new FileOutput(join(folder, runConfigFile))
  output.write(`${JSON.stringify(Object.fromEntries([...own, ...rest]), null, 2)}\n`)
  output.finish()
}
