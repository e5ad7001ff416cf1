import { AdapterError, nativeCall } from '../native/errors.js'
import type { NativeBatch } from '../native/pass-types.js'
import type { NativeStepResult, NativeTrainer, NativeTrainingPass } from '../native/trainer-types.js'

export interface StepInputs {
  readonly batches: readonly { readonly batch: NativeBatch; readonly pass: NativeTrainingPass }[]
  readonly members: readonly number[]
  readonly goOn: boolean
}

/** A step, which an abort ends before its next micro-batch: undefined then, and nothing has moved. */
export async function stoppableStep(
  native: NativeTrainer,
  { batches, members, goOn }: StepInputs,
  signal: AbortSignal | undefined
): Promise<NativeStepResult | undefined> {
  const stop = () => native.stop()
  signal?.addEventListener('abort', stop, { once: true })
  try {
    return await nativeCall(() =>
      native.step(
        batches.map(({ batch }) => batch),
        batches.map(({ pass }) => pass),
        members,
        goOn
      )
    )
  } catch (error) {
    if (signal?.aborted === true && error instanceof AdapterError && error.code === 'ERR_ABORTED') return undefined
    throw error
  } finally {
    signal?.removeEventListener('abort', stop)
  }
}
