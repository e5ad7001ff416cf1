// A stamp says for which inputs an output was made: content hashes, so that a checkout or a touch rebuilds nothing.
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from './run.mjs'

/** Files below the given files and folders (relative to `base`, the repository) whose name fits, sorted. */
export function filesBelow(paths, fits = () => true, base = root) {
  const found = []
  const visit = (path) => {
    const full = join(base, path)
    const stat = statSync(full, { throwIfNoEntry: false })
    if (!stat) return
    if (stat.isFile()) {
      if (fits(path)) found.push(path)
    } else for (const name of readdirSync(full)) if (name !== 'node_modules') visit(`${path}/${name}`)
  }
  for (const path of paths) visit(path)
  return found.sort()
}

export function hashOf(files, ...extra) {
  const hash = createHash('sha256').update(JSON.stringify(extra))
  for (const file of files) hash.update(`\0${file}\0`).update(readFileSync(join(root, file)))
  return hash.digest('hex')
}

export function readStamp(file) {
  try {
    return readFileSync(join(root, file), 'utf8')
  } catch {
    return undefined
  }
}

export function writeStamp(file, value) {
  const full = join(root, file)
  mkdirSync(dirname(full), { recursive: true })
  writeFileSync(`${full}.new`, value)
  renameSync(`${full}.new`, full)
}
