import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { type CompositionBlock, Stack } from '../config/composition.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import { type AdapterSource, findAdapters, refuseLoaded, splitName } from './adapters.js'
import { usageError } from './arguments.js'

/** Adapters that have learned before, stand still and lie below what trains, such as MAD-X's language adapter. */
export interface Below {
  readonly sources: readonly AdapterSource[]
  /** Adds them to a model, those apart that are loaded already: one that several tasks name comes once. */
  readonly load: (model: Model, loaded?: Set<string>) => Promise<void>
  /** The setup of an adapter or a fusion above them. */
  readonly under: (above: string | CompositionBlock) => string | CompositionBlock
  /** For people: what the adapter above them is used with. Empty where there are none. */
  readonly describe: (adapter: string, folder: string) => string
  /** As a config keeps them. */
  readonly record: readonly string[]
}

/**
 * @param place for messages, such as `--below`
 * @param above names of what stands above them
 */
export async function findBelow(
  place: string,
  given: readonly string[],
  above: readonly string[],
  offline: boolean | undefined
): Promise<Below> {
  const sources = await findAdapters(given, offline, place).catch((error: unknown) => {
    throw isNowhere(error) ? nowhere(place, given, error) : error
  })
  const both = sources.find(({ name }) => above.includes(name))
  if (both !== undefined) {
    throw usageError(
      `${place}: what stands above it is called '${both.name}', too: NAME=${both.folder} gives it another`
    )
  }
  const names = sources.map(({ name }) => name)
  return {
    sources,
    load: async (model, loaded = new Set()) => {
      for (const source of sources) {
        if (loaded.has(source.name)) continue
        loaded.add(source.name)
        refuseLoaded(model, source, place)
        await model.loadAdapter(source.folder, { as: source.name, withHead: false })
      }
    },
    under: (above) => (names.length === 0 ? above : Stack(...names, above)),
    describe: (adapter, folder) => {
      if (names.length === 0) return ''
      const options = sources.map((one) => `--adapter ${one.name}=${one.folder}`)
      return `it stands above ${names.join(', ')}: evaluate ${options.join(' ')} --adapter ${folder} --setup 'Stack[${[...names, adapter].join(', ')}]'\n`
    },
    record: sources.map(({ name, folder }) => `${name}=${resolve(folder)}`)
  }
}

const isNowhere = (error: unknown): error is AdapterError =>
  error instanceof AdapterError && ['ERR_NETWORK', 'ERR_OFFLINE', 'ERR_HUB_NOT_FOUND'].includes(error.code)

/** A recipe names a folder that its reader has not made yet, or has made elsewhere. */
function nowhere(place: string, given: readonly string[], error: AdapterError): AdapterError {
  const gone = given.filter((text) => !existsSync(splitName(text).source))
  const name = splitName(gone[0] ?? '').as ?? 'NAME'
  return usageError(
    `${place}: no adapter that has learned before is at ${gone.join(', ')}. Train it first, or say where it lies: ` +
      `--below ${name}=FOLDER. As a hub id: ${error.problem}`
  )
}

/** An adapter of a config, from wherever it is read again; a hub id stays one. */
export function withWholePath(given: string): string {
  const { as, source } = splitName(given)
  if (!existsSync(source)) return given
  return as === undefined ? resolve(source) : `${as}=${resolve(source)}`
}
