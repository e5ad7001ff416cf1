import { counted } from '../config/counted.js'
import { describeBest } from '../training/best-words.js'
import type { EndEvent, EvaluateEvent, LogEvent, TrainingEvent } from '../training/events.js'
import type { Metrics } from '../training/metrics.js'
import { describeRates } from '../training/speed.js'
import type { TaskEndEvent, TasksEndEvent, TasksEvent } from './events.js'

/** Of one that trains, or of several side by side. */
export type AnyEvent = TrainingEvent | TasksEvent

/** An event as a line for people, of several tasks under the name of its own; a single step has none. */
export function describeEvent(event: AnyEvent): string | undefined {
  switch (event.type) {
    case 'step':
      return undefined
    case 'log':
      return named(event, describeLog(event))
    case 'evaluate':
      return named(event, describeEvaluation(event))
    case 'save':
      return `step ${event.step}: saved ${event.folder}`
    case 'taskEnd':
      return describeTaskEnd(event)
    case 'end':
      return describeEnd(event)
  }
}

const named = ({ task }: { readonly task?: string }, line: string): string =>
  task === undefined ? line : `${task}: ${line}`

function describeTaskEnd({ task, step, reason }: TaskEndEvent): string {
  return `${task} ${reason === 'noRows' ? 'has no rows: the others go on' : `ended at step ${step}: ${reason}`}`
}

function describeEnd(event: EndEvent | TasksEndEvent): string {
  const { step, steps, seconds, stoppedEarly } = event
  if (steps === 0) return `the run was complete at step ${step}: nothing was left to train`
  const resumed = steps < step ? ` (${step} with those before)` : ''
  const early = stoppedEarly ? ', ended early' : ''
  const best = describeBest(event)
  const top = best === undefined ? '' : `, ${best}`
  return `${counted(steps, 'step')}${resumed} in ${seconds.toFixed(1)} s, mean loss ${lossesOf(event)}${top}${early}`
}

function lossesOf(event: EndEvent | TasksEndEvent): string {
  if (!('tasks' in event)) return event.loss.toFixed(4)
  return Object.entries(event.tasks)
    .filter(([, { steps }]) => steps > 0)
    .map(([name, { loss }]) => `${name} ${loss.toFixed(4)}`)
    .join(', ')
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
function describeMetrics(metrics: Metrics): string {
  return Object.entries(metrics)
    .map(([name, value]) => `${name} ${value.toFixed(4)}`)
    .join(', ')
}

/** Three digits. */
export function short(value: number): string {
  return String(Number(value.toPrecision(3)))
}
