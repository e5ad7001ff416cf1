import type { StepEvent } from '../events.js'
import type { StepsLine } from './lines.js'

/** About so many points has a run, however long it is; where many tasks train, each has fewer. */
const mostPoints = 1000
const pointsOfTask = 200

interface Gathered {
  readonly last: StepEvent
  readonly count: number
  readonly losses: number
  readonly tokens: number
  readonly rows: number
}

/** Puts neighbouring steps together, each task's its own. */
export class Thinner {
  readonly #open = new Map<string, Gathered>()
  readonly #tasks = new Set<string>()

  /** The line that this step completes, if it does. */
  take(event: StepEvent): Omit<StepsLine, 'time'> | undefined {
    const key = event.task ?? ''
    const { count = 0, losses = 0, tokens = 0, rows = 0 } = this.#open.get(key) ?? {}
    const sums = { losses: losses + event.loss, tokens: tokens + event.tokens, rows: rows + event.rows }
    const gathered = { last: event, count: count + 1, ...sums }
    this.#open.set(key, gathered)
    this.#tasks.add(key)
    const { step, totalSteps } = event
    const span = Math.ceil(totalSteps / Math.max(mostPoints / this.#tasks.size, pointsOfTask))
    if (gathered.count < span && step !== 1 && step !== totalSteps) return undefined
    this.#open.delete(key)
    return lineOf(gathered)
  }

  /** What is open: before a checkpoint, so that a run resumed from it has every step before. */
  flush(): Omit<StepsLine, 'time'>[] {
    const lines = [...this.#open.values()].map(lineOf)
    this.#open.clear()
    return lines
  }
}

function lineOf({ last, count, losses, tokens, rows }: Gathered): Omit<StepsLine, 'time'> {
  const { task, step, totalSteps, epoch, learningRate, gradNorm } = last
  const common = { step, totalSteps, epoch, loss: losses / count, learningRate, gradNorm, tokens, rows }
  return { type: 'steps', ...(task !== undefined && { task }), ...common }
}
