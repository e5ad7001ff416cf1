import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { nearest } from '../config/nearest.js'
import { type TrainingArgumentsInput, trainingArguments } from '../config/training-arguments.js'
import { listCheckpoints, trainingFile } from '../training/checkpoint-folder.js'
import { choiceOption, fromOptions, numberOption, usageError } from './arguments.js'

const known = trainingArguments()

/** The training arguments that `--set` may name, for --help. */
export const describeSettings = wrap(`Arguments: ${Object.keys(known).join(', ')}.`)

function wrap(text: string): string {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? ''
    if (line.length + word.length > 90) lines.push(word)
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`
  }
  return lines.map((line) => `                          ${line}`).join('\n')
}

interface Values {
  readonly epochs?: string | undefined
  readonly 'max-steps'?: string | undefined
  readonly 'batch-size'?: string | undefined
  readonly 'learning-rate'?: string | undefined
  readonly 'warmup-ratio'?: string | undefined
  readonly 'weight-decay'?: string | undefined
  readonly seed?: string | undefined
  readonly save?: string | undefined
  readonly resume: boolean
  readonly 'resume-from'?: string | undefined
  readonly set: readonly string[]
}

interface Circumstances {
  readonly seed: number
  readonly outputDir: string
  readonly hasEvaluation: boolean
  /** Where --learning-rate names none. */
  readonly learningRate: number
}

/** Options as training arguments, checked before anything is loaded. */
export function trainingSettings(
  values: Values,
  { seed, outputDir, hasEvaluation, learningRate }: Circumstances
): TrainingArgumentsInput {
  const batchSize = numberOption('batch-size', values['batch-size']) ?? 16
  const settings = {
    outputDir,
    seed,
    numTrainEpochs: numberOption('epochs', values.epochs),
    maxSteps: numberOption('max-steps', values['max-steps']),
    perDeviceTrainBatchSize: batchSize,
    perDeviceEvalBatchSize: batchSize,
    learningRate: numberOption('learning-rate', values['learning-rate']) ?? learningRate,
    warmupRatio: numberOption('warmup-ratio', values['warmup-ratio']),
    weightDecay: numberOption('weight-decay', values['weight-decay']),
    saveStrategy: choiceOption('save', values.save ?? 'no', ['no', 'epoch', 'steps']),
    evalStrategy: hasEvaluation ? ('epoch' as const) : ('no' as const),
    loggingSteps: 50,
    resumeFromCheckpoint: resumeFrom(values, outputDir),
    ...Object.fromEntries(values.set.map((text) => setting(text, values)))
  }
  const { evalStrategy } = fromOptions(() => trainingArguments(settings))
  if (evalStrategy !== 'no' && !hasEvaluation) {
    throw usageError(`--set evalStrategy=${evalStrategy}: expected rows to measure on, --eval FILE, got none`)
  }
  return settings
}

function resumeFrom({ resume, 'resume-from': folder }: Values, outputDir: string): string | true | null {
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

/** Arguments that have an option of their own: two values for one would leave open which of them counts. */
const options: Readonly<Record<string, keyof Values | 'output'>> = {
  ...{ numTrainEpochs: 'epochs', maxSteps: 'max-steps', perDeviceTrainBatchSize: 'batch-size', seed: 'seed' },
  ...{ learningRate: 'learning-rate', warmupRatio: 'warmup-ratio', weightDecay: 'weight-decay', saveStrategy: 'save' },
  ...{ outputDir: 'output', resumeFromCheckpoint: 'resume-from' }
}

/** These are more than the argument: where the result goes, what adapters start from, which run is checked. */
const onlyAsOption = ['outputDir', 'seed', 'resumeFromCheckpoint']

/** `name=value`: numbers, true and false are what they look like, all else is text. */
function setting(text: string, values: Values): [string, unknown] {
  const at = text.indexOf('=')
  if (at < 1) throw usageError(`--set: expected NAME=VALUE, got '${text}'`)
  const name = text.slice(0, at)
  const option = Object.hasOwn(options, name) ? options[name] : undefined
  const given = option !== undefined && option !== 'output' && values[option] !== undefined
  if (given || onlyAsOption.includes(name)) {
    throw usageError(`--set: expected --${option} alone, got '${text}'`)
  }
  if (!Object.hasOwn(known, name) && nearest(name, Object.keys(known)) === undefined) {
    throw usageError(`--set: expected an argument that --help lists, got '${name}'`)
  }
  const value = text.slice(at + 1)
  const number = Number(value)
  if (value.trim() !== '' && Number.isFinite(number)) return [name, number]
  return [name, value === 'true' ? true : value === 'false' ? false : value]
}
