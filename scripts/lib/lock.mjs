// One set-up at a time in a clone. The lock of a process that died is taken over.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root } from './run.mjs'

const file = join(root, '.setup', 'lock')

function owner() {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

/** When a process began, in the system's own words: another one may get the number of a dead one. */
function startOf(pid) {
  try {
    // The 22nd field; the second is a name in brackets, which may hold anything.
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')[19]
  } catch {
    return spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).stdout?.trim() || undefined
  }
}

function alive({ pid, start }) {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (error.code !== 'EPERM') return false
  }
  return start === undefined || start === startOf(pid)
}

export async function withLock(work) {
  mkdirSync(dirname(file), { recursive: true })
  for (let told = false; ; ) {
    try {
      writeFileSync(file, JSON.stringify({ pid: process.pid, start: startOf(process.pid) }), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const other = owner()
    if (!other?.pid || !alive(other)) {
      rmSync(file, { force: true })
      continue
    }
    if (!told) console.log(`  waiting for process ${other.pid}, which sets up this clone already`)
    told = true
    await sleep(300)
  }
  const release = () => owner()?.pid === process.pid && rmSync(file, { force: true })
  process.once('exit', release)
  try {
    return await work()
  } finally {
    process.off('exit', release)
    release()
  }
}
