import * as check from '../config/check.js'
import type { NativeSetup } from '../native/pass-types.js'
import type { Model } from './model.js'
import { checkKnown, lastName, type Names, type RowAdapters } from './setup.js'

/**
 * Which head answers a row, in every call:
 * 1. the head that the call names, or the adapterSetup around it; null is none;
 * 2. where the call names no adapters, `model.activeHead` if it was set by hand (or by trainHead), or the head that
 *    setActiveAdapters was given for the last adapter that the row passes through; until setActiveAdapters or trainAdapter
 *    activates an adapter that has a head of its own;
 * 3. the head named like the last adapter that the row passes through;
 * 4. `model.activeHead`, for rows whose adapter has no head.
 */
export interface HeadRule {
  /** One for all rows; undefined: heads follow rows. */
  readonly chosen: string | null | undefined
  /** The heads that were given to the active adapters, by the name of the last adapter; those of their own names step back. */
  readonly given?: ReadonlyMap<string, string> | undefined
  /** For rows without a head of their own. */
  readonly otherwise: string | null
}

/** What the model says, or what the call says instead. */
export function headRule(
  model: Model,
  { head, adapters }: { readonly head?: string | null | undefined; readonly adapters?: RowAdapters | undefined }
): HeadRule {
  if (head !== undefined)
    return { chosen: head === null ? null : checkKnown('head', head, model.heads), otherwise: null }
  return adapters === undefined ? model.headChoice.rule : model.headChoice.rowRule
}

export function headOfRow(rule: HeadRule, heads: Names, setup: NativeSetup): string | null {
  if (rule.chosen !== undefined) return rule.chosen
  const last = lastName(setup)
  if (last === null) return rule.otherwise
  return rule.given?.get(last) ?? (heads.has(last) ? last : rule.otherwise)
}

/** The heads of a batch, each once, and for each row which of them answers; one head, or none, needs no list. */
export interface BatchHeads {
  readonly names: readonly string[]
  readonly rows: Int32Array
}

/** `operation`: for the error where some rows have a head and some have none. */
export function batchHeads(
  rule: HeadRule,
  heads: Names,
  setups: readonly NativeSetup[],
  operation: string
): BatchHeads | string | null {
  const each = setups.map((setup) => headOfRow(rule, heads, setup))
  const first = each[0] ?? null
  if (each.every((name) => name === first)) return first
  const without = each.indexOf(null)
  if (without >= 0) {
    const message = `row ${without} has no head and others have; name one, or null, with head`
    throw check.valueError(operation, message)
  }
  const names = [...new Set(each as string[])]
  return { names, rows: Int32Array.from(each, (name) => names.indexOf(name ?? '')) }
}
