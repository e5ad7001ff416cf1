import type { AdapterConfig } from '../config/adapter-config.js'
import * as check from '../config/check.js'
import {
  adapterNames,
  type Composition,
  type CompositionBlock,
  compositionToCode,
  type Fuse,
  formatComposition,
  fuseBlocks,
  fusionName,
  parseComposition
} from '../config/composition.js'
import { some } from '../config/counted.js'
import { whyNotFused } from '../config/fusible.js'
import { didYouMean } from '../config/nearest.js'
import type { NativeForwardOptions, NativeSetup } from '../native/pass-types.js'

/** A name, a block of names such as `Stack('en', 'qa')`, or null: the base model alone. */
export type AdapterSetup = Composition
/** One setup for all rows, or one for each. */
export type RowAdapters = AdapterSetup | readonly AdapterSetup[]

/** For MultiTask blocks: for each row the name of a child, or its number. */
export type TaskIds = readonly (string | number)[] | ArrayLike<number>

/** What rows say themselves, where any of them does. */
export function taskIdsOf(
  rows: readonly { readonly taskId?: string | number | null | undefined }[]
): TaskIds | undefined {
  if (rows.every(({ taskId }) => taskId == null)) return undefined
  return rows.map(({ taskId }) => taskId) as TaskIds
}

/** The names of a map or a set. */
export interface Names {
  readonly size: number
  has(name: string): boolean
  keys(): Iterable<string>
}

/** What setups may name. */
export interface Known {
  /** With their configs, where these are known. */
  readonly adapters: Names & { get?(name: string): AdapterConfig | undefined }
  readonly fusions: Names
}

/** The adapters of a setup, each once, in the order they run; an error for a name that is none. */
export function setupNames(setup: AdapterSetup, known: Known, argument = 'adapters'): readonly string[] {
  if (setup === null) return []
  if (typeof setup === 'string') {
    if (!known.adapters.has(setup) && isBlockAsText(setup)) {
      const message = `'${setup}' is a text: a block is made by its function, such as Stack('a', 'b')`
      throw check.valueError(argument, message)
    }
    return [checkKnown(argument, setup, known.adapters)]
  }
  const block = parseComposition(setup, argument)
  const names = adapterNames(block)
  for (const name of names) checkKnown(argument, name, known.adapters)
  for (const fuse of fuseBlocks(block)) {
    const name = fusionName(fuse)
    if (known.fusions.has(name)) continue
    const there = known.fusions.size === 0 ? '' : `; there are ${check.quoted(known.fusions.keys())}`
    throw check.valueError(argument, `there is no fusion '${name}'${there}. ${fusionHint(fuse, known)}`)
  }
  return names
}

const isBlockAsText = (text: string): boolean =>
  /^\s*(Stack|Fuse|Split|BatchSplit|Parallel|Average|MultiTask)\s*[([]/.test(text)

/** The call that adds it, where there can be one. */
function fusionHint(fuse: Fuse, { adapters, fusions }: Known): string {
  for (const name of adapterNames(fuse)) {
    const config = adapters.get?.(name)
    const other = config === undefined ? null : whyNotFused(name, config)
    if (other === null) continue
    return `There can be none: '${name}' ${other.why}, and fusions read bottlenecks alone. ${other.hint}`
  }
  if (fuse.children.some((child) => child !== null && typeof child === 'object'))
    return `Add it first: model.addAdapterFusion(${compositionToCode(fuse)}).`
  const children = fuse.children.map(compositionToCode)
  const names = children.join(', ')
  if (fuse.name === null) return `Add it first: model.addAdapterFusion([${names}]).`
  const unnamed = fusions.has(fusionName({ ...fuse, name: null })) ? `, or leave the name out: Fuse(${names})` : ''
  return `Add it first: model.addAdapterFusion([${names}], 'dynamic', { name: '${fuse.name}' })${unnamed}.`
}

export function checkKnown(argument: string, name: unknown, known: Names): string {
  check.checkString(argument, name)
  if (known.has(name as string)) return name as string
  const names = [...known.keys()]
  const shown = names.map((one) => `'${one}'`)
  const there = names.length === 0 ? 'there is none yet' : `there are ${some(shown, 20)}`
  throw check.valueError(argument, `no '${name}' here; ${there}.${didYouMean(name as string, names)}`)
}

/** Which of a batch's rows a setup is for, and what blocks need to know about it. */
export interface SetupRow {
  readonly row: number
  readonly rows: number
  /** Of the copies that Parallel makes. */
  readonly channel: number
  readonly taskIds: TaskIds | undefined
}

/** How many answers each row has: 1, or with Parallel as many as it has children. */
export function channelCount(adapters: RowAdapters): number {
  if (adapters === null || typeof adapters === 'string' || Array.isArray(adapters)) return 1
  const setup = adapters as CompositionBlock
  const counts = setup.children.map((child) => channelCount(child))
  if (setup.type === 'Parallel') return counts.reduce((sum, count) => sum + count, 0)
  const several = [...new Set(counts.filter((count) => count > 1))]
  if (several.length > 1) {
    const message =
      `its Parallel blocks have ${several.join(' and ')} children; they must have as many. ` +
      "Give the shorter ones null, which adds nothing, as in Parallel('a', null)"
    throw check.valueError(formatComposition(setup), message)
  }
  return several[0] ?? 1
}

/** One row's own setup: BatchSplit, MultiTask and Parallel are resolved, for they only say which row gets what. */
export function rowSetup(setup: AdapterSetup, at: SetupRow): NativeSetup {
  if (setup === null || typeof setup === 'string') return setup
  switch (setup.type) {
    case 'Parallel':
      return parallelChild(setup, at)
    case 'BatchSplit':
      return batchSplitChild(setup, at)
    case 'MultiTask':
      return rowSetup(setup.children[taskIndex(setup, at)] ?? null, at)
    case 'Stack':
      return { type: 'stack', children: childSetups(setup, at) }
    case 'Fuse':
      return { type: 'fuse', children: childSetups(setup, at), fusion: fusionName(setup) }
    case 'Split':
      return { type: 'split', children: childSetups(setup, at), sizes: setup.splits }
    case 'Average':
      return { type: 'average', children: childSetups(setup, at), weights: setup.weights }
  }
}

function childSetups(setup: CompositionBlock, at: SetupRow): NativeSetup[] {
  return setup.children.map((child) => rowSetup(child, at))
}

function parallelChild(setup: CompositionBlock, at: SetupRow): NativeSetup {
  let { channel } = at
  for (const child of setup.children) {
    const count = channelCount(child)
    if (channel < count) return rowSetup(child, { ...at, channel })
    channel -= count
  }
  return null
}

function batchSplitChild(setup: Extract<CompositionBlock, { type: 'BatchSplit' }>, at: SetupRow): NativeSetup {
  const wanted = setup.batchSizes.reduce((sum, size) => sum + size, 0)
  if (wanted !== at.rows) {
    throw check.valueError('BatchSplit', `its sizes are for ${wanted} rows, and ${at.rows} came`)
  }
  let { row } = at
  for (const [i, size] of setup.batchSizes.entries()) {
    const taskIds =
      at.taskIds === undefined ? undefined : Array.from(at.taskIds).slice(at.row - row, at.row - row + size)
    if (row < size) return rowSetup(setup.children[i] ?? null, { ...at, row, rows: size, taskIds })
    row -= size
  }
  return null
}

function taskIndex(setup: CompositionBlock, { row, rows, taskIds }: SetupRow): number {
  const options = setup.children.map(formatComposition)
  if (taskIds === undefined) {
    throw check.valueError(
      'taskIds',
      `MultiTask needs one for each row, here or as its taskId (task_id in a file): one of ${check.quoted(options)}, or its number`
    )
  }
  if (taskIds.length !== rows) throw check.valueError('taskIds', `${taskIds.length} task ids for ${rows} rows`)
  return childOf(options, taskIds[row], `taskIds[${row}]`)
}

/** A setup with every MultiTask block replaced by the child for one task. `place`: of the row, for messages. */
export function forTask(setup: AdapterSetup, taskId: string | number | undefined, place: string): AdapterSetup {
  if (setup === null || typeof setup === 'string') return setup
  if (setup.type === 'MultiTask') return forTask(setup.children[taskChild(setup, taskId, place)] ?? null, taskId, place)
  return { ...setup, children: setup.children.map((child) => forTask(child, taskId, place)) }
}

function taskChild(setup: CompositionBlock, taskId: string | number | undefined, place: string): number {
  const options = setup.children.map(formatComposition)
  if (taskId === undefined) {
    throw check.valueError(
      place,
      `under MultiTask a row needs a taskId: one of ${check.quoted(options)}, or its number`
    )
  }
  return childOf(options, taskId, `${place}.taskId`)
}

/** By its name, or its number, which in a cell of a table is text. */
function childOf(options: readonly string[], id: unknown, name: string): number {
  const isNumber = typeof id === 'string' && /^\d{1,9}$/.test(id) && !options.includes(id)
  if (isNumber || typeof id === 'number') return check.checkInteger(name, Number(id), 0, options.length - 1)
  return options.indexOf(check.checkOneOf(name, id, options))
}

/** Whether all rows of a batch have the same setup, whatever their number and place. */
export function isUniform(setup: AdapterSetup): boolean {
  if (setup === null || typeof setup === 'string') return true
  return !['BatchSplit', 'MultiTask', 'Parallel'].includes(setup.type) && setup.children.every(isUniform)
}

export interface BatchRows {
  readonly rows: number
  readonly taskIds?: TaskIds | undefined
  /** Where the batch's rows have another order than the caller's: the caller's row for each. */
  readonly order?: ArrayLike<number> | undefined
}

/** The setup of all rows, alone, where it is the same for each; else that of each row in the batch's order. */
export function batchSetups(adapters: RowAdapters, batch: BatchRows, known: Known): readonly NativeSetup[] {
  if (!Array.isArray(adapters)) {
    const setup = adapters as AdapterSetup
    setupNames(setup, known)
    if (isUniform(setup)) return [rowSetup(setup, { row: 0, rows: 0, channel: 0, taskIds: undefined })]
  }
  return rowSetups(adapters, batch, known)
}

/** The different setups of a batch, and which of them each row has. */
export function indexSetups(perRow: readonly NativeSetup[]): Pick<NativeForwardOptions, 'setups' | 'rowSetups'> {
  const setups: NativeSetup[] = []
  const indices = new Map<string, number>()
  const indexed = Int32Array.from(perRow, (setup) => {
    if (setup === null) return -1
    const key = JSON.stringify(setup)
    const index = indices.get(key) ?? setups.push(setup) - 1
    indices.set(key, index)
    return index
  })
  const isOne = indexed.every((index) => index === indexed[0])
  return isOne ? { setups } : { setups, rowSetups: indexed }
}

/** Each row's setup in the batch's order, one channel after the other. */
export function rowSetups(adapters: RowAdapters, batch: BatchRows, known: Known): NativeSetup[] {
  const { rows, taskIds, order } = batch
  const places = order === undefined ? Array.from({ length: rows }, (_, row) => row) : Array.from(order)
  if (!Array.isArray(adapters)) {
    const setup = adapters as AdapterSetup
    return Array.from({ length: channelCount(setup) }, (_, channel) => channel).flatMap((channel) =>
      places.map((row) => rowSetup(setup, { row, rows, channel, taskIds }))
    )
  }
  const given = adapters as readonly AdapterSetup[]
  const branches = rowBranches(given, { rows, taskIds }, known)
  const several = branches.findIndex(({ length }) => length > 1)
  if (several >= 0) {
    const message = `${formatComposition(given[several] ?? null)} gives one row ${branches[several]?.length} answers`
    const instead = 'predict lists them as its branches; elsewhere give the row once for each child'
    throw check.valueError(`adapters[${several}]`, `${message}: ${instead}`)
  }
  return places.map((row) => branches[row]?.[0] ?? null)
}

/** What each row passes through where it has a setup of its own: one, or with Parallel one for each child. */
export function rowBranches(
  given: readonly AdapterSetup[],
  { rows, taskIds }: BatchRows,
  known: Known
): readonly (readonly NativeSetup[])[] {
  if (given.length !== rows) {
    throw check.valueError('adapters', `expected one entry for each of ${rows} rows, got ${given.length}`)
  }
  return Array.from(given, (setup, row) => {
    // A name that a caller's table lacks must not answer as the base model.
    if (setup === undefined) {
      throw check.typeError(`adapters[${row}]`, "an adapter's name, a block, or null for the base model alone", setup)
    }
    setupNames(setup, known, `adapters[${row}]`)
    if (hasBatchSplit(setup)) {
      const message = `${formatComposition(setup)} shares a batch out, and this is one row of it: name the row's own child`
      throw check.valueError(`adapters[${row}]`, message)
    }
    const at = { row, rows, channel: 0, taskIds }
    const own = ofTask(setup, at)
    return Array.from({ length: channelCount(own) }, (_, channel) => rowSetup(own, { ...at, channel }))
  })
}

/** A row's task decides how many children answer it. */
function ofTask(setup: AdapterSetup, at: SetupRow): AdapterSetup {
  if (setup === null || typeof setup === 'string') return setup
  if (setup.type === 'MultiTask') return ofTask(setup.children[taskIndex(setup, at)] ?? null, at)
  return { ...setup, children: setup.children.map((child) => ofTask(child, at)) }
}

function hasBatchSplit(setup: AdapterSetup): boolean {
  if (setup === null || typeof setup === 'string') return false
  return setup.type === 'BatchSplit' || setup.children.some(hasBatchSplit)
}

/** The adapter whose head answers: the last one that runs; null where there is none. */
export function lastName(setup: NativeSetup): string | null {
  if (setup === null || typeof setup === 'string') return setup
  return setup.children.reduce<string | null>((last, child) => lastName(child) ?? last, null)
}

/** As it is now: a plain object may change afterwards, a block does not. */
export const unchanging = (setup: AdapterSetup): AdapterSetup =>
  setup === null || typeof setup === 'string' ? setup : parseComposition(setup)
