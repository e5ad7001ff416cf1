// npm run bench -- --help
// Ours beside transformers with adapters at its best public settings, in turns in one run, fp32, dropout 0; and the
// machine's own limit: the work that cannot be left out over the matrix rate measured in the same run.
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { argv } from 'node:process'
import { requireCuda } from '../lib/cuda.mjs'
import { main, step } from '../lib/terminal.mjs'
import { measure } from './measure.mjs'
import { readOptions } from './options.mjs'
import { rows, switchRows } from './rows.mjs'

const show = (value, unit) => {
  if (unit === 'bytes') return `${Math.round(value / 1e6)} MB`
  if (value < 1e-4) return `${(value * 1e6).toFixed(2)} µs`
  return value < 0.1 ? `${(value * 1000).toFixed(2)} ms` : `${(value * 1000).toFixed(0)} ms`
}
const isMemory = ({ type }) => type === 'memory' || type === 'trunkMemory'
const percent = (share) => `${Math.round(share * 100)} %`

function print(results) {
  const header = ['row', 'threads', 'ours', 'adapters', 'ratio', 'of minima', 'aim', 'limit', 'ours reaches']
  const lines = [header]
  for (const { row, threads, result } of results) {
    const { ours, peer, unit, ratio, limit, limitShare, process: whole, apart, loop, single, native } = result
    const aim = row.target === undefined ? '' : isMemory(row) ? `≤ ${row.target}` : `≥ ${row.target}`
    lines.push([
      row.name,
      String(threads),
      show(ours.median, unit),
      show(peer.median, unit),
      `${ratio.toFixed(2)} ×`,
      isMemory(row) ? '' : `${(peer.min / ours.min).toFixed(2)} ×`,
      aim,
      limit === undefined ? '' : show(limit, unit),
      limitShare === undefined ? '' : percent(limitShare)
    ])
    if (loop) {
      const times = [show(ours.median, unit), show(loop.median, unit)]
      lines.push([`${row.name}, a loop`, String(threads), ...times, `${loop.ratio.toFixed(2)} ×`, '', '', '', ''])
    }
    if (single) {
      const times = [show(ours.median, unit), show(single.median, unit)]
      const name = `${row.name}, over ours with one for all rows`
      lines.push([name, String(threads), ...times, `${single.ratio.toFixed(2)} ×`, '', `≤ ${row.single}`, '', ''])
    }
    if (native) {
      const times = [show(ours.median, unit), show(native.median, unit)]
      const name = `${row.name}, over our own BERT`
      const minima = `${(ours.min / native.min).toFixed(2)} ×`
      lines.push([name, String(threads), ...times, `${native.ratio.toFixed(2)} ×`, minima, `≤ ${row.native}`, '', ''])
    }
    if (apart) {
      const times = [show(ours.median, unit), show(apart.median, unit)]
      const name = `${row.name}, beside ours one by one`
      lines.push([name, String(threads), ...times, `${apart.ratio.toFixed(2)} ×`, '', '', '', ''])
    }
    if (whole) {
      const times = [show(whole.ours.median, unit), show(whole.peer.median, unit)]
      lines.push([
        `${row.name}, whole process`,
        String(threads),
        ...times,
        `${whole.ratio.toFixed(2)} ×`,
        '',
        '',
        '',
        ''
      ])
    }
  }
  const widths = header.map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const format = (line) => `| ${line.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`
  console.log(`\n${format(header)}\n| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`)
  for (const line of lines.slice(1)) console.log(format(line))
  console.log(
    `\nMedians. ${cpus()[0]?.model ?? 'unknown processor'}. Times: adapters over ours; memory, one adapter for all rows, and our own BERT: ours over the other.`
  )
}

function writeNumbers(file, results) {
  const plain = results.map(({ row, threads, result }) => ({
    name: row.name,
    what: row.what,
    target: row.target,
    threads,
    ...result
  }))
  writeFileSync(file, `${JSON.stringify(plain, null, 2)}\n`)
}

await main(async () => {
  const options = readOptions(argv.slice(2))
  if (typeof options === 'string') return console.log(options)
  const { names, counts, threads: threadCounts, rounds, device, json } = options
  if (device !== 'cpu') requireCuda(device)
  const results = []
  const chosen = names.flatMap((name) => (name === 'switch' && counts ? switchRows(counts) : rows[name]))
  for (const row of chosen) {
    for (const threads of threadCounts) {
      await step(`${row.name}, ${threads} thread${threads > 1 ? 's' : ''}`, async ({ progress }) => {
        const settings = {
          device,
          progress: (done, total, unit = 'rounds') => progress(done, total, unit),
          loading: (done, total) => progress(done, total, 'adapters'),
          ...(rounds ? { rounds } : {})
        }
        const result = await measure(row, threads, settings)
        results.push({ row, threads, result })
        if (json) writeNumbers(json, results)
        const { ours, peer, unit, ratio, native, single } = result
        const over = (other, what) => (other ? `; over ${what} ${other.ratio.toFixed(2)} ×` : '')
        const more = over(native, 'our own BERT') + over(single, 'ours with one for all rows')
        return `ours ${show(ours.median, unit)}, adapters ${show(peer.median, unit)}, ${ratio.toFixed(2)} ×${more}`
      })
    }
  }
  print(results)
})
