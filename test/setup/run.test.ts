import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { repository, temporaryFolder } from '../native/support.js'
import { type Process, startProcess } from '../support/process.js'

const posix = process.platform === 'win32' ? test.failing : test

posix('a script that is stopped waits for the program that it runs', async (t) => {
  const folder = temporaryFolder(t)
  const ended = join(folder, 'ended')
  const tidies = `
    process.on('SIGTERM', () => setTimeout(() => {
      require('node:fs').writeFileSync(${JSON.stringify(ended)}, '')
      process.exit(1)
    }, 300))
    console.log('runs')
    setInterval(() => {}, 1000)`
  const file = join(folder, 'script.mjs')
  const run = pathToFileURL(join(repository, 'scripts', 'lib', 'run.mjs')).href
  writeFileSync(
    file,
    `import { run } from '${run}'
    await run(process.execPath, ['-e', ${JSON.stringify(tidies)}], { log: 'run-test', onLine: console.log })
    console.log('goes on')`
  )
  let stopped = false
  const onText = ({ texts, kill }: Process) => {
    if (!stopped && texts.stdout.includes('runs')) kill('SIGTERM')
    stopped ||= texts.stdout.includes('runs')
  }
  const { code, stdout } = await startProcess(process.execPath, [file], { onText }).ended
  t.is(code, 130)
  t.true(existsSync(ended))
  t.notRegex(stdout, /goes on/)
})
