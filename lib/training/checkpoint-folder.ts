import { closeSync, existsSync, openSync, readdirSync, readSync, renameSync, statSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { syncFolder } from '../exchange/write-folder.js'
import { AdapterError } from '../native/errors.js'
import { makeFolder } from '../native/make-folder.js'
import { leftovers, ownerTag } from '../native/owner.js'
import { findDamage, writeList } from './checkpoint-list.js'
import { diskError } from './disk-error.js'
import { savedFromJson } from './saved-json.js'

/** Everything that a resumed run needs, one file inside a checkpoint's folder. */
export const trainingFile = 'training.safetensors'

const pattern = /^checkpoint-(\d+)$/
const temporary = '.checkpoint-'

/** What goes on from the newest. */
export const goesOn = 'resumeFromCheckpoint: true'

/** What to do where the best checkpoint is lost and the newest is whole. */
export const goesOnWithoutBest = 'Resume without loadBestModelAtEnd.'

/** Finished checkpoints of a run's folder, oldest first. What an interruption left half-written has another name. */
export function listCheckpoints(outputDir: string): { readonly step: number; readonly folder: string }[] {
  if (!existsSync(outputDir)) return []
  return readdirSync(outputDir)
    .flatMap((name) => {
      const step = pattern.exec(name)?.[1]
      return step === undefined ? [] : [{ step: Number(step), folder: join(outputDir, name) }]
    })
    .sort((a, b) => a.step - b.step)
}

/**
 * Writes a checkpoint under a temporary name, syncs it and gives it its own: it is there whole or not at all, and where it
 * cannot be written those before it are as they were.
 */
export async function writeCheckpoint(
  outputDir: string,
  step: number,
  fill: (folder: string) => Promise<void>
): Promise<string> {
  const folder = join(outputDir, `checkpoint-${step}`)
  const stage = join(outputDir, `${temporary}${step}-${ownerTag}`)
  try {
    await remove(stage)
    makeFolder(stage)
    await removeUnfinished(outputDir)
    await fill(stage)
    await writeList(stage)
    syncFolder(stage)
    await replace(folder, stage)
    syncFolder(outputDir)
  } catch (error) {
    await removeQuietly(stage)
    throw diskError(outputDir, `write ${basename(folder)}`, error, newestOf(outputDir))
  }
  return folder
}

/** Off the main thread: a large file takes tenths of a second to remove. */
const remove = (path: string): Promise<void> => rm(path, { recursive: true, force: true })

/** Where the new one cannot have the name, the old one gets it back. */
async function replace(folder: string, stage: string): Promise<void> {
  if (!existsSync(folder)) {
    renameSync(stage, folder)
    return
  }
  const old = nameless(folder)
  await remove(old)
  renameSync(folder, old)
  try {
    renameSync(stage, folder)
  } catch (error) {
    renameSync(old, folder)
    throw error
  }
  await remove(old)
}

/** What the error before has to say matters more than that this cannot be removed, either. */
async function removeQuietly(path: string): Promise<void> {
  try {
    await remove(path)
  } catch {
    // The next run in this folder tries again.
  }
}

/** Of a run that cannot write, what can be gone on from, as a clause; empty where there is nothing. */
export function newestOf(outputDir: string): string {
  try {
    const newest = listCheckpoints(outputDir).at(-1)
    if (newest !== undefined) return `${newest.folder} is whole: ${goesOn} goes on from there`
  } catch {
    // Nobody may read it.
  }
  return ''
}

/** Removes what runs that were killed in the middle of a checkpoint left half-written. */
export async function removeUnfinished(outputDir: string): Promise<void> {
  if (!existsSync(outputDir)) return
  for (const path of leftovers(outputDir, temporary)) await removeQuietly(path)
}

/**
 * Keeps the one of `step`, which was just written, that of the best step, and the newest before them. Those of later steps
 * are an earlier run's, and the first to go.
 */
export async function removeOldest(
  outputDir: string,
  limit: number | null,
  step: number,
  best: number | undefined
): Promise<void> {
  if (limit === null) return
  const all = listCheckpoints(outputDir).toReversed()
  const kept = new Set(all.filter((one) => one.step === step || one.step === best))
  for (const one of all) if (one.step < step && kept.size < limit) kept.add(one)
  for (const one of all) if (!kept.has(one)) await discard(one.folder)
}

/** Those of later steps than the one that was just written: an earlier run's, which `resumeFromCheckpoint: true` would take. */
export function laterCheckpoints(outputDir: string, step: number): string[] {
  return listCheckpoints(outputDir).flatMap((one) => (one.step > step ? [one.folder] : []))
}

/** It loses its name first: one that is half removed must not pass for a checkpoint. */
async function discard(folder: string): Promise<void> {
  const old = nameless(folder)
  await remove(old)
  renameSync(folder, old)
  await remove(old)
}

const nameless = (folder: string): string => join(dirname(folder), `.${basename(folder)}-old-${ownerTag}`)

function checkpointNear(outputDir: string, from: string): string {
  const inside = existsSync(from) && statSync(from).isDirectory() ? listCheckpoints(from).at(-1) : undefined
  if (inside !== undefined) return `Its newest is ${inside.folder}.`
  const below = join(outputDir, from)
  return existsSync(join(below, trainingFile)) ? `Did you mean '${below}', or true for the newest?` : 'Check the path.'
}

/** The checkpoint to resume from: a folder, or true for the newest. */
export function findCheckpoint(outputDir: string, from: string | boolean): string {
  const operation = 'resume the training'
  if (typeof from === 'string') {
    if (existsSync(join(from, trainingFile))) return from
    throw new AdapterError('ERR_FILE_NOT_FOUND', operation, `${from} holds no checkpoint`, {
      expected: trainingFile,
      hint: checkpointNear(outputDir, from)
    })
  }
  const newest = listCheckpoints(outputDir).at(-1)
  if (newest !== undefined) return newest.folder
  throw new AdapterError('ERR_FILE_NOT_FOUND', operation, `${outputDir} holds no checkpoint`, {
    expected: 'a folder checkpoint-<step>',
    hint: 'Start without resumeFromCheckpoint, or check outputDir.'
  })
}

/** Refuses a checkpoint of which a file is not as it was written, and names the one to resume from instead. */
export async function requireWhole(folder: string): Promise<void> {
  const damage = await findDamage(folder)
  if (damage !== undefined) throw await damagedCheckpoint(folder, damage)
}

/** The newest checkpoint of which every file is as it was written, of steps before this one. */
export async function newestWhole(outputDir: string, before = Infinity): Promise<string | undefined> {
  for (const { step, folder } of listCheckpoints(outputDir).toReversed()) {
    if (step < before && (await findDamage(folder)) === undefined) return folder
  }
  return undefined
}

/** A checkpoint that cannot be read, with the newest before it that can. */
export async function damagedCheckpoint(folder: string, cause: AdapterError): Promise<AdapterError> {
  const step = Number(pattern.exec(basename(folder))?.[1] ?? Infinity)
  const older = await newestWhole(dirname(folder), step)
  const reason = cause.problem.replace(/\.$/, '')
  return new AdapterError(cause.code, 'resume the training', `${folder} cannot be read: ${reason}`, {
    hint:
      older === undefined
        ? 'There is no earlier checkpoint beside it: start without resuming.'
        : `Resume from the one before it: resumeFromCheckpoint: '${older}', on the command line --resume-from ${older}`,
    cause
  })
}

/**
 * What a checkpoint says about its run, before anything is loaded from it; undefined where the file is no checkpoint, which
 * loading it then explains.
 */
export function peekUser(file: string): unknown {
  if (!existsSync(file)) return undefined
  const handle = openSync(file, 'r')
  try {
    // safetensors: the header's length in 8 bytes, then the header as JSON.
    const size = Buffer.alloc(8)
    if (readSync(handle, size, 0, 8, 0) < 8 || size.readBigUInt64LE() > longestHeader) return undefined
    const header = Buffer.alloc(Number(size.readBigUInt64LE()))
    readSync(handle, header, 0, header.length, 8)
    return savedFromJson(JSON.parse(header.toString()).__metadata__.user)
  } catch {
    return undefined
  } finally {
    closeSync(handle)
  }
}

const longestHeader = 64 << 20
