import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'

/** What a run found gone was not asked for by the caller, who trains: a checkpoint, say, by saveAdapter. */
export function asOfRun(model: Model, error: unknown): unknown {
  if (error instanceof AdapterError && error.code === 'ERR_DISPOSED') model.usable('train')
  return error
}
