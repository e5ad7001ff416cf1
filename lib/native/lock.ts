import { readFileSync, rmSync } from 'node:fs'
import { open, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeFolder } from './make-folder.js'
import { isAlive, type Owner, thisProcess } from './owner.js'

async function ownerOf(file: string): Promise<Owner | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Owner
  } catch {
    return undefined
  }
}

/**
 * Runs `work` while holding a lock file, so that two processes never fill one folder. A lock whose owner died is taken
 * over; otherwise this waits, and `onWait` hears of it once.
 */
export async function withLock<T>(
  file: string,
  work: () => Promise<T>,
  onWait: (pid: number) => void = () => {}
): Promise<T> {
  makeFolder(dirname(file))
  let told = false
  for (;;) {
    try {
      const handle = await open(file, 'wx')
      await handle.writeFile(JSON.stringify(thisProcess))
      await handle.close()
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    let owner = await ownerOf(file)
    if (!owner) {
      // Just created and not written yet, or its owner died in between.
      await sleep(500)
      owner = await ownerOf(file)
    }
    if (!owner || !isAlive(owner)) {
      await rm(file, { force: true })
      continue
    }
    if (!told) onWait(owner.pid)
    told = true
    await sleep(300)
  }
  const release = () => {
    try {
      if ((JSON.parse(readFileSync(file, 'utf8')) as Owner).pid === process.pid) rmSync(file, { force: true })
    } catch {
      // already gone
    }
  }
  process.once('exit', release)
  try {
    return await work()
  } finally {
    process.off('exit', release)
    release()
  }
}
