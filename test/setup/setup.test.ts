import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { repository, runNode, temporaryFolder } from '../native/support.js'

/** A clone that is set up, by copies of the small things and links to the large ones. */
function clone(t: ExecutionContext): string {
  const folder = temporaryFolder(t)
  for (const path of [
    'scripts/lib',
    'scripts/setup.mjs',
    'lib',
    'native',
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'CMakeLists.txt',
    'dist/lib',
    'dist/.stamp'
  ]) {
    cpSync(join(repository, path), join(folder, path), { recursive: true })
  }
  cpSync(join(repository, 'test'), join(folder, 'test'), {
    recursive: true,
    filter: (path) => !/[/\\]fixtures$/.test(path)
  })
  symlinkSync(join(repository, 'node_modules'), join(folder, 'node_modules'))
  symlinkSync(join(repository, 'build'), join(folder, 'build'))
  return folder
}

const setup = (folder: string, env: NodeJS.ProcessEnv = {}, onOutput?: (stdout: string) => void) =>
  runNode([join(folder, 'scripts', 'setup.mjs')], { ...process.env, ...env }, folder, onOutput)

test.serial('a second start with nothing changed does nothing, within three seconds', async (t) => {
  const folder = clone(t)
  // A machine that has much to do may make any one of them late, but not each.
  const seconds: number[] = []
  do {
    const start = performance.now()
    const { code, stdout, stderr } = await setup(folder)
    seconds.push((performance.now() - start) / 1000)
    t.is(code, 0, stderr)
    t.regex(stdout, /✓ set-up: nothing to do, libtorch \d/)
  } while (Math.min(...seconds) >= 3 && seconds.length < 10)
  t.true(Math.min(...seconds) < 3, `took ${seconds} s`)
})

test.serial('a changed TypeScript source is compiled again, and what has no source any more is removed', async (t) => {
  const folder = clone(t)
  writeFileSync(join(folder, 'lib', 'new-file.ts'), 'export const answer: number = 42\n')
  mkdirSync(join(folder, 'dist', 'lib', 'gone'), { recursive: true })
  writeFileSync(join(folder, 'dist', 'lib', 'gone', 'old.js'), '')
  const { code, stdout, stderr } = await setup(folder)
  t.is(code, 0, stdout + stderr)
  t.regex(stdout, /✓ TypeScript: compiled/)
  t.regex(readFileSync(join(folder, 'dist', 'lib', 'new-file.js'), 'utf8'), /answer = 42/)
  t.false(existsSync(join(folder, 'dist', 'lib', 'gone', 'old.js')))
})

test.serial('an error in a source is shown with its place, and the next start tries again', async (t) => {
  const folder = clone(t)
  const file = join(folder, 'lib', 'broken.ts')
  writeFileSync(file, "export const answer: number = 'text'\n")
  for (let i = 0; i < 2; i++) {
    const { code, stderr } = await setup(folder)
    t.is(code, 1)
    t.regex(stderr, /lib\/broken\.ts/)
    t.notRegex(stderr, /at .*\.mjs:\d/)
  }
  rmSync(file)
  t.is((await setup(folder)).code, 0)
})

test.serial(
  'without a network npm’s own words are shown, and what to look at; nothing is half installed',
  async (t) => {
    const folder = clone(t)
    rmSync(join(folder, 'node_modules'))
    const { code, stdout, stderr } = await setup(folder, {
      npm_config_registry: 'http://127.0.0.1:9',
      npm_config_cache: join(folder, 'npm-cache'),
      npm_config_fetch_retries: '0'
    })
    t.is(code, 1)
    const shown = (stdout + stderr).replaceAll('\n', ' ')
    t.regex(shown, /npm error code ECONNREFUSED/)
    t.regex(shown, /npm needs a registry: is there a network, and do "npm config get registry" and "npm ping" answer\?/)
    t.false(existsSync(join(folder, 'node_modules', '.torch-adapters-stamp')))
  }
)

test.serial('a wrong LIBTORCH is one paragraph, not a stack', async (t) => {
  const { code, stderr } = await setup(clone(t), { LIBTORCH: '/nowhere/libtorch' })
  t.is(code, 1)
  t.regex(stderr, /LIBTORCH is set, but what it names cannot be used\..*\/nowhere\/libtorch/s)
  t.notRegex(stderr, /at .*\.mjs:\d/)
})

test.serial('two set-ups at once: one waits for the other; a dead one is not waited for', async (t) => {
  const folder = clone(t)
  mkdirSync(join(folder, '.setup'))
  const sleeper = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)'])
  t.teardown(() => sleeper.kill('SIGKILL'))
  writeFileSync(join(folder, '.setup', 'lock'), JSON.stringify({ pid: sleeper.pid }))
  const { code, stdout } = await setup(folder, {}, (text) => {
    if (text.includes('waiting for process')) sleeper.kill('SIGKILL')
  })
  t.is(code, 0)
  t.true(stdout.includes(`waiting for process ${sleeper.pid}, which sets up this clone already`))
  t.false(existsSync(join(folder, '.setup', 'lock')))
  // Another process has the number of the one that died.
  writeFileSync(join(folder, '.setup', 'lock'), JSON.stringify({ pid: process.pid, start: 'long ago' }))
  const next = await setup(folder)
  t.is(next.code, 0)
  t.notRegex(next.stdout, /waiting for process/)
})
