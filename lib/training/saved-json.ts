import * as check from '../config/check.js'

/** JSON of what a checkpoint keeps. JSON has no numbers that are not finite: a measure that is NaN stands as { notFinite: 'NaN' }. */
export const savedToJson = (saved: unknown): string =>
  JSON.stringify(saved, (_, value) =>
    typeof value === 'number' && !Number.isFinite(value) ? { notFinite: String(value) } : value
  )

export const savedFromJson = (text: string): unknown =>
  JSON.parse(text, (_, value) => (typeof value?.notFinite === 'string' ? Number(value.notFinite) : value))

/** Refuses what JSON would lose or cannot hold, by its place. `above`: what it stands in. */
export function checkSavable(place: string, value: unknown, above: readonly unknown[] = []): void {
  if (value === null || ['undefined', 'string', 'boolean', 'number'].includes(typeof value)) return
  const holds = Array.isArray(value) || check.isPlainObject(value)
  if (!holds || above.includes(value)) {
    const what = above.includes(value) ? ', not what it stands in itself' : ''
    throw check.typeError(place, `what a checkpoint can hold: text, numbers, arrays, plain objects${what}`, value)
  }
  for (const [key, one] of Object.entries(value)) {
    checkSavable(Array.isArray(value) ? `${place}[${key}]` : `${place}.${key}`, one, [...above, value])
  }
}
