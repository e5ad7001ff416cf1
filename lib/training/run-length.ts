import { AdapterError } from '../native/errors.js'

/** The arguments that say how long a run is: a resumed one may have others. */
export const lengthArguments: readonly string[] = ['maxSteps', 'numTrainEpochs']

/** How far a run had come when a checkpoint was written. */
export interface SavedLength {
  readonly step: number
  /** That it was to have. */
  readonly totalSteps?: number | undefined
}

/**
 * As Hugging Face's Trainer has it, a resumed run may be longer or shorter than it was planned; its learning rate then follows
 * the schedule of the new length, which a warning says. Steps that are done cannot be taken back.
 */
export function checkLength({ step, totalSteps: planned }: SavedLength, totalSteps: number): void {
  if (planned === undefined || planned === totalSteps) return
  if (totalSteps < step) {
    throw new AdapterError('ERR_RESUME', 'resume the training', `${step} steps are done already`, {
      expected: `a run of ${step} steps or more`,
      got: `one of ${totalSteps}`,
      hint: 'Give more maxSteps or numTrainEpochs, or resume from an earlier checkpoint.'
    })
  }
  const steps = `the run was to have ${planned} steps and now has ${totalSteps}`
  const rate = `from step ${step + 1} on the learning rate is that of a run of ${totalSteps}`
  process.emitWarning(`resume the training: ${steps}; ${rate}.`, { code: 'TORCH_ADAPTERS_NEW_LENGTH' })
}
