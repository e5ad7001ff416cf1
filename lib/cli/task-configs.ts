import { isDeepStrictEqual } from 'node:util'
import { AdapterConfig, type AdapterConfigSource } from '../config/adapter-config.js'
import { fromOptions, usageError } from './arguments.js'
import type { TaskSettings } from './train-config.js'

/**
 * The config of each adapter by its name: that which any of its tasks gives, or else the common one. Two tasks that give one
 * adapter different ones are refused.
 */
export function taskConfigs(
  settings: Readonly<Record<string, TaskSettings>>,
  common: AdapterConfig
): ReadonlyMap<string, AdapterConfig> {
  const given = new Map<string, { readonly task: string; readonly config: AdapterConfig }>()
  for (const [task, { adapter = task, config: source }] of Object.entries(settings)) {
    if (source === undefined) continue
    const config = fromOptions(() => AdapterConfig.load(source as AdapterConfigSource))
    const known = given.get(adapter)
    if (known !== undefined && !isDeepStrictEqual(known.config.toJSON(), config.toJSON())) {
      throw usageError(
        `tasks.${task}.config: '${adapter}' is one adapter, and tasks.${known.task} gives it another config; give both the same, ` +
          'one of them none, or each task an adapter of its own'
      )
    }
    given.set(adapter, { task, config })
  }
  const adapters = Object.entries(settings).map(([task, { adapter = task }]) => adapter)
  return new Map(adapters.map((adapter) => [adapter, given.get(adapter)?.config ?? common]))
}
