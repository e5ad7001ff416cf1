// One set-up at a time in a clone. The lock of a process that died is taken over.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { endOrphans, isAlive, startOf } from './groups.mjs'
import { root } from './run.mjs'

const file = join(root, '.setup', 'lock')

function owner() {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
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
    if (!other?.pid || !isAlive(other)) {
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
    await endOrphans()
    return await work()
  } finally {
    process.off('exit', release)
    release()
  }
}
