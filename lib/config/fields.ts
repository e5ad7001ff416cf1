import { isSnakeCase, type SnakeCase } from './case.js'
import * as check from './check.js'
import { didYouMean } from './nearest.js'

/** A config's fields, without what the class adds to them. */
export type FieldsOf<C> = Omit<C, 'method' | 'replace' | 'toJSON'>
export type OverridesOf<F> = { readonly [K in keyof F]?: F[K] | undefined }
/** The same fields in snake_case, as `adapter_config.json` holds them. An imported JSON file has no literal types. */
export type JsonOf<F> = {
  readonly [K in keyof F & string as SnakeCase<K>]?:
    | (F[K] extends infer T ? Widen<T> : never)
    | MaybeNull<F[K]>
    | undefined
}
/** Python's None is no number. */
export type MaybeNull<T> = [Extract<T, number>] extends [never] ? null : never
type Widen<T> = T extends string ? string : T extends readonly string[] ? readonly string[] : T

/** How each field of a method's config is checked: gives the value that is kept. */
export type FieldRules<F> = { readonly [K in keyof F]: (name: string, value: unknown) => F[K] }

/** The fields of one method's config: their two spellings, their rules and their defaults. */
export class FieldTable<F extends object> {
  readonly #fieldByName: ReadonlyMap<string, keyof F & string>

  constructor(
    /** In the library's spelling, in the order of its documentation. */
    readonly keys: readonly string[],
    fieldOf: (key: string) => string,
    private readonly rules: FieldRules<F>,
    private readonly defaults: Partial<F>
  ) {
    this.#fieldByName = new Map(
      keys.flatMap((key) => {
        const field = fieldOf(key) as keyof F & string
        return [
          [key, field],
          [field, field]
        ]
      })
    )
  }

  /** Whether it is a field, in either spelling. */
  has(name: string): boolean {
    return this.#fieldByName.has(name)
  }

  /** The fields that are given, under their camelCase names, checked one by one. */
  present(given: object): Partial<F> {
    const fields = new Map<string, unknown>()
    for (const [key, value] of Object.entries(given)) {
      const field = this.#fieldByName.get(key)
      if (field === undefined) throw this.#unknown(key, isSnakeCase(Object.keys(given)))
      if (value === undefined) continue
      // Python's None counts as false where a field says yes or no.
      const read = value === null && typeof this.defaults[field] === 'boolean' ? false : value
      // Null, Python's None, is no number, and nothing that has no default: the rule says what it is to be.
      const isRead = ['number', 'undefined'].includes(typeof this.defaults[field]) || this.defaults[field] === null
      if (read === null && !isRead) continue
      if (fields.has(field)) throw check.valueError('adapter config', `'${field}' is given in two spellings`)
      fields.set(field, this.rules[field](key, read))
    }
    return Object.fromEntries(fields) as Partial<F>
  }

  /** What is given, over the defaults. */
  read(given: object): Partial<F> {
    return { ...this.defaults, ...this.present(given) }
  }

  /** The fields of a shorthand are spelled as in files. */
  checkShorthand(given: object): void {
    for (const key of Object.keys(given)) if (!this.keys.includes(key)) throw this.#unknown(key, true)
  }

  /** The library's dict, without its architecture. */
  toJSON(config: object): Record<string, unknown> {
    const fields = config as Record<string, unknown>
    return Object.fromEntries(this.keys.map((key) => [key, fields[this.#fieldByName.get(key) ?? '']]))
  }

  #unknown(key: string, snake: boolean): TypeError {
    const known = snake ? this.keys : new Set(this.#fieldByName.values())
    const help = didYouMean(key, known) || ` It has: ${[...known].join(', ')}.`
    return check.valueError('adapter config', `unknown field '${key}'.${help}`)
  }
}

const dtypes = ['float32', 'float64', 'float16', 'bfloat16'] as const
export type Dtype = (typeof dtypes)[number]

/** Of parameters in Python; null: the model's. */
export function checkDtype(name: string, value: unknown): Dtype | null {
  return value === null ? null : check.checkOneOf(name, value, dtypes)
}

/** Of random numbers; null: the model's own. */
export function checkSeed(name: string, value: unknown): number | null {
  return value === null ? null : check.checkInteger(name, value, 0)
}

/** Numbers of layers, each once. */
export function checkLayers(name: string, value: unknown): readonly number[] {
  const layers = check.checkArray(name, value).map((layer, i) => check.checkInteger(`${name}[${i}]`, layer, 0))
  return Object.freeze([...new Set(layers)])
}
