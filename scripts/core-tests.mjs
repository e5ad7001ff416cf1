// Builds and runs the C++ tests.
//   node scripts/core-tests.mjs [--asan] [--short] [FILTER…]
// --asan: with AddressSanitizer and UndefinedBehaviorSanitizer. --short: a tenth of the mutated files.
// FILTER: only programs whose name contains it.
import { parseArgs } from 'node:util'
import { buildCoreTests, coreTestNames, runCoreTest } from './lib/core-tests.mjs'
import { withLock } from './lib/lock.mjs'
import { libtorch } from './lib/steps.mjs'
import { main } from './lib/terminal.mjs'
import { setup } from './setup.mjs'

await main(async () => {
  const { values, positionals } = parseArgs({
    options: { asan: { type: 'boolean', default: false }, short: { type: 'boolean', default: false } },
    allowPositionals: true
  })
  const names = coreTestNames(positionals)
  if (values.short) process.env.TA_FUZZ = '50'
  await setup()
  const programs = await withLock(async () => buildCoreTests(names, await libtorch(), values))
  let failed = 0
  for (const program of programs) {
    await runCoreTest(program, values).catch((error) => {
      console.error(error.message)
      failed++
    })
  }
  console.log(`${programs.length - failed} passed, ${failed} failed`)
  return failed > 0 ? 1 : 0
})
