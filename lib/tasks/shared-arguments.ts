import { isDeepStrictEqual } from 'node:util'
import { isPlateau } from '../config/scheduler-arguments.js'
import { checkMoving, type ResolvedTrainingArguments } from '../config/training-arguments.js'
import { warnOnce } from '../config/warn-once.js'
import type { LearnerOptions } from './learner.js'

type Name = keyof ResolvedTrainingArguments

/** Arguments that say how what trains moves; those in one line mean something only together. */
const moving: readonly (readonly Name[])[] = [
  ['learningRate', 'lrSchedulerType', 'lrSchedulerKwargs', 'warmupRatio', 'warmupSteps'],
  ['optim', 'optimArgs', 'adamBeta1', 'adamBeta2', 'adamEpsilon'],
  ['weightDecay'],
  ['maxGradNorm']
]

type Sharing = readonly Pick<LearnerOptions, 'name' | 'args'>[]

/**
 * The arguments of what tasks share: where all of them say the same, that, otherwise those of all, with a warning. Parameter
 * groups are for what is a task's own.
 * @param owner warned once about
 */
export function sharedArguments(
  owner: object,
  args: ResolvedTrainingArguments,
  sharing: Sharing
): ResolvedTrainingArguments {
  const [first] = sharing
  let shared: ResolvedTrainingArguments = { ...args, parameterGroups: [] }
  for (const names of moving) {
    const differing = names.find((name) => sharing.some((task) => !isDeepStrictEqual(task.args[name], args[name])))
    if (first === undefined || differing === undefined) continue
    const agree = sharing.every((task) => names.every((name) => isDeepStrictEqual(task.args[name], first.args[name])))
    // What follows evaluations of one task is none for several: such a schedule is that of all or a task's own.
    const follows = names.includes('lrSchedulerType') && [args, first.args].some(isPlateau)
    const help = follows ? '' : '. Where all that share give the same, it holds for what they share, too'
    if (!agree || follows) warnOfOwn(owner, { name: differing, value: args[differing], help }, sharing)
    else shared = { ...shared, ...Object.fromEntries(names.map((name) => [name, first.args[name]])) }
  }
  checkMoving(shared)
  return shared
}

interface Argument {
  readonly name: Name
  readonly value: unknown
  readonly help: string
}

function warnOfOwn(owner: object, { name, value, help }: Argument, sharing: Sharing): void {
  const own = sharing.map((task) => `${task.name}: ${JSON.stringify(task.args[name])}`).join(', ')
  const text =
    `what the tasks ${sharing.map((task) => task.name).join(' and ')} share trains with the ${name} of all, ` +
    `${JSON.stringify(value)}; that in the args of the tasks (${own}) is for what each has alone${help}`
  warnOnce(owner, text, 'TORCH_ADAPTERS_SHARED_ARGUMENTS')
}
