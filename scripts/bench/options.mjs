// The benchmark's command line.
import { parseOptions } from '../lib/options.mjs'
import { Problem } from '../lib/terminal.mjs'
import { rows } from './rows.mjs'

const usage = `npm run bench -- [ROWS] [options]

Measures this library beside transformers with adapters at its best public settings, in turns in one run, in fp32 and with
dropout 0, and beside both the machine's own limit.

  ROWS             which of ${Object.keys(rows).join(', ')} (default: all)
  --threads LIST   thread counts with commas between (default: 1,2)
  --device DEVICE  where both sides compute: cpu, cuda or cuda:N (default: cpu)
  --rounds N       turns of both sides in each row (default: the row's own)
  --counts LIST    how many adapters are resident in the rows of switch (default: 10,100,1000)
  --json FILE      also write every number, after each row
  --help
`

/** What is measured on other devices, too; the rest reads the process's memory or opens its models by itself. */
const deviceTypes = ['time', 'switch']

const isCount = (number) => Number.isInteger(number) && number > 0

function listOf(option, text, example) {
  const numbers = text.split(',').map(Number)
  if (numbers.every(isCount)) return numbers
  throw new Problem(`--${option} takes whole numbers such as ${example}, but got "${text}".`)
}

/** @returns {{ names: string[], counts: number[] | undefined, threads: number[], rounds: number | undefined, device: string, json: string | undefined } | string} text to print */
export function readOptions(args) {
  const { values, positionals } = parseOptions(
    {
      args,
      allowPositionals: true,
      options: {
        threads: { type: 'string', default: '1,2' },
        rounds: { type: 'string' },
        counts: { type: 'string' },
        device: { type: 'string', default: 'cpu' },
        json: { type: 'string' },
        help: { type: 'boolean', default: false }
      }
    },
    'npm run bench -- --help'
  )
  if (values.help) return usage
  const names = positionals.length > 0 ? positionals : Object.keys(rows)
  const unknown = names.filter((name) => !Object.hasOwn(rows, name))
  if (unknown.length > 0)
    throw new Problem(`There is no benchmark called ${unknown.join(', ')}; there are ${Object.keys(rows).join(', ')}.`)
  const threads = listOf('threads', values.threads, '1,2')
  const counts = values.counts === undefined ? undefined : listOf('counts', values.counts, '10,100')
  if (counts !== undefined && !names.includes('switch')) throw new Problem('--counts is for the rows of switch alone.')
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds)
  if (rounds !== undefined && !isCount(rounds)) {
    throw new Problem(`--rounds takes a whole number from 1, but got "${values.rounds}".`)
  }
  if (!/^(cpu|cuda(:\d+)?)$/.test(values.device))
    throw new Problem(`--device takes cpu, cuda or cuda:N, but got "${values.device}".`)
  const onlyHere = names.filter((name) => rows[name].some(({ type }) => !deviceTypes.includes(type)))
  if (values.device !== 'cpu' && onlyHere.length > 0)
    throw new Problem(`Only on the CPU: ${onlyHere.join(', ')}. Name the other rows with --device ${values.device}.`)
  return { names, counts, threads, rounds, device: values.device, json: values.json }
}
