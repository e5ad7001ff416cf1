import { dirname, join, resolve } from 'node:path'
import type { HeadConfig } from '../config/head-config.js'
import { commonArguments, type TrainingArguments } from '../config/training-arguments.js'
import { listCheckpoints } from '../training/checkpoint-folder.js'
import { lossArgumentsFor } from '../training/loss-arguments.js'
import { averagedMetric } from './common-best.js'

/** Both stages with folders of their own: step 8 of one is another than step 8 of the other. */
export interface FuseStages {
  readonly first: TrainingArguments
  /** @param wasOver whether the first stage had come to its end before */
  second(wasOver: boolean): TrainingArguments
}

/**
 * @param args of both stages
 * @param own the second's, in place of those of both
 * @param head that the second trains
 */
export function fuseStages(args: TrainingArguments, own: TrainingArguments, head: HeadConfig | undefined): FuseStages {
  const both = commonArguments(args)
  const outputDir = below(both.outputDir, own.outputDir ?? undefined)
  const loggingDir = both.loggingDir === null ? (own.loggingDir ?? null) : below(both.loggingDir, own.loggingDir)
  // The second stage is of one task, the target.
  const metricForBestModel = averagedMetric(args)
  const ofTarget = head === undefined ? args : lossArgumentsFor(args, head)
  const from = both.resumeFromCheckpoint
  const isOfSecond = typeof from === 'string' && dirname(resolve(from)) === resolve(outputDir)
  const second = (wasOver: boolean) => {
    const other = own.resumeFromCheckpoint
    if (other !== undefined && other !== from) return other
    if (isOfSecond) return from
    // What lies there is of adapters as they were at the end of the first stage.
    return from === true && wasOver && listCheckpoints(outputDir).length > 0
  }
  return {
    first: isOfSecond ? { ...args, resumeFromCheckpoint: true } : args,
    second: (wasOver) => {
      const where = { outputDir, loggingDir, resumeFromCheckpoint: second(wasOver) }
      return { ...ofTarget, ...(metricForBestModel && { metricForBestModel }), ...own, ...where }
    }
  }
}

/** Its own folder, unless that is the one of both. */
function below<T>(folder: string, own: string | T): string | Exclude<T, undefined> {
  if (own === undefined || (typeof own === 'string' && resolve(own) === resolve(folder))) return join(folder, 'fusion')
  return own as string | Exclude<T, undefined>
}
