import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import test from 'ava'
import { Random } from '../../lib/data/random.js'
import { scratch } from '../model/support.js'
import { runChild, startChild, stress } from './support.js'

/** Temporary folders of a run's folder and of the adapter's below it. */
const temporary = (outputDir: string) =>
  [outputDir, join(outputDir, 'adapter')]
    .flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []))
    .filter((name) => name.startsWith('.'))

/** Of each kind of run, how many; the long form has three hundred. */
const kills = Object.entries({ train: [3, 90], tasks: [2, 90], sweep: [1, 60], stream: [1, 60] } as const)

for (const [kind, [few, many]] of kills) {
  const count = stress ? many : few
  test.serial(
    `kill -9 at ${count} random moments of ${kind}: each resumes to the bits of one never killed`,
    async (t) => {
      t.timeout(3_600_000)
      const folder = scratch(t)
      const whole = startChild(kind, join(folder, 'whole'))
      await whole.line('begins')
      const start = performance.now()
      const { code, stdout, stderr } = await whole.ended
      let duration = performance.now() - start
      t.is(code, 0, stderr)
      const expected = /digest (\w{64})/.exec(stdout)?.[1]
      t.truthy(expected)

      const random = Random.fromSeed(count)
      let early = 0
      let i = 0
      for (; early < count && i < 10 * count; i++) {
        const outputDir = join(folder, `killed-${i}`)
        const child = startChild(kind, outputDir)
        await child.line('begins')
        await wait((duration * random.nextBelow(1000)) / 1100)
        child.kill('SIGKILL')
        const { signal } = await child.ended
        if (signal === 'SIGKILL') early++
        // The machine decides how far each one comes.
        else duration *= 0.7
        const left = readdirSync(folder).includes(`killed-${i}`) ? readdirSync(outputDir) : []
        const resumed = await runChild(kind, outputDir)
        t.deepEqual({ code: resumed.code, signal: resumed.signal }, { code: 0, signal: null }, resumed.stderr)
        t.is(/digest (\w{64})/.exec(resumed.stdout)?.[1], expected, `${left.join(' ')}; ${resumed.stdout}`)
      }
      t.is(early, count, `killed before their end, of ${i}`)
      t.log(`${early} of ${i} were killed before their end`)
    }
  )
}

test.serial(
  'what a killed process left half-written is removed by the next, what a living one writes is not',
  async (t) => {
    const outputDir = join(scratch(t), 'run')
    const holder = startChild('hold-checkpoint', outputDir)
    await holder.line('half written')
    const held = () => temporary(outputDir).length
    while (held() < 2) await wait(20)
    const [checkpoint, adapter] = temporary(outputDir)
    t.regex(`${checkpoint} ${adapter}`, /^\.checkpoint-1000-\S+ \.saving-\S+$/)

    t.is((await runChild('train', outputDir, '4')).code, 0)
    t.deepEqual(temporary(outputDir), [checkpoint, adapter])

    holder.kill('SIGKILL')
    t.is((await holder.ended).signal, 'SIGKILL')
    // Of another machine on the same disk: nobody here knows whether it lives.
    const foreign = '.checkpoint-7-1-00000000'
    mkdirSync(join(outputDir, foreign))
    t.is((await runChild('train', outputDir, '4')).code, 0)
    t.deepEqual(temporary(outputDir), [foreign])
  }
)
