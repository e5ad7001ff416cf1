import * as check from '../config/check.js'
import type { Model } from './model.js'
import type { RowAdapters } from './setup.js'

/** AdapterDrop: layers, from 0, in which no adapter runs. */
export interface SkipLayers {
  /** `skip_layers`: layers, from 0, in which no adapter runs, as if they had been left out of it. Default: none. */
  readonly skipLayers?: readonly number[] | undefined
}

/** Each once; a number that is no layer of the model is an error. */
export function checkLayerList(name: string, value: unknown, { config }: Pick<Model, 'config'>): readonly number[] {
  const layers = check.checkArray(name, value)
  const last = config.numHiddenLayers - 1
  return [...new Set(layers.map((layer, i) => check.checkInteger(`${name}[${i}]`, layer, 0, last)))]
}

/** The layers that a call skips: its own, or where it runs the active adapters those set with them. */
export function skippedLayers(
  model: Model,
  { adapters, skipLayers }: SkipLayers & { readonly adapters?: RowAdapters | undefined }
): readonly number[] {
  if (skipLayers !== undefined) return checkLayerList('skipLayers', skipLayers, model)
  return adapters === undefined ? checkLayerList('skipLayers', model.skippedLayers, model) : []
}
