import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { scratch } from '../model/support.js'
import { runChild, startChild, stress } from './support.js'

const kills = stress ? 30 : 3

test.serial(
  `kill -9 at ${kills} random moments of a training: each resumes to the bits of one that was never killed`,
  async (t) => {
    t.timeout(1_200_000)
    const folder = scratch(t)
    const whole = startChild('train', join(folder, 'whole'))
    await whole.line('begins')
    const start = performance.now()
    const { code, stdout, stderr } = await whole.ended
    const duration = performance.now() - start
    t.is(code, 0, stderr)
    const expected = /digest (\w{64})/.exec(stdout)?.[1]
    t.truthy(expected)

    const random = Random.fromSeed(kills)
    let early = 0
    for (let i = 0; i < kills; i++) {
      const outputDir = join(folder, `killed-${i}`)
      const child = startChild('train', outputDir)
      await child.line('begins')
      await wait((duration * random.nextBelow(1000)) / 1100)
      child.process.kill('SIGKILL')
      const { signal } = await child.ended
      early += Number(signal === 'SIGKILL')
      const left = readdirSync(folder).includes(`killed-${i}`) ? readdirSync(outputDir) : []
      const resumed = await runChild('train', outputDir)
      t.deepEqual({ code: resumed.code, signal: resumed.signal }, { code: 0, signal: null }, resumed.stderr)
      t.is(/digest (\w{64})/.exec(resumed.stdout)?.[1], expected, `${left.join(' ')}; ${resumed.stdout}`)
    }
    // The machine decides how far each one came; most must have been in the middle.
    t.true(early >= kills / 2, `${early} of ${kills} were killed before their end`)
  }
)
