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
 * The library's own error. The message reads `operation: problem (expected …, got …). hint`; the native core composes
 * its messages in the same way, so both sides look alike.
 */
export class AdapterError extends Error {
  override readonly name = 'AdapterError'
  /** Stable, for programs: `ERR_DISPOSED`, `ERR_STATE_DICT`, … */
  readonly code: ErrorCode
  readonly operation: string
  readonly expected: string | undefined
  readonly got: string | undefined
  readonly hint: string | undefined

  constructor(code: ErrorCode, operation: string, problem: string, parts: ErrorParts = {}) {
    super(compose(operation, problem, parts), 'cause' in parts ? { cause: parts.cause } : undefined)
    this.code = code
    this.operation = operation
    this.expected = parts.expected
    this.got = parts.got
    this.hint = parts.hint
  }
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
  return Object.defineProperties(translated, {
    message: { value: error.message, configurable: true, writable: true },
    expected: { value: part(error.expected), enumerable: true },
    got: { value: part(error.got), enumerable: true },
    hint: { value: part(error.hint), enumerable: true }
  })
}

/** Runs a call into the addon, direct or promised, so that its errors leave as AdapterErrors. */
export function nativeCall<T>(call: () => T): T {
  try {
    const result = call()
    if (!(result instanceof Promise)) return result
    return result.catch((error: unknown) => {
      throw toAdapterError(error)
    }) as T
  } catch (error) {
    throw toAdapterError(error)
  }
}
