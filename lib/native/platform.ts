import { existsSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** This file runs as dist/lib/native/platform.js. */
export const packageRoot = fileURLToPath(new URL('../../../', import.meta.url))

export interface LibTorchArchive {
  readonly url: string
  readonly sha256: string
  readonly bytes: number
}

interface PackageJson {
  readonly version: string
  readonly engines: { readonly node: string }
  readonly libtorch: { readonly version: string; readonly archives: Readonly<Record<string, LibTorchArchive>> }
}

/** package.json is the one place that says which libtorch this package is built for. */
export const packageJson = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as PackageJson

/** `linux-x64`, as node-gyp-build and the prebuilds folder spell it. */
export const platformKey = `${process.platform}-${process.arch}`

export const supportedPlatforms: readonly string[] = ['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64']

/** Why this package is not for a Node, or undefined: package.json has its oldest, as `>=20.19`. */
export function oldNodeReason(version: string): string | undefined {
  const needed = packageJson.engines.node.replace('>=', '')
  const [[major = 0, minor = 0], [leastMajor = 0, leastMinor = 0]] = [version, needed].map((text) =>
    text.split('.').map(Number)
  ) as [number[], number[]]
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return undefined
  return `this is Node ${version}, and the package needs ${needed} or later: what works with it is chance`
}

/** `2.13.0+cpu` → `2.13`: the binary interface of libtorch changes with each minor. */
export function minorOf(version: string): string {
  return version.split('.').slice(0, 2).join('.')
}

/** The file name of a shared library: `torch_cpu` → `libtorch_cpu.so`. */
export function libraryFile(name: string, platform: NodeJS.Platform = process.platform): string {
  if (platform === 'win32') return `${name}.dll`
  return `lib${name}.${platform === 'darwin' ? 'dylib' : 'so'}`
}

/** True on Alpine and its like: libtorch exists for glibc only. */
export function isMusl(): boolean {
  if (process.platform !== 'linux') return false
  const report = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  return report.header.glibcVersionRuntime === undefined
}

/** Why this machine cannot run the addon at all, or undefined. */
export function unsupportedReason(): string | undefined {
  if (!supportedPlatforms.includes(platformKey)) {
    return `there is no libtorch for ${platformKey}; supported are ${supportedPlatforms.join(', ')}`
  }
  if (isMusl())
    return 'this Linux uses musl (Alpine?), and libtorch is built for glibc only; use a Debian, Ubuntu or Red Hat image'
  return undefined
}

/** Where install-libtorch keeps what it fetched. `TORCH_ADAPTERS_CACHE` overrides it. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env['TORCH_ADAPTERS_CACHE']) return env['TORCH_ADAPTERS_CACHE']
  if (process.platform === 'win32')
    return join(env['LOCALAPPDATA'] ?? join(homedir(), 'AppData', 'Local'), 'torch-adapters')
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'torch-adapters')
  return join(env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'torch-adapters')
}

/** True where NVIDIA's kernel driver is present; whether a device can be used is only known after libtorch asked it. */
export function hasNvidiaDriver(): boolean {
  if (process.platform === 'linux') return existsSync('/proc/driver/nvidia/version') || existsSync('/dev/nvidiactl')
  if (process.platform === 'win32')
    return existsSync(join(process.env['SystemRoot'] ?? 'C:\\Windows', 'System32', 'nvcuda.dll'))
  return false
}
