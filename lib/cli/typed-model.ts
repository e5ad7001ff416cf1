import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { readJsonObject } from '../config/read-json.js'
import { adapterConfigFile, headConfigFile } from '../exchange/folder-files.js'
import { listCheckpoints } from '../training/checkpoint-folder.js'

/**
 * The base model as the run that is resumed was told it, where that means the same from here: what its checkpoint, and then
 * its result, calls model_name. A run's config has the whole path.
 */
export function typedModel(model: string | undefined, checkpoints: string): string | undefined {
  const newest = listCheckpoints(checkpoints).at(-1)
  if (model === undefined || newest === undefined) return model
  for (const part of readdirSync(newest.folder)) {
    for (const name of [adapterConfigFile, headConfigFile]) {
      const known = nameIn(join(newest.folder, part, name))
      if (typeof known === 'string' && known !== '' && resolve(known) === resolve(model)) return known
    }
  }
  return model
}

function nameIn(file: string): unknown {
  try {
    return existsSync(file) ? readJsonObject(file, 'resume the training')['model_name'] : undefined
  } catch {
    // Whoever loads the checkpoint says what is wrong with it.
    return undefined
  }
}
