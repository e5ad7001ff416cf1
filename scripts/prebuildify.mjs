// Writes prebuilds/<platform>-<arch>/ for this machine: the stripped addon, and the loader in its own folder below.
//   node scripts/prebuildify.mjs [FOLDER]      FOLDER: where prebuilds/ goes (default: the repository)
// A release is built on the oldest glibc that libtorch supports (see .github/workflows/prebuild.yml).
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { checkNode, checkPlatform } from './lib/checks.mjs'
import { withLock } from './lib/lock.mjs'
import { root, run } from './lib/run.mjs'
import { addon, libtorch, packages, typescript } from './lib/steps.mjs'
import { main, Problem } from './lib/terminal.mjs'

const out = resolve(process.argv[2] ?? root)
const release = join('build', 'Release')
const stage = join(root, 'build', 'prebuild')

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
    // prebuildify strips the addon where it lies and moves it away, and a process that has it mapped crashes if its bytes
    // change. So prebuildify works in a folder of its own, and the clone's build stays as it is.
    rmSync(stage, { recursive: true, force: true })
    mkdirSync(join(stage, release), { recursive: true })
    copyFileSync(join(root, 'package.json'), join(stage, 'package.json'))
    copyFileSync(join(root, release, 'torch_adapters.node'), join(stage, release, 'torch_adapters.node'))
    try {
      await prebuild()
    } finally {
      rmSync(stage, { recursive: true, force: true })
    }
    const loader = join(folder, 'loader', 'torch_adapters_loader.node')
    if (!existsSync(loader)) throw new Problem(`The loader is missing: ${loader} was not written.`)
    console.log(`✓ ${folder}: ${readdirSync(folder, { recursive: true }).join(', ')}`)
  })
)

async function prebuild() {
  const windows = process.platform === 'win32'
  const args = [
    'node_modules/prebuildify/bin.js',
    '--napi',
    '--cwd',
    stage,
    // What there is to build is built. Windows runs this in a shell.
    '--node-gyp',
    windows ? 'node -e 0' : 'true',
    '-t',
    process.versions.node,
    '--artifacts',
    join(root, 'build', 'artifacts'),
    '--out',
    out
  ]
  if (!windows) args.push('--strip')
  await run(process.execPath, args, { log: 'prebuildify', env: process.env })
}
