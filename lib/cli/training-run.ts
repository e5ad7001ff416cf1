import { join } from 'node:path'
import { commonArguments, type TrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { AdapterError } from '../native/errors.js'
import { goesOn, goesOnWithoutBest, listCheckpoints } from '../training/checkpoint-folder.js'
import { markResults } from '../training/record/events-file.js'
import { foreignFile } from '../training/record/own-files.js'
import { exitStatus, usageError } from './arguments.js'
import { untilInterrupted } from './model-options.js'
import { checkOutputFolder, jsonLine, removeIfEmpty } from './output.js'
import { removeEarlier } from './overwrite.js'
import { closeRows, type TrainingRows } from './rows.js'
import { type FinishedRun, finishedRun, trainAnew } from './run-folder.js'
import { isForeignConfig, runConfigFile, writeTrainConfig } from './train-config.js'
import { checkpointFolder } from './train-what.js'
import type { TrainingModel } from './training-model.js'

/** What happened last in a run, as far as its end is told by it. */
interface Told {
  readonly type: string
  readonly step: number
  readonly folder?: string
}

/** How a training is followed while it goes on. */
export interface Following<Event extends Told> {
  readonly signal: AbortSignal
  readonly onEvent: (event: Event) => void
}

/** What the commands that train do in the same frame: train, its tasks, sweep and fuse. */
export interface TrainingRun<Event extends Told, Trained> {
  readonly values: { readonly json: boolean; readonly overwrite: boolean; readonly resume: boolean }
  /** Whoever made it disposes of it. */
  readonly model: TrainingModel
  readonly folder: string
  readonly args: TrainingArguments
  /** To be closed at the end. */
  readonly rows: readonly (TrainingRows | undefined)[]
  /** What train.json keeps beside the arguments, so that resume can go on. */
  readonly record: Readonly<Record<string, unknown>>
  /** For people, before the first step: the heads that the rows led to. */
  readonly heads: string
  /** Adds what is new to the model, and says what trains. */
  readonly prepare: (model: Model) => Promise<void> | void
  /** Instead of training: what --plan wants. */
  readonly plan?: ((model: Model) => Promise<void>) | undefined
  readonly train: (model: Model, following: Following<Event>) => Promise<Trained>
  /** Writes what was trained, and tells of it. */
  readonly finish: (model: Model, trained: Trained) => Promise<void>
}

/** Loads the model, trains, and saves; an interruption leaves a checkpoint, and says how to go on. Gives the exit status. */
export async function runTrainingIn<Event extends Told, Trained>(run: TrainingRun<Event, Trained>): Promise<number> {
  const { values, folder, args } = run
  const { resume } = values
  if (run.plan === undefined) refuseForeign(folder, args)
  // Where nothing is left to learn, a checkpoint before the end would be trained to the same result again.
  const finished = resume && run.plan === undefined ? await finishedRun(folder, args, run.record) : undefined
  if (finished !== undefined) {
    closeRows(...run.rows)
    if (values.json) process.stdout.write(jsonLine({ type: 'finished', folder, step: finished.step }))
    else process.stdout.write(describeFinished(run, finished))
    return exitStatus.done
  }
  if (resume && listCheckpoints(checkpointFolder(folder)).length === 0) throw usageError(describeEnded(run))
  let last: Event | undefined
  try {
    const ended = await untilInterrupted(async (signal) => {
      const loaded = await run.model.load(args.seed, signal)
      signal.throwIfAborted()
      await run.prepare(loaded)
      if (run.plan !== undefined) return await run.plan(loaded)
      checkOutputFolder('output', folder)
      if (values.overwrite) removeEarlier(folder, run.record)
      if (!values.json) process.stderr.write(run.heads)
      const onEvent = (event: Event) => {
        if (last === undefined) writeTrainConfig(folder, { ...run.record, trunk: loaded.trunk }, args)
        last = event
      }
      // What is trained is written, whoever interrupts then.
      await run.finish(loaded, await run.train(loaded, { signal, onEvent }))
      markResults(args.loggingDir ?? folder)
    })
    if (ended === 'interrupted') {
      process.stderr.write(describeStop(folder, last))
      return exitStatus.interrupted
    }
    return exitStatus.done
  } catch (error) {
    throw inWordsOfCommands(error, folder)
  } finally {
    closeRows(...run.rows)
    if (run.plan === undefined) removeIfEmpty(folder)
  }
}

/** Where an error says how the library goes on, the command that does. */
function inWordsOfCommands(error: unknown, folder: string): unknown {
  if (!(error instanceof AdapterError) || error.hint === undefined) return error
  const command = `torch-adapters resume ${folder}`
  const withoutBest = `Go on without it: ${command} --load-best-model-at-end false`
  const hint = error.hint.replace(goesOn, command).replace(goesOnWithoutBest, withoutBest)
  if (hint === error.hint) return error
  return new AdapterError(error.code, '', error.problem, { hint, cause: error })
}

/** Before anything is loaded. */
function refuseForeign(folder: string, args: TrainingArguments): void {
  const { loggingDir, reportTo } = commonArguments(args)
  const config = join(folder, runConfigFile)
  const file = isForeignConfig(config) ? config : foreignFile(loggingDir ?? folder, { reportTo })
  if (file === undefined) return
  throw usageError(`--output: ${file} is there and no run wrote it; this one would write over it: give another folder`)
}

type Frame = Pick<TrainingRun<Told, unknown>, 'folder' | 'record'>

function describeFinished({ folder, record }: Frame, { step, isEarly }: FinishedRun): string {
  const canGoOn = listCheckpoints(checkpointFolder(folder)).length > 0
  const options = isEarly
    ? ['more patience', '--early-stopping N']
    : ['more epochs or steps', '--epochs N (or --max-steps N)']
  const longer = canGoOn ? `With ${options[0]} it goes on: torch-adapters resume ${folder} ${options[1]}. ` : ''
  const early = isEarly ? ' (early, since evaluations got no better)' : ''
  return `the run in ${folder} is finished, at step ${step}${early}: nothing is left to train. ${longer}To train it anew: ${trainAnew(folder, record)}\n`
}

/** One that is to become longer, and has nothing to go on from. */
const describeEnded = ({ folder, record }: Frame): string =>
  `--resume: the run in ${folder} is finished, and no checkpoint is there to go on from: --save steps or epoch writes one at ` +
  `the end, --best one where a run stops early, too. To train it anew: ${trainAnew(folder, record)}`

/** An interrupted run has saved what it did, unless it had done nothing. */
function describeStop(folder: string, last: Told | undefined): string {
  const goOn = `go on with: torch-adapters resume ${folder}`
  if (last?.type === 'save') return `interrupted after step ${last.step}, saved ${last.folder}; ${goOn}\n`
  const newest = listCheckpoints(checkpointFolder(folder)).at(-1)
  if (newest === undefined) return 'interrupted before the first step; nothing was saved\n'
  return `interrupted before another step; ${newest.folder} is the newest checkpoint still; ${goOn}\n`
}
