import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { isOwnHead } from '../config/own-head.js'
import { saveAnyAdapter } from '../model/exchange.js'
import type { Model } from '../model/model.js'
import { isBaseParameter } from '../model/summary.js'
import { hasSurgeryInHead } from '../model/surgery-record.js'

/** Each adapter, each head without one and each fusion as a folder that Python and this library load. */
export async function saveParts(model: Model, folder: string): Promise<void> {
  for (const name of model.adapters.keys()) await saveAnyAdapter(model, join(folder, folderOf(name)), name)
  for (const [name, config] of model.heads) {
    if (model.adapters.has(name) || isOwnHead(config) || hasSurgeryInHead(model, name)) continue
    await model.saveHead(join(folder, folderOf(name)), name)
  }
  for (const name of model.adapterFusions.keys()) {
    // A fusion may be called like an adapter.
    const own = model.adapters.has(name) || model.heads.has(name) ? `${name} (fusion)` : name
    await model.saveAdapterFusion(join(folder, folderOf(own)), name)
  }
  if (model.hasInsertedModules) await model.saveSurgery(folder)
}

/** The folder itself knows the name: one that no file may have is a near one, and what it was told by its hash. */
function folderOf(name: string): string {
  const near = name.replace(/[\p{Cc}/\\:*?"<>|]/gu, '_').slice(0, 80)
  return near === name ? name : `${near}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`
}

/** What may have learned: the whole model where the base model trains, otherwise what stands in and on it. */
export async function saveModel(model: Model, folder: string): Promise<void> {
  const trainsBase = model.namedParameters().some((one) => one.trainable && isBaseParameter(one))
  await (trainsBase ? model.save(folder) : saveParts(model, folder))
}
