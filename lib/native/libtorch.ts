import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { AdapterError } from './errors.js'
import { isCutOff, libraryPlatform } from './library-platform.js'
import {
  cacheFolder,
  hasNvidiaDriver,
  libraryFile,
  minorOf,
  packageJson,
  packageRoot,
  platformKey,
  unsupportedReason
} from './platform.js'
import { pythonTorchFolders } from './python-torch.js'

/** The order in which libtorch is looked for; the first that fits is taken. */
export type LibTorchSource = 'LIBTORCH' | 'package' | 'python' | 'cache'

export interface LibTorch {
  /** Root folder, with lib/ and include/. */
  readonly path: string
  /** As the build names itself, such as `2.13.0+cpu`. */
  readonly version: string
  readonly source: LibTorchSource
  /** A CUDA build, whatever this machine has. */
  readonly cuda: boolean
}

/** A place that was looked at and did not fit. */
export interface LibTorchRejection {
  readonly path: string
  readonly source: LibTorchSource
  readonly reason: string
}

export interface LibTorchSearch {
  readonly found: LibTorch | undefined
  readonly rejected: readonly LibTorchRejection[]
}

export const neededMinor = minorOf(packageJson.libtorch.version)

/** Version of the libtorch at a folder, read from its files before anything of it is loaded. */
export function readLibTorchVersion(folder: string): string | undefined {
  const text = (file: string) => {
    try {
      return readFileSync(join(folder, file), 'utf8')
    } catch {
      return undefined
    }
  }
  const wheel = text('version.py')?.match(/^__version__\s*=\s*['"]([^'"]+)['"]/m)?.[1]
  const archive = text('build-version')?.trim()
  const header = (text('include/torch/headeronly/version.h') ?? text('include/torch/version.h'))?.match(
    /define TORCH_VERSION\s*\\?\s*"([^"]+)"/
  )?.[1]
  return wheel ?? (archive || undefined) ?? header
}

/** Why the libraries of a folder cannot be opened on this machine, or undefined. */
export function foreignReason(folder: string): string | undefined {
  const name = libraryFile('c10')
  const file = join(folder, 'lib', name)
  if (!existsSync(file)) return `it has no lib/${name}`
  const platform = libraryPlatform(file) ?? platformKey
  return platform === platformKey ? undefined : `it is for ${platform}, and this machine is ${platformKey}`
}

/** Why no libtorch of a folder can be opened, or undefined: it is for this machine, and whole as far as its files tell. */
export function unusableReason(folder: string): string | undefined {
  if (!existsSync(folder)) return 'the folder does not exist'
  const foreign = foreignReason(folder)
  if (foreign !== undefined) return foreign
  const torch = libraryFile('torch_cpu')
  if (!existsSync(join(folder, 'lib', torch))) return `it has no lib/${torch}`
  const cut = ['c10', 'torch_cpu'].map((name) => libraryFile(name)).find((name) => isCutOff(join(folder, 'lib', name)))
  if (cut !== undefined) return `the end of lib/${cut} is missing`
  const hasVersion = readLibTorchVersion(folder) !== undefined
  return hasVersion ? undefined : 'it names no version (no version.py, build-version or version.h)'
}

function inspect(path: string, source: LibTorchSource): LibTorch | LibTorchRejection {
  const reject = (reason: string): LibTorchRejection => ({ path, source, reason })
  const reason = unusableReason(path)
  if (reason !== undefined) return reject(reason)
  const version = readLibTorchVersion(path) ?? ''
  if (minorOf(version) !== neededMinor) return reject(`it is libtorch ${version}`)
  const cuda = existsSync(join(path, 'lib', libraryFile('torch_cuda')))
  return { path: realpathSync(path), version, source, cuda }
}

function cachedFolders(env: NodeJS.ProcessEnv): string[] {
  const cache = cacheFolder(env)
  let names: string[]
  try {
    names = readdirSync(cache).filter((name) => name.startsWith(`libtorch-${neededMinor}.`))
  } catch {
    return []
  }
  // With a driver the CUDA build is worth its load time; without one it only costs memory.
  const isCuda = (name: string) => existsSync(join(cache, name, 'torch', 'lib', libraryFile('torch_cuda')))
  const rank = (name: string) => (isCuda(name) === hasNvidiaDriver() ? 0 : 1)
  return names.sort((a, b) => rank(a) - rank(b) || b.localeCompare(a)).map((name) => join(cache, name, 'torch'))
}

/** Looks through every place in order. Reads files only; nothing is loaded, started or fetched. */
export function findLibTorch(env: NodeJS.ProcessEnv = process.env): LibTorchSearch {
  const rejected: LibTorchRejection[] = []
  const own = env['LIBTORCH']
  const places: [LibTorchSource, () => string[]][] = own
    ? [['LIBTORCH', () => [resolve(own)]]] // who names one wants this one or an error, never silently another
    : [
        ['package', () => [join(packageRoot, 'libtorch')].filter((folder) => existsSync(folder))],
        ['python', () => pythonTorchFolders(env)],
        ['cache', () => cachedFolders(env)]
      ]
  for (const [source, folders] of places) {
    for (const folder of folders()) {
      const result = inspect(folder, source)
      if ('version' in result) return { found: result, rejected }
      rejected.push(result)
    }
  }
  return { found: undefined, rejected }
}

const sourceNames: Readonly<Record<LibTorchSource, string>> = {
  LIBTORCH: 'the environment variable LIBTORCH',
  package: "the package's own libtorch folder",
  python: "the active Python's torch",
  cache: "install-libtorch's cache"
}

/** One paragraph: what was looked for, everything that was looked at, and the command that helps. */
export function explainSearch(search: LibTorchSearch, env: NodeJS.ProcessEnv = process.env): string {
  const looked = search.rejected.map(({ path, source, reason }) => `${path} (${sourceNames[source]}): ${reason}`)
  if (!env['LIBTORCH']) {
    const missing = (['package', 'python', 'cache'] as const).filter(
      (source) => !search.rejected.some((rejection) => rejection.source === source)
    )
    const where: Readonly<Record<string, string>> = { package: join(packageRoot, 'libtorch'), cache: cacheFolder(env) }
    looked.push(...missing.map((source) => `${where[source] ?? 'PATH'} (${sourceNames[source]}): none there`))
  }
  return `Looked at: ${looked.join('; ')}`
}

const installHint = 'Run "npx torch-adapters install-libtorch", or set LIBTORCH to the folder of a libtorch '

// While the variable is set, nothing else is looked at: what install-libtorch fetches would not be found.
const correctHint = 'Unset LIBTORCH to have libtorch looked for elsewhere, or set it to the folder of a libtorch '

/** The libtorch to load, or an error that names everything that was looked at. */
export function requireLibTorch(env: NodeJS.ProcessEnv = process.env): LibTorch {
  const search = findLibTorch(env)
  if (search.found) return search.found
  const unsupported = unsupportedReason()
  if (unsupported) throw new AdapterError('ERR_PLATFORM', 'load libtorch', unsupported)
  const wrongVersion = search.rejected.find(({ reason }) => reason.startsWith('it is libtorch '))
  throw new AdapterError(
    wrongVersion ? 'ERR_LIBTORCH_VERSION' : 'ERR_LIBTORCH_NOT_FOUND',
    'load libtorch',
    `no libtorch ${neededMinor} found`,
    {
      expected: `libtorch ${neededMinor}`,
      got: wrongVersion ? `${wrongVersion.reason.slice('it is '.length)} at ${wrongVersion.path}` : 'none',
      hint: `${explainSearch(search, env)}. ${env['LIBTORCH'] ? correctHint : installHint}${neededMinor} (an unpacked archive, or the torch folder of a Python wheel)`
    }
  )
}
