import * as check from './check.js'
import {
  adapterNames,
  BatchSplit,
  type Composition,
  type CompositionBlock,
  compositionFromJson,
  compositionToJson,
  fusionName,
  lastAdapter,
  lastAdapters,
  Parallel,
  sameComposition
} from './composition.js'

/**
 * The heads of a setup, as Python's `head_setup` has them: a name; a block whose children answer the rows of the adapters'
 * block, child by child; null: none is named.
 */
export type HeadSetup = Composition

/** `head_setup` of adapter_setup.json. A list is Python's form of Parallel; true is the one head of a class. */
export function headSetupFromJson(json: unknown): HeadSetup | true {
  if (json === true) return true
  if (json == null || json === false || json === '') return null
  if (typeof json === 'string') return json
  if (!Array.isArray(json)) return compositionFromJson(json)
  const names = json.map((name, i) => check.checkNonEmptyString(`head_setup[${i}]`, name))
  const [first = null] = names
  return names.length > 1 ? Parallel(...names) : first
}

export function headSetupToJson(heads: HeadSetup): unknown {
  return heads === null || typeof heads === 'string' ? heads : compositionToJson(heads)
}

/** The heads that answer under a setup, by the head of each last adapter; null where some rows have none. */
export function headsUnder(setup: Composition, headOf: (last: string | null) => string | null): HeadSetup {
  const names = new Set(lastAdapters(setup).map(headOf))
  if (names.has(null)) return null
  const [only = null] = names
  if (names.size === 1) return only
  const block = rowsApart(setup)
  if (block === null) return null
  const heads = { ...block, children: block.children.map((child) => headsUnder(child, headOf)) }
  return heads.children.includes(null) ? null : simplest(heads)
}

/** For each of several answers to a row, as Python wants it where there is a Parallel block: one head for every child. */
export function headsForEach(heads: HeadSetup, answers: number): HeadSetup {
  if (answers < 2 || typeof heads !== 'string') return heads
  return Parallel(...Array.from({ length: answers }, () => heads))
}

/**
 * The head of each last adapter under a setup. Null where they do not fit: another block, or an adapter whose rows have
 * different heads.
 */
export function headOfEach(heads: HeadSetup, setup: Composition): ReadonlyMap<string, string> | null {
  const found = new Map<string, string>()
  return match(simplest(heads), setup, found) ? found : null
}

function match(heads: HeadSetup, setup: Composition, found: Map<string, string>): boolean {
  if (heads === null) return false
  if (typeof heads === 'string') {
    return lastAdapters(setup).every((last) => {
      if (last === null || (found.get(last) ?? heads) !== heads) return false
      found.set(last, heads)
      return true
    })
  }
  const block = rowsApart(setup)
  if (block === null || block.type !== heads.type) return false
  if (block.type === 'BatchSplit') return matchRows(partsOf(heads), partsOf(block), found)
  const { children } = block
  return (
    children.length === heads.children.length &&
    children.every((child, i) => match(heads.children[i] ?? null, child, found))
  )
}

/** Both in the order of a batch's rows; their parts need not end at the same. */
function matchRows(heads: readonly Part[], setup: readonly Part[], found: Map<string, string>): boolean {
  const [[head, ...laterHeads], [child, ...later]] = [heads, setup]
  if (head === undefined || child === undefined) return head === child
  if (!match(head.of, child.of, found)) return false
  const rows = Math.min(head.rows, child.rows)
  const rest = (part: Part, others: readonly Part[]) =>
    part.rows === rows ? others : [{ of: part.of, rows: part.rows - rows }, ...others]
  return matchRows(rest(head, laterHeads), rest(child, later), found)
}

/** Whether these heads are those of each row's own last adapter, which answer unasked. */
export function followAdapters(heads: HeadSetup, setup: Composition): boolean {
  const own = headsUnder(setup, (last) => last)
  return sameComposition(own, simplest(heads))
}

/** One name for all is that name, and a BatchSplit in another, for which Python has no form, is more parts of that. */
function simplest(heads: HeadSetup): HeadSetup {
  if (heads === null || typeof heads === 'string') return heads
  const names = adapterNames(heads)
  const [only = null] = names
  if (names.length === 1) return only
  const children = heads.children.map(simplest)
  if (heads.type !== 'BatchSplit') return { ...heads, children }
  const joined: { of: HeadSetup; rows: number }[] = []
  for (const { of, rows } of partsOf({ ...heads, children })) {
    const last = joined.at(-1)
    if (last === undefined || !sameComposition(last.of, of)) joined.push({ of, rows })
    else last.rows += rows
  }
  if (joined.length < 2) return joined[0]?.of ?? null
  return BatchSplit(...joined.map(({ of }) => of), { batchSizes: joined.map(({ rows }) => rows) })
}

/** One child of a BatchSplit. */
interface Part {
  readonly of: Composition
  readonly rows: number
}

/** Also those of a BatchSplit in another. Without rows, on which Python fails, there is none. */
function partsOf(block: Composition, all = 0): readonly Part[] {
  const split = rowsApart(block)
  if (split?.type !== 'BatchSplit') return all > 0 ? [{ of: block, rows: all }] : []
  return split.children.flatMap((child, i) => partsOf(child, split.batchSizes[i] ?? 0))
}

/** The block that tells rows apart, which may stand last in Stacks. */
function rowsApart(setup: Composition): CompositionBlock | null {
  const block = finalBlock(setup)
  return block !== null && ['BatchSplit', 'Parallel', 'MultiTask'].includes(block.type) ? block : null
}

/** The fusion through which rows leave a setup, whose head answers where Python names none. */
export function finalFusion(setup: Composition): string | null {
  const block = finalBlock(setup)
  return block?.type === 'Fuse' ? fusionName(block) : null
}

function finalBlock(setup: Composition): CompositionBlock | null {
  if (setup === null || typeof setup === 'string') return null
  if (setup.type !== 'Stack') return setup
  return finalBlock(setup.children.findLast((child) => lastAdapter(child) !== null) ?? null)
}
