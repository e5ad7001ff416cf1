import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { RunHistory } from '../training/record/history.js'
import { eventsFile } from '../training/record/lines.js'
import { isHeldBy } from '../training/run-lock.js'

/** A run below the folder that is watched. */
export interface WatchedRun {
  /** Its folder's path below, with slashes; '.' is the folder itself. */
  readonly name: string
  readonly history: RunHistory
}

/** So deep and so many: a folder that somebody points at by mistake must not keep the page busy. */
const deepest = 6
const mostRuns = 500
/** Far above what a run writes. */
const largestFile = 16 << 20

interface Read {
  readonly size: number
  readonly modified: number
  readonly history: RunHistory
}

/** Reads the runs below a folder again and again; a file that has not changed is read once. Links are not followed. */
export class RunReader {
  readonly #known = new Map<string, Read>()

  constructor(readonly folder: string) {}

  /** Those that began last come first. */
  read(): WatchedRun[] {
    const runs = this.#below('.', 0).flatMap((name): WatchedRun[] => {
      const history = this.#history(name)
      if (history === undefined) return []
      const { start } = history
      // Asked for anew each time: a run that was killed writes no line about it.
      history.livesElsewhere = start !== undefined && isHeldBy(join(this.folder, name), start.process)
      return [{ name, history }]
    })
    const began = ({ history }: WatchedRun) => history.start?.time ?? ''
    return runs.sort((a, b) => began(b).localeCompare(began(a)) || a.name.localeCompare(b.name)).slice(0, mostRuns)
  }

  #below(name: string, depth: number): string[] {
    let entries: ReturnType<typeof entriesOf>
    try {
      entries = entriesOf(join(this.folder, name))
    } catch {
      // It is gone, or not ours to read.
      return []
    }
    const own = entries.some((entry) => entry.name === eventsFile && entry.isFile()) ? [name] : []
    const folders = depth === deepest ? [] : entries.filter((entry) => entry.isDirectory() && !isSkipped(entry.name))
    const path = (entry: string) => (name === '.' ? entry : `${name}/${entry}`)
    return [...own, ...folders.flatMap((entry) => this.#below(path(entry.name), depth + 1))]
  }

  #history(name: string): RunHistory | undefined {
    const file = join(this.folder, name, eventsFile)
    try {
      const { size, mtimeMs: modified } = lstatSync(file)
      const known = this.#known.get(name)
      if (known?.size === size && known.modified === modified) return known.history
      if (size > largestFile) return undefined
      const history = RunHistory.read(readFileSync(file, 'utf8'))
      this.#known.set(name, { size, modified, history })
      return history
    } catch {
      return undefined
    }
  }
}

const entriesOf = (folder: string) => readdirSync(folder, { withFileTypes: true })

const isSkipped = (name: string): boolean =>
  name.startsWith('.') || name === 'node_modules' || /^checkpoint-\d+$/.test(name)
