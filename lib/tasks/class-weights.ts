import * as check from '../config/check.js'
import type { NativeClassWeights } from '../native/trainer-types.js'
import { hasClasses, headClassWeights } from '../training/class-weights.js'
import type { TasksRun } from './run-state.js'

/** What labels of each class count in the head of each learner, by its own arguments and rows. */
export async function learnerClassWeights({ learners, feeds }: TasksRun): Promise<NativeClassWeights[]> {
  const all = new Map<string, Float32Array>()
  for (const { options } of feeds) {
    for (const index of options.learners) {
      const own = learners[index]?.options
      const config = own && options.data.requireHeads('train').get(own.head)
      // One that is for all tasks means those that it can be for.
      if (own === undefined || config === undefined || !hasClasses(config)) continue
      const found = (await headClassWeights(own.args, options.data)).find(({ head }) => head === own.head)
      const known = all.get(own.head)
      if (known !== undefined && String(known) !== String(found?.weights)) {
        throw check.valueError(`${own.name}: classWeights`, `tasks that share the head '${own.head}' have one for all`)
      }
      if (found !== undefined) all.set(own.head, found.weights)
    }
  }
  return Array.from(all, ([head, weights]) => ({ head, weights }))
}
