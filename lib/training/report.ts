import * as check from '../config/check.js'
import { type ChartOptions, escapeXml, lineChart, type Series, seriesStyle } from './chart.js'
import type { TrainingEvent } from './events.js'
import { chartsHtml, pageHtml, type ReportTable, tableHtml } from './page.js'

export type { ReportTable } from './page.js'

/** One run's curves. */
export interface RunCurves {
  readonly name: string
  readonly losses: readonly { readonly step: number; readonly loss: number }[]
  /** The loss on the evaluation data and any of its metrics. */
  readonly evaluations: readonly { readonly step: number; readonly [metric: string]: number | undefined }[]
}

export interface ReportOptions {
  readonly title: string
  /** Sentences under the title. */
  readonly text?: string
  readonly runs: readonly RunCurves[]
  /** Drawn in a chart of its own. Default 'accuracy'. */
  readonly metric?: string
  readonly table?: ReportTable
}

/** Enough for the shape of a curve; more would only draw the noise of single steps. */
const mostPoints = 100

/**
 * Gathers the events of an AdapterTrainer's run into its curves. The losses are those of the steps, however often the run
 * logs. Of several tasks and sweeps report.html in the run's folder has each one's curves.
 */
export class CurveRecorder {
  readonly #losses: { step: number; loss: number }[] = []
  readonly #evaluations: { step: number; [metric: string]: number }[] = []

  constructor(readonly name: string) {
    check.checkString('name', name)
  }

  record(event: TrainingEvent): void {
    if (event.type === 'step') this.#losses.push({ step: event.step, loss: event.loss })
    if (event.type === 'evaluate') {
      this.#evaluations.push({ step: event.step, loss: event.loss, ...event.metrics })
    }
  }

  /** Each point is the mean loss of the steps up to it from the point before. */
  get curves(): RunCurves {
    const span = Math.ceil(this.#losses.length / mostPoints)
    const losses: { step: number; loss: number }[] = []
    for (let from = 0; from < this.#losses.length; from += span) {
      const steps = this.#losses.slice(from, from + span)
      const loss = steps.reduce((sum, one) => sum + one.loss, 0) / steps.length
      losses.push({ step: steps.at(-1)?.step ?? 0, loss })
    }
    return { name: this.name, losses, evaluations: [...this.#evaluations] }
  }
}

/** The chart of losses and, where it was measured, that of a metric. */
export function learningCurves(runs: readonly RunCurves[], metric = 'accuracy'): string[] {
  const losses = runs.flatMap((run, i): Series[] => {
    const style = seriesStyle(i)
    const training: Series = {
      name: run.name,
      ...style,
      points: run.losses.map(({ step, loss }) => [step, loss] as const)
    }
    const evaluation: Series = {
      name: `${run.name}, evaluation`,
      ...style,
      mark: 'dashes',
      points: measured(run, 'loss')
    }
    return [training, evaluation]
  })
  const metrics = runs.map((run, i) => ({
    name: run.name,
    ...seriesStyle(i),
    mark: 'dots' as const,
    points: measured(run, metric)
  }))
  const charts: ChartOptions[] = [
    { title: 'Loss', xLabel: 'step', yLabel: 'loss', series: losses },
    { title: `Evaluation ${metric}`, xLabel: 'step', yLabel: metric, series: metrics }
  ]
  return charts
    .map((chart) => ({ ...chart, series: chart.series.filter(({ points }) => points.length > 0) }))
    .filter(({ series }) => series.length > 0)
    .map(lineChart)
}

function measured(run: RunCurves, name: string): (readonly [number, number])[] {
  return run.evaluations.flatMap(({ step, [name]: value }) => (value === undefined ? [] : [[step, value] as const]))
}

/** A page that needs nothing but itself. */
export function reportHtml(options: ReportOptions): string {
  const { title, text, runs, metric, table } = checkReport(options)
  return pageHtml(title, [
    `<h1>${escapeXml(title)}</h1>`,
    ...(text === undefined ? [] : [`<p>${escapeXml(text)}</p>`]),
    ...(table === undefined ? [] : [tableHtml(table)]),
    ...chartsHtml(learningCurves(runs, metric))
  ])
}

function checkReport(options: ReportOptions): ReportOptions {
  const given = check.checkObject('options', options)
  check.checkKeys('options', given, ['title', 'text', 'runs', 'metric', 'table'])
  const { title, text, runs, metric, table } = given
  check.checkString('title', title)
  if (text !== undefined) check.checkString('text', text)
  if (metric !== undefined) check.checkNonEmptyString('metric', metric)
  if (table !== undefined) check.checkObject('table', table)
  for (const [i, one] of check.checkArray('runs', runs).entries()) {
    const run = check.checkObject(`runs[${i}]`, one)
    check.checkString(`runs[${i}].name`, run['name'])
    for (const curve of ['losses', 'evaluations']) check.checkArray(`runs[${i}].${curve}`, run[curve])
  }
  return options
}
