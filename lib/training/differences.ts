import { isPlainObject } from '../config/check.js'
import type { Fingerprint } from './fingerprint.js'
import { lengthArguments } from './run-length.js'

interface Difference {
  /** `head.numLabels` */
  readonly path: string
  readonly known: unknown
  readonly now: unknown
}

/** In what two records of runs differ, each side as text for an error; undefined: in nothing. */
export function differencesOf(
  known: Fingerprint,
  now: Fingerprint
): { readonly expected: string; readonly got: string } | undefined {
  const all = withoutRepeated(differing(known, now))
  if (all.length === 0) return undefined
  const shown = all.slice(0, mostShown)
  const rest = all.length - shown.length
  const list = (side: 'known' | 'now') =>
    shown.map((one) => `${one.path} ${shortText(one[side])}`).join(', ') + (rest > 0 ? ` and ${rest} more` : '')
  return { expected: list('known'), got: list('now') }
}

const mostShown = 6

/** The fields in which two records differ, each alone, however deep it lies; how long a run is may change. */
function differing(known: Fingerprint, now: Fingerprint, above = ''): Difference[] {
  const names = new Set([...Object.keys(now), ...Object.keys(known)])
  return [...names].flatMap((name) => {
    if (lengthArguments.includes(name)) return []
    const path = `${above}${name}`
    const [one, other] = [known[name], now[name]]
    if (JSON.stringify(one) === JSON.stringify(other)) return []
    if (!isPlainObject(one) || !isPlainObject(other)) return [{ path, known: one, now: other }]
    // Configs of two methods have few fields in common: their kinds say all.
    const [was, is] = [one, other].map(({ architecture = 'bottleneck' }) => architecture)
    if (was !== is) return [{ path: `${path}.architecture`, known: was, now: is }]
    return differing(one, other, `${path}.`)
  })
}

/** What each task has of all is said once. */
function withoutRepeated(all: readonly Difference[]): Difference[] {
  const sides = ({ known, now }: Difference) => JSON.stringify([known ?? null, now ?? null])
  const ofAll = new Map(all.map((one) => [one.path, sides(one)]))
  return all.filter((one) => {
    const own = /^tasks\.[^.]+\.(.+)$/.exec(one.path)?.[1]
    return own === undefined || ofAll.get(own) !== sides(one)
  })
}

/** A whole task or config is no text to read. */
function shortText(value: unknown): string {
  const text = JSON.stringify(value) ?? 'none'
  if (text.length <= 60) return text
  return Array.isArray(value) ? '[…]' : isPlainObject(value) ? '{…}' : `${text.slice(0, 60)}…`
}
