import { runInNewContext } from 'node:vm'
import { AdapterError } from '../native/errors.js'

const longest = 10_000
const milliseconds = 1000

/**
 * The texts that a regular expression of Python matches as a whole, as re.fullmatch does. It comes out of a file, so it is
 * given a limited time, and what JavaScript cannot read is an error that names it.
 */
export function fullMatches(pattern: string, texts: readonly string[]): ReadonlySet<string> {
  const expression = compile(pattern)
  try {
    const context = { expression, texts: [...texts] }
    const found = runInNewContext('texts.filter((text) => expression.test(text))', context, { timeout: milliseconds })
    return new Set(found as string[])
  } catch (cause) {
    throw refuse(pattern, `it is not done with ${texts.length} names after ${milliseconds / 1000} s`, cause)
  }
}

function compile(pattern: string): RegExp {
  if (pattern.length > longest) throw refuse(`${pattern.slice(0, 40)}…`, `it has ${pattern.length} characters`)
  const [, flags = '', rest = ''] = /^(?:\(\?([ais]+)\))?(.*)$/s.exec(pattern) ?? []
  const source = rest.replaceAll('(?P<', '(?<').replaceAll(/\\A/g, '^').replaceAll(/\\Z/g, '$')
  try {
    return new RegExp(`^(?:${source})$`, flags.replaceAll('a', ''))
  } catch (cause) {
    throw refuse(pattern, 'JavaScript cannot read it', cause)
  }
}

function refuse(pattern: string, reason: string, cause?: unknown): AdapterError {
  return new AdapterError('ERR_UNSUPPORTED', 'match modules', `the regular expression '${pattern}': ${reason}`, {
    expected: "a regular expression that Python's re and JavaScript have in common",
    hint: 'Write the names of the modules as a list.',
    cause
  })
}
