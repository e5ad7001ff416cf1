import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { temporaryFolder, writeTree } from '../native/support.js'
import { script } from './script.js'

interface Checks {
  checkNode(version?: string): void
  checkPlatform(platform?: string, glibc?: string | null): void
  checkDisk(gigabytes: number, what: string, stat?: () => { bavail: number; bsize: number }): void
  checkBuildTools(env?: NodeJS.ProcessEnv): void
}

const checks = await script<Checks>('lib/checks.mjs')

/** The message, after making sure that it is one paragraph which names a command or a place to go. */
function paragraph(t: ExecutionContext, work: () => void): string {
  const message = t.throws(work)?.message ?? ''
  t.false(message.includes('\n'))
  return message
}

/** An environment whose PATH holds only these programs, each a script that prints a text. */
function machine(t: ExecutionContext, programs: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const folder = temporaryFolder(t)
  writeTree(folder, programs)
  for (const name of Object.keys(programs)) chmodSync(join(folder, name), 0o755)
  return { PATH: folder }
}

const says = (text: string) => `#!/bin/sh\necho '${text}'\n`
const cmake = says('cmake version 3.28.1')
const ninja = says('1.11')

test('Node: too old names both versions, where it is, and how to get one', (t) => {
  const message = paragraph(t, () => checks.checkNode('18.20.4'))
  t.regex(message, /Node\.js 20\.19 or newer is needed .* this is 18\.20\.4 at .*nvm install 22/)
  for (const version of ['20.18.3', '19.9.0']) t.throws(() => checks.checkNode(version), undefined, version)
  for (const version of ['20.19.0', '20.20.2', '22.0.0', '24.1.0'])
    t.notThrows(() => checks.checkNode(version), version)
})

test('platform: unknown ones, musl and an old glibc', (t) => {
  t.regex(
    paragraph(t, () => checks.checkPlatform('freebsd-x64', 'none')),
    /no libtorch for freebsd-x64\. Supported are linux-x64/
  )
  t.regex(
    paragraph(t, () => checks.checkPlatform('linux-x64', null)),
    /This Linux uses musl .*docker run -it node:22-bookworm/
  )
  t.regex(
    paragraph(t, () => checks.checkPlatform('linux-x64', '2.17')),
    /glibc 2\.28 or newer, but this system has 2\.17/
  )
  t.notThrows(() => checks.checkPlatform('linux-arm64', '2.28'))
  t.notThrows(() => checks.checkPlatform('darwin-arm64', 'none'))
})

test('disk: what needs how much, and how much there is', (t) => {
  const message = paragraph(t, () => checks.checkDisk(1.2, 'Compiling', () => ({ bavail: 1000, bsize: 4096 })))
  t.regex(message, /^Compiling needs about 1\.2 GB, but the disk of .* has only 0\.0 GB free/)
  t.notThrows(() => checks.checkDisk(1.2, 'Compiling', () => ({ bavail: 1e6, bsize: 4096 })))
})

const posix = process.platform === 'win32' ? test.failing : test

posix('CMake: missing or too old', (t) => {
  t.regex(
    paragraph(t, () => checks.checkBuildTools(machine(t, { ninja }))),
    /CMake 3\.25 or newer is needed to compile the addon, but no "cmake" was found on PATH\. Install it: .+cmake/
  )
  t.regex(
    paragraph(t, () => checks.checkBuildTools(machine(t, { ninja, cmake: says('cmake version 3.22.1') }))),
    /the "cmake" on PATH is 3\.22\.1\. Install a newer one: python3 -m pip install --upgrade cmake/
  )
})

posix('build program: neither ninja nor make', (t) => {
  t.regex(
    paragraph(t, () => checks.checkBuildTools(machine(t, { cmake }))),
    /Neither ninja nor make was found on PATH.*Install it: /
  )
})

posix('compiler: missing, wrongly named by CXX, or too old', (t) => {
  t.regex(
    paragraph(t, () => checks.checkBuildTools(machine(t, { cmake, ninja }))),
    /C\+\+20 compiler is needed .* none was found \(looked for c\+\+, g\+\+, clang\+\+ on PATH\)\. Install one: /
  )
  t.regex(
    paragraph(t, () => checks.checkBuildTools({ ...machine(t, { cmake, ninja }), CXX: 'g++-99' })),
    /looked for g\+\+-99 on PATH, as CXX says/
  )
  const old = '#!/bin/sh\n[ "$1" = --version ] && { echo "g++ 9.4.0"; exit 0; }\nexit 1\n'
  t.regex(
    paragraph(t, () => checks.checkBuildTools(machine(t, { cmake, ninja, 'c++': old }))),
    /The compiler "c\+\+" \(g\+\+ 9\.4\.0\) cannot compile C\+\+20/
  )
})

test('the tools of this machine pass', (t) => {
  t.notThrows(() => checks.checkBuildTools())
})
