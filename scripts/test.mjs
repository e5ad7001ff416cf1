// npm test: sets the clone up, then types, style, layers, package and all tests. Ends with "N passed, N failed".
//   node scripts/test.mjs [AVA ARGUMENTS…]
import { join } from 'node:path'
import { checkLayers } from './check-layers.mjs'
import { checkUnits } from './check-units.mjs'
import { buildCoreTests, buildSanitizedTests, canSanitize, coreTestNames, runCoreTest } from './lib/core-tests.mjs'
import { withLock } from './lib/lock.mjs'
import { root, run } from './lib/run.mjs'
import { useScratch } from './lib/scratch.mjs'
import { libtorch } from './lib/steps.mjs'
import { biome, clangFormat } from './lib/style.mjs'
import { main, Problem, seconds } from './lib/terminal.mjs'
import { setup } from './setup.mjs'

const start = performance.now()
let passed = 0
let failed = 0
/** What failed, by name: told once more at the end. @type {string[]} */
const failures = []

/** A check that counts as one test. */
async function check(name, work) {
  const begun = performance.now()
  try {
    await work()
    passed++
    console.log(`✓ ${name} (${seconds(begun)})`)
  } catch (error) {
    failed++
    failures.push(name)
    console.log(`✗ ${name} (${seconds(begun)})`)
    console.error(error instanceof Problem ? error.message : error)
  }
}

const bin = (path) => join(root, 'node_modules', path)

const without = (find) => async () => {
  const problems = find(root)
  if (problems.length > 0) throw new Problem(problems.join('\n'))
}

// ava marks each passed test with ✔, and each failed one, uncaught exception or empty file with ✘.
async function ava(args) {
  const counts = { passed: 0, failed: 0 }
  const onLine = (line) => {
    console.log(line)
    if (/^\s+✔ /.test(line)) counts.passed++
    else if (/^\s+✘ /.test(line)) {
      counts.failed++
      failures.push(line.trim().slice(2))
    }
  }
  try {
    await run(process.execPath, [bin('ava/entrypoints/cli.mjs'), '--no-color', ...args], { log: 'ava', onLine })
  } catch (error) {
    if (counts.failed === 0) {
      counts.failed = 1 // it ended without naming a test: a crash, a timeout
      failures.push('ava')
    }
    console.error(error.message)
  }
  passed += counts.passed
  failed += counts.failed
}

await main(async () => {
  try {
    await setup()
  } catch (error) {
    console.log('0 passed, 1 failed')
    throw error
  }
  useScratch()
  await check('biome: TypeScript and scripts', () => biome(false))
  await check('clang-format: C++', () => clangFormat(false))
  await check('layers: no import points back', without(checkLayers))
  await check('units: no name twice in C++ files that may be compiled as one', without(checkUnits))
  await check('publint: package.json', () =>
    run(process.execPath, [bin('publint/src/cli.js'), '--strict'], { log: 'publint' })
  )
  await check('core tests: compile', async () => {
    const [program] = await withLock(() => buildCoreTests(coreTestNames()))
    await check('core: all tests', () => runCoreTest(program))
  })
  if (canSanitize) {
    await check('core tests with AddressSanitizer: compile', async () => {
      const program = await withLock(async () => buildSanitizedTests(await libtorch()))
      await check('core with AddressSanitizer: all tests, few mutated files', () =>
        runCoreTest(program, { asan: true, short: true })
      )
    })
  }
  await ava(process.argv.slice(2))
  console.log(`npm test took ${seconds(start)}`)
  for (const name of failures) console.log(`failed: ${name}`)
  console.log(`${passed} passed, ${failed} failed`)
  return failed > 0 ? 1 : 0
})
