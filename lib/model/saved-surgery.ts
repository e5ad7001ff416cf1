import { warnOnce } from '../config/warn-once.js'
import { AdapterError } from '../native/errors.js'
import type { Model } from './model.js'
import { isAdapterParameter } from './summary.js'
import { hasSurgeryInHead } from './surgery-record.js'

// Folders of adapters and heads after surgery: what stands inside of a replaced module has another name.

/** For an adapter's folder. */
export function warnOfSurgery(model: Model, name: string, library: 'adapters' | 'peft'): void {
  const place = model.renamedBySurgery((one) => isAdapterParameter(one, name))
  if (place === undefined) return
  const loads =
    library === 'adapters'
      ? 'Only a model after the same surgery loads it'
      : 'No model loads it: PEFT knows no such module'
  warnOnce(
    model,
    `save the adapter '${name}': it stands inside of what surgery put at '${place}', and its folder has the names of that ` +
      `place. ${loads}. For other models undo the surgery first.`,
    'TORCH_ADAPTERS_AFTER_SURGERY'
  )
}

/** For a head's: loading it makes a new head, without any surgery, so no folder could hold it. */
export function refuseHeadSurgery(model: Model, name: string): void {
  if (!hasSurgeryInHead(model, name)) return
  const problem = `surgery has replaced modules in the head '${name}', which no folder's record has`
  throw new AdapterError('ERR_UNSUPPORTED', 'save the head', problem, {
    hint: 'Undo it, leave the head out (withHead: false), or take stateDict(), and loadStateDict after the same surgery.'
  })
}
