import test from 'ava'
import { runNode } from '../native/support.js'
import { script } from './script.js'

const { readOptions } = await script<{ readOptions(args: readonly string[]): unknown }>('bench/options.mjs')
const { switchRows } = await script<{
  switchRows(counts: readonly number[]): readonly { name: string; setup: { count: number } }[]
}>('bench/rows.mjs')

test('the benchmark explains itself', async (t) => {
  const { code, stdout, stderr } = await runNode(['scripts/bench/bench.mjs', '--help'])
  t.is(code, 0, stderr)
  t.regex(stdout, /^npm run bench -- \[ROWS\]/)
  for (const option of ['--threads', '--device', '--rounds', '--counts', '--json'])
    t.true(stdout.includes(option), option)
})

test('its options, and what is none', async (t) => {
  t.deepEqual(readOptions(['step', '--threads', '1,4', '--rounds', '3']), {
    names: ['step'],
    counts: undefined,
    threads: [1, 4],
    rounds: 3,
    device: 'cpu',
    json: undefined
  })
  t.throws(() => readOptions(['stpe']), { message: /no benchmark called stpe; there are step, / })
  t.throws(() => readOptions(['--threads', '0']), { message: /--threads takes whole numbers/ })
  t.like(readOptions(['step', '--device', 'cuda:1']), { device: 'cuda:1' })
  t.throws(() => readOptions(['step', '--device', 'tpu']), { message: /--device takes cpu, cuda or cuda:N/ })
  t.throws(() => readOptions(['memory', '--device', 'cuda']), { message: /Only on the CPU: memory/ })
  t.like(readOptions(['switch', '--counts', '10,100']), { names: ['switch'], counts: [10, 100] })
  t.throws(() => readOptions(['switch', '--counts', 'few']), { message: /--counts takes whole numbers such as 10,100/ })
  t.throws(() => readOptions(['step', '--counts', '10']), { message: /--counts is for the rows of switch alone/ })
  t.deepEqual(
    switchRows([3, 7]).map(({ name, setup }) => [name, setup.count]),
    [
      ['switch (C9), 3 adapters', 3],
      ['switch (C9), forward beside 3', 3],
      ['switch (C9), 7 adapters', 7],
      ['switch (C9), forward beside 7', 7]
    ]
  )
  t.throws(() => readOptions(['--rounds', 'many']), { message: /--rounds takes a whole number/ })
  const { code, stderr } = await runNode(['scripts/bench/bench.mjs', '--tread', '1'])
  t.is(code, 1)
  t.regex(stderr, /Unknown option '--tread'[\s\S]*See npm run bench -- --help/)
  t.notRegex(stderr, /\n\s+at /)
})
