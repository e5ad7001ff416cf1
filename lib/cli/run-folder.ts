import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { isPlainObject } from '../config/check.js'
import {
  commonArguments,
  type ResolvedTrainingArguments,
  type TrainingArguments,
  trainingArguments
} from '../config/training-arguments.js'
import { adapterConfigFile, headConfigFile, setupConfigFile } from '../exchange/folder-files.js'
import { listCheckpoints } from '../training/checkpoint-folder.js'
import { RunHistory } from '../training/record/history.js'
import { eventsFile } from '../training/record/lines.js'
import { usageError } from './arguments.js'
import { runConfigFile } from './train-config.js'
import { checkpointFolder } from './train-what.js'

const results: readonly string[] = [adapterConfigFile, headConfigFile, setupConfigFile, 'config.json']

const holdsResult = (folder: string): boolean => results.some((file) => existsSync(join(folder, file)))

/** Whether a run's folder, or that of one of its tasks, holds what was trained. */
export function isSaved(folder: string): boolean {
  if (holdsResult(folder)) return true
  const inside = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  return inside.some(({ name }) => name !== 'checkpoints' && holdsResult(join(folder, name)))
}

export interface FinishedRun {
  /** Steps done. */
  readonly step: number
  /** Evaluations that got no better ended it. */
  readonly isEarly: boolean
}

/** What the events of a run say that came to its end and saved all that it had trained. */
function finishedHistory(folder: string, events: string): RunHistory | undefined {
  const history = historyIn(events)
  if (history === undefined || !existsSync(folder)) return undefined
  return history.status === 'finished' && history.hasResults && isSaved(folder) ? history : undefined
}

/** Undefined where no events are. */
function historyIn(events: string): RunHistory | undefined {
  const file = join(events, eventsFile)
  return existsSync(file) ? RunHistory.read(readFileSync(file, 'utf8')) : undefined
}

export const isFinished = (folder: string, events: string): boolean => finishedHistory(folder, events) !== undefined

/**
 * A run of the command line that came to its end and saved what it had trained, with nothing left to do by `args`: those may
 * give it another length, and more patience to one that evaluations ended.
 * @param record what train.json keeps beside the arguments
 * @throws {AdapterError} for a wrong use: what decides the numbers is not as it was
 */
export async function finishedRun(
  folder: string,
  args: TrainingArguments,
  record: Settings
): Promise<FinishedRun | undefined> {
  const history = finishedHistory(folder, args.loggingDir ?? folder)
  if (history === undefined) return undefined
  const now = commonArguments(args)
  const isOther = (name: keyof typeof now) => history.start?.args[name] !== now[name]
  const isEarly = history.end?.stoppedEarly === true
  if (isEarly && isOther('earlyStoppingPatience')) return undefined
  refuseShorter(history, now)
  const isLonger = now.maxSteps > 0 ? isOther('maxSteps') : isOther('maxSteps') || isOther('numTrainEpochs')
  // Where evaluations ended it, more steps change nothing.
  if (isLonger && !isEarly) return undefined
  await refuseOther(folder, history, now, record)
  return { step: history.step, isEarly }
}

type Settings = Readonly<Record<string, unknown>>

/** An unfinished one is told by its checkpoint. */
async function refuseOther(
  folder: string,
  { start }: RunHistory,
  now: ResolvedTrainingArguments,
  record: Settings
): Promise<void> {
  const { deciding } = await import('../training/fingerprint.js')
  const { differencesOf } = await import('../training/differences.js')
  const before = { ...trainingArguments(), ...start?.args } as ResolvedTrainingArguments
  const known = readRecord(folder)
  const differences = differencesOf(
    { ...deciding(before), ...(await decidingSettings(known)) },
    { ...deciding(now), ...(await decidingSettings('model' in known ? record : known)) }
  )
  if (differences === undefined) return
  const { expected, got } = differences
  throw usageError(
    `--resume: the run in ${folder} is finished, with other settings (expected ${expected}, got ${got}): ` +
      'give it those, another --output, or --overwrite to train anew'
  )
}

/** Of files and folders the name alone: they may have been moved. */
async function decidingSettings({ model, train, tune = 'adapter', config = 'seq_bn' }: Settings): Promise<Settings> {
  const { AdapterConfig } = await import('../config/adapter-config.js')
  const nameOf = (path: unknown) => (typeof path === 'string' ? basename(path) : undefined)
  const source = typeof config === 'string' && config.startsWith('{') ? JSON.parse(config) : config
  const adapter = tune === 'adapter' ? { config: AdapterConfig.load(source).toJSON() } : {}
  return { model: nameOf(model), train: nameOf(train), tune, ...adapter }
}

/** The command that trains from the beginning what a folder's record says. */
export function trainAnew(folder: string, record: Settings): string {
  const command = 'sweep' in record ? 'sweep' : 'adapters' in record ? 'fuse' : 'train'
  return `torch-adapters ${command} ${join(folder, runConfigFile)} --output ${folder} --overwrite`
}

/** Empty where no run of the command line was here. */
export function readRecord(folder: string): Settings {
  try {
    const record: unknown = JSON.parse(readFileSync(join(folder, runConfigFile), 'utf8'))
    return isPlainObject(record) ? record : {}
  } catch {
    return {}
  }
}

/** Its checkpoints may be from before its end, so that a shorter run would go on from there and lose what came after. */
function refuseShorter(
  { start, end, step }: RunHistory,
  { maxSteps, numTrainEpochs }: ResolvedTrainingArguments
): void {
  const planned = Number(start?.args['maxSteps']) > 0 ? end?.epoch : start?.args['numTrainEpochs']
  const epochs = end?.stoppedEarly ? Number.NaN : Number(planned)
  const isShorter = maxSteps > 0 ? maxSteps < step : numTrainEpochs < epochs
  if (!isShorter) return
  const wish = maxSteps > 0 ? `--max-steps ${maxSteps}` : `--epochs ${numTrainEpochs}`
  throw usageError(`${wish}: the run is finished, at step ${step}, and cannot become shorter than what it has done`)
}

/**
 * What to do about a folder that should hold something trained and is that of a run which has not ended, in whole sentences;
 * undefined where it is no such folder.
 */
export function unfinishedHint(folder: string): string | undefined {
  const isRun = existsSync(join(folder, runConfigFile)) || existsSync(join(folder, eventsFile))
  if (!isRun || isSaved(folder)) return undefined
  const newest = listCheckpoints(checkpointFolder(folder)).at(-1)?.folder
  if (newest === undefined) {
    return `${folder} is the folder of a run that has not ended, and it has no checkpoint yet: wait for it, or start it again where it was stopped.`
  }
  const inside = readdirSync(newest, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  const whole = inside.map(({ name }) => join(newest, name)).filter(holdsResult)
  const measure = whole.length === 0 ? '' : `, or take what its newest checkpoint has: ${whole.join(', ')}`
  return `${folder} is the folder of a run that has not ended: go on with torch-adapters resume ${folder}${measure}.`
}

export function refuseUnfinished(option: string, folder: string): void {
  const hint = unfinishedHint(folder)
  if (hint !== undefined) throw usageError(`${option}: ${hint}`)
  if (isOfEarlierRun(folder)) {
    process.emitWarning(
      `${option}: what was trained in ${folder} is of an earlier run than its ${runConfigFile}, whose run has not ended`,
      { code: 'TORCH_ADAPTERS_EARLIER_RUN' }
    )
  }
}

/** Whether a run began with --overwrite over what lies there, and has not put its own in its place. */
export function isOfEarlierRun(folder: string): boolean {
  if (!existsSync(join(folder, runConfigFile)) || !isSaved(folder)) return false
  return historyIn(folder)?.hasResults === false
}
