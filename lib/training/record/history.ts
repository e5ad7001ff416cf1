import { counted } from '../../config/counted.js'
import { isAlive, type Owner, thisProcess } from '../../native/owner.js'
import { type Rates, ratesOf } from '../speed.js'
import {
  type EndLine,
  type EvaluateLine,
  type FailedLine,
  type LogLine,
  parseLine,
  type RunLine,
  type SaveLine,
  type StartLine,
  type StepsLine,
  type TaskEndLine
} from './lines.js'

/** `lost`: its process is gone and said nothing, as after kill -9. */
export type RunStatus = 'running' | 'finished' | 'stopped' | 'failed' | 'lost'

/** What a run's lines say, the parts of a resumed run put together. */
export class RunHistory {
  start: StartLine | undefined
  steps: StepsLine[] = []
  logs: LogLine[] = []
  evaluations: EvaluateLine[] = []
  saves: SaveLine[] = []
  taskEnds: TaskEndLine[] = []
  end: EndLine | undefined
  failure: FailedLine | undefined
  /** When the newest line was written. */
  time: string | undefined
  /** Whether a process of another machine lives, as its lock in the run's folder tells: it cannot be looked for. */
  livesElsewhere = false
  /** Whether all that it trained was written, where the command line does that. */
  hasResults = false
  #stopped = false

  /** The lines of a file. What is no line is left out: the last one may be cut off. */
  static read(text: string): RunHistory {
    const history = new RunHistory()
    for (const one of text.split('\n')) {
      const line = parseLine(one)
      if (line !== undefined) history.take(line)
    }
    return history
  }

  take(line: RunLine): void {
    this.time = line.time
    if (line.type === 'start') this.#begin(line)
    else if (line.type === 'steps') this.steps.push(line)
    else if (line.type === 'log') this.logs.push(line)
    else if (line.type === 'evaluate') this.evaluations.push(line)
    else if (line.type === 'save') this.saves.push(line)
    else if (line.type === 'taskEnd') this.taskEnds.push(line)
    else if (line.type === 'end') this.end = line
    else if (line.type === 'failed') this.failure = line
    else if (line.type === 'results') this.hasResults = true
    else this.#stopped = true
  }

  #begin(start: StartLine): void {
    const counts = ({ step }: { readonly step: number }) => step <= start.step
    this.steps = this.steps.filter(counts)
    this.logs = this.logs.filter(counts)
    this.evaluations = this.evaluations.filter(counts)
    this.saves = this.saves.filter(counts)
    this.taskEnds = this.taskEnds.filter(counts)
    this.start = start
    this.end = undefined
    this.failure = undefined
    this.hasResults = false
    this.#stopped = false
  }

  /** Steps done. */
  get step(): number {
    return this.end?.step ?? this.steps.at(-1)?.step ?? this.start?.step ?? 0
  }

  get status(): RunStatus {
    if (this.failure !== undefined) return 'failed'
    if (this.end !== undefined) return 'finished'
    if (this.#stopped) return 'stopped'
    return this.start !== undefined && this.#lives(this.start.process) ? 'running' : 'lost'
  }

  #lives(owner: Owner): boolean {
    return owner.host === thisProcess.host ? isAlive(owner) : this.livesElsewhere
  }

  /** Names of what its evaluations measured, those of several heads as `head.accuracy`. */
  get metricNames(): string[] {
    return [...new Set(this.evaluations.flatMap((one) => Object.keys(metricsOf(one))))]
  }

  /** Names of the tasks that train in it; none where it has but one. */
  get tasks(): string[] {
    return [...new Set([...this.steps, ...this.evaluations].flatMap(({ task }) => task ?? []))]
  }

  /** `3 tasks`, of a sweep `3 members`; empty where one trains alone. */
  get learners(): string {
    const { length } = this.tasks
    return length === 0 ? '' : counted(length, this.start?.members === undefined ? 'task' : 'member')
  }

  /** Over the newest steps of this part of the run. */
  get rates(): Rates | undefined {
    const [from, ...rest] = this.#newest()
    const seconds = secondsBetween(from, rest.at(-1))
    return seconds > 0 ? ratesOf(rest, seconds) : undefined
  }

  get secondsLeft(): number | undefined {
    const newest = this.#newest()
    const [from, to] = [newest[0], newest.at(-1)]
    const seconds = secondsBetween(from, to)
    if (from === undefined || to === undefined || this.status !== 'running') return undefined
    if (!(seconds > 0) || to.step <= from.step) return undefined
    return ((to.totalSteps - to.step) * seconds) / (to.step - from.step)
  }

  #newest(): StepsLine[] {
    const since = this.start?.step ?? 0
    return this.steps.slice(-20 * Math.max(1, this.tasks.length) - 1).filter(({ step }) => step > since)
  }
}

const secondsBetween = (from: StepsLine | undefined, to: StepsLine | undefined): number =>
  from === undefined || to === undefined ? 0 : (Date.parse(to.time) - Date.parse(from.time)) / 1000

export function metricsOf({ metrics, heads = {} }: EvaluateLine): Readonly<Record<string, number>> {
  const ofHeads = Object.entries(heads).flatMap(([head, own]) =>
    Object.entries(own.metrics).map(([name, value]) => [`${head}.${name}`, value] as const)
  )
  return { ...metrics, ...Object.fromEntries(ofHeads) }
}
