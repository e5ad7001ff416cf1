import { execFileSync } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { loadAddon, loadedAddon } from '../../lib/native/addon.js'
import { libraryFile, minorOf, packageJson } from '../../lib/native/platform.js'
import { repository, runNode, temporaryFolder, writeFakeLibTorch } from './support.js'

const minor = minorOf(packageJson.libtorch.version)

interface Loader {
  readonly builtFor: string
  open(library: unknown): void
  openTorch(library: unknown): string
}

const loader = createRequire(import.meta.url)(
  join(repository, 'build', 'artifacts', 'loader', 'torch_adapters_loader.node')
) as Loader

test('the addon loads on the libtorch that was found and names its version', (t) => {
  const { addon, libtorch, file } = loadedAddon()
  t.is(minorOf(addon.version()), minor)
  t.is(minorOf(libtorch.version), minor)
  t.is(loader.builtFor, minor)
  t.true(file.endsWith('.node'))
  t.is(loadAddon(), addon)
})

// Two run-times would mean two teams of threads that fight for the processors.
const onLinux = process.platform === 'linux' ? test : test.failing
onLinux('the process has one OpenMP run-time, the one beside libtorch', (t) => {
  const { libtorch } = loadedAddon()
  const maps = readFileSync('/proc/self/maps', 'utf8')
  const runtimes = new Set(maps.match(/\/\S*lib(?:gomp|iomp|omp)\S*/g))
  t.is(runtimes.size, 1)
  t.true([...runtimes][0]?.startsWith(join(libtorch.path, 'lib')))
})

onLinux('the addon carries no search path and needs no other library than libtorch and the system', (t) => {
  const dynamic = execFileSync('readelf', ['-d', loadedAddon().file], { encoding: 'utf8' })
  t.notRegex(dynamic, /RUNPATH|RPATH/)
  const needed = [...dynamic.matchAll(/Shared library: \[([^\]]+)\]/g)].map((match) => match[1] as string)
  t.deepEqual(
    needed.filter((name) => !/^(lib(torch_cpu|c10|stdc\+\+|gcc_s|c|m|dl|pthread)\.so|ld-linux)/.test(name)),
    []
  )
})

test('the loader refuses what is no libtorch, and arguments of another kind', (t) => {
  const { libtorch } = loadedAddon()
  const c10 = join(libtorch.path, 'lib', libraryFile('c10'))
  t.throws(() => loader.openTorch(c10), { code: 'ERR_LIBTORCH_VERSION', message: /has no aoti_torch_abi_version/ })
  t.throws(() => loader.open('/nowhere/libx.so'), { code: 'ERR_LIBTORCH_LOAD', message: /nowhere/ })
  t.throws(() => loader.open(5), { instanceOf: TypeError })
  t.throws(() => loader.openTorch(undefined), { instanceOf: TypeError })
})

onLinux(
  'a libtorch whose files name the right version but whose code is another is refused before the addon',
  async (t) => {
    const folder = temporaryFolder(t)
    writeFakeLibTorch(folder, `${minor}.0`)
    const source = join(folder, 'other.c')
    writeFileSync(
      source,
      'unsigned long long aoti_torch_abi_version(void) { return (2ull << 56) | (9ull << 48) | (1ull << 40); }'
    )
    for (const name of ['libc10.so', 'libtorch_cpu.so']) {
      execFileSync('cc', ['-shared', '-fPIC', '-o', join(folder, 'lib', name), source])
    }
    const program =
      "import('./dist/lib/native/addon.js').then((m) => m.loadAddon()).catch((e) => console.log(JSON.stringify({ code: e.code, message: e.message })))"
    const { stdout } = await runNode(['-e', program], { ...process.env, LIBTORCH: folder })
    const { code, message } = JSON.parse(stdout) as { code: string; message: string }
    t.is(code, 'ERR_LIBTORCH_VERSION')
    t.true(message.includes(`libtorch 2.9.1, but this binary was built on ${minor}`), message)
  }
)

test('a damaged libtorch is an error that says what the system said', async (t) => {
  const folder = temporaryFolder(t)
  writeFakeLibTorch(folder, `${minor}.0`)
  const program =
    "import('./dist/lib/native/addon.js').then((m) => m.loadAddon()).catch((e) => console.log(e.code, e.message))"
  const { stdout, code } = await runNode(['-e', program], { ...process.env, LIBTORCH: folder })
  t.is(code, 0)
  t.regex(
    stdout,
    /^ERR_LIBTORCH_LOAD load libtorch: the system could not open it: .*Set LIBTORCH to a whole one, or unset it and run .*install-libtorch/
  )
  // What is in the cache is found again until it goes.
  const cached = join(folder, 'cache', `libtorch-${minor}.0`)
  writeFakeLibTorch(join(cached, 'torch'), `${minor}.0`)
  const bare = { PATH: '', HOME: folder, TORCH_ADAPTERS_CACHE: join(folder, 'cache') }
  const again = await runNode(['-e', program], bare)
  t.true(again.stdout.includes(`Delete ${cached}, and run "npx torch-adapters install-libtorch"`), again.stdout)
})

test('a libtorch behind a link is opened at its real place', async (t) => {
  const folder = temporaryFolder(t)
  const { libtorch } = loadedAddon()
  symlinkSync(libtorch.path, join(folder, 'link'))
  const program = "import('./dist/lib/native/addon.js').then((m) => console.log(m.loadedAddon().libtorch.path))"
  const { stdout } = await runNode(['-e', program], { ...process.env, LIBTORCH: join(folder, 'link') })
  t.is(stdout.trim(), libtorch.path)
})

test('every worker thread gets its own environment of the addon, one after the other and at once', async (t) => {
  const url = new URL('../../lib/native/addon.js', import.meta.url).href
  const program = `import(${JSON.stringify(url)}).then((m) => require('node:worker_threads').parentPort.postMessage(m.loadAddon().version()))`
  const once = () =>
    new Promise((resolve, reject) => {
      const worker = new Worker(program, { eval: true })
      worker.once('message', (version) => worker.terminate().then(() => resolve(version), reject))
      worker.once('error', reject)
    })
  const version = loadAddon().version()
  t.deepEqual(await Promise.all([once(), once(), once()]), [version, version, version])
  for (let i = 0; i < 5; i++) t.is(await once(), version)
})

test('loading keeps no process alive and changes no exit status', async (t) => {
  const program = "import('./dist/lib/native/addon.js').then((m) => { m.loadAddon(); process.exitCode = 7 })"
  t.is((await runNode(['-e', program])).code, 7)
})
