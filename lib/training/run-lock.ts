import {
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from 'node:fs'
import { join, resolve } from 'node:path'
import type { ResolvedTrainingArguments } from '../config/training-arguments.js'
import { AdapterError } from '../native/errors.js'
import { makeFolder } from '../native/make-folder.js'
import { isRunning, type Owner, ownerTag, removeLeftovers, thisProcess } from '../native/owner.js'
import { diskError } from './disk-error.js'

/** There while a run writes into its folder. */
export const lockFile = '.run.lock'

const operation = 'train'

/** How often a run touches its locks, and after how long without that it is dead, where its process cannot be looked for. */
const beat = 20_000
const silence = 180_000

/** The folders that a run holds. */
export interface RunLocks {
  /** One that it needs now, unless it holds it. */
  take(folder: string): void
  /** Lets all of them go. */
  release(): void
}

/**
 * Takes the folders that a run writes into, before its first step: two runs in one would overwrite each other's checkpoints
 * and mix their events. What a dead process left is taken over.
 */
export function lockRunFolders(args: ResolvedTrainingArguments, saveOnAbort: boolean): RunLocks {
  const held = new Map<string, () => void>()
  const beating = setInterval(() => {
    for (const folder of held.keys()) touch(join(folder, lockFile))
  }, beat).unref()
  const release = () => {
    clearInterval(beating)
    for (const free of held.values()) free()
    held.clear()
    forget(release)
  }
  const take = (folder: string) => {
    const path = resolve(folder)
    if (!held.has(path)) held.set(path, lockFolder(path))
  }
  remember(release)
  try {
    if (writesCheckpoints(args, saveOnAbort)) take(args.outputDir)
    if (args.reportTo.length > 0) take(args.loggingDir ?? args.outputDir)
    return { take, release }
  } catch (error) {
    release()
    throw error
  }
}

/** Before a folder is emptied. @throws {AdapterError} ERR_BUSY where a run that lives writes into it */
export function refuseRunning(folder: string): void {
  const lock = join(folder, lockFile)
  const owner = ownerOf(lock)
  if (owner !== undefined) throw taken(folder, lock, owner)
}

/** Whether a run of this process holds a folder and lives: another machine's has given a sign of life not long ago. */
export function isHeldBy(folder: string, { pid, host }: Owner): boolean {
  const owner = ownerOf(join(folder, lockFile))
  return owner?.pid === pid && owner.host === host
}

export function writesCheckpoints(args: ResolvedTrainingArguments, saveOnAbort: boolean): boolean {
  return saveOnAbort || args.saveStrategy !== 'no' || args.loadBestModelAtEnd
}

/** What process.exit() in the middle of a run lets go. */
const open = new Set<() => void>()

const releaseOpen = () => {
  for (const release of [...open]) release()
}

function remember(release: () => void): void {
  if (open.size === 0) process.once('exit', releaseOpen)
  open.add(release)
}

function forget(release: () => void): void {
  open.delete(release)
  if (open.size === 0) process.off('exit', releaseOpen)
}

function lockFolder(folder: string): () => void {
  const lock = join(folder, lockFile)
  const own = `${lock}-${ownerTag}`
  const wasThere = existsSync(folder)
  try {
    makeFolder(folder)
    removeLeftovers(folder, `${lockFile}-`)
    // A lock has its owner in it from the first moment on, and there is one alone.
    writeFileSync(own, JSON.stringify(thisProcess))
    try {
      while (!linked(own, lock)) removeStale(folder, lock)
    } finally {
      rmSync(own, { force: true })
    }
  } catch (error) {
    throw diskError(folder, operation, error, 'the run writes its checkpoints and events there')
  }
  return () => {
    try {
      const owner = ownerOf(lock)
      if (owner !== undefined && isOwn(owner)) rmSync(lock, { force: true })
      // A run that wrote nothing leaves no folder.
      if (!wasThere && readdirSync(folder).length === 0) rmdirSync(folder)
    } catch {
      // It cannot be written to any more: the run has said so, and the lock of a dead process keeps nobody out.
    }
  }
}

function linked(own: string, lock: string): boolean {
  try {
    linkSync(own, lock)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return false
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error
  }
  // A file system without links: the second best.
  try {
    writeFileSync(lock, readFileSync(own), { flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Throws where the lock's owner lives. */
function removeStale(folder: string, lock: string): void {
  refuseRunning(folder)
  const aside = `${lock}-old-${ownerTag}`
  try {
    renameSync(lock, aside)
  } catch (error) {
    // Gone by itself, or another was faster.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  // Between the look and the move another run may have taken it over: then it is put back.
  if (ownerOf(aside) !== undefined && linked(aside, lock)) {
    rmSync(aside, { force: true })
    return
  }
  rmSync(aside, { force: true })
}

/** Who holds a lock and lives; undefined where nobody does. */
function ownerOf(lock: string): Owner | undefined {
  try {
    const { mtimeMs } = statSync(lock)
    const owner = JSON.parse(readFileSync(lock, 'utf8')) as Owner
    const isSilent = owner.host !== thisProcess.host && Date.now() - mtimeMs > silence
    return !isSilent && isRunning(owner, mtimeMs) ? owner : undefined
  } catch {
    return undefined
  }
}

const isOwn = ({ pid, host }: Owner): boolean => pid === process.pid && host === thisProcess.host

/** A sign of life, for other machines. */
function touch(lock: string): void {
  try {
    const owner = ownerOf(lock)
    const now = new Date()
    if (owner !== undefined && isOwn(owner)) utimesSync(lock, now, now)
  } catch {
    // The folder cannot be written to for now: the run itself says so.
  }
}

function taken(folder: string, lock: string, owner: Owner): AdapterError {
  const { pid, host } = owner
  const who = isOwn(owner) ? 'of this process' : `of process ${pid} on ${host}`
  // A run of the command line holds its folder, and that of its checkpoints in it.
  const near = [lock, join(folder, '..', lockFile), join(folder, 'checkpoints', lockFile)]
  const locks = near.filter((one) => {
    const other = ownerOf(one)
    return other?.pid === pid && other.host === host
  })
  const free =
    host === thisProcess.host
      ? ''
      : ` If it was killed there, the folder is free ${silence / 60_000} minutes after its last sign of life.`
  return new AdapterError('ERR_BUSY', operation, `another run, ${who}, writes into ${folder}`, {
    hint: `Give each run an outputDir (and loggingDir) of its own, or wait until that one has ended.${free} If there is no such run, remove ${locks.join(' and ')}.`
  })
}
