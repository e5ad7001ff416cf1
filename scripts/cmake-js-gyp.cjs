#!/usr/bin/env node
// Stands where prebuildify expects node-gyp and calls cmake-js instead. prebuildify runs
//   THIS rebuild --target=V --devdir=D [--arch=A] [--runtime=R] [--dist-url=U] --release|--debug
// cmake-js would take --target for a CMake target, so only what it understands is passed on; CMake variables go as
// --CDNAME=value, since cmake-js drops whatever stands behind "--". "rebuild" becomes "build": a release is built in a
// fresh clone, and elsewhere what is compiled already serves.
const { spawnSync } = require('node:child_process')

const flags = process.argv.slice(2)
const value = (name) => flags.find((flag) => flag.startsWith(`--${name}=`))?.slice(name.length + 3)

const args = [
  require.resolve('cmake-js/bin/cmake-js'),
  'build',
  '--config',
  flags.includes('--debug') ? 'Debug' : 'Release'
]
if (value('arch')) args.push('--arch', value('arch'))
if (process.env.TORCH_ADAPTERS_JOBS) args.push('--parallel', process.env.TORCH_ADAPTERS_JOBS)
if (process.env.LIBTORCH) args.push(`--CDLIBTORCH_ROOT=${process.env.LIBTORCH}`)

const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' })
process.exit(status ?? 1)
