import { didYouMean } from './nearest.js'

/** The `code` of an argument error is Node's own, so that callers can branch on it without reading the text. */
type ArgumentErrorCode = 'ERR_INVALID_ARG_TYPE' | 'ERR_INVALID_ARG_VALUE' | 'ERR_OUT_OF_RANGE'

function withCode<E extends Error>(error: E, code: ArgumentErrorCode): E & { code: ArgumentErrorCode } {
  return Object.assign(error, { code })
}

/** A value as a message shows it: short, quoted, and with its type where the value alone could mislead. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (typeof value === 'string') return value.length > 80 ? `'${value.slice(0, 77)}...'` : `'${value}'`
  if (typeof value === 'number' || typeof value === 'boolean') return `${value} (a ${typeof value})`
  if (typeof value === 'bigint') return `${value}n (a bigint)`
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'symbol') return 'a symbol'
  if (Array.isArray(value)) return `an array of ${value.length}`
  // What has no class of its own, such as what a generator gives, says by its tag what it is.
  const tag = Object.prototype.toString.call(value).slice('[object '.length, -1)
  if (tag === 'Generator') return 'a generator'
  if (tag === 'AsyncGenerator') return 'an async generator'
  if (/Iterator\b/.test(tag)) return 'an iterator'
  const { constructor: of } = value as object
  const name = typeof of === 'function' ? of.name : ''
  return name === '' || name === 'Object' ? 'an object' : `a${/^[AEIO]/.test(name) ? 'n' : ''} ${name}`
}

/** Names as a message lists them: `'a', 'b'`. */
export function quoted(names: Iterable<string>): string {
  return Array.from(names, (name) => `'${name}'`).join(', ')
}

/** The part of JSON Schema that says what a rule accepts. */
export type JsonSchema = Readonly<Record<string, unknown>>

const schemas = new WeakMap<object, JsonSchema>()

/** What an error's rule would have accepted, where the rule says it. */
export const schemaOf = (error: unknown): JsonSchema | undefined =>
  typeof error === 'object' && error !== null ? schemas.get(error) : undefined

/** @param schema the same as `expected`, for programs */
export function typeError(name: string, expected: string, got: unknown, schema?: JsonSchema): TypeError {
  const error = new TypeError(`${name}: expected ${expected}, got ${describe(got)}`)
  if (schema !== undefined) schemas.set(error, schema)
  return withCode(error, 'ERR_INVALID_ARG_TYPE')
}

export function rangeError(name: string, expected: string, got: unknown): RangeError {
  return withCode(new RangeError(`${name}: expected ${expected}, got ${describe(got)}`), 'ERR_OUT_OF_RANGE')
}

/** For values of the right type that mean nothing here; `hint` is a whole sentence. */
export function valueError(name: string, message: string): TypeError {
  return withCode(new TypeError(`${name}: ${message}`), 'ERR_INVALID_ARG_VALUE')
}

export function checkString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw typeError(name, 'a string', value, { type: 'string' })
  return value
}

export function checkNonEmptyString(name: string, value: unknown): string {
  if (typeof value !== 'string') throw typeError(name, 'a string', value, { type: 'string', minLength: 1 })
  if (value === '') throw rangeError(name, 'a string that is not empty', value)
  return value
}

export function checkBoolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw typeError(name, 'true or false', value, { type: 'boolean' })
  return value
}

export function checkInteger(
  name: string,
  value: unknown,
  minimum = Number.MIN_SAFE_INTEGER,
  maximum = Number.MAX_SAFE_INTEGER
): number {
  const expected = `${integerName(minimum)}${maximum < Number.MAX_SAFE_INTEGER ? ` up to ${maximum}` : ''}`
  if (typeof value !== 'number') {
    const limits = {
      ...(minimum > Number.MIN_SAFE_INTEGER && { minimum }),
      ...(maximum < Number.MAX_SAFE_INTEGER && { maximum })
    }
    throw typeError(name, expected, value, { type: 'integer', ...limits })
  }
  if (Number.isInteger(value) && value > Number.MAX_SAFE_INTEGER)
    throw rangeError(name, `${expected}, below 2^53`, value)
  if (!Number.isSafeInteger(value) || value < minimum || value > maximum) throw rangeError(name, expected, value)
  return value
}

function integerName(minimum: number): string {
  if (minimum === 1) return 'a positive integer'
  if (minimum === 0) return 'an integer from 0'
  return minimum > Number.MIN_SAFE_INTEGER ? `an integer from ${minimum}` : 'an integer'
}

export function checkPositiveInteger(name: string, value: unknown): number {
  return checkInteger(name, value, 1)
}

export interface NumberRange {
  /** Smallest value allowed. */
  readonly from?: number
  /** Largest value allowed. */
  readonly to?: number
  /** The value must be greater than this. */
  readonly above?: number
  /** The value must be less than this. */
  readonly below?: number
}

/** A finite number in a range; NaN and the infinities are never in it. */
export function checkNumber(name: string, value: unknown, range: NumberRange = {}): number {
  const limits = [
    range.from === undefined ? '' : `at least ${range.from}`,
    range.above === undefined ? '' : `above ${range.above}`,
    range.to === undefined ? '' : `at most ${range.to}`,
    range.below === undefined ? '' : `below ${range.below}`
  ].filter((limit) => limit !== '')
  const expected = limits.length === 0 ? 'a finite number' : `a number ${limits.join(' and ')}`
  if (typeof value !== 'number') throw typeError(name, expected, value, numberSchema(range))
  const inside =
    Number.isFinite(value) &&
    value >= (range.from ?? -Infinity) &&
    value <= (range.to ?? Infinity) &&
    value > (range.above ?? -Infinity) &&
    value < (range.below ?? Infinity)
  if (!inside) throw rangeError(name, expected, value)
  return value
}

function numberSchema({ from, to, above, below }: NumberRange): JsonSchema {
  const limits = { minimum: from, maximum: to, exclusiveMinimum: above, exclusiveMaximum: below }
  return {
    type: 'number',
    ...Object.fromEntries(Object.entries(limits).filter(([, limit]) => limit !== undefined))
  }
}

export function checkOneOf<const T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  const expected = `one of ${quoted(choices)}`
  if (typeof value !== 'string') throw typeError(name, expected, value, { enum: choices })
  if (choices.includes(value as T)) return value as T
  throw valueError(name, `expected ${expected}, got ${describe(value)}.${didYouMean(value, choices)}`)
}

export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

export function checkObject(name: string, value: unknown): Record<string, unknown> {
  // An AbortSignal or a Map has fields of its own kind: what it was to say would be passed over. Of another realm, too.
  const isOne = typeof value === 'object' && Object.prototype.toString.call(value) === '[object Object]'
  if (!isOne) throw typeError(name, 'an object', value, { type: 'object' })
  return value as Record<string, unknown>
}

/** Options that are yes or no in every call that takes them. */
const yesOrNo = [
  ...['allowNoAnswer', 'doSample', 'normalizeWeights', 'offline', 'outputAdapterFusionAttentions'],
  ...['outputHiddenStates', 'overwriteOk', 'saveOnAbort', 'setActive', 'shapes', 'unfreezeAdapters', 'withHead']
]

/** Options that are of one kind in every call that takes them: yes or no, what stops it, and what hears of it. */
export function checkCommonOptions(options: Readonly<Record<string, unknown>>): void {
  for (const name of yesOrNo) if (options[name] !== undefined) checkBoolean(name, options[name])
  checkSignal(options['signal'])
  const { onProgress } = options
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw typeError('onProgress', 'a function', onProgress)
}

/** Its controller is often given in its place. */
function checkSignal(signal: unknown): void {
  const isSignal = typeof (signal as { throwIfAborted?: unknown } | undefined)?.throwIfAborted === 'function'
  if (signal === undefined || isSignal) return
  throw typeError(
    'signal',
    'an AbortSignal, such as AbortSignal.timeout(ms) or the signal of an AbortController',
    signal
  )
}

export function checkArray(name: string, value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw typeError(name, 'an array', value, { type: 'array' })
  checkWhole(name, value)
  return value
}

/** Holes, as in `[ , 'x']`, are passed over by all that goes through an array. */
export function checkWhole(name: string, array: readonly unknown[]): void {
  for (let i = 0; i < array.length; i++)
    if (array[i] === undefined && !(i in array)) throw valueError(`${name}[${i}]`, 'nothing is there (a hole)')
}

/** What is known of a key that nobody reads, as the rest of a sentence that begins with it. */
export type Explain = (key: string) => string | undefined

/** Refuses keys that nobody reads: a misspelled option must not pass in silence. */
export function checkKeys(
  name: string,
  object: Record<string, unknown>,
  allowed: readonly string[],
  explain: Explain = () => undefined
): void {
  for (const key of Object.keys(object)) {
    if (allowed.includes(key)) continue
    const known = explain(key)
    if (known !== undefined) throw valueError(name, `'${key}' ${known}`)
    throw valueError(name, `unknown option '${key}'.${didYouMean(key, allowed) || ` Known: ${allowed.join(', ')}.`}`)
  }
}

/** For each field what checks it, and gives it back. */
export type FieldRules<T> = { readonly [K in keyof T]-?: (name: string, value: unknown) => T[K] }

/** The fields of an object that are given, each checked by its own rule. Frozen. */
export function checkFields<T extends object>(
  name: string,
  value: unknown,
  rules: FieldRules<T>,
  explain?: Explain
): Partial<T> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw typeError(name, 'an object', value, fieldsSchema(rules))
  }
  const given = value as Record<string, unknown>
  const known = Object.keys(rules) as (keyof T & string)[]
  checkKeys(name, given, known, explain)
  const fields = known.filter((key) => given[key] !== undefined)
  return Object.freeze(
    Object.fromEntries(fields.map((key) => [key, rules[key](`${name}.${key}`, given[key])]))
  ) as Partial<T>
}

/** What an object may hold whose fields have these rules. */
export function fieldsSchema<T extends object>(rules: FieldRules<T>): JsonSchema {
  const fields = Object.entries<(name: string, value: unknown) => unknown>(rules)
  const properties = Object.fromEntries(fields.map(([key, rule]) => [key, ruleSchema(rule)]))
  return { type: 'object', properties, additionalProperties: false }
}

/** Values beside its own kind that a rule may let pass. */
const exceptions = [null, true, false, -1]

/**
 * What a rule accepts. A rule says it in the error for what nobody accepts; what passes beside its own kind, such as null for
 * "none", is found by trying.
 */
export function ruleSchema(rule: (name: string, value: unknown) => unknown): JsonSchema {
  const own = schemaOf(errorOf(rule, Symbol('none'))) ?? {}
  const others = exceptions.filter((value) => errorOf(rule, value) === undefined && !isWithin(own, value))
  if (others.length === 0 || Object.keys(own).length === 0) return own
  const kinds = others.includes(true) && others.includes(false) ? [{ type: 'boolean' }] : []
  const values = others.filter((value) => typeof value !== 'boolean').map((value) => ({ const: value }))
  return { anyOf: [own, ...kinds, ...values] }
}

function errorOf(rule: (name: string, value: unknown) => unknown, value: unknown): unknown {
  try {
    rule('value', value)
    return undefined
  } catch (error) {
    return error
  }
}

const isWithin = ({ type, minimum = -Infinity }: JsonSchema, value: unknown): boolean =>
  (type === 'boolean' && typeof value === 'boolean') ||
  ((type === 'number' || type === 'integer') && typeof value === 'number' && value >= (minimum as number))
