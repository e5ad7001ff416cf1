// The steps of the set-up. Each looks at its stamp first; done means that there was nothing to do.
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { checkBuildTools, checkDisk } from './checks.mjs'
import { root, run } from './run.mjs'
import { filesBelow, hashOf, readStamp, writeStamp } from './stamp.mjs'
import { Problem, step } from './terminal.mjs'

const at = (path) => join(root, path)
const dist = (path) => import(pathToFileURL(at(`dist/${path}`)).href)

// npm deletes node_modules before it installs, and the stamp with it: an interrupted install is done again.
const packagesStamp = 'node_modules/.torch-adapters-stamp'
const packagesKey = () => hashOf(['package-lock.json'], process.platform, process.arch)

export async function packages() {
  if (readStamp(packagesStamp) === packagesKey()) return false
  await step('node packages', async ({ note }) => {
    checkDisk(0.5, 'Installing the node packages')
    note('npm ci')
    const npm = process.env.npm_execpath
    const [command, args] = npm?.endsWith('.js')
      ? [process.execPath, [npm]]
      : [process.platform === 'win32' ? 'npm.cmd' : 'npm', []]
    const install = () =>
      run(command, [...args, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'], {
        log: 'npm-ci',
        help: 'npm needs a registry: is there a network, and do "npm config get registry" and "npm ping" answer?'
      })
    await install()
    // An npm that was killed here a moment ago may still have taken away what this one brought.
    if (missingPackages().length > 0) await install()
    const [missing] = missingPackages()
    if (missing) throw new Problem(`npm ci says that all is installed, but ${missing} is not. Start again.`)
    writeStamp(packagesStamp, packagesKey())
    return 'installed'
  })
  return true
}

function missingPackages() {
  const { packages } = JSON.parse(readFileSync(at('node_modules/.package-lock.json'), 'utf8'))
  return Object.keys(packages).filter((folder) => !existsSync(at(`${folder}/package.json`)))
}

const typescriptStamp = 'dist/.stamp'
const typescriptSources = () => filesBelow(['lib', 'test'], (file) => file.endsWith('.ts'))
const typescriptKey = () => hashOf(['tsconfig.json', 'package-lock.json', ...typescriptSources()])

export async function typescript() {
  const key = typescriptKey()
  if (readStamp(typescriptStamp) === key) return false
  await step('TypeScript', async () => {
    rmSync(at(typescriptStamp), { force: true })
    await run(process.execPath, ['node_modules/typescript/bin/tsc'], {
      log: 'tsc',
      help: 'The errors above are in the TypeScript sources.'
    })
    removeOrphans()
    writeStamp(typescriptStamp, key)
    return 'compiled'
  })
  return true
}

// What was compiled from a source that is gone would still be run as a test.
function removeOrphans() {
  const sources = new Set(typescriptSources().map((file) => file.replace(/\.ts$/, '')))
  for (const file of filesBelow(['dist/lib', 'dist/test'], (name) => /\.(js|d\.ts)$/.test(name))) {
    const source = file.replace(/^dist\//, '').replace(/\.(js|d\.ts)$/, '')
    if (!sources.has(source)) rmSync(at(file))
  }
}

/** The libtorch to build on and run with: the one that is found, else one is fetched. */
export async function libtorch() {
  const { findLibTorch, explainSearch } = await dist('lib/native/libtorch.js')
  const search = findLibTorch()
  if (search.found) return search.found
  if (process.env.LIBTORCH) {
    throw new Problem(
      `LIBTORCH is set, but what it names cannot be used. ${explainSearch(search)}. Correct it, or unset it to have libtorch found or fetched.`
    )
  }
  await step('libtorch', async ({ note, progress }) => {
    note(`not here yet. ${explainSearch(search)}`)
    const { fetchLibTorch } = await dist('lib/native/fetch-libtorch.js')
    const folder = await fetchLibTorch({
      report: { step: note, progress: (done, total) => progress(done, total, 'bytes') }
    })
    return `fetched to ${folder}`
  })
  const { found } = findLibTorch()
  if (!found)
    throw new Problem(
      'libtorch was fetched but is not found afterwards; run "npm run setup" again and report this if it stays.'
    )
  return found
}

const addonStamp = 'build/.stamp'
const addonFiles = ['build/Release/torch_adapters.node', 'build/artifacts/loader/torch_adapters_loader.node']
const addonSources = () => filesBelow(['CMakeLists.txt', 'native'], (file) => /\.(cc|h|cmake|txt)$/.test(file))

/** Whether there is an addon, be it of these sources or of older ones. */
export const isCompiled = () => addonFiles.every((file) => existsSync(at(file)))

export async function addon({ path, version }, { verbose = false } = {}) {
  const key = hashOf(['package-lock.json', ...addonSources()], version, process.platform, process.arch)
  if (readStamp(addonStamp) === key && isCompiled()) return false
  checkBuildTools()
  await step('addon', async ({ note, progress }) => {
    checkDisk(1, 'Compiling the addon')
    discardTorn('build', path)
    rmSync(at(addonStamp), { force: true })
    const jobs = compileJobs()
    note(`compiling against libtorch ${version} at ${path}, ${jobs} at a time`)
    markCompiling('build')
    // "build", not "compile": compile answers an error in a source with a full rebuild.
    const args = [
      'node_modules/cmake-js/bin/cmake-js',
      'build',
      '--parallel',
      String(jobs),
      `--CDLIBTORCH_ROOT=${path}`
    ]
    await run(process.execPath, args, {
      log: 'addon',
      inherit: verbose,
      onLine: compileProgress(progress),
      help: 'A clean build often tells more: node scripts/build.mjs --clean'
    })
    markCompiling('build', false)
    writeStamp(addonStamp, key)
    return 'compiled'
  })
  return true
}

/** Shows how far ninja or make is. */
export function compileProgress(progress) {
  return (line) => {
    const ninja = /^\[(\d+)\/(\d+)\] /.exec(line)
    const make = /^\[ *(\d+)%\]/.exec(line)
    if (ninja) progress(Number(ninja[1]), Number(ninja[2]), 'files')
    else if (make) progress(Number(make[1]), 100, '%')
  }
}

/** A mark that stays where a compilation was interrupted. */
export function markCompiling(folder, isCompiling = true) {
  if (isCompiling) writeStamp(`${folder}/.compiling`, '')
  else rmSync(at(`${folder}/.compiling`), { force: true })
}

// ninja knows which object files are whole; make trusts their dates, so after an interruption it starts afresh.
// A build folder of another libtorch, of another place or left by a failed configuration is of no use either.
export function discardTorn(folder, libtorchPath) {
  let cache
  try {
    cache = readFileSync(at(`${folder}/CMakeCache.txt`), 'utf8')
  } catch {
    return
  }
  const value = (name) => new RegExp(`^${name}:[^=]*=(.*)$`, 'm').exec(cache)?.[1]
  const interrupted = existsSync(at(`${folder}/.compiling`)) && !value('CMAKE_GENERATOR')?.startsWith('Ninja')
  const whole =
    existsSync(at(`${folder}/build.ninja`)) || existsSync(at(`${folder}/Makefile`)) || process.platform === 'win32'
  const same = value('LIBTORCH_ROOT') === libtorchPath && value('CMAKE_HOME_DIRECTORY') === root.replace(/[/\\]$/, '')
  if (interrupted || !whole || !same) rmSync(at(folder), { recursive: true, force: true })
}

// A file that includes libtorch takes up to 1.3 GB to compile.
export function compileJobs() {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / 1.6e9)))
}
