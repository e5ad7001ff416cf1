import { createHash } from 'node:crypto'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { hostname, uptime } from 'node:os'
import { join } from 'node:path'

/** A process, as files tell of it that it leaves when it is killed. */
export interface Owner {
  readonly pid: number
  readonly host: string
}

export const thisProcess: Owner = { pid: process.pid, host: hostname() }

/** False only where it is certain: what another machine runs on a shared folder cannot be known from here. */
export function isAlive(owner: Owner): boolean {
  if (owner.host !== thisProcess.host) return true
  try {
    process.kill(owner.pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Since when this machine runs, a minute earlier for clocks that are set. */
const started = () => Date.now() - uptime() * 1000 - 60_000

/**
 * Whether the process that wrote a file lives. Its number may be another's by now, as every container's first process has
 * the same, and a machine that began anew gives numbers again: such a one wrote nothing before it began.
 * @param written when, in milliseconds
 */
export function isRunning(owner: Owner, written: number): boolean {
  if (owner.host !== thisProcess.host) return true
  if (owner.pid === process.pid) return written >= performance.timeOrigin
  return written >= started() && isAlive(owner)
}

const hostTag = (host: string) => createHash('sha256').update(host).digest('hex').slice(0, 8)

/** A part of a temporary name that says whose it is: at its end, or before what mkdtemp adds. */
export const ownerTag = `${thisProcess.pid}-${hostTag(thisProcess.host)}`

/** What begins with `start` in a folder and was left there by a process that is dead. */
export function leftovers(folder: string, start: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    const isOne = name.startsWith(start) && isLeftover(name, statSync(path, { throwIfNoEntry: false })?.mtimeMs)
    return isOne ? [path] : []
  })
}

/** Removes it. */
export function removeLeftovers(folder: string, start: string): void {
  for (const path of leftovers(folder, start)) {
    try {
      rmSync(path, { recursive: true, force: true })
    } catch {
      // Another process is at it, or it is not ours to remove: it harms nobody.
    }
  }
}

function isLeftover(name: string, modified: number | undefined): boolean {
  const [, pid, host] = /-(\d+)-([0-9a-f]{8})(?:-\w{6})?$/.exec(name) ?? []
  if (host !== hostTag(thisProcess.host) || modified === undefined) return false
  return !isRunning({ pid: Number(pid), host: thisProcess.host }, modified)
}
