import { counted } from '../config/counted.js'
import { AdapterError } from '../native/errors.js'
import type { AnyCallback } from './callbacks.js'

/** What a checkpoint keeps of a callback. */
export interface SavedCallback {
  /** Of its class. */
  readonly name: string
  readonly state: unknown
}

export const className = (callback: AnyCallback): string => callback.constructor?.name ?? ''

/** Whether a checkpoint has a place for it. */
export const remembers = (callback: AnyCallback): boolean =>
  callback.saveState !== undefined || callback.loadState !== undefined

/** Each callback of a class that has saved states with its own: those of one class in their order. Warns of what is nobody's. */
export function ownStates(
  callbacks: readonly AnyCallback[],
  saved: readonly SavedCallback[]
): (readonly [AnyCallback, unknown])[] {
  const classes = new Set(saved.map(({ name }) => name))
  return [...classes].flatMap((name) => {
    const equals = callbacks.filter((one) => remembers(one) && className(one) === name)
    const states = saved.filter((one) => one.name === name)
    if (equals.length === 0) warnOfLost(name, states)
    else if (equals.length !== states.length) throw otherNumber(name, states.length, equals.length)
    return equals.map((one, i) => [one, states[i]?.state] as const)
  })
}

/** As Hugging Face's Trainer: the run goes on without. */
function warnOfLost(name: string, saved: readonly SavedCallback[]): void {
  if (saved.every(({ state }) => state === null)) return
  process.emitWarning(
    `resume the training: the checkpoint has states of ${counted(saved.length, 'callback')} '${name}', and this run has ` +
      'none of this class: they are left out. Give such a callback, and it goes on with its state.',
    { code: 'TORCH_ADAPTERS_CALLBACK_LEFT_OUT' }
  )
}

function otherNumber(name: string, saved: number, given: number): AdapterError {
  const problem = `the checkpoint has states of ${counted(saved, 'callback')} '${name}', and this run has ${given}`
  return new AdapterError('ERR_RESUME', 'resume the training', problem, {
    hint: 'Give as many, in the same order; or make a class of each, whose states go by its name.'
  })
}
