import type { TrainingArgumentsInput } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { exitStatus } from './arguments.js'
import { loadModel, type ModelValues, untilInterrupted } from './model-options.js'
import { checkOutputFolder, removeIfEmpty } from './output.js'
import { closeRows, type TrainingRows } from './rows.js'
import { writeTrainConfig } from './train-config.js'
import { removeCheckpoints } from './train-what.js'

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
  readonly values: ModelValues & { readonly json: boolean; readonly overwrite: boolean }
  readonly folder: string
  readonly args: TrainingArgumentsInput
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
  let model: Model | undefined
  try {
    const loaded = await loadModel(values, args.seed)
    model = loaded
    await run.prepare(loaded)
    if (run.plan !== undefined) {
      await run.plan(loaded)
      return exitStatus.done
    }
    checkOutputFolder('output', folder)
    if (values.overwrite) removeCheckpoints(folder)
    if (!values.json) process.stderr.write(run.heads)
    let last: Event | undefined
    const onEvent = (event: Event) => {
      if (last === undefined) writeTrainConfig(folder, { ...run.record, trunk: loaded.trunk }, args)
      last = event
    }
    const trained = await untilInterrupted((signal) => run.train(loaded, { signal, onEvent }))
    if (trained === 'interrupted') {
      process.stderr.write(describeStop(folder, last))
      return exitStatus.interrupted
    }
    await run.finish(loaded, trained)
    return exitStatus.done
  } finally {
    closeRows(...run.rows)
    removeIfEmpty(folder)
    model?.dispose()
  }
}

/** An interrupted run has saved what it did, unless it had done nothing. */
function describeStop(folder: string, last: Told | undefined): string {
  if (last?.type !== 'save') return 'interrupted before the first step; nothing was saved\n'
  return `interrupted after step ${last.step}, saved ${last.folder}; go on with: torch-adapters resume ${folder}\n`
}
