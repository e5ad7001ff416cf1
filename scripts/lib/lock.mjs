// One set-up at a time in a clone. The lock of a process that died is taken over.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root } from './run.mjs'

const file = join(root, '.setup', 'lock')

function owner() {
  try {
    return Number(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

function alive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

export async function withLock(work) {
  mkdirSync(dirname(file), { recursive: true })
  for (let told = false; ; ) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const pid = owner()
    if (!pid || !alive(pid)) {
      rmSync(file, { force: true })
      continue
    }
    if (!told) console.log(`  waiting for process ${pid}, which sets up this clone already`)
    told = true
    await sleep(300)
  }
  const release = () => owner() === process.pid && rmSync(file, { force: true })
  process.once('exit', release)
  try {
    return await work()
  } finally {
    process.off('exit', release)
    release()
  }
}
