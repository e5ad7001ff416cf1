import type { ErrorCode } from './error-codes.js'

/** What a program may want one by one; each part also stands in the message. */
export interface ErrorParts {
  readonly expected?: string
  readonly got?: string
  /** Whole sentences: what to do. */
  readonly hint?: string
  readonly cause?: unknown
}

/**
 * The library's own error. The message is whole: `operation: problem (expected …, got …). hint`; the native core composes its
 * messages in the same way, so both sides look alike. Its parts are for programs, which show `problem` where the hint stands
 * in a place of its own; consoles, which list what is enumerable under the message, show each once.
 */
export class AdapterError extends Error {
  override readonly name = 'AdapterError'
  /** Stable, for programs: `ERR_DISPOSED`, `ERR_STATE_DICT`, … */
  readonly code: ErrorCode
  declare readonly operation: string
  declare readonly expected: string | undefined
  declare readonly got: string | undefined
  /** What to do, in whole sentences. */
  declare readonly hint: string | undefined
  /** The message without the hint. */
  declare readonly problem: string

  constructor(code: ErrorCode, operation: string, problem: string, parts: ErrorParts = {}) {
    super(shortened(compose(operation, problem, parts)), 'cause' in parts ? { cause: parts.cause } : undefined)
    this.code = code
    const { hint, cause: _, ...sides } = parts
    const { expected, got } = sides
    define(this, { operation, expected, got, hint, problem: shortened(compose(operation, problem, sides)) })
  }
}

const define = (error: Error, fields: Readonly<Record<string, unknown>>): void => {
  for (const [name, value] of Object.entries(fields)) {
    Object.defineProperty(error, name, { value, configurable: true, writable: true })
  }
}

/** What a file repeats in a message is not as long as the file: names of this length are nobody's. */
const longest = 2000

/** Words and quoted values that are longer keep their beginning and their end. */
function shortened(text: string): string {
  if (text.length <= longest) return text
  const parts = new RegExp(`'[^']{${longest},}'|\\S{${longest},}`, 'g')
  return text.replace(parts, (part) => `${part.slice(0, 200)}…${part.slice(-50)}`)
}

function compose(operation: string, problem: string, { expected, got, hint }: ErrorParts): string {
  const sides = [expected && `expected ${expected}`, got && `got ${got}`].filter(Boolean).join(', ')
  // A problem that quotes another message may end in a full stop of its own.
  const what = sides ? `${problem.replace(/\.$/, '')} (${sides.replace(/\.$/, '')})` : problem
  const text = `${operation ? `${operation}: ` : ''}${what}`
  if (!hint) return text
  return /[.?!]$/.test(text) ? `${text} ${hint}` : `${text}. ${hint}`
}

/** An error that the addon threw: a plain Error with the fields of the core's own error type. */
interface NativeError extends Error {
  readonly code: ErrorCode
  readonly operation?: string
  readonly expected?: string
  readonly got?: string
  readonly hint?: string
}

function isNativeError(error: unknown): error is NativeError {
  if (!(error instanceof Error) || error instanceof AdapterError) return false
  const { code, operation } = error as Partial<NativeError>
  return typeof code === 'string' && code.startsWith('ERR_') && typeof operation === 'string'
}

/** The addon's error as an AdapterError with the same message; anything else comes back as it is. */
export function toAdapterError(error: unknown): unknown {
  if (!isNativeError(error)) return error
  const part = (text: string | undefined) => (text === '' ? undefined : text)
  const translated = new AdapterError(error.code, error.operation ?? '', '', { cause: error })
  const hint = part(error.hint)
  const message = shortened(error.message)
  const ends = hint !== undefined && message.endsWith(hint)
  const problem = ends ? message.slice(0, -hint.length).replace(/\.? $/, '') : message
  define(translated, { message, expected: part(error.expected), got: part(error.got), hint, problem })
  return translated
}

/** Runs a call, direct or promised, whose errors leave as `translate` has them. */
export function withErrors<T>(call: () => T, translate: (error: unknown) => unknown): T {
  try {
    const result = call()
    if (!(result instanceof Promise)) return result
    return result.catch((error: unknown) => {
      throw translate(error)
    }) as T
  } catch (error) {
    throw translate(error)
  }
}

/** Runs a call into the addon, so that its errors leave as AdapterErrors. */
export const nativeCall = <T>(call: () => T): T => withErrors(call, toAdapterError)
