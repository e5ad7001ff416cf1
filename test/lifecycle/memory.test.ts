import test from 'ava'
import { runChild, stress } from './support.js'

const steps = stress ? 2000 : 300

const median = (values: readonly number[]) =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

test.serial(`${steps} steps: resident memory grows by less than 2 % after the warm-up`, async (t) => {
  t.timeout(600_000)
  const { code, stdout, stderr } = await runChild('memory', `${steps}`)
  t.is(code, 0, stderr)
  const measured: number[] = JSON.parse(stdout.replace('memory ', ''))
  t.is(measured.length, steps / 20)
  const third = Math.floor(measured.length / 3)
  const [early, late] = [median(measured.slice(third, 2 * third)), median(measured.slice(-third))]
  t.log(`${(early / 2 ** 20).toFixed(1)} → ${(late / 2 ** 20).toFixed(1)} MiB`)
  t.true(late < early * 1.02, `${early} → ${late}`)
})
