// Options of the scripts.
import { parseArgs } from 'node:util'
import { Problem } from './terminal.mjs'

/**
 * What parseArgs gives; what it throws is a Problem of one line: of a value that begins with a dash Node tells how it is
 * written, on lines of its own.
 * @template {import('node:util').ParseArgsConfig} T
 * @param {T} config
 * @param {string} help the command that tells of the options
 */
export function parseOptions(config, help) {
  const { args } = config
  try {
    // Package managers other than npm hand the `--` in front of options on.
    return parseArgs(args?.[0] === '--' ? { ...config, args: args.slice(1) } : config)
  } catch (error) {
    const [first = ''] = /** @type {Error} */ (error).message.split('\n')
    const [, name] = /^Option '(--[\w-]+).*ambiguous/.exec(first) ?? []
    const problem = name === undefined ? first.replace(/\.?$/, '.') : `${name}: expected a value, got an option.`
    throw new Problem(`${problem} See ${help}.`)
  }
}
