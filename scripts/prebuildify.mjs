// Writes prebuilds/<platform>-<arch>/ for this machine: the stripped addon, and the loader in its own folder below.
//   node scripts/prebuildify.mjs [FOLDER]      FOLDER: where prebuilds/ goes (default: the repository)
// A release is built on the oldest glibc that libtorch supports (see .github/workflows/prebuild.yml).
import { copyFileSync, existsSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { checkNode, checkPlatform } from './lib/checks.mjs'
import { withLock } from './lib/lock.mjs'
import { root, run } from './lib/run.mjs'
import { addon, compileJobs, libtorch, packages, typescript } from './lib/steps.mjs'
import { main, Problem } from './lib/terminal.mjs'

const out = resolve(process.argv[2] ?? root)
const built = join(root, 'build', 'Release', 'torch_adapters.node')
const kept = join(root, 'build', 'torch_adapters.unstripped')

await main(() =>
  withLock(async () => {
    checkNode()
    checkPlatform()
    await packages()
    await typescript()
    const torch = await libtorch()
    await addon(torch)
    const folder = join(out, 'prebuilds', `${process.platform}-${process.arch}`)
    rmSync(folder, { recursive: true, force: true })
    // prebuildify strips the addon where it lies and moves it away. It gets a copy: the clone stays usable, and a process
    // that has the original mapped would crash if its bytes changed.
    const { atime, mtime } = statSync(built)
    renameSync(built, kept)
    try {
      copyFileSync(kept, built)
      utimesSync(built, atime, mtime)
      await prebuild(torch.path)
    } finally {
      renameSync(kept, built)
    }
    const loader = join(folder, 'loader', 'torch_adapters_loader.node')
    if (!existsSync(loader)) throw new Problem(`The loader is missing: ${loader} was not written.`)
    console.log(`✓ ${folder}: ${readdirSync(folder, { recursive: true }).join(', ')}`)
  })
)

async function prebuild(libtorchPath) {
  // Windows starts programs by their extension only, so there the shim is named together with node.
  const windows = process.platform === 'win32'
  const gyp = windows ? 'node scripts\\cmake-js-gyp.cjs' : './scripts/cmake-js-gyp.cjs'
  const args = [
    'node_modules/prebuildify/bin.js',
    '--napi',
    '--node-gyp',
    gyp,
    '-t',
    process.versions.node,
    '--artifacts',
    'build/artifacts',
    '--out',
    out
  ]
  if (!windows) args.push('--strip')
  const env = { ...process.env, LIBTORCH: libtorchPath, TORCH_ADAPTERS_JOBS: String(compileJobs()) }
  await run(process.execPath, args, { log: 'prebuildify', env })
}
