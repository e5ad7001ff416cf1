import cliProgress from 'cli-progress'
import * as check from '../config/check.js'
import type { StepEvent } from '../training/events.js'
import { describeRates, ratesOf } from '../training/speed.js'
import { type AnyEvent, describeEvent, short } from './event-lines.js'
import type { TasksStepEvent } from './events.js'

export interface ProgressOptions {
  /** Default: process.stderr, so that output for programs stays clean. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean }
}

/** Shows a run of one trainer, of several tasks or of a sweep: hand it every event. */
export interface Progress {
  show(event: AnyEvent): void
  /** Frees the terminal; also after an error. */
  stop(): void
}

/**
 * One line that moves in a terminal, with what happens above it; one line for each event elsewhere. Each has the loss, tokens
 * and rows a second; of several tasks what belongs to one stands under its name.
 */
export function trainingProgress(options: ProgressOptions = {}): Progress {
  const given = check.checkObject('options', options)
  check.checkKeys('options', given, ['stream'])
  const { stream = process.stderr } = options
  if (typeof (stream as { write?: unknown } | null)?.write !== 'function')
    throw check.typeError('stream', 'a stream to write to, such as process.stderr', stream)
  return stream.isTTY === true ? new MovingLine(stream) : new PlainLines(stream)
}

const format = '{bar} {percentage}% | step {value}/{total} | epoch {epoch} | {facts} | {speed} | {eta_formatted} left'

/** Seconds as `40s`, `2m05s` or `1h30m`; those that are guessed count in fives. */
export function formatTime(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?'
  const whole = seconds > 10 ? 5 * Math.round(seconds / 5) : Math.round(seconds)
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0')
  if (whole < 60) return `${whole}s`
  return whole < 3600
    ? `${Math.floor(whole / 60)}m${two(whole % 60)}s`
    : `${Math.floor(whole / 3600)}h${two((whole % 3600) / 60)}m`
}

const newestSteps = 20

class MovingLine implements Progress {
  readonly #bars: cliProgress.MultiBar
  #bar: cliProgress.SingleBar | undefined
  /** The newest steps, since the last event that was none: an evaluation takes time, too. */
  #newest: { readonly at: number; readonly step: StepEvent | TasksStepEvent }[] = []

  constructor(private readonly stream: NodeJS.WritableStream) {
    this.#bars = new cliProgress.MultiBar(
      {
        ...{ format, formatTime, stream, hideCursor: true, clearOnComplete: false },
        ...{ barsize: 24, etaBuffer: 50, gracefulExit: false }
      },
      cliProgress.Presets.shades_classic
    )
  }

  show(event: AnyEvent): void {
    if (event.type === 'step') {
      this.#newest = [...this.#newest, { at: performance.now(), step: event }].slice(-newestSteps - 1)
      const payload = { epoch: event.epoch.toFixed(2), facts: factsOf(event), speed: this.#speed() }
      this.#bar ??= this.#bars.create(event.totalSteps, 0, payload)
      this.#bar.update(event.step, payload)
      return
    }
    if (event.type !== 'log') this.#newest = []
    if (isInMovingLine(event)) return
    const line = `${describeEvent(event)}\n`
    if (event.type === 'end') this.stream.write(line)
    else this.#bars.log(line)
  }

  stop(): void {
    this.#bars.stop()
  }

  #speed(): string {
    const [first, ...rest] = this.#newest
    const seconds = ((rest.at(-1)?.at ?? Number.NaN) - (first?.at ?? Number.NaN)) / 1000
    const steps = rest.map(({ step }) => step)
    return seconds > 0 ? describeRates(ratesOf(steps, seconds)) : '- tokens/s'
  }
}

/** The loss of all tasks is their sum; learning rates are each one's own. */
function factsOf(event: StepEvent | TasksStepEvent): string {
  const loss = `loss ${event.loss.toFixed(4)}`
  return 'tasks' in event ? loss : `${loss} | lr ${short(event.learningRate)}`
}

/** Whether the moving line shows what this says: the last one stays. */
function isInMovingLine(event: AnyEvent): boolean {
  if (event.type === 'log') return event.task === undefined
  return event.type === 'end' && !('tasks' in event) && event.steps > 0 && event.best === undefined
}

class PlainLines implements Progress {
  constructor(private readonly stream: NodeJS.WritableStream) {}

  show(event: AnyEvent): void {
    const line = describeEvent(event)
    if (line !== undefined) this.stream.write(`${line}\n`)
  }

  stop(): void {}
}
