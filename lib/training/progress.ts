import cliProgress from 'cli-progress'
import { counted } from '../config/counted.js'
import { describeBest } from './best-words.js'
import type { EndEvent, EvaluateEvent, LogEvent, StepEvent, TrainingEvent } from './events.js'
import type { Metrics } from './metrics.js'
import { describeRates } from './speed.js'

export interface ProgressOptions {
  /** Default: process.stderr, so that output for programs stays clean. */
  readonly stream?: NodeJS.WritableStream & { readonly isTTY?: boolean }
}

/** Shows a run: hand it every event. */
export interface Progress {
  show(event: TrainingEvent): void
  /** Frees the terminal; also after an error. */
  stop(): void
}

/** One line that moves in a terminal; one line for each event elsewhere. */
export function trainingProgress(options: ProgressOptions = {}): Progress {
  const stream = options.stream ?? process.stderr
  return stream.isTTY === true ? new MovingLine(stream) : new PlainLines(stream)
}

const format =
  '{bar} {percentage}% | step {value}/{total} | epoch {epoch} | loss {loss} | lr {rate} | {speed} | {eta_formatted} left'

const newestSteps = 20

class MovingLine implements Progress {
  readonly #bars: cliProgress.MultiBar
  #bar: cliProgress.SingleBar | undefined
  /** The newest steps, since the last event that was none: an evaluation takes time, too. */
  #newest: { readonly at: number; readonly step: StepEvent }[] = []

  constructor(private readonly stream: NodeJS.WritableStream) {
    this.#bars = new cliProgress.MultiBar(
      { format, stream, hideCursor: true, clearOnComplete: false, barsize: 24, etaBuffer: 50, gracefulExit: false },
      cliProgress.Presets.shades_classic
    )
  }

  show(event: TrainingEvent): void {
    if (event.type === 'step') {
      this.#newest = [...this.#newest, { at: performance.now(), step: event }].slice(-newestSteps - 1)
      const payload = {
        epoch: event.epoch.toFixed(2),
        loss: event.loss.toFixed(4),
        rate: short(event.learningRate),
        speed: this.#speed()
      }
      this.#bar ??= this.#bars.create(event.totalSteps, 0, payload)
      this.#bar.update(event.step, payload)
      return
    }
    // The moving line shows what a log event says.
    if (event.type !== 'log') this.#newest = []
    const line = event.type === 'log' ? undefined : describeEvent(event)
    if (line === undefined) return
    if (event.type !== 'end') this.#bars.log(`${line}\n`)
    else if (event.steps === 0 || event.best !== undefined) this.stream.write(`${line}\n`)
  }

  stop(): void {
    this.#bars.stop()
  }

  #speed(): string {
    const [first, ...rest] = this.#newest
    const seconds = ((rest.at(-1)?.at ?? Number.NaN) - (first?.at ?? Number.NaN)) / 1000
    if (!(seconds > 0)) return '- tokens/s'
    const sum = (key: 'tokens' | 'rows') => rest.reduce((all, { step }) => all + step[key], 0)
    return describeRates({ tokensPerSecond: sum('tokens') / seconds, rowsPerSecond: sum('rows') / seconds })
  }
}

class PlainLines implements Progress {
  constructor(private readonly stream: NodeJS.WritableStream) {}

  show(event: TrainingEvent): void {
    const line = describeEvent(event)
    if (line !== undefined) this.stream.write(`${line}\n`)
  }

  stop(): void {}
}

/** An event as a line for people; a single step has none. */
export function describeEvent(event: TrainingEvent): string | undefined {
  switch (event.type) {
    case 'step':
      return undefined
    case 'log':
      return describeLog(event)
    case 'evaluate':
      return describeEvaluation(event)
    case 'save':
      return `step ${event.step}: saved ${event.folder}`
    case 'end':
      return describeEnd(event)
  }
}

function describeEnd(event: EndEvent): string {
  const { step, steps, seconds, loss, stoppedEarly } = event
  if (steps === 0) return `the run was complete at step ${step}: nothing was left to train`
  const resumed = steps < step ? ` (${step} with those before)` : ''
  const early = stoppedEarly ? ', ended early' : ''
  const best = describeBest(event)
  const top = best === undefined ? '' : `, ${best}`
  return `${counted(steps, 'step')}${resumed} in ${seconds.toFixed(1)} s, mean loss ${loss.toFixed(4)}${top}${early}`
}

function describeLog({ step, totalSteps, epoch, loss, learningRate, gradNorm, ...rates }: LogEvent): string {
  const place = `step ${step}/${totalSteps}, epoch ${epoch.toFixed(2)}`
  const facts = `loss ${loss.toFixed(4)}, lr ${short(learningRate)}, gradient ${short(gradNorm)}`
  return `${place}: ${facts}, ${describeRates(rates)}`
}

function describeEvaluation({ step, epoch, loss, metrics }: EvaluateEvent): string {
  return `step ${step}, epoch ${epoch.toFixed(2)}: evaluation loss ${loss.toFixed(4)}, ${describeMetrics(metrics)}`
}

/** `accuracy 0.8123, macroF1 0.7911` */
export function describeMetrics(metrics: Metrics): string {
  return Object.entries(metrics)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(', ')
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)))
}
