import { basename, resolve } from 'node:path'
import type { ResolvedTrainingArguments } from '../../config/training-arguments.js'
import type { Model } from '../../model/model.js'
import { loadAddon } from '../../native/addon.js'
import { thisProcess } from '../../native/owner.js'
import { packageJson } from '../../native/platform.js'
import { newestOf } from '../checkpoint-folder.js'
import { withHint } from '../disk-error.js'
import type { EvaluateEvent, LogEvent, SaveEvent, StepEvent } from '../events.js'
import { EventsFile } from './events-file.js'
import { RunHistory } from './history.js'
import type { EndLine, RunLine, StartLine, TaskEndLine } from './lines.js'
import { refuseForeign } from './own-files.js'
import { parameterTable } from './parameter-table.js'
import { writeRunPage } from './run-page.js'
import { TensorBoardFile } from './tensorboard.js'
import { Thinner } from './thinner.js'

/** An event of any trainer, one task's at a time. */
export type RecordedEvent = StepEvent | LogEvent | EvaluateEvent | SaveEvent | Undated<TaskEndLine> | Undated<EndLine>

type Undated<L> = Omit<L, 'time'>

/** What the start line tells of the run beside its place. */
export type RunDescription = Omit<StartLine, 'type' | 'time' | 'step' | 'totalSteps'>

export interface DescribedRun {
  readonly model: Model
  readonly args: ResolvedTrainingArguments
  readonly rows: StartLine['rows']
  /** Of several that train side by side. */
  readonly beside?: Pick<StartLine, 'tasks' | 'members'>
  /** Known once the run is planned, before its first event. */
  readonly totalSteps: () => number
}

export function describeRun(
  folder: string,
  { model, args, rows, beside }: Omit<DescribedRun, 'totalSteps'>
): RunDescription {
  const configs = <C extends object>(all: ReadonlyMap<string, C>) =>
    Object.fromEntries([...all].map(([name, config]) => [name, { ...config }]))
  return {
    name: basename(resolve(folder)),
    args: { ...args },
    model: {
      type: model.config.modelType,
      name: model.config.nameOrPath,
      trunk: model.trunk,
      ...(model.trunkProbe === null ? {} : { trunkProbe: model.trunkProbe }),
      activeAdapters: model.activeAdapters,
      adapters: configs(model.adapters),
      fusions: configs(model.adapterFusions),
      heads: configs(model.heads)
    },
    parameters: parameterTable(model),
    versions: {
      'torch-adapters': packageJson.version,
      libtorch: loadAddon().systemInfo().torchVersion,
      node: process.version
    },
    rows,
    ...beside,
    process: thisProcess
  }
}

/**
 * Passes a run's events on and keeps args.loggingDir's files beside: what an event says is on disk before the caller has
 * it. Nothing is written before the first step, so a run that never began leaves the files of the one before as they are.
 * @param asRecorded an event as those of its tasks; at least one
 */
export async function* recorded<E>(
  events: AsyncIterable<E>,
  run: DescribedRun,
  signal: AbortSignal | undefined,
  asRecorded: (event: E) => readonly [RecordedEvent, ...RecordedEvent[]]
): AsyncGenerator<E, void, undefined> {
  const { args } = run
  if (args.reportTo.length === 0) return yield* events
  const folder = args.loggingDir ?? args.outputDir
  refuseForeign(folder, args)
  let recorder: Recorder | undefined
  try {
    for await (const event of events) {
      const parts = asRecorded(event)
      recorder ??= written(args, () => new Recorder(folder, run, parts[0]))
      for (const part of parts) written(args, () => recorder?.record(part))
      yield event
    }
  } catch (error) {
    if (signal?.aborted !== true) recorder?.fail(error)
    throw error
  } finally {
    written(args, () => recorder?.close())
  }
}

/** Where a file of the run's cannot be written, its checkpoints are as they were, and the error says so. */
function written<T>({ outputDir }: ResolvedTrainingArguments, write: () => T): T {
  try {
    return write()
  } catch (error) {
    throw withHint(error, newestOf(outputDir))
  }
}

class Recorder {
  readonly #thinner = new Thinner()
  readonly #events: EventsFile | undefined
  readonly #history: RunHistory
  readonly #board: TensorBoardFile | undefined
  #isOver = false

  /** @param first tells where the run begins */
  constructor(
    private readonly folder: string,
    private readonly run: DescribedRun,
    first: RecordedEvent
  ) {
    const { reportTo, resumeFromCheckpoint } = run.args
    const goesOn = resumeFromCheckpoint !== null && resumeFromCheckpoint !== false
    // The page draws what the file holds of earlier parts.
    const keepsEvents = reportTo.includes('jsonl') || reportTo.includes('html')
    const step = first.type === 'step' ? first.step - 1 : first.step
    this.#events = keepsEvents ? new EventsFile(folder, goesOn ? step : undefined) : undefined
    this.#history = this.#events?.history ?? new RunHistory()
    const totalSteps = run.totalSteps()
    const start: StartLine = { type: 'start', ...now(), step, totalSteps, ...describeRun(folder, run) }
    this.#board = reportTo.includes('tensorboard') ? new TensorBoardFile(folder, start) : undefined
    this.#write(start)
  }

  record(event: RecordedEvent): void {
    if (event.type === 'step') {
      const line = this.#thinner.take(event)
      if (line !== undefined) this.#write({ ...line, ...now() })
      return
    }
    if (event.type !== 'log') this.#flush()
    this.#write({ ...event, ...now() } as RunLine)
    if (event.type === 'end') this.#isOver = true
    if (event.type !== 'log') this.#writePage()
  }

  fail(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    try {
      this.#finish({ type: 'failed', ...now(), step: this.#history.step, message })
    } catch {
      // The error that ended the run matters more, and a full disk is often both.
    }
  }

  /** Whoever left before the end stopped the run. */
  close(): void {
    try {
      this.#finish({ type: 'stopped', ...now(), step: this.#history.step })
    } finally {
      this.#events?.close()
      this.#board?.close()
    }
  }

  #finish(line: RunLine): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#flush()
    this.#write({ ...line, step: this.#history.step })
    this.#writePage()
  }

  #flush(): void {
    for (const line of this.#thinner.flush()) this.#write({ ...line, ...now() })
  }

  #write(line: RunLine): void {
    if (this.#events === undefined) this.#history.take(line)
    else this.#events.write(line)
    this.#board?.take(line)
  }

  #writePage(): void {
    if (this.run.args.reportTo.includes('html')) writeRunPage(this.folder, this.#history)
  }
}

const now = () => ({ time: new Date().toISOString() })
