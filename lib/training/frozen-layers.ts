import { join, resolve } from 'node:path'
import { modelConfigToJson } from '../config/model-config.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { surgeryToJson } from '../model/surgery-record.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { FrozenLayerReport } from '../native/types.js'
import { cacheRoom } from './cache-room.js'

const defaultBytes = 4 * 2 ** 30

/** Opens the cache that the arguments ask for; gives what closes it again and tells what it was good for. */
export function openFrozenLayers(model: Model, args: ResolvedTrainingArguments): () => FrozenLayerReport | undefined {
  const { frozenLayerCache, outputDir } = args
  if (frozenLayerCache === false) return () => undefined
  if (model.config.exported !== null) {
    throw new AdapterError(
      'ERR_UNSUPPORTED',
      'train',
      'the first layers of an exported network do not run by themselves',
      {
        got: 'frozenLayerCache',
        hint: 'Leave it off'
      }
    )
  }
  const { maxBytes = defaultBytes, dtype, ...given } = frozenLayerCache === true ? {} : frozenLayerCache
  const folder = resolve(given.folder ?? join(outputDir, 'frozen-layers'))
  nativeCall(() =>
    model.native.openFrozenStates({
      folder,
      model: JSON.stringify({
        ...modelConfigToJson(model.config),
        _name_or_path: '',
        surgery: surgeryToJson(model.replacements)
      }),
      maxBytes: cacheRoom(folder, maxBytes),
      dtype: dtype ?? 'float32'
    })
  )
  let open = true
  return () => {
    if (!open) return undefined
    open = false
    return nativeCall(() => model.native.closeFrozenStates())
  }
}

/** What of the cache decides a run's numbers: that dropout is off below, and how values are rounded. */
export function cacheRecord({ frozenLayerCache }: ResolvedTrainingArguments): string | undefined {
  if (frozenLayerCache === false) return undefined
  return frozenLayerCache === true ? 'float32' : (frozenLayerCache.dtype ?? 'float32')
}
