import * as check from '../config/check.js'
import type { NativeClassWeights } from '../native/trainer-types.js'
import { headClassWeights } from '../training/class-weights.js'
import type { EncodedDataset } from '../training/encoded.js'
import { hasClasses } from '../training/loss-arguments.js'
import type { LearnerOptions } from './learner.js'
import type { TasksRun } from './run-state.js'

/** Those of one task's head, if any: what is for all tasks means those that it can be for. */
export async function taskClassWeights(
  { args, head }: Pick<LearnerOptions, 'args' | 'head'>,
  data: EncodedDataset
): Promise<NativeClassWeights[]> {
  const config = data.requireHeads('train').get(head)
  if (config === undefined || !hasClasses(config)) return []
  return (await headClassWeights(args, data)).filter((one) => one.head === head)
}

/** What labels of each class count in the head of each learner, by its own arguments and rows. */
export async function learnerClassWeights({ learners, feeds }: TasksRun): Promise<NativeClassWeights[]> {
  const all = new Map<string, Float32Array>()
  for (const { options } of feeds) {
    for (const index of options.learners) {
      const own = learners[index]?.options
      if (own === undefined) continue
      const [found] = await taskClassWeights(own, options.data)
      const known = all.get(own.head)
      if (known !== undefined && String(known) !== String(found?.weights)) {
        throw check.valueError(`${own.name}: classWeights`, `tasks that share the head '${own.head}' have one for all`)
      }
      if (found !== undefined) all.set(own.head, found.weights)
    }
  }
  return Array.from(all, ([head, weights]) => ({ head, weights }))
}
