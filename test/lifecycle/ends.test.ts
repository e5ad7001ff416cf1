import test from 'ava'
import { runChild } from './support.js'

test.serial('process.exit in the middle of a step: the code asked for', async (t) => {
  const { code, signal, stdout, stderr } = await runChild('exit')
  t.deepEqual({ code, signal }, { code: 7, signal: null }, stderr)
  t.regex(stdout, /in a step/)
  t.is(stderr, '')
})

test.serial('process.exit between two tokens: the code asked for, without waiting for the last', async (t) => {
  const { code, signal, stderr } = await runChild('exit-writing')
  t.deepEqual({ code, signal, stderr }, { code: 7, signal: null, stderr: '' })
})

test.serial("an 'exit' listener may dispose of a model that trains; work it starts is refused", async (t) => {
  const { code, signal, stdout, stderr } = await runChild('exit-listener')
  t.deepEqual({ code, signal, stderr }, { code: 6, signal: null, stderr: '' })
  t.regex(stdout, /this environment is shutting down.*'exit' listener\ndisposed\n$/s)
})

test.serial('an error that nobody catches, in the middle of a step: code 1 and the error', async (t) => {
  const { code, signal, stderr } = await runChild('throw')
  t.deepEqual({ code, signal }, { code: 1, signal: null }, stderr)
  t.regex(stderr, /nobody catches this/)
})

test.serial('a rejection that nobody waits for, in the middle of a step: code 1 and the error', async (t) => {
  const { code, signal, stderr } = await runChild('reject')
  t.deepEqual({ code, signal }, { code: 1, signal: null }, stderr)
  t.regex(stderr, /nobody waits for this/)
})

test.serial('abort in the middle of a step: the run rejects with the reason, the process ends by itself', async (t) => {
  const { code, signal, stdout, stderr } = await runChild('abort')
  t.deepEqual({ code, signal }, { code: 0, signal: null }, stderr)
  t.regex(stdout, /in a step\naborted as asked/)
})

test.serial('work under way keeps the process alive, an idle model does not', async (t) => {
  const { code, signal, stdout, stderr } = await runChild('finish')
  t.deepEqual({ code, signal, stdout }, { code: 0, signal: null, stdout: 'step 5\n' }, stderr)
})

test.serial('models that are collected while they work', async (t) => {
  const { code, signal, stdout, stderr } = await runChild('collect')
  t.deepEqual({ code, signal, stdout }, { code: 0, signal: null, stdout: 'collected\n' }, stderr)
})
