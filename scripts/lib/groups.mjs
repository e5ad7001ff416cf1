// Process groups that a set-up began. A set-up that is killed cannot take them along: the next one ends them first.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../../.setup/groups/', import.meta.url))

/** When a process began, in the system's own words: another one may get the number of a dead one. */
export function startOf(pid) {
  try {
    // The 22nd field; the second is a name in brackets, which may hold anything.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')[19]
  } catch {
    return spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).stdout?.trim() || undefined
  }
}

/** Whether the process, or with a negative number any of the group, is there. */
function exists(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

export const isAlive = ({ pid, start }) => exists(pid) && (start === undefined || start === startOf(pid))

export function stopGroup(pid, signal = 'SIGTERM') {
  try {
    process.kill(-pid, signal)
  } catch {
    // It has ended.
  }
}

export function noteGroup(pid) {
  mkdirSync(folder, { recursive: true })
  const owner = { pid: process.pid, start: startOf(process.pid) }
  writeFileSync(join(folder, String(pid)), JSON.stringify({ start: startOf(pid), owner }))
}

export const forgetGroup = (pid) => rmSync(join(folder, String(pid)), { force: true })

function noted() {
  try {
    return readdirSync(folder).map((name) => [Number(name), JSON.parse(readFileSync(join(folder, name), 'utf8'))])
  } catch {
    return []
  }
}

/** Ends what a killed set-up left running. */
export async function endOrphans() {
  for (const [pid, { start, owner }] of noted()) {
    if (isAlive(owner)) continue
    // A group keeps its number while any of it runs, so that the first one's may be gone, but is nobody else's.
    const now = startOf(pid)
    if (exists(-pid) && (now === undefined || now === start)) {
      console.log(`  ending what a set-up that was killed left running (process group ${pid})`)
      stopGroup(pid)
      for (let waited = 0; exists(-pid) && waited < 5000; waited += 100) await sleep(100)
      stopGroup(pid, 'SIGKILL')
    }
    forgetGroup(pid)
  }
}
