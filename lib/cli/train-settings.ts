import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { camelCase } from '../config/case.js'
import { quoted } from '../config/check.js'
import { explainArgument } from '../config/foreign-arguments.js'
import { nearest } from '../config/nearest.js'
import type { OptimizerSpelling } from '../config/optimizer-arguments.js'
import { parameterGroups } from '../config/parameter-groups.js'
import { adapterTrainingStrategy, type TrainingStrategy, trainingStrategies } from '../config/recipes.js'
import { type ReportTo, reportTo } from '../config/report-to.js'
import type { SchedulerType } from '../config/scheduler-arguments.js'
import {
  type ResolvedTrainingArguments,
  type TrainingArguments,
  trainingArguments
} from '../config/training-arguments.js'
import { packageRoot } from '../native/platform.js'
import { listCheckpoints, trainingFile } from '../training/checkpoint-folder.js'
import { refuseRunning } from '../training/run-lock.js'
import { choiceOption, countOption, fromOptions, numberOption, usageError } from './arguments.js'
import { isFinished, isOfEarlierRun, isSaved, readRecord, trainAnew } from './run-folder.js'
import { runConfigFile } from './train-config.js'
import { onlyAsOption, optionOf, plainOptions, type TrainValues } from './train-options.js'

const known = Object.keys(trainingArguments())

/** Refuses arguments that are wrong, and fills in the rest. */
export type ArgumentsCheck = (args: TrainingArguments) => ResolvedTrainingArguments

interface Circumstances {
  readonly seed: number
  readonly outputDir: string
  /** Of the run's events and its page. */
  readonly loggingDir: string
  readonly hasEvaluation: boolean
  /** Those of a config; options go before. */
  readonly given: TrainingArguments
  /** Where neither --learning-rate nor a recipe names one. */
  readonly learningRate: number
  readonly check: ArgumentsCheck
}

/** Options as training arguments, checked before anything is loaded. */
export function trainingSettings(
  values: TrainValues,
  { seed, outputDir, loggingDir, hasEvaluation, learningRate, given, check }: Circumstances
): TrainingArguments {
  const batchSize = numberOption('batch-size', values['batch-size'])
  const chosen = { ...plainSettings(values), ...Object.fromEntries(values.set.map((text) => setting(text, values))) }
  const maxTokens = countOption('max-tokens', values['max-tokens'])
  const file = withoutOther(given, {
    rows: batchSize !== undefined,
    tokens: maxTokens !== undefined,
    epochs: values.epochs !== undefined || 'numTrainEpochs' in chosen
  })
  const isBudget = [maxTokens, chosen['maxTokensPerBatch'], file.maxTokensPerBatch].some(
    (one) => typeof one === 'number'
  )
  const events = values['logging-dir'] ?? given.loggingDir ?? loggingDir
  const recipe = recipeNamed('recipe' in chosen ? chosen['recipe'] : file.recipe)
  const savesByDefault = values.save === undefined && !('saveStrategy' in chosen) && file.saveStrategy === undefined
  const settings: TrainingArguments = {
    // With a recipe its own: what is given here would go before it.
    ...(recipe === undefined && { learningRate, perDeviceTrainBatchSize: isBudget ? undefined : 16 }),
    perDeviceEvalBatchSize: batchSize ?? file.perDeviceTrainBatchSize ?? recipe?.perDeviceTrainBatchSize ?? 16,
    // Hugging Face's default, every 500 steps; as nobody asked for checkpoints, one is kept.
    ...(savesByDefault && { saveTotalLimit: 1 }),
    ...{ evalStrategy: hasEvaluation ? 'epoch' : 'no', loggingSteps: 50 },
    ...file,
    ...present({
      numTrainEpochs: numberOption('epochs', values.epochs),
      maxSteps: numberOption('max-steps', values['max-steps']),
      perDeviceTrainBatchSize: batchSize,
      perDeviceEvalBatchSize: batchSize,
      maxTokensPerBatch: maxTokens,
      groupByLength: values['group-by-length'],
      learningRate: numberOption('learning-rate', values['learning-rate']),
      parameterGroups: groupsOf(values),
      warmupRatio: numberOption('warmup-ratio', values['warmup-ratio']),
      warmupSteps: numberOption('warmup-steps', values['warmup-steps']),
      weightDecay: numberOption('weight-decay', values['weight-decay']),
      optim: values.optim as OptimizerSpelling | undefined,
      optimArgs: fieldsOption('optim-args', values['optim-args']),
      lrSchedulerType: values['lr-scheduler'] as SchedulerType | undefined,
      lrSchedulerKwargs: fieldsOption('lr-scheduler-args', values['lr-scheduler-args']),
      loadBestModelAtEnd: values.best === undefined ? undefined : true,
      metricForBestModel: measureNamed(values.best ?? file.metricForBestModel),
      earlyStoppingPatience: countOption('early-stopping', values['early-stopping']),
      saveStrategy:
        values.save === undefined ? undefined : choiceOption('save', values.save, ['no', 'epoch', 'steps', 'best'])
    }),
    ...chosen,
    ...{ outputDir, loggingDir: events, seed },
    reportTo: targetsOf(values, given.reportTo),
    resumeFromCheckpoint: resumeFrom(values, outputDir, events)
  }
  for (const option of ['best', 'early-stopping'] as const) {
    if (values[option] === undefined || hasEvaluation) continue
    throw usageError(`--${option}: expected rows to measure on, --eval FILE, got none`)
  }
  const { evalStrategy, evalOnStart } = fromOptions(() => check(settings))
  if (hasEvaluation || (evalStrategy === 'no' && !evalOnStart)) return settings
  throw usageError(
    `args.${evalStrategy === 'no' ? 'evalOnStart' : 'evalStrategy'}: expected rows to measure on, --eval FILE, got none`
  )
}

/** Undefined where there is none, or none of that name, of which trainingArguments then says more. */
function recipeNamed(name: unknown) {
  const isKnown = (trainingStrategies as readonly unknown[]).includes(name)
  // The files of recipes/ are called so, too.
  const file = join(packageRoot, 'recipes', `${name}.yaml`)
  if (!isKnown && existsSync(file)) {
    const expected = `recipe: expected one of ${quoted(trainingStrategies)}, got '${name}', which is a config of its own`
    throw usageError(`${expected}: give ${file} as CONFIG`)
  }
  return isKnown ? adapterTrainingStrategy(name as TrainingStrategy) : undefined
}

interface Said {
  readonly rows: boolean
  readonly tokens: boolean
  readonly epochs: boolean
}

/**
 * A batch has so many rows or so many tokens, a run so many epochs or steps: the one that an option says takes the place of
 * the other.
 */
function withoutOther(given: TrainingArguments, { rows, tokens, epochs }: Said): TrainingArguments {
  const { perDeviceTrainBatchSize, maxTokensPerBatch, maxSteps, ...rest } = given
  return {
    ...rest,
    ...(perDeviceTrainBatchSize !== undefined && !tokens && { perDeviceTrainBatchSize }),
    ...(maxTokensPerBatch !== undefined && !rows && { maxTokensPerBatch }),
    ...(maxSteps !== undefined && !epochs && { maxSteps })
  }
}

const present = <T extends object>(fields: T): Partial<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>

function resumeFrom(
  { resume, 'resume-from': folder }: TrainValues,
  outputDir: string,
  loggingDir: string
): string | true | null {
  if (folder !== undefined) {
    if (resume) throw usageError('--resume-from: expected either --resume or --resume-from, got both')
    if (existsSync(join(folder, trainingFile))) return folder
    throw usageError(`--resume-from: expected the folder of a checkpoint, got ${folder}, which has no ${trainingFile}`)
  }
  // Of a run that is finished nothing is left to go on with: see runTrainingIn.
  if (resume && listCheckpoints(outputDir).length === 0 && !isFinished(dirname(outputDir), loggingDir)) {
    const run = dirname(outputDir)
    if (!existsSync(join(run, runConfigFile))) {
      throw usageError(`--resume: no run is in ${run} to go on with. Leave --resume out to begin one`)
    }
    for (const folder of [run, outputDir]) refuseRunning(folder)
    if (isOfEarlierRun(run)) {
      throw usageError(
        `--resume: the run in ${run} has no checkpoint yet, and what was trained there is of an earlier one. To begin it ` +
          `anew: ${trainAnew(run, readRecord(run))}`
      )
    }
    if (existsSync(run) && isSaved(run)) {
      throw usageError(
        `--resume: what was trained lies in ${run}, but no events that say how far it came, as with --report-to none, and ` +
          `no checkpoint. To train it anew: ${trainAnew(run, readRecord(run))}`
      )
    }
    throw usageError(
      `there are no checkpoints in ${outputDir} to resume from. A run writes one every --save-steps (default 500), at its end and ` +
        'where it is interrupted; with --save epoch it does after each epoch. To begin anew, use the command that began it without ' +
        `--resume, or: ${trainAnew(run, readRecord(run))}`
    )
  }
  return resume || null
}

/** `name=value`: numbers, true and false are what they look like, all else is text. */
function setting(text: string, values: TrainValues): [string, unknown] {
  const at = text.indexOf('=')
  if (at < 1) throw usageError(`--set: expected NAME=VALUE, got '${text}'`)
  const name = text.slice(0, at)
  const option = Object.hasOwn(optionOf, name) ? optionOf[name] : undefined
  const given = option !== undefined && option !== 'output' && values[option] !== undefined && values[option] !== false
  if (given || onlyAsOption.includes(name)) {
    throw usageError(`--set: expected --${option} alone, got '${text}'`)
  }
  const plain = [...plainOptions].find(([, argument]) => argument === name)?.[0]
  if (plain !== undefined && optionValue(values, plain) !== undefined) {
    throw usageError(`--set: expected either --${plain} or --set, got both: '${text}'`)
  }
  if (!known.includes(name)) {
    const elsewhere = explainArgument(name)
    if (elsewhere !== undefined) throw usageError(`--set: '${name}' ${elsewhere}`)
    if (nearest(name, known) === undefined) {
      throw usageError(`--set: expected an argument that --help lists, got '${name}'`)
    }
  }
  return [name, argumentValue(name, 'set', text.slice(at + 1))]
}

const optionValue = (values: object, option: string): unknown => (values as Readonly<Record<string, unknown>>)[option]

/** Training arguments that are options under their own names. */
function plainSettings(values: TrainValues): Record<string, unknown> {
  const given = [...plainOptions].flatMap(([option, name]) => {
    const value = optionValue(values, option)
    if (value === undefined) return []
    return [[name, typeof value === 'string' ? argumentValue(name, option, value) : value] as const]
  })
  return Object.fromEntries(given)
}

/** A measure may be named as `evaluate --json` spells it: macro_f1. What stands before is the name of a head or a set. */
const measureNamed = (name: string | null | undefined): string | undefined =>
  name?.replace(/(?:macro_f1|micro_f1|entity_(?:f1|precision|recall)|exact_match)$/, camelCase)

/** The value of a training argument; weights of classes may be `1,2` or `good=2,bad=1`, too. */
function argumentValue(argument: string, option: string, text: string): unknown {
  if (argument === 'classWeights' && /^[^[{]*=/.test(text)) return fieldsOption(option, text)
  const numbers = argument === 'classWeights' && text.includes(',') ? text.split(',').map(Number) : []
  return numbers.length > 0 && numbers.every(Number.isFinite) ? numbers : valueOfText(`--${option}`, text)
}

/** Numbers, true, false and null are what they look like, lists and objects JSON, all else is text. */
function valueOfText(option: string, text: string): unknown {
  const number = Number(text)
  if (text.trim() !== '' && Number.isFinite(number)) return number
  if (/^[[{]/.test(text)) return jsonOf(option, text)
  const words = new Map<string, unknown>([
    ['true', true],
    ['false', false],
    ['null', null]
  ])
  return words.has(text) ? words.get(text) : text
}

function jsonOf(option: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw usageError(`${option}: expected JSON, got '${text}': ${(error as Error).message}`)
  }
}

/** `name=value,…`, or JSON, as an object. */
function fieldsOption(name: string, text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined
  if (text.startsWith('{')) return jsonOf(`--${name}`, text) as Record<string, unknown>
  return Object.fromEntries(
    text.split(',').map((field) => {
      const at = field.indexOf('=')
      if (at < 1) throw usageError(`--${name}: expected NAME=VALUE,..., got '${text}'`)
      return [field.slice(0, at).trim(), valueOfText(`--${name}`, field.slice(at + 1).trim())]
    })
  )
}

/** Those of --parameter-groups, or the head alone with --head-learning-rate. */
function groupsOf({ 'head-learning-rate': head, 'parameter-groups': json }: TrainValues) {
  const learningRate = numberOption('head-learning-rate', head)
  if (json === undefined) return learningRate === undefined ? undefined : [{ match: 'head' as const, learningRate }]
  if (head !== undefined) {
    throw usageError('--head-learning-rate: expected either it or --parameter-groups, which may have the head in it')
  }
  return fromOptions(() => parameterGroups('--parameter-groups', jsonOf('--parameter-groups', json)))
}

/** TensorBoard's files beside whatever else is asked for. */
function targetsOf({ 'report-to': text, tensorboard }: TrainValues, given: ReportTo | undefined) {
  const asked = text?.includes(',') ? text.split(',').map((one) => one.trim()) : text
  const targets = fromOptions(() => reportTo('--report-to', asked ?? given ?? ['jsonl', 'html']))
  if (tensorboard === undefined) return targets
  const others = targets.filter((one) => one !== 'tensorboard')
  return tensorboard ? [...others, 'tensorboard' as const] : others
}
