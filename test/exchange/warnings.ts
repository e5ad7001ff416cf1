import type { ExecutionContext } from 'ava'

/** The warnings of this process with a code, from now on. */
export function warningsOf(t: ExecutionContext, code: string): string[] {
  const seen: string[] = []
  const listen = (warning: Error & { code?: string }) => {
    if (warning.code === code) seen.push(warning.message)
  }
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  return seen
}

export const soon = () => new Promise((resolve) => setImmediate(resolve))
