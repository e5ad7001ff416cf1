import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { nearest } from '../config/nearest.js'
import type { OptimizerSpelling } from '../config/optimizer-arguments.js'
import type { ParameterGroup } from '../config/parameter-groups.js'
import type { SchedulerType } from '../config/scheduler-arguments.js'
import { type TrainingArgumentsInput, trainingArguments } from '../config/training-arguments.js'
import { listCheckpoints, trainingFile } from '../training/checkpoint-folder.js'
import { choiceOption, countOption, fromOptions, numberOption, usageError } from './arguments.js'
import { onlyAsOption, optionOf, type TrainValues } from './train-options.js'

const known = trainingArguments()

const settable = Object.keys(known).filter((name) => !onlyAsOption.includes(name))
/** The training arguments that `--set` may name, for --help. */
export const describeSettings = wrap(`Arguments: ${settable.join(', ')}.`)

function wrap(text: string): string {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? ''
    if (line.length + word.length > 90) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines.map((line) => `                          ${line}`).join('\n')
}

interface Circumstances {
  readonly seed: number
  readonly outputDir: string
  /** Of the run's events and its page. */
  readonly loggingDir: string
  readonly hasEvaluation: boolean
  /** Those of a config; options go before. */
  readonly given: TrainingArgumentsInput
  /** Where --learning-rate names none. */
  readonly learningRate: number
}

/** Options as training arguments, checked before anything is loaded. */
export function trainingSettings(
  values: TrainValues,
  { seed, outputDir, loggingDir, hasEvaluation, learningRate, given }: Circumstances
): TrainingArgumentsInput {
  const batchSize = numberOption('batch-size', values['batch-size'])
  const chosen = Object.fromEntries(values.set.map((text) => setting(text, values)))
  const maxTokens = countOption('max-tokens', values['max-tokens'])
  const file = withoutOther(given, batchSize !== undefined, maxTokens !== undefined)
  const isBudget = [maxTokens, chosen['maxTokensPerBatch'], file.maxTokensPerBatch].some(
    (one) => typeof one === 'number'
  )
  const settings: TrainingArgumentsInput = {
    perDeviceTrainBatchSize: isBudget ? undefined : 16,
    perDeviceEvalBatchSize: batchSize ?? file.perDeviceTrainBatchSize ?? 16,
    ...{ learningRate, saveStrategy: 'no', evalStrategy: hasEvaluation ? 'epoch' : 'no', loggingSteps: 50 },
    ...file,
    ...present({
      numTrainEpochs: numberOption('epochs', values.epochs),
      maxSteps: numberOption('max-steps', values['max-steps']),
      perDeviceTrainBatchSize: batchSize,
      perDeviceEvalBatchSize: batchSize,
      maxTokensPerBatch: maxTokens,
      groupByLength: values['group-by-length'] || undefined,
      learningRate: numberOption('learning-rate', values['learning-rate']),
      parameterGroups: headGroup(numberOption('head-learning-rate', values['head-learning-rate'])),
      warmupRatio: numberOption('warmup-ratio', values['warmup-ratio']),
      warmupSteps: numberOption('warmup-steps', values['warmup-steps']),
      weightDecay: numberOption('weight-decay', values['weight-decay']),
      optim: values.optim as OptimizerSpelling | undefined,
      optimArgs: fieldsOption('optim-args', values['optim-args']),
      lrSchedulerType: values['lr-scheduler'] as SchedulerType | undefined,
      lrSchedulerKwargs: fieldsOption('lr-scheduler-args', values['lr-scheduler-args']),
      loadBestModelAtEnd: values.best === undefined ? undefined : true,
      metricForBestModel: values.best,
      earlyStoppingPatience: countOption('early-stopping', values['early-stopping']),
      saveStrategy:
        values.save === undefined ? undefined : choiceOption('save', values.save, ['no', 'epoch', 'steps', 'best'])
    }),
    ...chosen,
    ...{ outputDir, loggingDir, reportTo: values.tensorboard ? 'all' : ['jsonl', 'html'], seed },
    resumeFromCheckpoint: resumeFrom(values, outputDir)
  }
  for (const option of ['best', 'early-stopping'] as const) {
    if (values[option] === undefined || hasEvaluation) continue
    throw usageError(`--${option}: expected rows to measure on, --eval FILE, got none`)
  }
  const { evalStrategy } = fromOptions(() => trainingArguments(settings))
  if (evalStrategy !== 'no' && !hasEvaluation) {
    throw usageError(`--set evalStrategy=${evalStrategy}: expected rows to measure on, --eval FILE, got none`)
  }
  return settings
}

/** A batch has so many rows or so many tokens: the one that an option says takes the place of the other. */
function withoutOther(given: TrainingArgumentsInput, rows: boolean, tokens: boolean): TrainingArgumentsInput {
  const { perDeviceTrainBatchSize, maxTokensPerBatch, ...rest } = given
  return {
    ...rest,
    ...(perDeviceTrainBatchSize !== undefined && !tokens && { perDeviceTrainBatchSize }),
    ...(maxTokensPerBatch !== undefined && !rows && { maxTokensPerBatch })
  }
}

const present = <T extends object>(fields: T): Partial<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>

function resumeFrom({ resume, 'resume-from': folder }: TrainValues, outputDir: string): string | true | null {
  if (folder !== undefined) {
    if (resume) throw usageError('--resume-from: expected either --resume or --resume-from, got both')
    if (existsSync(join(folder, trainingFile))) return folder
    throw usageError(`--resume-from: expected the folder of a checkpoint, got ${folder}, which has no ${trainingFile}`)
  }
  if (resume && listCheckpoints(outputDir).length === 0) {
    throw usageError(`--resume: there are no checkpoints in ${outputDir}`)
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
  if (!Object.hasOwn(known, name) && nearest(name, Object.keys(known)) === undefined) {
    throw usageError(`--set: expected an argument that --help lists, got '${name}'`)
  }
  return [name, valueOfText(text.slice(at + 1))]
}

function valueOfText(text: string): unknown {
  const number = Number(text)
  if (text.trim() !== '' && Number.isFinite(number)) return number
  return text === 'true' ? true : text === 'false' ? false : text
}

/** `name=value,…` as an object. */
function fieldsOption(name: string, text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined
  return Object.fromEntries(
    text.split(',').map((field) => {
      const at = field.indexOf('=')
      if (at < 1) throw usageError(`--${name}: expected NAME=VALUE,..., got '${text}'`)
      return [field.slice(0, at).trim(), valueOfText(field.slice(at + 1).trim())]
    })
  )
}

const headGroup = (learningRate: number | undefined): readonly ParameterGroup[] | undefined =>
  learningRate === undefined ? undefined : [{ match: 'head', learningRate }]
