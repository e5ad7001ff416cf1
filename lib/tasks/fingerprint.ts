import { fuseBlocks, fusionName } from '../config/composition.js'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import type { Model } from '../model/model.js'
import { setupNames } from '../model/setup.js'
import type { EncodedDataset } from '../training/encoded.js'
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
  readonly sampler: unknown
}

/** What decides the numbers of a run of several tasks, by name. */
export async function tasksFingerprint(
  model: Model,
  args: ResolvedTrainingArguments,
  { learners, feeds, mode, sampler }: Tasks
): Promise<Fingerprint> {
  const active = [...new Set(learners.flatMap(({ options }) => setupNames(options.setup, model.known)))]
  const fusions = [...new Set(learners.flatMap(({ options }) => fuseBlocks(options.setup).map(fusionName)))]
  const digests = await digestsOf(feeds.map(({ options: { data } }) => data))
  const tasks = learners.map(({ name, options }, index) => {
    const { args: own, setup, head, parts, weight } = options
    const feed = feeds.findIndex((one) => one.options.learners.includes(index))
    const config = model.heads.get(head)
    const { rows, data } = digests[feed] ?? {}
    const record = { ...{ setup, parts, weight, feed, rows, data }, head: config && headRecord(head, config) }
    return [name, { ...deciding(own), ...maskingRecord(own, [config]), ...record }]
  })
  return {
    ...deciding(args),
    ...(await modelRecord(model, args, active)),
    ...{ mode, sampler, tasks: Object.fromEntries(tasks) },
    fusions: Object.fromEntries(fusions.map((name) => [name, model.adapterFusions.get(name)])),
    sharedParameters: Object.fromEntries(model.sharedParameters)
  }
}

/** Of each dataset its length and digest; rows that several read in orders of their own are digested once. */
async function digestsOf(all: readonly EncodedDataset[]): Promise<{ readonly rows: number; readonly data: string }[]> {
  const known = new Map<unknown, Map<string, string>>()
  const digests: { rows: number; data: string }[] = []
  for (const data of all) {
    // Heads of another kind make other ids of a text.
    const kinds = Array.from(data.requireHeads('train').values(), ({ headType }) => headType)
    const reader = JSON.stringify([...new Set(kinds)])
    const own = known.get(data.source) ?? new Map<string, string>()
    known.set(data.source, own)
    const digest = own.get(reader) ?? (await dataDigest(data))
    own.set(reader, digest)
    digests.push({ rows: data.length, data: digest })
  }
  return digests
}
