import { mkdtemp, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { download } from './download.js'
import { AdapterError } from './errors.js'
import { sha256Of } from './hash-file.js'
import { foreignReason, neededMinor, readLibTorchVersion, unusableReason } from './libtorch.js'
import { withLock } from './lock.js'
import { makeFolder } from './make-folder.js'
import { findPip, pipDownload } from './pip.js'
import { cacheFolder, packageJson, platformKey, unsupportedReason } from './platform.js'
import { unzip } from './unzip.js'

export interface FetchReport {
  /** A step begins; a sentence for people. */
  step(text: string): void
  /** Bytes of the running step. */
  progress(done: number, total: number): void
}

export interface FetchOptions {
  /** Take the CUDA build with all NVIDIA libraries that it needs (some GB). */
  readonly cuda?: boolean
  /** A zip or wheel that is already here; nothing is downloaded. */
  readonly file?: string
  /** Checksum that `file` must have. */
  readonly sha256?: string
  readonly env?: NodeJS.ProcessEnv
  readonly report?: FetchReport
}

interface Context {
  readonly cuda: boolean
  readonly env: NodeJS.ProcessEnv
  readonly report: FetchReport
  readonly downloads: string
  readonly target: string
}

const version = packageJson.libtorch.version
const operation = `fetch libtorch ${version}`
const silent: FetchReport = { step: () => {}, progress: () => {} }

const folderInCache = (env: NodeJS.ProcessEnv, cuda: boolean): string =>
  join(cacheFolder(env), `libtorch-${version}${cuda ? '-cuda' : ''}`)

/** The folder of what was fetched before, if it is whole. */
export function fetchedLibTorch({ env = process.env, cuda = false }: FetchOptions = {}): string | undefined {
  const folder = join(folderInCache(env, cuda), 'torch')
  return unusableReason(folder) === undefined ? folder : undefined
}

/**
 * Fetches libtorch into the user's cache and gives its folder: the official archive where its checksum is known and the
 * site answers, else the wheel that pip finds. Everything is unpacked under a temporary name and renamed when complete.
 */
export async function fetchLibTorch(options: FetchOptions = {}): Promise<string> {
  const unsupported = unsupportedReason()
  if (unsupported) throw new AdapterError('ERR_PLATFORM', operation, unsupported)
  const env = options.env ?? process.env
  const report = options.report ?? silent
  const cuda = options.cuda ?? false
  const cache = cacheFolder(env)
  try {
    makeFolder(cache)
  } catch (cause) {
    throw new AdapterError('ERR_CACHE', operation, `cannot write to the cache: ${(cause as Error).message}`, {
      hint: 'Set TORCH_ADAPTERS_CACHE to a folder that can be written',
      cause
    })
  }
  const final = folderInCache(env, cuda)
  const waiting = (pid: number) => report.step(`waiting for process ${pid}, which is fetching already`)
  return withLock(
    join(cache, '.fetch.lock'),
    async () => {
      const fetched = options.file ? undefined : fetchedLibTorch({ env, cuda })
      if (fetched) return fetched
      await removeLeftovers(cache)
      await checkDisk(cache, cuda ? 8e9 : 1.2e9)
      const target = await mkdtemp(join(cache, '.unpack-'))
      try {
        const downloads = join(cache, 'downloads')
        const origin = await fill({ cuda, env, report, downloads, target }, options)
        await finish(target, final, origin)
      } finally {
        await rm(target, { recursive: true, force: true })
      }
      return join(final, 'torch')
    },
    waiting
  )
}

// What a killed run left; nobody else works here while the lock is held. Partial downloads of the archive stay.
async function removeLeftovers(cache: string): Promise<void> {
  const names = (await readdir(cache)).filter((name) => /^\.(unpack|pip)-/.test(name))
  await Promise.all(names.map((name) => rm(join(cache, name), { recursive: true, force: true })))
}

async function checkDisk(folder: string, needed: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  if (free >= needed) return
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  throw new AdapterError('ERR_DISK', operation, `too little space on the disk of ${folder}`, {
    expected: `${gigabytes(needed)} free`,
    got: gigabytes(free),
    hint: 'Free some, or set TORCH_ADAPTERS_CACHE to a folder on a larger disk'
  })
}

async function fill(context: Context, options: FetchOptions): Promise<string> {
  if (options.file) return fromFile(context, options.file, options.sha256)
  const archive = packageJson.libtorch.archives[platformKey]
  const failures: string[] = []
  if (archive && !context.cuda) {
    try {
      context.report.step(`downloading ${archive.url} (${Math.round(archive.bytes / 1e6)} MB)`)
      const file = join(context.downloads, decodeURIComponent(basename(archive.url)))
      await download(archive, file, context.report.progress)
      await unpack(context, file)
      await rm(file)
      return archive.url
    } catch (error) {
      if ((error as AdapterError).code === 'ERR_ARCHIVE') throw error
      failures.push((error as Error).message)
      context.report.step('the official archive cannot be had from here; asking pip')
    }
  }
  return fromPip(context, failures)
}

async function fromFile(context: Context, file: string, sha256: string | undefined): Promise<string> {
  if (sha256) {
    context.report.step(`checking ${file}`)
    const got = await sha256Of(file)
    if (got !== sha256.toLowerCase()) {
      throw new AdapterError('ERR_CHECKSUM', operation, `${file} is not the expected file`, { expected: sha256, got })
    }
  }
  try {
    await unpack(context, file)
  } catch (cause) {
    if ((cause as AdapterError).code !== 'ERR_ARCHIVE') throw cause
    throw new AdapterError('ERR_ARCHIVE', operation, `${file} is no archive of libtorch`, {
      expected: `the official zip of libtorch ${neededMinor}, or a wheel of torch ${neededMinor}`,
      got: (cause as Error).message,
      hint: 'Give the path of such a file, or leave --file out: then it is downloaded.',
      cause
    })
  }
  return file
}

async function fromPip(context: Context, failures: string[]): Promise<string> {
  const { env, report } = context
  const pip = await findPip(env)
  if (!pip) throw cannotFetch([...failures, 'no pip: "python3 -m pip --version" does not run'])
  const folder = await mkdtemp(join(cacheFolder(env), '.pip-'))
  try {
    const wheel = await downloadWheel(pip, folder, context, failures)
    await unpack(context, wheel)
    await rm(wheel)
    await addNvidiaLibraries(pip, folder, context)
    return `pip: ${basename(wheel)}`
  } finally {
    report.progress(1, 1)
    await rm(folder, { recursive: true, force: true })
  }
}

// Wheels carry the interpreter's version in their name although libtorch does not depend on it: where none is made for
// the Python at hand, one for another Python serves as well.
const otherPythons = ['3.12', '3.11', '3.13', '3.10', '3.14'].map((python) => [
  '--implementation',
  'cp',
  '--python-version',
  python
])

async function downloadWheel(
  pip: readonly string[],
  folder: string,
  context: Context,
  failures: string[]
): Promise<string> {
  const { env, report, cuda } = context
  const platform = platformKey === 'linux-x64' ? ['--platform', 'manylinux_2_28_x86_64'] : []
  if (platformKey === 'linux-arm64') platform.push('--platform', 'manylinux_2_28_aarch64')
  // "+cpu" asks for the small build; the public index has none for Linux, but many companies' indexes do.
  const builds =
    cuda || process.platform !== 'linux' ? [`torch==${version}`] : [`torch==${version}+cpu`, `torch==${version}`]
  let last: unknown
  for (const build of builds) {
    report.step(`asking pip for ${build}`)
    for (const options of [[], ...otherPythons.map((python) => [...platform, ...python])]) {
      try {
        const [wheel] = await pipDownload(pip, build, folder, ['--no-deps', ...options], env, report.progress)
        if (wheel) return wheel
      } catch (error) {
        last = error
        if (!/No matching distribution|Could not find a version/.test((error as Error).message)) break
      }
    }
  }
  throw cannotFetch([...failures, (last as Error | undefined)?.message ?? 'pip gave no file'])
}

function cannotFetch(failures: readonly string[]): AdapterError {
  return new AdapterError('ERR_FETCH', operation, failures.join('; '), {
    hint:
      'Is there a network, and does it reach download.pytorch.org or a Python package index? Behind a mirror, set it up for pip ' +
      `(pip config set global.index-url …). A libtorch ${neededMinor} fetched elsewhere serves too: set LIBTORCH to its folder, ` +
      'or run "npx torch-adapters install-libtorch --file ARCHIVE"'
  })
}

// libtorch_cpu of a CUDA wheel cannot be opened without libcudart and libcupti; its run path finds them in
// ../../nvidia/*/lib. For the GPU itself everything that the wheel asks for is needed.
async function addNvidiaLibraries(pip: readonly string[], folder: string, context: Context): Promise<void> {
  const metadata = await readFile(join(context.target, 'METADATA'), 'utf8').catch(() => '')
  const needed = [...metadata.matchAll(/^Requires-Dist: ((?:cuda-toolkit|nvidia-)[^;\n]*)/gm)].map(
    (match) => match[1] as string
  )
  const toolkit = needed
    .find((requirement) => requirement.startsWith('cuda-toolkit'))
    ?.replace(/\[[^\]]*\]/, '[cudart,cupti]')
    .trim()
  const wanted = context.cuda ? needed : needed.filter((name) => /^nvidia-cuda-(runtime|cupti)/.test(name))
  if (toolkit && !context.cuda) wanted.push(toolkit)
  for (const requirement of wanted) {
    context.report.step(`asking pip for ${requirement} (this libtorch is a CUDA build)`)
    for (const wheel of await pipDownload(pip, requirement.trim(), folder, [], context.env, context.report.progress)) {
      await unzip(wheel, context.target, (name) => (/^nvidia\/.*\.(so[.\d]*|dll)$/.test(name) ? name : undefined))
      await rm(wheel)
    }
  }
}

/** Where an entry of a wheel or an archive goes; undefined: it is not needed. */
export function placeEntry(name: string): string | undefined {
  if (/^[^/]+\.dist-info\/METADATA$/.test(name)) return 'METADATA'
  const match = /^(?:torch|libtorch)\/((?:lib|include|share)\/.*|version\.py|build-version|build-hash)$/.exec(name)
  if (!match?.[1] || /^lib\/(?:lib)?torch_python\.|\.(py|pyi|pyc)$/.test(match[1].replace(/^version\.py$/, '')))
    return undefined
  return `torch/${match[1]}`
}

async function unpack(context: Context, file: string): Promise<void> {
  context.report.step(`unpacking ${basename(file)}`)
  const count = await unzip(file, context.target, placeEntry, context.report.progress)
  if (count === 0) throw new AdapterError('ERR_ARCHIVE', operation, `${file} holds no torch/ or libtorch/ folder`)
}

async function finish(target: string, final: string, origin: string): Promise<void> {
  const got = readLibTorchVersion(join(target, 'torch'))
  if (!got?.startsWith(`${neededMinor}.`)) {
    throw new AdapterError('ERR_LIBTORCH_VERSION', operation, `${origin} is another version`, {
      expected: `libtorch ${neededMinor}`,
      got: got ?? 'none named'
    })
  }
  const foreign = foreignReason(join(target, 'torch'))
  if (foreign !== undefined) {
    throw new AdapterError('ERR_ARCHIVE', operation, `${origin} is no libtorch for this machine: ${foreign}`, {
      hint: `Take the one for ${platformKey}, or leave --file out: then it is downloaded.`
    })
  }
  await writeFile(
    join(target, 'fetched.json'),
    `${JSON.stringify({ version: got, origin, at: new Date().toISOString() }, null, 2)}\n`
  )
  await rm(final, { recursive: true, force: true })
  await rename(target, final)
}
