import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { repository, temporaryFolder } from '../native/support.js'
import { type Process, startProcess } from '../support/process.js'

const posix = process.platform === 'win32' ? test.failing : test

const running = (pid: number): boolean => {
  try {
    // One that nobody has asked after yet is a zombie, which runs no more.
    return !/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

const onLinux = process.platform === 'linux' ? test : test.skip

onLinux('what a set-up that was killed left running is ended by the next one, however deep it stands', async (t) => {
  const folder = temporaryFolder(t)
  cpSync(join(repository, 'scripts', 'lib'), join(folder, 'scripts', 'lib'), { recursive: true })
  const code = (module: string, body: string) => {
    const url = pathToFileURL(join(folder, 'scripts', 'lib', module)).href
    const file = join(folder, `${module}-test.mjs`)
    writeFileSync(file, `import * as lib from '${url}'\n${body}`)
    return file
  }
  const deep = `
    const child = require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    console.log('runs ' + child.pid)
    setInterval(() => {}, 1000)`
  const file = code(
    'run.mjs',
    `await lib.run(process.execPath, ['-e', ${JSON.stringify(deep)}], { log: 'deep', onLine: console.log })`
  )
  let pid = 0
  const onText = ({ texts, kill }: Process) => {
    const found = Number(/runs (\d+)/.exec(texts.stdout)?.[1] ?? 0)
    if (pid === 0 && found > 0) kill('SIGKILL')
    pid ||= found
  }
  await startProcess(process.execPath, [file], { onText }).ended
  t.true(running(pid))
  const next = code('lock.mjs', `console.log(await lib.withLock(async () => 'goes on'))`)
  const { stdout } = await startProcess(process.execPath, [next], {}).ended
  t.regex(stdout, /ending what a set-up that was killed left running[\s\S]*goes on/)
  t.false(running(pid))
  t.deepEqual(readdirSync(join(folder, '.setup', 'groups')), [])
})

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
