import * as check from '../config/check.js'
import { Fuse, fusionName } from '../config/composition.js'
import type { FusionConfigSource } from '../config/fusion-config.js'
import { type TrainingArguments, trainingArguments } from '../config/training-arguments.js'
import type { TrainerCallback } from '../training/callbacks.js'
import { checkLossArguments } from '../training/loss-arguments.js'
import type { RunOptions, TrainResult } from '../training/trainer.js'
import { AdapterTrainer } from '../training/trainer.js'
import { explainOption, runKeys } from '../training/trainer-options.js'
import { fuseStages } from './fuse-stages.js'
import {
  type MultiTaskResult,
  MultiTaskTrainer,
  type MultiTaskTrainerOptions,
  multiTaskKeys
} from './multi-task-trainer.js'

export interface FuseTasksOptions extends MultiTaskTrainerOptions {
  /** The task that the fusion is for; its head goes on learning. */
  readonly target: string
  readonly fusion?:
    | {
        /** Default 'dynamic'. */
        readonly config?: FusionConfigSource | undefined
        /** Default: the adapters' names with commas. */
        readonly name?: string | undefined
        /** In place of those of the first stage. Default outputDir and loggingDir: `fusion` in the first's. */
        readonly args?: TrainingArguments | undefined
        /** Of the second stage; those beside the tasks are of the first. */
        readonly callbacks?: readonly TrainerCallback[] | undefined
      }
    | undefined
}

export interface FuseTasksResult {
  /** The fusion's name. */
  readonly fusion: string
  /** How the adapters were trained. */
  readonly tasks: MultiTaskResult
  /** How the fusion was. */
  readonly target: TrainResult
}

/**
 * AdapterFusion's two stages (Pfeiffer et al. 2021): an adapter for each task, in one pass for all; then a fusion over
 * these adapters, which stand still, for one of the tasks. The fusion is then active. `resumeFromCheckpoint: true`, with a
 * model as it was at the start or with the one that was interrupted, goes on in the stage that was interrupted: where
 * checkpoints are written, one is of the first stage's end.
 * @param run for both stages
 */
export async function fuseTasks(options: FuseTasksOptions, run: RunOptions = {}): Promise<FuseTasksResult> {
  check.checkKeys('options', check.checkObject('options', options), [...multiTaskKeys, 'target', 'fusion'], explain)
  const { target, fusion = {}, ...first } = options
  const given = check.checkObject('tasks', first.tasks)
  const known = Object.keys(given)
  if (typeof target !== 'string')
    throw check.typeError('target', `a task's name, one of ${check.quoted(known)}`, target)
  check.checkOneOf('target', target, known)
  check.checkKeys('fusion', check.checkObject('fusion', fusion), ['config', 'name', 'args', 'callbacks'])
  const { model, tasks } = first
  const task = tasks[target] as (typeof tasks)[string]
  const adapters = Object.entries(tasks).map(([name, { adapter = name }]) => {
    if (typeof adapter === 'string') return adapter
    throw check.valueError(`tasks.${name}.adapter`, 'a fusion is over adapters: expected a name')
  })
  const { dataset: trainDataset, evalDataset, computeMetrics } = task
  const headName = task.head ?? target
  const head = model.heads.get(headName) ?? model.heads.get(task.adapter as string)
  const stages = fuseStages(first.args ?? {}, { ...task.args, ...fusion.args }, head)
  // A mistake in the second stage's shows before the first.
  const secondArgs = trainingArguments(stages.second(false))
  if (head !== undefined) checkLossArguments([{ place: 'fusion.args.', args: secondArgs, heads: [head] }])
  const names = [...new Set(adapters)]
  if (names.length < 2) {
    const message = `a fusion is over two adapters or more; expected tasks with others, got '${names[0]}' alone`
    throw check.valueError('tasks', message)
  }
  const fuse = fusion.name === undefined ? Fuse(...names) : Fuse(...names, { name: fusion.name })
  const name = fusionName(fuse)
  // Known here of arrays alone; of what is read later, once it has been.
  const isEmptyArray = ({ dataset }: (typeof tasks)[string]) => Array.isArray(dataset) && dataset.length === 0
  if (first.onNotFinite === 'stopTask')
    refuseUntrained(tasks, names, (name) => isEmptyArray(tasks[name] as typeof task))
  const isBegun = model.adapterFusions.has(name)
  if (isBegun) checkBegun(name, stages.first)
  const trained = await new MultiTaskTrainer({ ...first, args: stages.first }, true).train(run)
  refuseUntrained(tasks, names, (name) => trained.tasks[name]?.ended === 'noRows')
  model.addAdapterFusion(fuse, fusion.config, { name, overwriteOk: isBegun })
  model.trainAdapterFusion(Fuse(...names, { name }))
  model.activeHead = model.heads.has(headName) ? headName : (task.adapter as string)
  const args = stages.second(trained.steps === 0)
  const trainer = new AdapterTrainer({
    ...{ model, trainDataset, evalDataset, computeMetrics, args },
    callbacks: fusion.callbacks
  })
  return { fusion: name, tasks: trained, target: await trainer.train(run) }
}

const explain = (key: string) =>
  runKeys.includes(key)
    ? `is for a run and stands beside its options: fuseTasks({ … }, { ${key} })`
    : explainOption(key)

/** One whose tasks have all no rows is as it was made: a fusion over it would weigh noise. */
function refuseUntrained(
  tasks: FuseTasksOptions['tasks'],
  adapters: readonly string[],
  isEmpty: (task: string) => boolean
) {
  const of = (adapter: string) => Object.keys(tasks).filter((name) => (tasks[name]?.adapter ?? name) === adapter)
  const none = adapters.find((adapter) => of(adapter).every(isEmpty))
  if (none === undefined) return
  throw check.valueError(
    `tasks.${of(none)[0]}`,
    `it has no rows, so that the fusion would stand over '${none}' as it was made; leave the task out`
  )
}

/** A fusion of that name is there: a call that was interrupted left it, and its checkpoints hold what it had learned. */
function checkBegun(name: string, { resumeFromCheckpoint }: TrainingArguments): void {
  if (resumeFromCheckpoint) return
  throw check.valueError(
    'fusion.name',
    `the model has a fusion '${name}' already, as an interrupted fuseTasks leaves it. With resumeFromCheckpoint: true in args ` +
      `it goes on where checkpoints were written; model.deleteAdapterFusion('${name}') makes place for a new one`
  )
}
