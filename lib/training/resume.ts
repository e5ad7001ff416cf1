import { existsSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type ResolvedTrainingArguments, trainingArguments } from '../config/training-arguments.js'
import { warnOnce } from '../config/warn-once.js'
import type { Model } from '../model/model.js'
import { AdapterError, nativeCall } from '../native/errors.js'
import { makeFolder } from '../native/make-folder.js'
import type { NativeTrainer } from '../native/trainer-types.js'
import type { SavedBest } from './best.js'
import type { SavedCallback } from './callback-states.js'
import {
  damagedCheckpoint,
  findCheckpoint,
  goesOnWithoutBest,
  laterCheckpoints,
  newestWhole,
  peekUser,
  removeOldest,
  removeUnfinished,
  requireWhole,
  trainingFile,
  writeCheckpoint
} from './checkpoint-folder.js'
import { findDamage } from './checkpoint-list.js'
import { differencesOf } from './differences.js'
import type { EvaluateEvent } from './events.js'
import { deciding, type Fingerprint } from './fingerprint.js'
import type { SavedPlateau } from './plateau.js'
import { saveParts } from './save-model.js'
import { savedFromJson, savedToJson } from './saved-json.js'

/** Where a run stands, beside the tensors. */
export interface Progress {
  /** Optimizer steps done. */
  step: number
  /** Losses since the last log event. */
  lossSum: number
  lossCount: number
  /** Of all steps, and how many of them there are: a checkpoint from before this was kept has none. */
  lossTotal?: number | undefined
  lossSteps?: number | undefined
  /** What callbacks remember. */
  callbacks?: readonly SavedCallback[] | undefined
  /** Of a stream, which rows it has given. */
  stream?: string | undefined
  /** With reduce_lr_on_plateau. */
  plateau?: SavedPlateau | undefined
  /** The last one. */
  evaluation?: Omit<EvaluateEvent, 'type'> | undefined
  /** Where evaluations are compared. */
  best?: SavedBest | undefined
}

/** What `training.safetensors` says about its run beside the tensors. */
export interface SavedRun extends Progress {
  /** Passes over the data. */
  readonly epoch: number
  /** That the run was to have. */
  readonly totalSteps?: number | undefined
  readonly run: Fingerprint
}

/**
 * Writes a checkpoint: each adapter, and each head without one, as a folder that Python and this library load, and one file
 * with everything that only a resumed run needs. Gives the folder.
 */
export async function saveCheckpoint<Saved extends Pick<SavedRun, 'step' | 'run' | 'best'>>(
  model: Model,
  args: ResolvedTrainingArguments,
  native: NativeTrainer,
  saved: Saved
): Promise<string> {
  const folder = await writeCheckpoint(args.outputDir, saved.step, async (stage) => {
    await saveParts(model, stage)
    await nativeCall(() => native.saveCheckpoint(join(stage, trainingFile), savedToJson(saved)))
  })
  const kept = args.loadBestModelAtEnd ? saved.best?.best?.step : undefined
  await removeOldest(args.outputDir, args.saveTotalLimit, saved.step, kept)
  const later = laterCheckpoints(args.outputDir, saved.step).at(-1)
  if (later !== undefined) {
    const text =
      `train: ${later} is of an earlier run, and resumeFromCheckpoint: true would go on from it until this run is further: ` +
      'move it away, or give another outputDir'
    warnOnce(model, text, 'TORCH_ADAPTERS_EARLIER_CHECKPOINTS')
  }
  return folder
}

/**
 * Puts the trainer where the checkpoint left off; a run from the start where none is asked for.
 * @param before called with what the checkpoint says, while the model is still as it was
 */
export async function resume(
  args: ResolvedTrainingArguments,
  native: NativeTrainer,
  run: Fingerprint,
  before: (saved: SavedRun) => Promise<void> | void
): Promise<Progress> {
  const found = await loadCheckpoint<SavedRun>(args, native, run, async (saved, folder) => {
    await before(saved)
    if (args.loadBestModelAtEnd) await bringBest(folder, args.outputDir, saved.best)
  })
  if (found === undefined) return { step: 0, lossSum: 0, lossCount: 0 }
  const { run: _, epoch: __, totalSteps: ___, ...progress } = found
  return progress
}

/** Loads the checkpoint that the arguments name, of this very run, and gives what was saved with it. */
export async function loadCheckpoint<Saved extends { readonly run: Fingerprint }>(
  { resumeFromCheckpoint, outputDir }: ResolvedTrainingArguments,
  native: NativeTrainer,
  run: Fingerprint,
  before?: (saved: Saved, folder: string) => Promise<void> | void
): Promise<Saved | undefined> {
  if (resumeFromCheckpoint === null || resumeFromCheckpoint === false) return undefined
  const folder = findCheckpoint(outputDir, resumeFromCheckpoint)
  await removeUnfinished(outputDir)
  await requireWhole(folder)
  // A run that is refused leaves the model as it is: this comes before the tensors.
  const known = peekUser(join(folder, trainingFile)) as Saved | undefined
  if (known !== undefined) {
    checkSameRun(folder, known.run ?? {}, run)
    await before?.(known, folder)
  }
  return savedFromJson(await load(native, folder)) as Saved
}

/** The best checkpoint so far must be there at the end, in the run's own folder. */
async function bringBest(from: string, outputDir: string, saved: SavedBest | undefined): Promise<void> {
  if (!saved?.best) return
  const name = `checkpoint-${saved.best.step}`
  const own = join(outputDir, name)
  const other = join(dirname(from), name)
  const isOwn = existsSync(join(own, trainingFile))
  const operation = 'resume the training'
  const hint = goesOnWithoutBest
  if (!isOwn && !existsSync(join(other, trainingFile))) {
    throw new AdapterError('ERR_FILE_NOT_FOUND', operation, `the best checkpoint so far is gone: ${own}`, { hint })
  }
  const damage = await findDamage(isOwn ? own : other)
  if (damage !== undefined) {
    const problem = `the best checkpoint so far, ${isOwn ? own : other}, cannot be read: ${damage.problem}`
    throw new AdapterError(damage.code, operation, problem, { hint, cause: damage })
  }
  if (isOwn) return
  makeFolder(outputDir)
  await cp(other, own, { recursive: true })
}

/** Behind the last step: puts the trained parameters back to those of the best checkpoint. */
export async function loadBest(args: ResolvedTrainingArguments, native: NativeTrainer, step: number): Promise<void> {
  await load(native, join(args.outputDir, `checkpoint-${step}`), lostBest)
}

/** The run itself is done: somebody took its best checkpoint away meanwhile. */
async function lostBest(folder: string, cause: AdapterError): Promise<AdapterError> {
  const newest = await newestWhole(dirname(folder))
  const hint =
    newest === undefined
      ? 'No checkpoint is whole: train again.'
      : `The run came to its end, and ${newest} is whole. ${goesOnWithoutBest}`
  const problem = `the best checkpoint, ${folder}, cannot be brought back: ${cause.problem}`
  return new AdapterError(cause.code, 'train', problem, { hint, cause })
}

async function load(native: NativeTrainer, folder: string, damaged = damagedCheckpoint): Promise<string> {
  try {
    return await nativeCall(() => native.loadCheckpoint(join(folder, trainingFile)))
  } catch (error) {
    // Any other code says that the file is whole and does not fit.
    const isDamaged = error instanceof AdapterError && /^ERR_FILE/.test(error.code)
    throw isDamaged ? await damaged(folder, error) : error
  }
}

function checkSameRun(folder: string, known: Fingerprint, now: Fingerprint): void {
  // A run from before an argument was there had its default.
  const differences = differencesOf({ ...deciding(trainingArguments()), trunk: 'float32', ...known }, now)
  if (differences === undefined) return
  throw new AdapterError('ERR_RESUME', 'resume the training', `${folder} belongs to another run`, {
    ...differences,
    hint: 'Resume with the same, or start a new run in another outputDir.'
  })
}
