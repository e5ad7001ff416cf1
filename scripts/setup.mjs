// Sets a clone up: node packages, TypeScript, libtorch, addon. Plain Node, since nothing is installed when it starts.
//   node scripts/setup.mjs                 sets up
//   node scripts/setup.mjs -- FILE ARGS…   sets up, then runs that script
import { checkBuildTools, checkNode, checkPlatform } from './lib/checks.mjs'
import { withLock } from './lib/lock.mjs'
import { run } from './lib/run.mjs'
import { addon, isCompiled, libtorch, packages, typescript } from './lib/steps.mjs'
import { isMain, main, seconds } from './lib/terminal.mjs'

/** Does what is out of date; quick when nothing is. */
export async function setup() {
  const start = performance.now()
  checkNode()
  checkPlatform()
  // What will be needed is asked for before anything is fetched.
  if (!isCompiled()) checkBuildTools()
  await withLock(async () => {
    const installed = await packages()
    const compiled = await typescript()
    const torch = await libtorch()
    const built = await addon(torch)
    const did = installed || compiled || built ? 'ready' : 'nothing to do'
    console.log(`✓ set-up: ${did}, libtorch ${torch.version} at ${torch.path} (${seconds(start)})`)
  })
}

if (isMain(import.meta.url)) {
  await main(async () => {
    const [separator, file, ...args] = process.argv.slice(2)
    await setup()
    if (separator === '--' && file) await run(process.execPath, [file, ...args], { inherit: true })
  })
}
