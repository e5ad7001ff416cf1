import { isPlainObject, quoted } from '../config/check.js'
import {
  adapterNames,
  type Composition,
  formatComposition,
  lastAdapters,
  parseComposition
} from '../config/composition.js'
import { compositionFromText } from '../config/composition-text.js'
import { didYouMean, editDistance, plain } from '../config/nearest.js'
import type { Row } from '../data/dataset.js'
import { AdapterError } from '../native/errors.js'

/** Other fields of a row are kept when it is read. */
export function field(row: Row | undefined, name: string): unknown {
  return (row as Record<string, unknown> | undefined)?.[name]
}

/** A row's `id`, which comes back with its answer. */
export function idOf(row: Row | undefined): { readonly id?: unknown } {
  const id = field(row, 'id')
  return id === undefined ? {} : { id }
}

/** Rows that an adapter for each task learned from name it so; beside one adapter alone the field is the caller's own. */
function taskOf({ taskId }: Row, names: readonly string[]): string | undefined {
  if (taskId == null || names.length < 2) return undefined
  const name = String(taskId)
  if (names.includes(name) || !/^\d{1,9}$/.test(name)) return name
  return names[Number(name)] ?? name
}

/** Adapters that rows may name. */
export interface KnownAdapters {
  /** Of --adapter, in its order: the first answers rows that name none. */
  readonly names: readonly string[]
  /** These, and those that the model's folder came with. */
  readonly loaded: readonly string[]
}

/** The adapter that a row of a file names, or the first. */
export function adapterOf(row: Row, { names, loaded }: KnownAdapters, where: string): string | null {
  const given = field(row, 'adapter')
  const isMisspelled = (name: string) => name !== 'adapter' && editDistance(plain(name), 'adapter') <= 1
  const misspelled = given === undefined && Object.keys(row).find(isMisspelled)
  if (misspelled) {
    throw new AdapterError('ERR_INVALID_FILE', '', `${where}: unknown field '${misspelled}'`, {
      hint: "Did you mean 'adapter'?"
    })
  }
  // As in the API, null is no adapter; a row without the field gets the first.
  const wanted = given === undefined ? (taskOf(row, names) ?? names[0] ?? null) : given
  if (wanted === null || (typeof wanted === 'string' && loaded.includes(wanted))) return wanted
  throw new AdapterError('ERR_INVALID_FILE', '', `${where}: no adapter '${String(wanted)}'`, {
    expected: loaded.length === 0 ? 'no "adapter", because none is loaded' : `one of ${quoted(loaded)}, or null`,
    hint: `Load it with --adapter, or change the row.${didYouMean(String(wanted), loaded)}`
  })
}

/** What a row's "adapter" may be for predict: a name, a block as --setup takes it, or as JSON. Its last adapter's head answers. */
export function setupOf(row: Row, known: KnownAdapters, heads: Heads, where: string): Composition {
  const { loaded } = known
  const given = field(row, 'adapter')
  const isBlock = typeof given === 'string' ? !loaded.includes(given) && given.includes('[') : isPlainObject(given)
  const setup = isBlock ? blockOf(given, where) : adapterOf(row, known, where)
  const stranger = adapterNames(setup).find((name) => !loaded.includes(name))
  if (stranger !== undefined) {
    throw new AdapterError('ERR_INVALID_FILE', '', `${where}: ${formatComposition(setup)} names '${stranger}'`, {
      expected: `of ${quoted(loaded)}, or null`,
      hint: `Load it with --adapter, or change the row.${didYouMean(stranger, loaded)}`
    })
  }
  const headless = lastAdapters(setup).find((name) => name !== null && !heads.has(name))
  if (headless == null) return setup
  throw new AdapterError('ERR_NO_HEAD', '', `${where}: '${headless}' has no head, so it cannot answer`, {
    hint: 'Save it together with its head, or put one that has a head above it: "adapter": "Stack[...]".'
  })
}

export type Heads = Pick<ReadonlyMap<string, unknown>, 'has'>

function blockOf(given: unknown, where: string): Composition {
  try {
    return typeof given === 'string' ? compositionFromText(given) : parseComposition(given)
  } catch (error) {
    throw new AdapterError('ERR_INVALID_FILE', '', `${where}: "adapter": ${(error as Error).message}`)
  }
}

/** Whether a row says by itself what answers it; null is the base model. */
export const namesAdapter = (row: Row): boolean => field(row, 'adapter') !== undefined

/** Where --setup is for all rows. */
export function refuseAdapter(row: Row, where: string): void {
  if (!namesAdapter(row)) return
  throw new AdapterError('ERR_INVALID_FILE', '', `${where}: the row names an adapter, and --setup is for all rows`, {
    hint: 'Leave out the field, or --setup.'
  })
}
