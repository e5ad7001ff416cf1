import { type ChartOptions, lineChart, type Series, seriesStyle } from '../chart.js'
import { metricsOf, type RunHistory } from './history.js'
import type { StepsLine } from './lines.js'

export interface NamedRun {
  readonly name: string
  readonly history: RunHistory
}

type Point = readonly [step: number, value: number]

interface Curve {
  readonly run: string
  readonly task: string | undefined
  readonly history: RunHistory
}

/** Enough for the shape of a curve. */
const mostPoints = 250

/** Curves of one run, or of several in the same charts: loss, metrics, learning rate, gradient norm and speed. */
export function runCharts(runs: readonly NamedRun[]): string[] {
  const curves = runs.flatMap(({ name, history }) =>
    tasksOf(history).map((task): Curve => ({ run: name, task, history }))
  )
  const metrics = [...new Set(runs.flatMap(({ history }) => history.metricNames))].sort()
  const ofSteps = (of: (line: StepsLine) => number) =>
    series(curves, runs.length, 'line', (curve) => stepPoints(curve, of))
  const ofEvaluations = (name: string | undefined, mark: 'dots' | 'dashes') =>
    series(curves, runs.length, mark, (curve) => evaluationPoints(curve, name))
  const evaluationLoss = ofEvaluations(undefined, 'dashes').map((one) => ({ ...one, name: `${one.name}, evaluation` }))
  const chart = (title: string, yLabel: string, series: readonly Series[]) => ({
    title,
    xLabel: 'step',
    yLabel,
    series
  })
  const charts: ChartOptions[] = [
    chart('Loss', 'loss', [...ofSteps(({ loss }) => loss), ...evaluationLoss]),
    ...metrics.map((metric) => chart(`Evaluation ${metric}`, metric, ofEvaluations(metric, 'dots'))),
    chart(
      'Learning rate',
      'learning rate',
      ofSteps(({ learningRate }) => learningRate)
    ),
    chart(
      'Gradient norm',
      'norm',
      ofSteps(({ gradNorm }) => gradNorm)
    ),
    // Tasks of a run go through the model together.
    chart(
      'Speed',
      'tokens a second',
      runs.map(({ name, history }, i) => ({
        ...{ name: short(name), ...seriesStyle(i) },
        ...{ mark: 'line', points: speedPoints(history) }
      }))
    )
  ]
  return charts
    .map((one) => ({ ...one, series: one.series.filter(({ points }) => points.length > 0) }))
    .filter((one) => one.series.length > 0)
    .map(lineChart)
}

/** A run without tasks has one that has no name. */
function tasksOf({ steps, evaluations }: RunHistory): (string | undefined)[] {
  return [...new Set([...steps, ...evaluations].map(({ task }) => task))]
}

function series(
  curves: readonly Curve[],
  runs: number,
  mark: Series['mark'] & string,
  pointsOf: (curve: Curve) => readonly Point[]
): Series[] {
  return curves.map((curve, i) => {
    const { run, task } = curve
    const name = task === undefined ? run : runs === 1 ? task : `${run}: ${task}`
    return { name: short(name), ...seriesStyle(i), mark, points: pointsOf(curve) }
  })
}

const short = (name: string): string => (name.length > 24 ? `${name.slice(0, 11)}…${name.slice(-12)}` : name)

const isOf =
  ({ task }: Curve) =>
  (line: { readonly task?: string }) =>
    line.task === task

function stepPoints(curve: Curve, of: (line: StepsLine) => number): Point[] {
  return thinned(curve.history.steps.filter(isOf(curve)).map((line) => [line.step, of(line)] as const))
}

function evaluationPoints(curve: Curve, metric: string | undefined): Point[] {
  return curve.history.evaluations.filter(isOf(curve)).flatMap((line) => {
    const value = metric === undefined ? line.loss : metricsOf(line)[metric]
    return value === undefined || value === null ? [] : [[line.step, value] as const]
  })
}

function speedPoints({ logs }: RunHistory): Point[] {
  return thinned([...new Map(logs.map(({ step, tokensPerSecond }) => [step, tokensPerSecond]))])
}

/** Each point is the mean of those up to it from the point before. */
function thinned(points: readonly Point[]): Point[] {
  const span = Math.ceil(points.length / mostPoints) || 1
  return Array.from({ length: Math.ceil(points.length / span) }, (_, i) => {
    const some = points.slice(i * span, (i + 1) * span)
    return [some.at(-1)?.[0] ?? 0, some.reduce((sum, [, value]) => sum + value, 0) / some.length] as const
  })
}
