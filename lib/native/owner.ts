import { createHash } from 'node:crypto'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
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

const hostTag = (host: string) => createHash('sha256').update(host).digest('hex').slice(0, 8)

/** A part of a temporary name that says whose it is: at its end, or before what mkdtemp adds. */
export const ownerTag = `${thisProcess.pid}-${hostTag(thisProcess.host)}`

/** Removes what begins with `start` in a folder and was left there by a process that is dead. */
export function removeLeftovers(folder: string, start: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    if (!name.startsWith(start) || !isLeftover(name, statSync(path, { throwIfNoEntry: false })?.mtimeMs)) continue
    try {
      rmSync(path, { recursive: true, force: true })
    } catch {
      // Another process is at it, or it is not ours to remove: it harms nobody.
    }
  }
}

// A process may have the number of a dead one, as every container's first does, but wrote nothing before it began.
function isLeftover(name: string, modified: number | undefined): boolean {
  const [, pid, host] = /-(\d+)-([0-9a-f]{8})(?:-\w{6})?$/.exec(name) ?? []
  if (host !== hostTag(thisProcess.host) || modified === undefined) return false
  if (Number(pid) === thisProcess.pid) return modified < performance.timeOrigin
  return !isAlive({ pid: Number(pid), host: thisProcess.host })
}
