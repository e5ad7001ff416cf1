import * as check from '../config/check.js'
import { AdapterError } from '../native/errors.js'
import type { Model } from './model.js'

/**
 * For what needs a loss.
 * @param adapters whose rows have no head, where others of the batch have one; '': none has
 * @param isNamed the call itself says that it has none
 */
export function noHead({ heads }: Model, operation: string, adapters: string, isNamed = false): never {
  const none = isNamed ? "head is null, and a loss is a head's" : 'the model has no active head'
  const one = `one of ${check.quoted(heads.keys())}`
  const hint =
    heads.size === 0
      ? 'Add one, such as model.addClassificationHead(name, { numLabels: 2 }), before training'
      : isNamed
        ? `Name ${one}, or leave head out`
        : `Set model.activeHead to ${one}, or add one with the adapter's name`
  throw new AdapterError('ERR_NO_HEAD', operation, adapters === '' ? none : `no head answers rows of ${adapters}`, {
    hint
  })
}
