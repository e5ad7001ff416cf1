/**
 * JSON as Python's json.dumps writes it.
 *
 * Two reasons not to use JSON.stringify for files that Python reads: the peer's reader tells 4 from 4.0 (an integer
 * `scaling` makes it fail), and its config hash is the SHA-1 of exactly this text.
 */

export interface PythonJsonOptions {
  /** Spaces a level; absent: everything on one line. */
  readonly indent?: number
  /** Keys whose numbers are Python floats, so that 4 is written `4.0`. */
  readonly floatKeys?: ReadonlySet<string>
}

/** Python's repr of a float: always a point or an exponent, and an exponent outside 1e-4 … 1e16. */
export function pythonFloat(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity'
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0.0'
  const [mantissa = '', exponentText = '0'] = value.toExponential().split('e')
  const exponent = Number(exponentText)
  if (exponent < -4 || exponent >= 16) {
    const sign = exponent < 0 ? '-' : '+'
    return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, '0')}`
  }
  return positional(mantissa, exponent)
}

function positional(mantissa: string, exponent: number): string {
  const sign = mantissa.startsWith('-') ? '-' : ''
  const digits = mantissa.replace('-', '').replace('.', '')
  if (exponent < 0) return `${sign}0.${'0'.repeat(-exponent - 1)}${digits}`
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, '0')
  return `${sign}${whole}.${digits.slice(exponent + 1) || '0'}`
}

/** ASCII only, as Python's default `ensure_ascii` gives it. */
function pythonString(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
}

/** Python sorts by code point; JavaScript's default would put an emoji before U+FF00. */
function byCodePoint(a: string, b: string): number {
  const left = Array.from(a, (character) => character.codePointAt(0) ?? 0)
  const right = Array.from(b, (character) => character.codePointAt(0) ?? 0)
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0)
    if (difference !== 0) return difference
  }
  return left.length - right.length
}

export function pythonJson(value: unknown, options: PythonJsonOptions = {}): string {
  return write(value, options, 0, false)
}

function write(value: unknown, options: PythonJsonOptions, depth: number, asFloat: boolean): string {
  if (value === null || value === undefined) return 'null'
  if (typeof value === 'boolean') return value ? 'true' : 'false'
  if (typeof value === 'number')
    return asFloat || !Number.isInteger(value) ? pythonFloat(value) : BigInt(value).toString()
  if (typeof value === 'string') return pythonString(value)
  if (Array.isArray(value)) {
    const items = value.map((item) => write(item, options, depth + 1, asFloat))
    return bracket('[', items, ']', options, depth)
  }
  const record = value as Record<string, unknown>
  const items = Object.keys(record)
    .filter((key) => record[key] !== undefined)
    .sort(byCodePoint)
    .map((key) => {
      const text = write(record[key], options, depth + 1, options.floatKeys?.has(key) ?? false)
      return `${pythonString(key)}: ${text}`
    })
  return bracket('{', items, '}', options, depth)
}

function bracket(open: string, items: string[], close: string, { indent }: PythonJsonOptions, depth: number): string {
  if (items.length === 0) return open + close
  if (indent === undefined) return open + items.join(', ') + close
  const inner = `\n${' '.repeat(indent * (depth + 1))}`
  const outer = `\n${' '.repeat(indent * depth)}`
  return [open, inner, items.join(`,${inner}`), outer, close].join('')
}
