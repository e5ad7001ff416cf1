import { basename, resolve } from 'node:path'
import type { ParseArgsConfig } from 'node:util'
import type { HeadConfig } from '../config/head-config.js'
import {
  type ResolvedTrainingArguments,
  type TrainingArguments,
  trainingArguments
} from '../config/training-arguments.js'
import { checkMetric } from '../training/best.js'
import { checkLossArguments } from '../training/loss-arguments.js'
import { checkDatasetArguments } from '../training/trainer-options.js'
import { configFile, fromOptions, inputFile, numberOption, parseCommand, required, usageError } from './arguments.js'
import { checkEvalFiles, type EvalRows, evalFiles, evalFilesByOption, evalNames, readEvalRows } from './eval-sets.js'
import { modelOptions } from './model-options.js'
import { refuseEarlier } from './overwrite.js'
import { labelNamesOf, type TrainingRows, trainingRows } from './rows.js'
import { readTrainConfig, type TrainConfig } from './train-config.js'
import { headFor } from './train-head.js'
import { longOptions, plainOptionTypes, readableOptions, trainOptions } from './train-options.js'
import { type ArgumentsCheck, trainingSettings } from './train-settings.js'
import { checkpointFolder, type TuningPlan, tuningPlan } from './train-what.js'
import type { TrainingModel } from './training-model.js'

const options = {
  ...modelOptions,
  train: { type: 'string' },
  eval: { type: 'string', multiple: true },
  output: { type: 'string', short: 'o' },
  tune: { type: 'string', default: 'adapter' },
  name: { type: 'string' },
  config: { type: 'string' },
  head: { type: 'string' },
  labels: { type: 'string' },
  format: { type: 'string' },
  report: { type: 'string' },
  overwrite: { type: 'boolean', default: false },
  plan: { type: 'boolean', default: false },
  below: { type: 'string', multiple: true },
  ...trainOptions
} as const

type Values<O extends NonNullable<ParseArgsConfig['options']>> = ReturnType<
  typeof parseCommand<typeof options & O>
>['values']

/** What a command that trains was asked for, all of it checked and read before a model is loaded. */
export interface TrainingSetup<V> {
  readonly values: V
  readonly plan: TuningPlan
  readonly folder: string
  readonly args: TrainingArguments
  readonly train: TrainingRows
  readonly evaluation: EvalRows | undefined
  readonly head: HeadConfig
  /** By the option that names each. */
  readonly files: Readonly<Record<string, string>>
}

const noConfig: TrainConfig = { argv: [], args: {} }

/** The command line with the config that it names. */
export interface ParsedTraining<V> {
  readonly values: V
  readonly config: TrainConfig
}

/**
 * Reads the command line and a config that it names. Undefined: help was asked for and given.
 * @param more options of this command alone
 */
export async function parseTraining<const O extends NonNullable<ParseArgsConfig['options']>>(
  argv: readonly string[],
  usage: string,
  more: O
): Promise<ParsedTraining<Values<O>> | undefined> {
  const all = { ...plainOptionTypes, ...options, ...more }
  const own = readableOptions(argv)
  const asked = parseCommand(own, all, ['[CONFIG]'], longOptions)
  if ((asked.values as { help?: boolean }).help) {
    process.stdout.write(usage)
    return undefined
  }
  const [file] = asked.operands
  const config = file === undefined ? noConfig : await readTrainConfig(configFile(file))
  refuseOthers(file, config, more)
  // The last of two counts; rows and lists take the place of the config's.
  const isReplaced = (name: string) => (asked.values as Record<string, unknown>)[name] !== undefined
  const varied = (asked.values as { vary?: readonly string[] }).vary ?? []
  const lists = [
    ...['adapter', 'below', 'eval', 'train'].filter(isReplaced).map((name) => `--${name}=`),
    ...varied.map((text) => `--vary=${text.split('=')[0]}=`)
  ]
  const kept = config.argv.filter((one) => !lists.some((option) => one.startsWith(option)))
  const { values } = parseCommand([...kept, ...own], all, ['[CONFIG]'])
  return { values: values as Values<O>, config }
}

export type TrainValues = Values<Record<never, never>>

interface Asked {
  readonly hasEvaluation: boolean
  readonly check: ArgumentsCheck
}

/** What is asked for, without its rows. */
export async function planTraining(
  { values, config }: ParsedTraining<TrainValues>,
  { hasEvaluation, check }: Asked
): Promise<Pick<TrainingSetup<unknown>, 'plan' | 'folder' | 'args'>> {
  const folder = required('output', values.output)
  const seed = numberOption('seed', values.seed) ?? config.args.seed ?? 42
  const { checkAdapterName } = await import('../exchange/write-folder.js')
  // The name becomes a part of parameter names; a folder may be called anything.
  const name = fromOptions(() => checkAdapterName(values.name ?? basename(resolve(folder)).replaceAll('.', '_')))
  const plan = await tuningPlan(values, folder, name)
  const startsAnew = !values.overwrite && !values.resume && values['resume-from'] === undefined
  if (startsAnew && !values.plan) refuseEarlier(folder)
  const args = trainingSettings(values, {
    ...{ seed, outputDir: checkpointFolder(folder), loggingDir: folder, hasEvaluation, check },
    given: config.args,
    learningRate: plan.tuning === 'full' ? 5e-5 : 1e-4
  })
  return { plan, folder, args }
}

/** Options that only one command has, as a config calls them. */
const ofOneCommand = [
  ['vary', 'a sweep', 'sweep'],
  ['adapter', 'adapters', 'fuse'],
  ['fusion', 'a fusion', 'fuse'],
  ['tasks', 'tasks', 'train'],
  ['mode', 'a mode', 'train'],
  ['sampler', 'a sampler', 'train'],
  ['on-not-finite', 'onNotFinite', 'train']
] as const

/** A config of another command. */
function refuseOthers(file: string | undefined, { argv }: TrainConfig, more: object): void {
  for (const [option, what, command] of ofOneCommand) {
    if (option in more || !argv.some((one) => one.startsWith(`--${option}=`))) continue
    throw usageError(`${file} has ${what}: give it to torch-adapters ${command}`)
  }
}

/** A measure that no evaluation of this head will have is a mistake that shows before a model is loaded. */
export function checkBest(
  args: ResolvedTrainingArguments,
  head: HeadConfig,
  sets: readonly string[],
  option = '--best'
): void {
  try {
    checkMetric(args, new Map([['', head]]), undefined, sets)
  } catch (error) {
    throw usageError((error as Error).message.replace(/^args\.metricForBestModel/, option))
  }
}

/**
 * All that a training of one task needs.
 * @param model that will be trained, whose class may have a head
 * @param check of the arguments, which may be for several that train
 */
export async function readTraining<V extends TrainValues>(
  parsed: ParsedTraining<V>,
  model: TrainingModel,
  check: ArgumentsCheck = trainingArguments
): Promise<TrainingSetup<V>> {
  const { values } = parsed
  const trainFile = inputFile('train', required('train', values.train))
  const measured = evalFiles(values.eval)
  if (measured !== undefined) checkEvalFiles('eval', measured)
  const planned = await planTraining(parsed, { hasEvaluation: measured !== undefined, check })
  const train = await trainingRows(trainFile)
  const evaluation = measured === undefined ? undefined : await readEvalRows(measured)
  const own = { source: model.source, read: () => model.ownHead(planned.args.seed) }
  const head = await headFor(train, values.head, values.labels, await labelNamesOf(trainFile), own)
  const args = fromOptions(() => check(planned.args))
  fromOptions(() => {
    checkDatasetArguments(args)
    checkLossArguments([{ place: 'args.', args, heads: [head] }])
  })
  if (evaluation !== undefined) checkBest(args, head, evalNames(measured))
  return { values, ...planned, train, evaluation, head, files: { train: trainFile, ...evalFilesByOption(measured) } }
}
