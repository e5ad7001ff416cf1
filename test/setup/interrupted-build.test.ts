// A compilation that was interrupted, and a build folder that is of no use, are begun anew.
import { existsSync, rmSync } from 'node:fs'
import { join, relative } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { repository, temporaryFolder, writeTree } from '../native/support.js'
import { script } from './script.js'

const steps = await script<{
  discardTorn(folder: string, libtorch: string): void
  markCompiling(folder: string, isCompiling?: boolean): void
}>('lib/steps.mjs')

const libtorch = '/somewhere/torch'

/** A build folder as CMake leaves it, by its path from the repository. */
function built(t: ExecutionContext, generator: string, { torch = libtorch, home = repository } = {}) {
  const folder = join(temporaryFolder(t), 'build')
  const program = generator === 'Ninja' ? 'build.ninja' : 'Makefile'
  const cache = [
    `CMAKE_GENERATOR:INTERNAL=${generator}`,
    `LIBTORCH_ROOT:UNINITIALIZED=${torch}`,
    `CMAKE_HOME_DIRECTORY:INTERNAL=${home.replace(/[/\\]$/, '')}`
  ]
  writeTree(folder, { 'CMakeCache.txt': cache.join('\n'), [program]: '', 'half.o': 'half' })
  const path = relative(repository, folder)
  const isKept = () => {
    steps.discardTorn(path, libtorch)
    return existsSync(join(folder, 'half.o'))
  }
  return { folder, path, isKept }
}

test('make trusts dates: what it was compiling when it was stopped goes with all else', (t) => {
  const { path, isKept } = built(t, 'Unix Makefiles')
  t.true(isKept())
  steps.markCompiling(path)
  t.false(isKept())
})

test('make’s folder stays where a compilation has come to its end', (t) => {
  const { path, isKept } = built(t, 'Unix Makefiles')
  steps.markCompiling(path)
  steps.markCompiling(path, false)
  t.true(isKept())
})

test('ninja knows which of its files are whole', (t) => {
  const { path, isKept } = built(t, 'Ninja')
  steps.markCompiling(path)
  t.true(isKept())
})

test('a folder of another libtorch, of another place, or whose configuration failed is begun anew', (t) => {
  t.false(built(t, 'Ninja', { torch: '/elsewhere/torch' }).isKept())
  t.false(built(t, 'Ninja', { home: '/elsewhere' }).isKept())
  const failed = built(t, 'Ninja')
  rmSync(join(failed.folder, 'build.ninja'))
  t.is(failed.isKept(), process.platform === 'win32')
})
