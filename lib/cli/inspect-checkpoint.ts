import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { isPlainObject } from '../config/check.js'
import { listCheckpoints, peekUser, trainingFile } from '../training/checkpoint-folder.js'
import { formatBytes } from './weights-summary.js'

/** Where a run stood when it was written, and what decides its numbers. */
export interface CheckpointSummary {
  readonly step: number | null
  readonly epoch: number | null
  /** Arguments by the names that `train --set` knows, and what else must be the same to go on. */
  readonly run: Readonly<Record<string, unknown>>
}

/** A checkpoint among those of a run. */
export interface CheckpointEntry {
  readonly step: number
  readonly folder: string
  readonly bytes: number
  readonly newest: boolean
}

export function checkpointPart(path: string): { readonly checkpoint?: CheckpointSummary } {
  const user = peekUser(join(path, trainingFile))
  if (!isPlainObject(user)) return {}
  const { step, epoch, run } = user
  const number = (value: unknown) => (typeof value === 'number' ? value : null)
  return { checkpoint: { step: number(step), epoch: number(epoch), run: isPlainObject(run) ? run : {} } }
}

/** The checkpoints in a folder, or those in its `checkpoints`, where `train` puts them. */
export function checkpointsPart(path: string): { readonly checkpoints?: readonly CheckpointEntry[] } {
  const own = listCheckpoints(path)
  const found = own.length > 0 ? own : listCheckpoints(join(path, 'checkpoints'))
  if (found.length === 0) return {}
  return {
    checkpoints: found.map(({ step, folder }, i) => ({
      ...{ step, folder, bytes: sizeOf(folder), newest: i === found.length - 1 }
    }))
  }
}

function sizeOf(folder: string): number {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name))
  return files.filter(existsSync).reduce((sum, file) => sum + (statSync(file).isFile() ? statSync(file).size : 0), 0)
}

/** One line for each argument; configs and other objects are told by the parts of the checkpoint itself. */
export function describeCheckpoint({ step, epoch, run }: CheckpointSummary): string[] {
  const place = [`step ${step ?? 'unknown'}`, ...(epoch === null ? [] : [`epoch ${epoch.toFixed(2)}`])].join(', ')
  const plain = Object.entries(run).filter(([, value]) => typeof value !== 'object' || value === null)
  return [`checkpoint at ${place}`, ...plain.map(([name, value]) => `  ${name.padEnd(29)} ${value}`)]
}

export function describeCheckpoints(checkpoints: readonly CheckpointEntry[]): string[] {
  const width = Math.max(...checkpoints.map(({ folder }) => basename(folder).length))
  const lines = checkpoints.map(({ folder, bytes, newest }) => {
    return `  ${basename(folder).padEnd(width)}  ${formatBytes(bytes)}${newest ? ', the newest' : ''}`
  })
  return ['checkpoints', ...lines]
}
