import { join } from 'node:path'
import type { TrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import type { NativeTrainer } from '../native/types.js'
import {
  findCheckpoint,
  peekUser,
  removeOldest,
  removeUnfinished,
  trainingFile,
  writeCheckpoint
} from './checkpoint-folder.js'

/** Where a run stands, beside the tensors. */
export interface Progress {
  /** Optimizer steps done. */
  step: number
  /** Losses since the last log event. */
  lossSum: number
  lossCount: number
}

interface Saved extends Progress {
  readonly args: Record<string, unknown>
}

/**
 * Writes a checkpoint: each adapter, and each head without one, as a folder that Python and this library load, and one file
 * with everything that only a resumed run needs. Gives the folder.
 */
export async function saveCheckpoint(
  model: Model,
  args: TrainingArguments,
  native: NativeTrainer,
  progress: Progress,
  rows: number
): Promise<string> {
  const folder = await writeCheckpoint(args.outputDir, progress.step, async (stage) => {
    for (const name of model.adapters.keys()) await model.saveAdapter(join(stage, name), name)
    for (const name of model.heads.keys()) {
      if (!model.adapters.has(name)) await model.saveHead(join(stage, name), name)
    }
    const user = JSON.stringify({ ...progress, args: fingerprint(args, rows) })
    await nativeCall(() => native.saveCheckpoint(join(stage, trainingFile), user))
  })
  removeOldest(args.outputDir, args.saveTotalLimit)
  return folder
}

/** Puts the trainer where the checkpoint left off; a run from the start where none is asked for. */
export async function resume(args: TrainingArguments, native: NativeTrainer, rows: number): Promise<Progress> {
  const { resumeFromCheckpoint, outputDir } = args
  if (resumeFromCheckpoint === null || resumeFromCheckpoint === false) return { step: 0, lossSum: 0, lossCount: 0 }
  const folder = findCheckpoint(outputDir, resumeFromCheckpoint)
  removeUnfinished(outputDir)
  const file = join(folder, trainingFile)
  // A run that is refused leaves the model as it is: this comes before the tensors.
  const known = (peekUser(file) as Partial<Saved> | undefined)?.args
  const now = fingerprint(args, rows)
  const changed = Object.keys(now).filter((key) => known && JSON.stringify(now[key]) !== JSON.stringify(known[key]))
  if (known !== undefined && changed.length > 0) {
    const list = (from: Record<string, unknown>) =>
      changed.map((key) => `${key} ${JSON.stringify(from[key])}`).join(', ')
    throw new AdapterError('ERR_RESUME', 'resume the training', `${folder} was written with other arguments`, {
      expected: list(known),
      got: list(now),
      hint: 'A resumed run must use the same; start a new one in another outputDir to change them'
    })
  }
  const saved = JSON.parse(await nativeCall(() => native.loadCheckpoint(file))) as Saved
  return { step: saved.step, lossSum: saved.lossSum, lossCount: saved.lossCount }
}

/** The arguments, and the number of rows, that decide the numbers. */
function fingerprint(args: TrainingArguments, rows: number): Record<string, unknown> {
  const free = ['outputDir', 'resumeFromCheckpoint', 'saveTotalLimit', 'perDeviceEvalBatchSize']
  const rest = Object.entries(args).filter(([name]) => !free.includes(name) && !/^(logging|save|eval)/.test(name))
  return { ...Object.fromEntries(rest), rows }
}
