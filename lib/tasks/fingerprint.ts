import type { TrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { setupNames } from '../model/setup.js'
import {
  dataDigest,
  deciding,
  type Fingerprint,
  headRecord,
  maskingRecord,
  modelRecord
} from '../training/fingerprint.js'
import type { Feed } from './feed.js'
import type { Learner } from './learner.js'

interface Tasks {
  readonly learners: readonly Learner[]
  readonly feeds: readonly Feed[]
  readonly mode: string
  readonly sampling: unknown
}

/** What decides the numbers of a run of several tasks, by name. */
export async function tasksFingerprint(
  model: Model,
  args: TrainingArguments,
  { learners, feeds, mode, sampling }: Tasks
): Promise<Fingerprint> {
  const active = [...new Set(learners.flatMap(({ options }) => setupNames(options.setup, model.known)))]
  const digests = await Promise.all(feeds.map(async ({ options: { data } }) => [data.length, await dataDigest(data)]))
  const tasks = learners.map(({ name, options }, index) => {
    const { args: own, setup, head, parts, weight } = options
    const feed = feeds.findIndex((one) => one.options.learners.includes(index))
    const config = model.heads.get(head)
    const [rows, data] = digests[feed] ?? []
    const record = { ...{ setup, parts, weight, feed, rows, data }, head: config && headRecord(head, config) }
    return [name, { ...deciding(own), ...maskingRecord(own, [config]), ...record }]
  })
  return {
    ...deciding(args),
    ...modelRecord(model, args, active),
    ...{ mode, sampling, tasks: Object.fromEntries(tasks) },
    fusions: Object.fromEntries(model.adapterFusions),
    sharedParameters: Object.fromEntries(model.sharedParameters)
  }
}
