import { statSync } from 'node:fs'
import { quoted } from '../config/check.js'
import { adapterNames, type Composition, formatComposition } from '../config/composition.js'
import { compositionFromText } from '../config/composition-text.js'
import { didYouMean } from '../config/nearest.js'
import type { ProblemType } from '../config/peft-config.js'
import type { Model } from '../model/model.js'
import type { AdapterSource } from './adapters.js'
import { usageError } from './arguments.js'
import { loadNamed } from './model-options.js'

/** A folder of saveAdapterSetup or of fuse, or a composition of what --adapter loads. */
export type SetupSource = { readonly folder: string } | { readonly composition: Composition }

/** What --setup says, before anything is loaded. */
export async function setupSource(text: string): Promise<SetupSource> {
  if (statSync(text, { throwIfNoEntry: false })?.isDirectory() === true) {
    const { refuseUnfinished } = await import('./run-folder.js')
    refuseUnfinished('--setup', text)
    return { folder: text }
  }
  if (!text.trimStart().startsWith('{')) return { composition: inSetup(() => compositionFromText(text)) }
  const { parseComposition } = await import('../config/composition.js')
  try {
    return { composition: parseComposition(JSON.parse(text)) }
  } catch (error) {
    throw usageError(`--setup: expected a block as JSON, got '${text}': ${(error as Error).message}`)
  }
}

/** Loads what a folder's setup names, with its heads. Gives the composition, and the head that it has beside its adapters' own. */
async function loadSetupFolder(model: Model, folder: string): Promise<LoadedSetup> {
  const composition = await model.loadAdapterSetup(folder, { setActive: true })
  return { composition, head: model.headChoice.rule.chosen ?? undefined }
}

/** A folder has its adapters and its head with it; a composition needs adapters, and may be told whose head answers. */
export function checkBeside(setup: SetupSource, adapters: readonly string[], head: string | undefined): void {
  if (head !== undefined)
    throw usageError('--head: expected without --setup, whose adapters or fusion have their heads')
  if ('folder' in setup && adapters.length > 0)
    throw usageError('--adapter: expected none beside the folder of a --setup, which has its own')
}

/** What a composition names must be what --adapter loads: that shows before anything is loaded. */
function checkNames(composition: Composition, adapters: readonly AdapterSource[]): void {
  const loaded = adapters.map(({ name }) => name)
  const stranger = adapterNames(composition).find((name) => !loaded.includes(name))
  if (stranger === undefined) return
  // No adapter has such a name.
  if (/[\\/]/.test(stranger)) throw usageError(`--setup: there is no folder '${stranger}'`)
  const there = loaded.length === 0 ? 'there is no --adapter' : `--adapter loads ${quoted(loaded)}`
  const text = formatComposition(composition)
  throw usageError(`--setup: ${text} names '${stranger}', and ${there}.${didYouMean(stranger, loaded)}`)
}

export interface LoadedSetup {
  readonly composition: Composition
  /** Beside the adapters' own. */
  readonly head: string | undefined
}

export async function loadSetup(
  model: Model,
  setup: SetupSource,
  adapters: readonly AdapterSource[],
  problem: ProblemType | undefined
): Promise<LoadedSetup> {
  if ('folder' in setup) return await loadSetupFolder(model, setup.folder)
  checkNames(setup.composition, adapters)
  // One that is not the last needs no head.
  for (const adapter of adapters) await loadNamed(model, adapter, problem)
  const { composition } = setup
  inSetup(() => model.setActiveAdapters(composition))
  return { composition, head: undefined }
}

/** What such a block lacks is said of the option, not of the call behind it. */
function inSetup<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw usageError(`--setup: ${(error as Error).message.replace(/^setActiveAdapters: /, '')}`)
  }
}

/** Whose answer each of a row's answers is: with Parallel there are several. */
export function answererOf(composition: Composition, answers: number, index: number): { readonly adapter?: string } {
  if (answers < 2) return {}
  const child = composition !== null && typeof composition !== 'string' ? composition.children[index] : undefined
  const isChild = child !== undefined && (composition as { children: readonly unknown[] }).children.length === answers
  return { adapter: isChild ? formatComposition(child) : `${index}` }
}
