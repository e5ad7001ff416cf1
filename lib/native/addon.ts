import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { AdapterError } from './errors.js'
import { type LibTorch, neededMinor, requireLibTorch } from './libtorch.js'
import { hasNvidiaDriver, libraryFile, packageRoot, platformKey, unsupportedReason } from './platform.js'
import type { Addon } from './types.js'

const require = createRequire(import.meta.url)

/** The torch-free addon that opens libtorch by path. */
interface Loader {
  /** libtorch's minor that the binaries were built on. */
  readonly builtFor: string
  open(library: string): void
  /** Opens libtorch_cpu; gives its version, throws on another minor. */
  openTorch(library: string): string
}

export interface LoadedAddon {
  readonly addon: Addon
  /** File of the addon. */
  readonly file: string
  readonly libtorch: LibTorch
  /** Why libtorch's CUDA part could not be opened although a driver is there; undefined if all is well or none is there. */
  readonly cudaProblem: string | undefined
}

let loaded: LoadedAddon | undefined

/** The native addon, loaded on first use: libtorch is found, checked and opened before it. */
export function loadAddon(): Addon {
  return loadedAddon().addon
}

/** The addon together with where it and libtorch came from. */
export function loadedAddon(): LoadedAddon {
  loaded ??= load()
  return loaded
}

function load(): LoadedAddon {
  const file = addonFile()
  const libtorch = requireLibTorch()
  const loader = require(loaderFile(file)) as Loader
  openLibTorch(loader, libtorch)
  const cudaProblem = openCuda(loader, libtorch)
  const addon = requireNative<Addon>(file, libtorch)
  // process.exit runs no cleanup hooks of the main environment, and libtorch's statics die before an engine thread that
  // still works: it is stopped here. Workers are ended by Node in any case, with their cleanup hooks.
  if (isMainThread && typeof addon.shutdown === 'function') process.on('exit', () => addon.shutdown())
  return { addon, file, libtorch, cudaProblem }
}

function addonFile(): string {
  const nodeGypBuild = require('node-gyp-build') as { resolve(folder: string): string }
  try {
    return nodeGypBuild.resolve(packageRoot)
  } catch (cause) {
    const unsupported = unsupportedReason()
    if (unsupported) throw new AdapterError('ERR_PLATFORM', 'load the addon', unsupported, { cause })
    throw new AdapterError('ERR_ADDON_NOT_FOUND', 'load the addon', 'no binary for this machine', {
      expected: `${join(packageRoot, 'prebuilds', platformKey)} or ${join(packageRoot, 'build', 'Release')}`,
      got: 'neither',
      hint: 'Reinstall the package; in a clone of the repository run "npm run setup"',
      cause
    })
  }
}

// Beside a prebuilt addon in loader/, beside a built one in build/artifacts/loader/: never in the addon's own folder,
// where node-gyp-build could take it for the addon.
function loaderFile(addon: string): string {
  const name = join('loader', 'torch_adapters_loader.node')
  const places = [join(dirname(addon), name), join(dirname(dirname(addon)), 'artifacts', name)]
  const found = places.find((place) => existsSync(place))
  if (found) return found
  throw new AdapterError('ERR_ADDON_NOT_FOUND', 'load the addon', 'its loader is missing', {
    expected: places.join(' or '),
    got: 'neither',
    hint: 'Reinstall the package; in a clone of the repository run "npm run setup"'
  })
}

function openLibTorch(loader: Loader, libtorch: LibTorch): void {
  const lib = join(libtorch.path, 'lib')
  try {
    loader.open(join(lib, libraryFile('c10')))
    loader.openTorch(join(lib, libraryFile('torch_cpu')))
  } catch (cause) {
    const { code, message } = cause as Error & { code?: string }
    if (code === 'ERR_LIBTORCH_VERSION') {
      throw new AdapterError(code, 'load libtorch', message, {
        hint: `libtorch stands at ${libtorch.path}. ${anotherOne(libtorch)}`,
        cause
      })
    }
    throw new AdapterError('ERR_LIBTORCH_LOAD', 'load libtorch', `the system could not open it: ${message}`, {
      hint: `libtorch ${libtorch.version} stands at ${libtorch.path}. ${loadHint(message, libtorch)}`,
      cause
    })
  }
}

function loadHint(message: string, libtorch: LibTorch): string {
  if (/GLIBC/.test(message)) return 'This system is older than libtorch allows (glibc 2.28)'
  const isCuda = /libcudart|libcupti/.test(message)
  const why = isCuda ? 'It is a CUDA build whose NVIDIA libraries are not beside it. ' : ''
  return `${why}${anotherOne(libtorch)}`
}

/** How to come to another libtorch: what stands where one is found goes on being found. */
function anotherOne({ source, path }: LibTorch): string {
  const install = '"npx torch-adapters install-libtorch'
  if (source === 'LIBTORCH') return `Set LIBTORCH to a whole one, or unset it and run ${install}"`
  if (source === 'cache') return `Delete ${dirname(path)}, and run ${install}"`
  if (source === 'package') return 'Install the package again'
  return `Install torch ${neededMinor} again in that Python, or set LIBTORCH to the folder that ${install} --force" names`
}

// libtorch registers its CUDA backend when the library is opened. Without a driver that would only cost time and memory.
function openCuda(loader: Loader, libtorch: LibTorch): string | undefined {
  if (!libtorch.cuda || !hasNvidiaDriver()) return undefined
  try {
    loader.open(join(libtorch.path, 'lib', libraryFile('torch_cuda')))
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

function requireNative<T>(file: string, libtorch: LibTorch): T {
  try {
    return require(file) as T
  } catch (cause) {
    throw new AdapterError(
      'ERR_ADDON_LOAD',
      'load the addon',
      `${file} could not be opened: ${(cause as Error).message}`,
      {
        hint: `It was to run on libtorch ${libtorch.version} at ${libtorch.path}. Reinstall the package; in a clone run "npm run build"`,
        cause
      }
    )
  }
}
