// The C++ tests (test/core/*_test.cc): the core against libtorch, without Node.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { filesBelow } from './stamp.mjs'
import { compileJobs } from './steps.mjs'
import { Problem, step } from './terminal.mjs'

// A finding ends the program: it must not be lost among a test's own lines.
const sanitizers = {
  ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1'
}

/** Names of the test programs that contain one of the filters; all without filters. */
export function coreTestNames(filters = []) {
  const files = filesBelow(['test/core'], (file) => file.endsWith('_test.cc'))
  const names = files.map((file) => file.replace(/^.*\/(.*)\.cc$/, '$1'))
  const chosen = names.filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
  if (chosen.length > 0) return chosen
  throw new Problem(`No test/core/*_test.cc has a name with ${filters.join(' or ')}. There are: ${names.join(', ')}.`)
}

/**
 * Compiles the chosen programs. The plain ones share the addon's build folder and its compiled core; those with
 * sanitizers have a folder of their own.
 */
export async function buildCoreTests(names, torch, { asan = false } = {}) {
  const folder = asan ? 'build-asan' : 'build'
  const log = asan ? 'core-asan' : 'core-tests'
  if (asan && !existsSync(join(root, folder, 'CMakeCache.txt'))) {
    const options = ['-DCMAKE_BUILD_TYPE=Release', '-DTA_SANITIZE=ON', `-DLIBTORCH_ROOT=${torch.path}`]
    await run('cmake', ['-S', '.', '-B', folder, ...options], { log })
  }
  await step(asan ? 'core tests with sanitizers' : 'core tests', async ({ progress }) => {
    const onLine = (line) => {
      const ninja = /^\[(\d+)\/(\d+)\] /.exec(line)
      const make = /^\[ *(\d+)%\]/.exec(line)
      if (ninja) progress(Number(ninja[1]), Number(ninja[2]), 'files')
      else if (make) progress(Number(make[1]), 100, '%')
    }
    await run('cmake', ['--build', folder, '--parallel', String(compileJobs()), '--target', ...names], { log, onLine })
    return 'compiled'
  })
  return names.map((name) => join(root, folder, 'core-tests', name))
}

/** Runs one program; its output is shown, a failure is thrown. */
export function runCoreTest(program, { asan = false } = {}) {
  const env = { OMP_NUM_THREADS: '2', ...process.env, ...(asan ? sanitizers : {}) }
  return run(program, [], { env, inherit: true })
}
