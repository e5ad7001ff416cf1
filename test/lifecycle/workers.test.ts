import test from 'ava'
import { runChild, stress } from './support.js'

const count = stress ? 100 : 10

test.serial(`${count} worker threads load, step and are terminated in the middle of it`, async (t) => {
  t.timeout(600_000)
  const { code, signal, stdout, stderr } = await runChild('workers', `${count}`)
  t.deepEqual({ code, signal, stdout }, { code: 0, signal: null, stdout: 'all workers are gone\n' }, stderr)
  t.is(stderr, '')
})

for (const ending of ['exit', 'terminate']) {
  test.serial(`process.exit while worker threads train (${ending})`, async (t) => {
    for (let i = 0; i < (stress ? 20 : 2); i++) {
      const { code, signal, stdout, stderr } = await runChild('exit-with-workers', ending)
      t.deepEqual({ code, signal }, { code: 5, signal: null }, stderr)
      t.regex(stdout, /training in all threads/)
      t.is(stderr, '')
    }
  })
}

test.serial('while the main thread exits, workers train on and hear nothing of it', async (t) => {
  const { code, signal, stderr } = await runChild('exit-slowly-with-workers')
  t.deepEqual({ code, signal, stderr }, { code: 5, signal: null, stderr: '' })
})
