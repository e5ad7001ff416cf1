// For developers: compiles what is out of date and shows the compiler's output.
//   node scripts/build.mjs [--addon] [--ts] [--clean]
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { withLock } from './lib/lock.mjs'
import { root } from './lib/run.mjs'
import { addon, libtorch, packages, typescript } from './lib/steps.mjs'
import { main } from './lib/terminal.mjs'

await main(() =>
  withLock(async () => {
    const flags = new Set(process.argv.slice(2))
    const all = !flags.has('--addon') && !flags.has('--ts')
    if (flags.has('--clean')) {
      for (const folder of ['build', 'dist']) rmSync(join(root, folder), { recursive: true, force: true })
    }
    await packages()
    if (all || flags.has('--ts') || flags.has('--clean')) await typescript()
    if (all || flags.has('--addon')) await addon(await libtorch(), { verbose: true })
  })
)
