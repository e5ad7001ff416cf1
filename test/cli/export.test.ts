import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import test from 'ava'
import { repository, runNode, temporaryFolder } from '../native/support.js'

const launcher = 'dist/lib/cli/export.js'

test('without Python it says what is missing and where the script lies', async (t) => {
  const { code, stdout, stderr } = await runNode([launcher, 'm', 'm.pt2'], { PATH: temporaryFolder(t) })
  t.is(code, 1)
  t.is(stdout, '')
  t.regex(stderr, /^torch-adapters-export: no Python 3\.10 or newer; looked for /)
  t.regex(stderr, /TORCH_ADAPTERS_PYTHON/)
  t.true(stderr.includes(join(repository, 'scripts', 'export')), stderr)
})

test('an interpreter that is named is the only one that is tried', async (t) => {
  const named = join(temporaryFolder(t), 'nothing-here')
  const { code, stderr } = await runNode([launcher], { ...process.env, TORCH_ADAPTERS_PYTHON: named })
  t.is(code, 1)
  t.true(stderr.includes(`looked for ${named}.`), stderr)
})

// A shell script in the place of Python: what it is called with, and that its exit status is the launcher's own.
const onUnix = process.platform === 'win32' ? test.skip : test
onUnix('arguments, the path of the script and the exit status go through', async (t) => {
  const bin = temporaryFolder(t)
  const python = join(bin, 'python3')
  const sees = 'case "$1" in -c) exit 0 ;; esac\necho "$PYTHONPATH"\nfor word in "$@"; do echo "$word"; done\nexit 2\n'
  writeFileSync(python, `#!/bin/sh\n${sees}`)
  chmodSync(python, 0o755)
  const env = { PATH: [bin, '/bin', '/usr/bin'].join(delimiter), PYTHONPATH: '/mine' }
  const { code, stdout } = await runNode([launcher, 'a b', 'm.pt2', '--inputs', 'x=float32[batch,4]'], env)
  t.is(code, 2)
  t.deepEqual(stdout.trimEnd().split('\n'), [
    [join(repository, 'scripts', 'export'), '/mine'].join(delimiter),
    '-m',
    'torch_adapters_export',
    'a b',
    'm.pt2',
    '--inputs',
    'x=float32[batch,4]'
  ])
})

onUnix('what Python wrote is opened here, and what is refused then is told', async (t) => {
  const folder = temporaryFolder(t)
  const archive = (name: string) => {
    const file = join(folder, `${name}.pt2`)
    writeFileSync(file, gunzipSync(readFileSync(join(repository, `test/parity/fixtures/exported-own/${name}.pt2.gz`))))
    return file
  }
  const python = join(folder, 'python3')
  // Writes nothing: the archives lie there.
  writeFileSync(python, '#!/bin/sh\nexit 0\n')
  chmodSync(python, 0o755)
  const env = { ...process.env, TORCH_ADAPTERS_PYTHON: python }
  const taken = await runNode([launcher, 'm', archive('mean-head')], env)
  t.deepEqual([taken.code, taken.stdout, taken.stderr], [0, '', ''])
  const { code, stderr } = await runNode([launcher, 'm', archive('late-mean'), '--json'], env)
  t.is(code, 1)
  t.regex(stderr, /late-mean\.pt2 is written, and fromExported refuses it: load the exported model: .*aten\.mean\.dim/)
})
