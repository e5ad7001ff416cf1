import * as check from '../config/check.js'
import type { Row } from '../data/dataset.js'
import { checkModel } from '../model/check-model.js'
import type { Model } from '../model/model.js'
import type { Prediction } from '../model/predict.js'
import type { AdapterSetup } from '../model/setup.js'

/**
 * Answers inputs that each have an adapter of their own (or null, or a block of several), in one pass through the frozen
 * model for all of them, in their order, each with the head of its adapter's name. The same as
 * `model.predict(inputs, { adapters: adapterNames })`.
 */
export async function batchInferenceWithAdapters(
  model: Model,
  inputs: readonly (string | Row)[],
  adapterNames: readonly AdapterSetup[]
): Promise<Prediction[]> {
  checkModel(model)
  check.checkArray('inputs', inputs)
  const names = check.checkArray('adapterNames', adapterNames) as readonly AdapterSetup[]
  if (names.length !== inputs.length) {
    throw check.valueError('adapterNames', `expected one for each of ${inputs.length} inputs, got ${names.length}`)
  }
  return inputs.length === 0 ? [] : await model.predict(inputs, { adapters: names })
}
