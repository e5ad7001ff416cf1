import type { Model } from './model.js'
import { isAdapterParameter } from './summary.js'

// Folders of adapters and heads after surgery: what stands inside of a replaced module has another name.

// A run writes a checkpoint every so often: once is enough.
const told = new WeakSet<object>()

function warn(config: object, text: string): void {
  if (told.has(config)) return
  told.add(config)
  process.emitWarning(text, { code: 'TORCH_ADAPTERS_AFTER_SURGERY' })
}

/** For an adapter's folder. */
export function warnOfSurgery(model: Model, name: string, library: 'adapters' | 'peft'): void {
  const place = model.renamedBySurgery((one) => isAdapterParameter(one, name))
  const config = model.adapters.get(name)
  if (place === undefined || config === undefined) return
  const loads =
    library === 'adapters'
      ? 'Only a model after the same surgery loads it'
      : 'No model loads it: PEFT knows no such module'
  warn(
    config,
    `save the adapter '${name}': it stands inside of what surgery put at '${place}', and its folder has the names of that ` +
      `place. ${loads}. For other models undo the surgery first.`
  )
}

/** For a head's: loading it makes a new head, without any surgery. */
export function warnOfHeadSurgery(model: Model, name: string): void {
  const place = model.renamedBySurgery((one) => one.name.startsWith(`heads.${name}.`))
  const config = model.heads.get(name)
  if (place === undefined || config === undefined) return
  warn(
    config,
    `save the head '${name}': surgery has put something at '${place}', and the folder has names that no other head has. ` +
      'Nothing loads it: undo the surgery first, or keep stateDict(), which a head after the same surgery loads.'
  )
}
