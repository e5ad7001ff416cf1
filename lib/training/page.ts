import { escapeXml } from './chart.js'

/** A page of HTML: its parts are finished HTML, everything else is escaped here. It needs nothing but itself. */

export interface ReportTable {
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export function pageHtml(title: string, body: readonly string[], head: readonly string[] = []): string {
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
    `<title>${escapeXml(title)}</title>`,
    `<style>${pageStyle}</style>`,
    ...head,
    ...body,
    '</html>',
    ''
  ].join('\n')
}

/** Light or dark as the reader's system is; the charts' parts go by their classes. */
export const pageStyle = [
  ':root { color-scheme: light dark; --ink: #1f2328; --soft: #57606a; --line: #d0d7de; --back: #ffffff; --link: #0550ae }',
  '@media (prefers-color-scheme: dark) {',
  ':root { --ink: #e6edf3; --soft: #9da7b3; --line: #3d444d; --back: #0d1117; --link: #79c0ff }',
  '.series { filter: brightness(1.4) } }',
  'body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); margin: 2rem auto; max-width: 84rem; padding: 0 1rem }',
  'h1 { font-size: 1.4rem }',
  'h2 { font-size: 1.1rem; margin-top: 2rem }',
  'a { color: var(--link) }',
  'table { border-collapse: collapse; margin: 1rem 0 }',
  'th, td { padding: 0.3rem 0.9rem; border-bottom: 1px solid var(--line); text-align: right; font-variant-numeric: tabular-nums }',
  'th:first-child, td:first-child { text-align: left }',
  'td { white-space: nowrap }',
  '.long { white-space: normal; overflow-wrap: anywhere }',
  'pre { overflow: auto; border: 1px solid var(--line); border-radius: 6px; padding: 0.7rem }',
  '.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1rem }',
  'figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; overflow: hidden }',
  'svg { display: block; width: 100%; height: auto }',
  '.back { fill: var(--back) } .ink { fill: var(--ink) } .soft { fill: var(--soft) } .grid { stroke: var(--line) }'
].join('\n')

/** Characters of a cell that is one line. */
const longest = 24

export function tableHtml({ head, rows }: ReportTable): string {
  const cells = (row: readonly string[], tag: string) =>
    row.map((cell) => `<${tag}${cell.length > longest ? ' class="long"' : ''}>${escapeXml(cell)}</${tag}>`).join('')
  const body = rows.map((row) => `<tr>${cells(row, 'td')}</tr>`)
  return ['<table>', `<tr>${cells(head, 'th')}</tr>`, ...body, '</table>'].join('\n')
}

export const chartsHtml = (charts: readonly string[]): string[] =>
  charts.length === 0 ? [] : ['<div class="charts">', ...charts.map((chart) => `<figure>${chart}</figure>`), '</div>']
