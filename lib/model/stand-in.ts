// What takes the place of a part is tried first beside it, under a name of its own.

import { withErrors } from '../native/errors.js'

const uses = ['loading', 'averaging', 'whole'] as const
const suffix = new RegExp(` \\((${uses.join('|')})\\)$`)

/** Whether a part has this name for a while only: what is told of it is told again of the part itself. */
export const isStandIn = (name: string): boolean => suffix.test(name)

/**
 * Runs what gives parts other names for a while; its errors have the names that the caller knows.
 * @param names of the caller's
 */
export function withStandIns<T>(
  names: Iterable<string>,
  use: (typeof uses)[number],
  work: (other: (name: string) => string) => T
): T {
  const other = (name: string) => `${name} (${use})`
  return withErrors(
    () => work(other),
    (error) => {
      for (const name of names) rename(error, other(name), name)
      return error
    }
  )
}

const texts = ['message', 'stack', 'operation', 'problem', 'expected', 'got', 'hint']

/** In all that an error says, and in what caused it. */
function rename(error: unknown, from: string, to: string): void {
  for (let one = error; one instanceof Error; one = one.cause) {
    const fields = one as unknown as Record<string, unknown>
    for (const field of texts) {
      const text = fields[field]
      if (typeof text === 'string' && text.includes(from)) fields[field] = text.replaceAll(from, to)
    }
  }
}
