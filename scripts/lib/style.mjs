// Formatting and linting: biome for TypeScript and scripts, clang-format for C++.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { capture, root, run } from './run.mjs'
import { filesBelow } from './stamp.mjs'
import { Problem } from './terminal.mjs'

export function biome(write) {
  const args = ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '--max-diagnostics=50']
  if (write) args.push('--write')
  return run(process.execPath, args, { log: 'biome', help: write ? '' : 'Run "npm run format".' })
}

// Another version of clang-format breaks lines in other places, so the one of the npm package is taken where it has a
// binary; elsewhere one of the same major version on PATH serves.
function clangFormatCommand() {
  const own = join(root, 'node_modules', 'clang-format', 'bin', `${process.platform}_${process.arch}`, 'clang-format')
  const command = existsSync(own) ? own : 'clang-format'
  const version = capture(command, ['--version'])
  if (version && /version 15\./.test(version)) return command
  throw new Problem(
    `clang-format 15 is needed for the style of the C++ files, but ${own} is missing and "clang-format" on PATH is ${version ?? 'not there'}. ` +
      'Install it: python3 -m pip install clang-format==15.0.7'
  )
}

export function clangFormat(write) {
  const files = filesBelow(['native', 'test/core'], (file) => /\.(cc|h)$/.test(file))
  const args = write ? ['-i', ...files] : ['--dry-run', '--Werror', ...files]
  return run(clangFormatCommand(), args, { log: 'clang-format', help: write ? '' : 'Run "npm run format".' })
}
