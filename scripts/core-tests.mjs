// Builds and runs the C++ tests.
//   node scripts/core-tests.mjs [--asan] [--short] [FILTER…]
// --asan: with AddressSanitizer and UndefinedBehaviorSanitizer. --short: a tenth of the mutated files.
// FILTER: only test/core/*_test.cc whose names contain it; with --asan, only tests whose names contain it.
import { parseArgs } from 'node:util'
import { buildCoreTests, buildSanitizedTests, coreTestNames, runCoreTest } from './lib/core-tests.mjs'
import { withLock } from './lib/lock.mjs'
import { libtorch } from './lib/steps.mjs'
import { main } from './lib/terminal.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  const { values, positionals } = parseArgs({
    options: { asan: { type: 'boolean', default: false }, short: { type: 'boolean', default: false } },
    allowPositionals: true
  })
  const { asan, short } = values
  const names = asan ? [] : coreTestNames(positionals)
  await setup()
  const programs = await withLock(async () =>
    asan ? [await buildSanitizedTests(await libtorch())] : buildCoreTests(names)
  )
  let failed = 0
  for (const program of programs) {
    await runCoreTest(program, { asan, short, filters: asan ? positionals : [] }).catch((error) => {
      console.error(error.message)
      failed++
    })
  }
  console.log(`${programs.length - failed} passed, ${failed} failed`)
  return failed > 0 ? 1 : 0
})
