import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const stress = process.env['TA_STRESS'] === '1'
const rounds = stress ? 5000 : 150

test.serial(`${rounds} damaged model and adapter folders in one process: a clear error each, no crash`, async (t) => {
  t.timeout(1_800_000)
  const script = fileURLToPath(new URL('damaged-folders.js', import.meta.url))
  const child = spawn(process.execPath, [script, `${rounds}`, '1'])
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (text) => {
    stdout += text
  })
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), stress ? 1_500_000 : 120_000)
  const ended = await new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })))
  clearTimeout(timer)
  t.deepEqual(ended, { code: 0, signal: null }, stderr)
  const { loaded, refused, unclear, slowest, residentGrowth } = JSON.parse(stdout)
  t.log(`${refused} refused, ${loaded} loaded, slowest ${slowest.toFixed(0)} ms`)
  t.deepEqual(unclear, [])
  t.is(loaded + refused, rounds)
  // Else the damage would not reach the parsers.
  t.true(refused > rounds / 3, `${refused} of ${rounds} were refused`)
  t.true(slowest < 10_000, `${slowest} ms`)
  t.true(residentGrowth < 256 * 2 ** 20, `${residentGrowth} bytes`)
})
