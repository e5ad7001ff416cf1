import { typeError } from '../config/check.js'
import { Model } from './model.js'

/** For functions that take a model: without types anything may come. */
export function checkModel(model: unknown, name = 'model'): asserts model is Model {
  if (model instanceof Model) return
  // A model of several tasks is made of one.
  const inner = (model as { readonly baseModel?: unknown } | null | undefined)?.baseModel instanceof Model
  const expected = inner ? 'the model that it was made of (its baseModel)' : 'a model made by AutoModel'
  throw typeError(name, expected, model)
}
