import { isPlainObject } from '../../config/check.js'
import type { Owner } from '../../native/owner.js'
import type { EndEvent, EvaluateEvent, LogEvent, SaveEvent, StepEvent } from '../events.js'
import type { ParameterLine } from './parameter-table.js'

/** Where a run's lines lie in its folder. */
export const eventsFile = 'events.jsonl'

interface Dated {
  /** When it was written, as ISO 8601 has it. */
  readonly time: string
}

/** By names of those that train side by side, what each has that is its own. */
export type OwnSettings = Readonly<Record<string, Readonly<Record<string, unknown>>>>

/** How tasks meet, and each one's own arguments and weight. */
export interface TasksRecord {
  readonly mode: string
  readonly sampler: unknown
  readonly own: OwnSettings
}

/** First of all, and again where the run is resumed: the lines of later steps than `step` are then gone. */
export interface StartLine extends Dated {
  readonly type: 'start'
  /** Steps done before. */
  readonly step: number
  readonly totalSteps: number
  readonly name: string
  /** The training arguments. */
  readonly args: Readonly<Record<string, unknown>>
  /** The model's type, the active adapters, their configs and those of heads. */
  readonly model: Readonly<Record<string, unknown>>
  readonly parameters: readonly ParameterLine[]
  readonly versions: Readonly<Record<string, string>>
  readonly rows: { readonly train: number | null; readonly evaluation: number | null }
  /** Where tasks train side by side. */
  readonly tasks?: TasksRecord
  /** Of a sweep: what each member has of the grid, by its name. */
  readonly members?: OwnSettings
  readonly process: Owner
}

/**
 * Some steps in one, the last of them with the mean loss and the tokens and rows of all: there are never more than about a thousand
 * of these lines for a run.
 */
export interface StepsLine extends Omit<StepEvent, 'type'>, Dated {
  readonly type: 'steps'
}

/** Last, where the run was left or aborted. */
export interface StoppedLine extends Dated {
  readonly type: 'stopped'
  readonly step: number
}

/** Last, where an error ended the run. */
export interface FailedLine extends Dated {
  readonly type: 'failed'
  readonly step: number
  readonly message: string
}

/** Behind the end, of a run of the command line: all that it trained lies in its folder. */
export interface ResultsLine extends Dated {
  readonly type: 'results'
  readonly step: number
}

/** A task ended before the others. */
export interface TaskEndLine extends Dated {
  readonly type: 'taskEnd'
  readonly task: string
  readonly step: number
  readonly reason: string
}

export type LogLine = LogEvent & Dated
export type EvaluateLine = EvaluateEvent & Dated
export type SaveLine = SaveEvent & Dated
/** Where several tasks train there is no loss of all. */
export type EndLine = Omit<EndEvent, 'loss'> & { readonly loss?: number } & Dated
/** A line of events.jsonl, told apart by `type`. */
export type RunLine =
  | (StartLine | StepsLine | LogLine | EvaluateLine | SaveLine)
  | (TaskEndLine | EndLine | ResultsLine | StoppedLine | FailedLine)

/** JSON has no pattern and no NaN: the one is its text, the other null. */
export function lineText(line: RunLine): string {
  return `${JSON.stringify(line, (_, value) => (value instanceof RegExp ? String(value) : value))}\n`
}

const numbersOf: Readonly<Record<RunLine['type'], readonly string[]>> = {
  start: ['totalSteps'],
  steps: ['totalSteps', 'epoch', 'loss', 'learningRate', 'gradNorm', 'tokens', 'rows'],
  log: ['totalSteps', 'epoch', 'loss', 'learningRate', 'gradNorm', 'tokensPerSecond', 'rowsPerSecond'],
  evaluate: ['epoch', 'loss', 'rows', 'seconds'],
  save: ['epoch'],
  taskEnd: [],
  end: ['steps', 'epoch', 'tokens', 'seconds'],
  results: [],
  stopped: [],
  failed: []
}

/**
 * A line that may come from anywhere. Undefined: it is none, or cut off by whatever ended its writer. Fields that a page
 * shows have the type that they should, and nothing more is known about their text.
 */
export function parseLine(text: string): RunLine | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isPlainObject(value) || typeof value['time'] !== 'string' || !Number.isSafeInteger(value['step']))
    return undefined
  const type = value['type']
  if (typeof type !== 'string' || !Object.hasOwn(numbersOf, type)) return undefined
  const line: Record<string, unknown> = { ...value }
  for (const name of numbersOf[type as RunLine['type']]) {
    const number = value[name] ?? Number.NaN
    if (typeof number !== 'number') return undefined
    line[name] = number
  }
  const { task = '' } = value
  return typeof task === 'string' && hasRest(type, line) ? (line as unknown as RunLine) : undefined
}

function hasRest(type: string, line: Record<string, unknown>): boolean {
  const isText = (name: string) => typeof line[name] === 'string'
  if (type === 'evaluate') return isNumbers(line['metrics']) && (line['heads'] === undefined || isHeads(line['heads']))
  if (type === 'save') return isText('folder')
  if (type === 'taskEnd') return isText('task') && isText('reason')
  if (type === 'failed') return isText('message')
  if (type === 'end') return line['best'] === undefined || isBest(line['best'])
  if (type !== 'start') return true
  const { parameters, process, rows, tasks, members } = line
  return (
    isText('name') &&
    [line['args'], line['model'], line['versions'], rows].every(isPlainObject) &&
    (tasks === undefined || (isPlainObject(tasks) && isOwnSettings(tasks['own']))) &&
    (members === undefined || isOwnSettings(members)) &&
    isPlainObject(process) &&
    Number.isSafeInteger(process['pid']) &&
    Array.isArray(parameters) &&
    parameters.every((one) => isPlainObject(one) && typeof one['part'] === 'string' && isNumbers({ ...one, part: 0 }))
  )
}

const isOwnSettings = (value: unknown): boolean => isPlainObject(value) && Object.values(value).every(isPlainObject)

const isNumbers = (value: unknown): boolean =>
  isPlainObject(value) && Object.values(value).every((one) => one === null || typeof one === 'number')

const isHeads = (value: unknown): boolean =>
  isPlainObject(value) && Object.values(value).every((one) => isPlainObject(one) && isNumbers(one['metrics']))

const isBest = (value: unknown): boolean =>
  isPlainObject(value) && typeof value['metric'] === 'string' && typeof value['value'] === 'number'
