import { type ChartOptions, escapeXml, lineChart, type Series } from './chart.js'
import type { TrainingEvent } from './events.js'

/** One run's curves. */
export interface RunCurves {
  readonly name: string
  readonly losses: readonly { readonly step: number; readonly loss: number }[]
  /** The loss on the evaluation data and any of its metrics. */
  readonly evaluations: readonly { readonly step: number; readonly [metric: string]: number | undefined }[]
}

export interface ReportTable {
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
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

/** Told apart with every common kind of colour blindness (Okabe and Ito), the light ones last. */
const colours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#6f4e9b', '#e69f00', '#56b4e9']

/** Enough for the shape of a curve; more would only draw the noise of single steps. */
const mostPoints = 100

/** Gathers a run's events into its curves. The losses are those of the steps, however often the run logs. */
export class CurveRecorder {
  readonly #losses: { step: number; loss: number }[] = []
  readonly #evaluations: { step: number; [metric: string]: number }[] = []

  constructor(readonly name: string) {}

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
    const colour = colourOf(i)
    const training: Series = {
      name: run.name,
      colour,
      points: run.losses.map(({ step, loss }) => [step, loss] as const)
    }
    const evaluation: Series = {
      name: `${run.name}, evaluation`,
      colour,
      mark: 'dashes',
      points: measured(run, 'loss')
    }
    return [training, evaluation]
  })
  const metrics = runs.map((run, i) => ({
    name: run.name,
    colour: colourOf(i),
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

function colourOf(index: number): string {
  return colours[index % colours.length] ?? '#0072b2'
}

function measured(run: RunCurves, name: string): (readonly [number, number])[] {
  return run.evaluations.flatMap(({ step, [name]: value }) => (value === undefined ? [] : [[step, value] as const]))
}

/** A page that needs nothing but itself. */
export function reportHtml({ title, text, runs, metric, table }: ReportOptions): string {
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
    `<title>${escapeXml(title)}</title>`,
    `<style>${style}</style>`,
    `<h1>${escapeXml(title)}</h1>`,
    ...(text === undefined ? [] : [`<p>${escapeXml(text)}</p>`]),
    ...(table === undefined ? [] : [tableHtml(table)]),
    '<div class="charts">',
    ...learningCurves(runs, metric).map((chart) => `<figure>${chart}</figure>`),
    '</div>',
    '</html>',
    ''
  ].join('\n')
}

const style = [
  'body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; margin: 2rem auto; max-width: 84rem; padding: 0 1rem }',
  'h1 { font-size: 1.4rem }',
  'table { border-collapse: collapse; margin: 1rem 0 }',
  'th, td { padding: 0.3rem 0.9rem; border-bottom: 1px solid #d0d7de; text-align: right; font-variant-numeric: tabular-nums }',
  'th:first-child, td:first-child { text-align: left }',
  '.charts { display: flex; flex-wrap: wrap; gap: 1rem }',
  'figure { margin: 0; border: 1px solid #d0d7de; border-radius: 6px; overflow: hidden }',
  'svg { display: block; max-width: 100%; height: auto }'
].join('\n')

function tableHtml({ head, rows }: ReportTable): string {
  const cells = (row: readonly string[], tag: string) =>
    row.map((cell) => `<${tag}>${escapeXml(cell)}</${tag}>`).join('')
  const body = rows.map((row) => `<tr>${cells(row, 'td')}</tr>`)
  return [`<table>`, `<tr>${cells(head, 'th')}</tr>`, ...body, '</table>'].join('\n')
}
