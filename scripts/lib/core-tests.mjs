// The C++ tests (test/core/*_test.cc): the core against libtorch, without Node.
import { join } from 'node:path'
import { root, run } from './run.mjs'
import { filesBelow } from './stamp.mjs'
import { compileJobs, compileProgress, discardTorn, markCompiling } from './steps.mjs'
import { Problem, step } from './terminal.mjs'
import { unpackFixtures } from './unpack-fixtures.mjs'

// A finding ends the program: it must not be lost among a test's own lines.
const sanitizers = {
  ASAN_OPTIONS: 'detect_stack_use_after_return=1:strict_string_checks=1:detect_leaks=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1'
}

/** The sanitizers and their leak detector are those of GCC and Clang on Linux. */
export const canSanitize = process.platform === 'linux'

/** The program of all tests. */
const allTests = 'core_tests'

/** Names of the test programs: that of all tests, or those of the files whose names contain one of the filters. */
export function coreTestNames(filters = []) {
  if (filters.length === 0) return [allTests]
  const files = filesBelow(['test/core'], (file) => file.endsWith('_test.cc'))
  const names = files.map((file) => file.replace(/^.*\/(.*)\.cc$/, '$1'))
  const chosen = names.filter((name) => filters.some((filter) => name.includes(filter)))
  if (chosen.length > 0) return chosen
  throw new Problem(`No test/core/*_test.cc has a name with ${filters.join(' or ')}. There are: ${names.join(', ')}.`)
}

/**
 * Compiles programs. The plain ones, by name, share the addon's build folder and its compiled core; that of all tests with
 * sanitizers has a folder of its own.
 */
export async function buildCoreTests(names) {
  await step('core tests', ({ progress }) => build('build', names, 'core-tests', progress))
  return names.map((name) => join(root, 'build', 'core-tests', name))
}

export async function buildSanitizedTests(torch) {
  const folder = 'build-asan'
  discardTorn(folder, torch.path)
  await step('core tests with sanitizers', async ({ progress }) => {
    const options = ['-DCMAKE_BUILD_TYPE=Release', '-DTA_SANITIZE=ON', `-DLIBTORCH_ROOT=${torch.path}`]
    await run('cmake', ['-S', '.', '-B', folder, ...options], { log: 'core-asan' })
    return build(folder, [allTests], 'core-asan', progress)
  })
  return join(root, folder, 'core-tests', allTests)
}

async function build(folder, targets, log, progress) {
  const args = ['--build', folder, '--parallel', String(compileJobs()), '--target', ...targets]
  markCompiling(folder)
  await run('cmake', args, { log, onLine: compileProgress(progress) })
  markCompiling(folder, false)
  return 'compiled'
}

/**
 * Runs one program, or its tests with one of `filters` in their names; `short`: with a tenth of the mutated files. Its
 * output is shown, a failure is thrown.
 */
export function runCoreTest(program, { asan = false, short = false, filters = [], env = {} } = {}) {
  unpackFixtures()
  const given = { OMP_NUM_THREADS: '2', ...process.env, ...(short ? { TA_FUZZ: '50' } : {}), ...env }
  return run(program, filters, { env: { ...given, ...(asan ? sanitizers : {}) }, inherit: true })
}
