import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { AdapterError } from '../../lib/native/errors.js'
import { explainSearch, findLibTorch, readLibTorchVersion, requireLibTorch } from '../../lib/native/libtorch.js'
import { libraryFile, minorOf, packageJson } from '../../lib/native/platform.js'
import { pythonTorchFolders } from '../../lib/native/python-torch.js'
import { bareEnvironment, temporaryFolder, writeFakeLibTorch, writeTree } from './support.js'

const minor = minorOf(packageJson.libtorch.version)

test('LIBTORCH wins over everything and is never passed over in silence', (t) => {
  const home = temporaryFolder(t)
  const env = bareEnvironment(home)
  writeFakeLibTorch(join(home, 'own'), `${minor}.7+cpu`)
  t.like(findLibTorch({ ...env, LIBTORCH: join(home, 'own') }).found, { version: `${minor}.7+cpu`, source: 'LIBTORCH' })

  writeFakeLibTorch(join(home, 'cache', `libtorch-${minor}.0`, 'torch'), `${minor}.0`)
  const missing = t.throws<AdapterError>(() => requireLibTorch({ ...env, LIBTORCH: join(home, 'nowhere') }))
  t.is(missing?.code, 'ERR_LIBTORCH_NOT_FOUND')
  t.regex(missing?.message ?? '', /nowhere \(the environment variable LIBTORCH\): the folder does not exist/)
})

test('another minor is refused with what was found, what is needed, where, and the command', (t) => {
  const home = temporaryFolder(t)
  writeFakeLibTorch(join(home, 'old'), '1.13.1+cu117')
  const error = t.throws<AdapterError>(() => requireLibTorch({ ...bareEnvironment(home), LIBTORCH: join(home, 'old') }))
  t.is(error?.code, 'ERR_LIBTORCH_VERSION')
  t.is(error?.expected, `libtorch ${minor}`)
  t.is(error?.got, `libtorch 1.13.1+cu117 at ${join(home, 'old')}`)
  t.regex(error?.message ?? '', /Unset LIBTORCH/)
})

test('a folder without libraries or without a version says so', (t) => {
  const home = temporaryFolder(t)
  const reason = (name: string) =>
    findLibTorch({ ...bareEnvironment(home), LIBTORCH: join(home, name) }).rejected[0]?.reason
  mkdirSync(join(home, 'empty'))
  t.regex(reason('empty') ?? '', /it has no lib\//)
  writeFakeLibTorch(join(home, 'nameless'), 'x')
  writeTree(join(home, 'nameless'), { 'version.py': 'nothing here' })
  t.regex(reason('nameless') ?? '', /it names no version/)
})

test('a library whose end is missing is refused before it is opened, which would kill the process', (t) => {
  const home = temporaryFolder(t)
  const reason = (bytes: Buffer) => {
    writeFakeLibTorch(join(home, 'cut'), `${minor}.0`)
    writeFileSync(join(home, 'cut', 'lib', libraryFile('torch_cpu')), bytes)
    const { found, rejected } = findLibTorch({ ...bareEnvironment(home), LIBTORCH: join(home, 'cut') })
    return found?.version ?? rejected[0]?.reason
  }
  // An ELF header of 64 bits whose 2 sections of 64 bytes are told at byte 900.
  const library = Buffer.alloc(900 + 2 * 64)
  library.writeUInt32BE(0x7f454c46, 0)
  library.writeUInt8(2, 4)
  library.writeBigUInt64LE(900n, 40)
  library.writeUInt16LE(64, 58)
  library.writeUInt16LE(2, 60)
  t.is(reason(library), `${minor}.0`)
  t.regex(reason(library.subarray(0, -1)) ?? '', /^the end of lib\/.*torch_cpu.* is missing$/)
})

test('the version is read from a wheel, an archive and the headers', (t) => {
  const home = temporaryFolder(t)
  writeTree(home, {
    'wheel/version.py': "from typing import Optional\n__version__ = '2.13.0+cpu'\n",
    'archive/build-version': '2.13.0+cu130\n',
    'headers/include/torch/headeronly/version.h': '#define TORCH_VERSION \\\n  "2.13.1"\n'
  })
  t.is(readLibTorchVersion(join(home, 'wheel')), '2.13.0+cpu')
  t.is(readLibTorchVersion(join(home, 'archive')), '2.13.0+cu130')
  t.is(readLibTorchVersion(join(home, 'headers')), '2.13.1')
  t.is(readLibTorchVersion(join(home, 'nothing')), undefined)
})

// The repository may have a libtorch of its own, which stands before Python and the cache; these two look at the parts.
test("a virtual environment's torch is found without starting Python", (t) => {
  const home = temporaryFolder(t)
  const site = join('lib', 'python3.12', 'site-packages', 'torch')
  writeFakeLibTorch(join(home, 'venv', site), `${minor}.0`)
  writeFakeLibTorch(join(home, 'system', site), '2.1.0')
  writeTree(join(home, 'system'), { 'bin/python3': '' })
  const env = { ...bareEnvironment(home), PATH: join(home, 'system', 'bin'), VIRTUAL_ENV: join(home, 'venv') }
  t.deepEqual(pythonTorchFolders(env).slice(0, 2), [join(home, 'venv', site), join(home, 'system', site)])
})

test("an environment's python that is a link leads to its own packages first", (t) => {
  const home = temporaryFolder(t)
  const site = join('lib', 'python3.11', 'site-packages', 'torch')
  writeTree(join(home, 'base'), { 'bin/python3': '' })
  writeFakeLibTorch(join(home, 'base', site), '2.1.0')
  writeFakeLibTorch(join(home, 'venv', site), `${minor}.0`)
  mkdirSync(join(home, 'venv', 'bin'))
  symlinkSync(join(home, 'base', 'bin', 'python3'), join(home, 'venv', 'bin', 'python3'))
  const env = { ...bareEnvironment(home), PATH: join(home, 'venv', 'bin') }
  t.deepEqual(pythonTorchFolders(env).slice(0, 2), [join(home, 'venv', site), join(home, 'base', site)])
})

test('pyenv: its shims lead to the version that is chosen', (t) => {
  const home = temporaryFolder(t)
  const site = join('lib', 'python3.11', 'site-packages', 'torch')
  writeTree(join(home, 'pyenv'), { 'shims/python3': '#!/bin/sh', version: '3.11.9\n' })
  writeFakeLibTorch(join(home, 'pyenv', 'versions', '3.11.9', site), `${minor}.0`)
  writeFakeLibTorch(join(home, 'pyenv', 'versions', '3.12.1', site), `${minor}.0`)
  const env = { ...bareEnvironment(home), PATH: join(home, 'pyenv', 'shims'), PYENV_VERSION: '3.12.1' }
  t.is(pythonTorchFolders(env)[0], join(home, 'pyenv', 'versions', '3.12.1', site))
})

test('the explanation names every place', (t) => {
  const home = temporaryFolder(t)
  const text = explainSearch({ found: undefined, rejected: [] }, bareEnvironment(home))
  t.regex(text, /the package's own libtorch folder\): none there/)
  t.regex(text, /the active Python's torch\): none there/)
  t.true(text.includes(`${join(home, 'cache')} (install-libtorch's cache): none there`))
})
