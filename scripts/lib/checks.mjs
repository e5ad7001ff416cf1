// What must be on the machine. Each check throws one paragraph: what was looked for, where, and the command that helps.
import fs from 'node:fs'
import nodeVersion from './node-version.cjs'
import { capture, root } from './run.mjs'
import { Problem } from './terminal.mjs'

const platforms = ['linux-x64', 'linux-arm64', 'darwin-arm64', 'win32-x64']

/** "cmake version 3.25.1" → [3, 25, 1] */
const numbers = (text) => (/(\d+)\.(\d+)(?:\.(\d+))?/.exec(text ?? '') ?? []).slice(1).map((part) => Number(part ?? 0))
const atLeast = (have, want) => {
  for (let i = 0; i < want.length; i++) if ((have[i] ?? 0) !== want[i]) return (have[i] ?? 0) > want[i]
  return true
}

// How to install something, by the package manager that is here.
function install(debian, redhat, mac, windows) {
  if (process.platform === 'darwin') return mac
  if (process.platform === 'win32') return windows
  if (capture('sh', ['-c', 'command -v dnf || command -v yum'])) return `sudo dnf install ${redhat}`
  return `sudo apt-get install ${debian}`
}

export function checkNode(version = process.versions.node) {
  const problem = nodeVersion.problem(version)
  if (problem !== undefined) throw new Problem(problem)
}

export function checkPlatform(platform = `${process.platform}-${process.arch}`, glibc = glibcVersion()) {
  if (!platforms.includes(platform)) {
    throw new Problem(
      `There is no libtorch for ${platform}. Supported are ${platforms.join(', ')}. Use a machine or container of one of these.`
    )
  }
  if (platform.startsWith('linux') && !glibc) {
    throw new Problem(
      'This Linux uses musl (Alpine?), and libtorch is built for glibc only. Use an image on Debian, Ubuntu or Red Hat, ' +
        'such as "docker run -it node:22-bookworm".'
    )
  }
  if (platform.startsWith('linux') && !atLeast(numbers(glibc), [2, 28])) {
    throw new Problem(
      `libtorch needs glibc 2.28 or newer, but this system has ${glibc}. Use a newer one: Debian 10, Ubuntu 20.04, RHEL 8 or later.`
    )
  }
}

function glibcVersion() {
  return process.platform === 'linux' ? process.report.getReport().header.glibcVersionRuntime : 'none'
}

export function checkDisk(gigabytes, what, stat = fs.statfsSync) {
  const { bavail, bsize } = stat(root)
  const free = (bavail * bsize) / 1e9
  if (free >= gigabytes) return
  throw new Problem(
    `${what} needs about ${gigabytes} GB, but the disk of ${root} has only ${free.toFixed(1)} GB free. Free some and start again.`
  )
}

/** CMake, a build program and a C++20 compiler; looked for only when there is something to compile. */
export function checkBuildTools(env = process.env) {
  checkCMake(env)
  if (process.platform === 'win32') return // cmake-js looks for Visual Studio itself and names it
  if (!['ninja', 'make'].some((tool) => capture(tool, ['--version'], { env }))) {
    throw new Problem(
      `Neither ninja nor make was found on PATH; one of them runs the build. Install it: ${install('ninja-build', 'ninja-build', 'brew install ninja', '')}`
    )
  }
  checkCompiler(env)
}

function checkCMake(env) {
  const command = install('cmake', 'cmake', 'brew install cmake', 'winget install Kitware.CMake')
  const version = capture('cmake', ['--version'], { env })
  if (version === undefined) {
    throw new Problem(
      `CMake 3.25 or newer is needed to compile the addon, but no "cmake" was found on PATH. Install it: ${command} (or: python3 -m pip install cmake)`
    )
  }
  if (!atLeast(numbers(version), [3, 25])) {
    throw new Problem(
      `CMake 3.25 or newer is needed to compile the addon, but the "cmake" on PATH is ${numbers(version).join('.')}. Install a newer one: python3 -m pip install --upgrade cmake`
    )
  }
}

const probe =
  '#include <concepts>\n#include <span>\ntemplate <std::integral T> T first(std::span<T> s) { return s[0]; }\n'

function checkCompiler(env) {
  const command = install('g++', 'gcc-c++', 'xcode-select --install', '')
  const candidates = env.CXX ? [env.CXX] : ['c++', 'g++', 'clang++']
  const found = candidates.find((name) => capture(name, ['--version'], { env }))
  if (!found) {
    throw new Problem(
      `A C++20 compiler is needed to compile the addon, but none was found (looked for ${candidates.join(', ')} on PATH${env.CXX ? ', as CXX says' : ''}). ` +
        `Install one: ${command} (or set CXX to its path)`
    )
  }
  if (capture(found, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], { env, input: probe }) === undefined) {
    const version = capture(found, ['--version'], { env })?.split('\n')[0]
    throw new Problem(
      `The compiler "${found}" (${version}) cannot compile C++20 (concepts, span). GCC 11 or Clang 14 and newer can. Install one: ${command}, and set CXX if it has another name.`
    )
  }
}
