import test from 'ava'
import { runNode } from '../native/support.js'
import { script } from './script.js'

const { readOptions } = await script<{ readOptions(args: readonly string[]): unknown }>('bench/options.mjs')

test('the benchmark explains itself', async (t) => {
  const { code, stdout, stderr } = await runNode(['scripts/bench/bench.mjs', '--help'])
  t.is(code, 0, stderr)
  t.regex(stdout, /^npm run bench -- \[ROWS\]/)
  for (const option of ['--threads', '--device', '--rounds', '--json']) t.true(stdout.includes(option), option)
})

test('its options, and what is none', async (t) => {
  t.deepEqual(readOptions(['step', '--threads', '1,4', '--rounds', '3']), {
    names: ['step'],
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
  t.throws(() => readOptions(['--rounds', 'many']), { message: /--rounds takes a whole number/ })
  const { code, stderr } = await runNode(['scripts/bench/bench.mjs', '--tread', '1'])
  t.is(code, 1)
  t.regex(stderr, /Unknown option '--tread'[\s\S]*See npm run bench -- --help/)
  t.notRegex(stderr, /\n\s+at /)
})
