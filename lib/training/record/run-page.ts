import { join } from 'node:path'
import { isPlainObject } from '../../config/check.js'
import { replaceFile } from '../../exchange/replace-file.js'
import { describeBest } from '../best-words.js'
import { escapeXml } from '../chart.js'
import { diskError } from '../disk-error.js'
import { chartsHtml, pageHtml, tableHtml } from '../page.js'
import { describeRates } from '../speed.js'
import { metricsOf, type RunHistory } from './history.js'
import type { OwnSettings } from './lines.js'
import { runCharts } from './run-charts.js'

/** The page of a run in its folder. */
export const pageFile = 'report.html'

const titleStart = 'Training of '

/** How each begins, up to the run's name. */
export const pageStart = pageHtml(titleStart, []).split('</title>')[0] ?? ''

/** Replaced as a whole: whoever opens it sees one state. */
export function writeRunPage(folder: string, history: RunHistory): void {
  const file = join(folder, pageFile)
  try {
    replaceFile(file, runPage(history))
  } catch (error) {
    throw diskError(file, 'write the report', error)
  }
}

export function runPage(history: RunHistory): string {
  const name = history.start?.name ?? 'run'
  const title = `${titleStart}'${name}'`
  return pageHtml(title, [`<h1>${escapeXml(title)}</h1>`, ...runSections({ name, history })])
}

/** Everything about one run, as finished HTML. */
export function runSections({ name, history }: { readonly name: string; readonly history: RunHistory }): string[] {
  return [
    `<p>${escapeXml(describeStatus(history))}</p>`,
    ...chartsHtml(runCharts([{ name, history }])),
    ...evaluationTable(history),
    ...descriptions(history)
  ]
}

/** `running: step 12 of 300, …` */
export function describeStatus(history: RunHistory): string {
  const { status, step, start, end, failure, time = '' } = history
  const total = history.steps.at(-1)?.totalSteps ?? start?.totalSteps
  const epoch = end?.epoch ?? history.steps.at(-1)?.epoch
  const { tasks } = history
  const loss = tasks.length === 0 ? history.steps.at(-1)?.loss : undefined
  const facts = [
    `${status}: step ${step}${total === undefined ? '' : ` of ${total}`}`,
    epoch === undefined ? '' : `epoch ${epoch.toFixed(2)}`,
    history.learners,
    loss === undefined ? '' : `loss ${number(loss)}`,
    history.rates === undefined ? '' : describeRates(history.rates),
    history.secondsLeft === undefined ? '' : `${duration(history.secondsLeft)} left`,
    describeBest(end ?? {}, number) ?? '',
    end?.stoppedEarly === true ? 'ended early' : '',
    end === undefined ? '' : `${duration(end.seconds)}`,
    ...history.taskEnds.map(({ task, step, reason }) => `'${task}' ended at step ${step} (${reason})`),
    failure?.message ?? '',
    `written ${time}`
  ]
  return facts.filter((fact) => fact !== '').join(', ')
}

function evaluationTable({ evaluations, metricNames }: RunHistory): string[] {
  if (evaluations.length === 0) return []
  const hasTasks = evaluations.some(({ task }) => task !== undefined)
  const rows = evaluations.map((line) => {
    const metrics = metricsOf(line)
    const values = metricNames.map((name) => (metrics[name] === undefined ? '' : number(metrics[name])))
    const task = hasTasks ? [line.task ?? ''] : []
    return [String(line.step), ...task, line.epoch.toFixed(2), number(line.loss), ...values]
  })
  const head = ['step', ...(hasTasks ? ['task'] : []), 'epoch', 'loss', ...metricNames]
  return ['<h2>Evaluations</h2>', tableHtml({ head, rows })]
}

function descriptions({ start, saves }: RunHistory): string[] {
  if (start === undefined) return []
  const { parameters, args, model, versions, rows, tasks, members } = start
  // What each member of a sweep has for itself, none has of all.
  const given = Object.values(members ?? {}).flatMap((own) => Object.keys(own))
  const ofAll = Object.entries(args).filter(([key]) => !given.includes(key))
  const values = (entries: readonly (readonly [string, unknown])[]) => entries.map(([key, one]) => [key, text(one)])
  const meeting = tasks === undefined ? [] : Object.entries({ mode: tasks.mode, sampler: tasks.sampler })
  return [
    ...(members === undefined ? [] : ['<h2>Members</h2>', ownTable('member', members)]),
    ...(tasks === undefined ? [] : ['<h2>Tasks</h2>', ownTable('task', tasks.own)]),
    '<h2>Parameters</h2>',
    tableHtml({
      head: ['part', 'total', 'trained'],
      rows: parameters.map(({ part, total, trained }) => [part, count(total), count(trained)])
    }),
    ...(saves.length === 0
      ? []
      : [
          '<h2>Checkpoints</h2>',
          tableHtml({ head: ['step', 'folder'], rows: saves.map(({ step, folder }) => [String(step), folder]) })
        ]),
    '<h2>Arguments</h2>',
    tableHtml({ head: ['argument', 'value'], rows: values([...meeting, ...ofAll, ['rows', rows]]) }),
    '<h2>Model</h2>',
    `<pre>${escapeXml(JSON.stringify(model, null, 2))}</pre>`,
    '<h2>Versions</h2>',
    tableHtml({ head: ['package', 'version'], rows: values(Object.entries(versions)) })
  ]
}

/** A row for each, a column for whatever one of them has. */
function ownTable(called: string, own: OwnSettings): string {
  const columns = [...new Set(Object.values(own).flatMap((one) => Object.keys(one)))]
  const rows = Object.entries(own).map(([name, one]) => [
    name,
    ...columns.map((column) => (one[column] === undefined ? '' : text(one[column])))
  ])
  return tableHtml({ head: [called, ...columns], rows })
}

function text(value: unknown): string {
  return Array.isArray(value) || isPlainObject(value) ? JSON.stringify(value) : String(value)
}

const number = (value: number | null): string => (value === null ? '–' : String(Number(value.toPrecision(4))))
const count = (value: number | null): string => (value === null ? '–' : Math.round(value).toLocaleString('en'))

/** `1 h 3 min`, `2 min 5 s`, `4.2 s` */
export function duration(seconds: number): string {
  if (!(seconds >= 60)) return `${seconds.toFixed(1)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
