import { typeError } from '../config/check.js'
import { Model } from './model.js'

/** For functions that take a model: without types anything may come. */
export function checkModel(model: unknown, name = 'model'): asserts model is Model {
  if (!(model instanceof Model)) throw typeError(name, 'a model made by AutoModel', model)
}
