import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { fetchedLibTorch, fetchLibTorch, placeEntry } from '../../lib/native/fetch-libtorch.js'
import { findLibTorch } from '../../lib/native/libtorch.js'
import { withLock } from '../../lib/native/lock.js'
import { libraryFile, packageJson, platformKey } from '../../lib/native/platform.js'
import { bareEnvironment, repository, runNode, temporaryFolder, writeFakeLibTorch, zip } from './support.js'

const { version } = packageJson.libtorch

const c10 = libraryFile('c10')

function fakeWheel(release: string, library = Buffer.from('c10')): Buffer {
  return zip([
    { name: 'torch/version.py', data: Buffer.from(`__version__ = '${release}'\n`) },
    { name: `torch/lib/${c10}`, data: library },
    { name: 'torch/lib/libtorch_python.so', data: Buffer.from('python') },
    { name: 'torch/nn/modules.py', data: Buffer.from('python') },
    { name: `torch-${version}.dist-info/METADATA`, data: Buffer.from('Requires-Dist: filelock\n') }
  ])
}

test('of a wheel and an archive only what is needed is kept, in one layout', (t) => {
  t.is(placeEntry('torch/lib/libc10.so'), 'torch/lib/libc10.so')
  t.is(placeEntry('libtorch/lib/libc10.so'), 'torch/lib/libc10.so')
  t.is(placeEntry('libtorch/build-version'), 'torch/build-version')
  t.is(placeEntry('torch/version.py'), 'torch/version.py')
  for (const name of [
    'torch/lib/libtorch_python.so',
    'torch/nn/modules.py',
    'torch/share/x.py',
    'functorch/a',
    'other/lib/x.so'
  ]) {
    t.is(placeEntry(name), undefined, name)
  }
})

test('a file given by the user is unpacked into the cache, whole or not at all', async (t) => {
  const home = temporaryFolder(t)
  const env = bareEnvironment(home)
  const file = join(home, 'torch.whl')
  writeFileSync(file, fakeWheel(`${version}+cpu`))
  const folder = await fetchLibTorch({ file, env })
  t.is(folder, join(home, 'cache', `libtorch-${version}`, 'torch'))
  t.deepEqual(readdirSync(join(folder, 'lib')), [c10])
  t.like(JSON.parse(readFileSync(join(folder, '..', 'fetched.json'), 'utf8')), {
    version: `${version}+cpu`,
    origin: file
  })
})

test('what is in the cache and lacks a library, or the end of one, is none: it is fetched again', (t) => {
  const home = temporaryFolder(t)
  const env = bareEnvironment(home)
  const folder = join(home, 'cache', `libtorch-${version}`, 'torch')
  writeFakeLibTorch(folder, version)
  t.is(fetchedLibTorch({ env }), folder)
  t.is(findLibTorch(env).found?.path, folder)
  const torch = join(folder, 'lib', libraryFile('torch_cpu'))
  cpSync(process.execPath, torch)
  truncateSync(torch, 700_000)
  for (const damage of [() => {}, () => rmSync(torch)]) {
    damage()
    t.is(findLibTorch(env).found, undefined)
    t.is(fetchedLibTorch({ env }), undefined)
  }
})

test('another version, a wrong checksum and a foreign zip leave nothing behind', async (t) => {
  const home = temporaryFolder(t)
  const env = bareEnvironment(home)
  const file = join(home, 'torch.whl')
  writeFileSync(file, fakeWheel('2.1.0'))
  await t.throwsAsync(fetchLibTorch({ file, env }), { code: 'ERR_LIBTORCH_VERSION', message: /got 2\.1\.0/ })
  await t.throwsAsync(fetchLibTorch({ file, env, sha256: '0'.repeat(64) }), { code: 'ERR_CHECKSUM' })
  writeFileSync(file, zip([{ name: 'readme', data: Buffer.from('x') }]))
  await t.throwsAsync(fetchLibTorch({ file, env }), {
    code: 'ERR_ARCHIVE',
    message: /is no archive of libtorch .*holds no torch\/ or libtorch\/ folder/
  })
  t.deepEqual(readdirSync(join(home, 'cache')), [])
})

test('a libtorch for another machine is refused by its name, and nothing of it is kept', async (t) => {
  const home = temporaryFolder(t)
  const env = bareEnvironment(home)
  const file = join(home, 'torch.whl')
  const foreign = Buffer.alloc(64)
  foreign.writeUInt32BE(0x7f454c46)
  foreign.writeUInt16LE(platformKey === 'linux-arm64' ? 62 : 183, 18)
  const name = platformKey === 'linux-arm64' ? 'linux-x64' : 'linux-arm64'
  writeFileSync(file, fakeWheel(version, foreign))
  const refusal = { code: 'ERR_ARCHIVE', message: new RegExp(`it is for ${name}, and this machine is ${platformKey}`) }
  await t.throwsAsync(fetchLibTorch({ file, env }), refusal)
  writeFileSync(file, zip([{ name: 'torch/version.py', data: Buffer.from(`__version__ = '${version}'`) }]))
  await t.throwsAsync(fetchLibTorch({ file, env }), { code: 'ERR_ARCHIVE', message: /it has no lib\// })
  t.deepEqual(readdirSync(join(home, 'cache')), [])
})

test('what a killed run left is removed', async (t) => {
  const home = temporaryFolder(t)
  const env = bareEnvironment(home)
  mkdirSync(join(home, 'cache', '.unpack-dead', 'torch'), { recursive: true })
  mkdirSync(join(home, 'cache', '.pip-dead'), { recursive: true })
  writeFileSync(
    join(home, 'cache', '.fetch.lock'),
    JSON.stringify({ pid: 2 ** 22 + 1, host: (await import('node:os')).hostname() })
  )
  const file = join(home, 'torch.whl')
  writeFileSync(file, fakeWheel(version))
  await fetchLibTorch({ file, env })
  t.deepEqual(readdirSync(join(home, 'cache')), [`libtorch-${version}`])
})

// A stand-in for python3 -m pip: it knows the wheel only under another Python's name and without "+cpu".
const fakePip = `#!/bin/sh
echo "$@" >> "$HOME/calls"
case "$*" in
  *--version*) [ "$3" = --version ] && { echo pip 99; exit 0; } ;;
esac
case "$*" in
  *"--python-version 3.11"*"torch==${version}") ;;
  *) echo "ERROR: No matching distribution found for torch"; exit 1 ;;
esac
while [ "$1" != -d ]; do shift; done
cp "$HOME/torch.whl" "$2/torch.whl"
`
const needsShell = process.platform === 'win32' ? test.failing : test

needsShell('pip is asked for the small build first, then for any, then for other Pythons', async (t) => {
  const home = temporaryFolder(t)
  mkdirSync(join(home, 'bin'))
  writeFileSync(join(home, 'bin', 'python3'), fakePip)
  chmodSync(join(home, 'bin', 'python3'), 0o755)
  writeFileSync(join(home, 'torch.whl'), fakeWheel(version))
  const steps: string[] = []
  // cuda: the archive is left out, so that nothing leaves this machine
  const env = { ...bareEnvironment(home), PATH: `${join(home, 'bin')}:/usr/bin:/bin` }
  const folder = await fetchLibTorch({
    env,
    cuda: true,
    report: { step: (text) => steps.push(text), progress: () => {} }
  })
  t.true(existsSync(join(folder, 'lib', c10)))
  t.true(steps.includes(`asking pip for torch==${version}`))
  t.regex(readFileSync(join(home, 'calls'), 'utf8'), /--no-deps .*--python-version 3\.11 torch==/)
})

needsShell('without archive and pip one paragraph says what was tried and what helps', async (t) => {
  const home = temporaryFolder(t)
  const error = await t.throwsAsync(fetchLibTorch({ env: bareEnvironment(home), cuda: true }), { code: 'ERR_FETCH' })
  t.regex(error?.message ?? '', /no pip: "python3 -m pip --version" does not run/)
  t.regex(error?.message ?? '', /install-libtorch --file ARCHIVE/)
  t.false(error?.message.includes('\n'))
})

test('a lock is waited for, and taken over when its owner died', async (t) => {
  const file = join(temporaryFolder(t), 'lock')
  const order: string[] = []
  const waited: number[] = []
  const first = withLock(file, async () => {
    await new Promise((resolve) => setTimeout(resolve, 400))
    order.push('first')
  })
  await new Promise((resolve) => setTimeout(resolve, 100))
  await withLock(
    file,
    async () => order.push('second'),
    (pid) => waited.push(pid)
  )
  await first
  t.deepEqual(order, ['first', 'second'])
  t.deepEqual(waited, [process.pid])

  const hold = `import { withLock } from './dist/lib/native/lock.js'
    await withLock(${JSON.stringify(file)}, async () => process.kill(process.pid, 'SIGKILL'))`
  t.is((await runNode(['--input-type=module', '-e', hold], process.env, repository)).code, null)
  t.true(existsSync(file))
  t.is(await withLock(file, async () => 'taken over'), 'taken over')
  t.false(existsSync(file))
})
