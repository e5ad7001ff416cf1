import { createHash } from 'node:crypto'
import { escapeXml } from '../training/chart.js'
import { chartsHtml, pageHtml, pageStyle } from '../training/page.js'
import { runCharts } from '../training/record/run-charts.js'
import { duration, runSections } from '../training/record/run-page.js'
import type { WatchedRun } from './watch-runs.js'

/**
 * Everything is drawn by the server and is text where it comes from a run; the page's one script fetches the page anew and
 * puts its <main> in the place of the old one. Without scripts the page works, too: its form is a plain one.
 */
export function watchPage(folder: string, runs: readonly WatchedRun[], asked: readonly string[]): string {
  const chosen = chosenOf(runs, asked)
  const only = chosen.length === 1 ? chosen[0] : undefined
  const title = `Runs in ${folder}`
  const none =
    '<p>There are no runs yet. A run with <code>reportTo: &#39;jsonl&#39;</code> appears here when it begins.</p>'
  const main = [
    ...(runs.length === 0 ? [none] : listHtml(runs, chosen)),
    ...(only === undefined
      ? chartsHtml(runCharts(chosen))
      : [`<h2>${escapeXml(shownName(only.name, folder))}</h2>`, ...runSections(only)])
  ]
  return pageHtml(
    title,
    [
      `<h1>${escapeXml(title)}</h1>`,
      '<p id="state" role="status"></p>',
      '<main>',
      ...main,
      '</main>',
      `<script>${script}</script>`
    ],
    [`<style>${style}</style>`]
  )
}

const shownName = (name: string, folder: string): string => (name === '.' ? folder : name)

/** Those that were asked for and are there; without any, the one that began last. */
function chosenOf(runs: readonly WatchedRun[], asked: readonly string[]): readonly WatchedRun[] {
  const found = runs.filter(({ name }) => asked.includes(name))
  return found.length > 0 ? found : runs.slice(0, 1)
}

/** With a sign of its own: not by colour alone. */
const signs = { running: '▶ running', finished: '✓ finished', stopped: '■ stopped', failed: '✗ failed', lost: '? lost' }

function listHtml(runs: readonly WatchedRun[], chosen: readonly WatchedRun[]): string[] {
  const rows = runs.map((run) => {
    const { name, history } = run
    const isChosen = chosen.includes(run)
    // Of several tasks none stands for all.
    const has = history.tasks.length === 0 ? history : undefined
    const total = history.steps.at(-1)?.totalSteps ?? history.start?.totalSteps ?? Number.NaN
    const cells = [
      signs[history.status],
      `${history.step} / ${shown(total, 0)}`,
      shown(history.steps.at(-1)?.epoch, 2),
      shown(has?.steps.at(-1)?.loss, 4),
      shown(has?.evaluations.at(-1)?.loss, 4),
      metricOf(run),
      shown(history.rates?.tokensPerSecond, 0),
      shown(history.rates?.rowsPerSecond, 1),
      history.secondsLeft === undefined ? '' : duration(history.secondsLeft)
    ]
    const box = `<input type="checkbox" name="run" value="${escapeXml(name)}"${isChosen ? ' checked' : ''}>`
    return `<tr><td><label>${box} ${escapeXml(name)}</label></td>${cells.map((cell) => `<td>${escapeXml(cell)}</td>`).join('')}</tr>`
  })
  const head = ['run', 'status', 'step', 'epoch', 'loss', 'evaluation loss', 'metric', 'tokens/s', 'rows/s', 'left']
  return [
    '<form method="get">',
    '<div class="list"><table>',
    `<tr>${head.map((cell) => `<th scope="col">${cell}</th>`).join('')}</tr>`,
    ...rows,
    '</table></div>',
    '<button>Show the marked runs</button>',
    '</form>'
  ]
}

/** What the best is chosen by, or else the first of the newest evaluation. */
function metricOf({ history }: WatchedRun): string {
  if (history.learners !== '') return history.learners
  const best = history.end?.best
  if (best !== undefined) return `best ${best.metric} ${shown(best.value, 4)}`
  const [name, value] = Object.entries(history.evaluations.at(-1)?.metrics ?? {})[0] ?? []
  return name === undefined ? '' : `${name} ${shown(value, 4)}`
}

function shown(value: number | undefined | null, digits: number): string {
  if (value === undefined || value === null || !Number.isFinite(value)) return ''
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

const style = [
  '.list { overflow-x: auto }',
  '.list td, .list th { white-space: nowrap; padding: 0.3rem 0.6rem } .list th:nth-child(2), .list td:nth-child(2) { text-align: left }',
  'label { cursor: pointer }',
  'button { font: inherit; padding: 0.3rem 0.9rem }',
  '.live button { display: none }',
  ':focus-visible { outline: 2px solid var(--link); outline-offset: 2px }',
  '#state:empty { display: none }'
].join('\n')

const script = `
const state = document.getElementById('state')
const main = document.querySelector('main')
document.documentElement.className = 'live'
let last = main.innerHTML
async function refresh() {
  try {
    const answer = await fetch(location.href)
    if (!answer.ok) throw new Error(answer.status)
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html').querySelector('main').innerHTML
    state.textContent = ''
    if (next === last) return
    last = next
    const focused = main.contains(document.activeElement) ? document.activeElement.value : undefined
    main.innerHTML = next
    for (const box of main.querySelectorAll('input')) if (box.value === focused) box.focus()
  } catch {
    state.textContent = 'torch-adapters watch does not answer; the page shows what it said last.'
  }
}
main.addEventListener('change', () => {
  const query = new URLSearchParams(new FormData(main.querySelector('form')))
  history.replaceState(null, '', '?' + query)
  refresh()
})
setInterval(refresh, 2000)
`

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`

/** Nothing but what stands above may run or style, and nothing comes from elsewhere, whatever a run is called. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  `script-src ${hashOf(script)}`,
  `style-src ${hashOf(pageStyle)} ${hashOf(style)}`,
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'"
].join('; ')
