import { closeSync, existsSync, fsyncSync, openSync, readFileSync, realpathSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { replaceFile } from '../../exchange/replace-file.js'
import { makeFolder } from '../../native/make-folder.js'
import { diskError } from '../disk-error.js'
import { RunHistory } from './history.js'
import { eventsFile, lineText, parseLine, type RunLine } from './lines.js'

/** events.jsonl of a run that begins or, with what an earlier part left there, goes on. */
export class EventsFile {
  readonly #file: string
  readonly #handle: number
  /** What the file says. */
  readonly history: RunHistory

  /** @param goesOnFrom the step that a resumed run begins behind: what the file says of later ones is cut away */
  constructor(folder: string, goesOnFrom: number | undefined) {
    this.#file = join(folder, eventsFile)
    try {
      makeFolder(folder)
      const kept = goesOnFrom === undefined || !existsSync(this.#file) ? '' : cut(realpathSync(this.#file), goesOnFrom)
      this.#handle = openSync(this.#file, goesOnFrom === undefined ? 'w' : 'a')
      this.history = RunHistory.read(kept)
    } catch (error) {
      throw diskError(this.#file, 'write the events', error)
    }
  }

  /** On disk when this returns, where the line is one that a later part builds on. */
  write(line: RunLine): void {
    const text = lineText(line)
    try {
      writeSync(this.#handle, text)
      if (line.type !== 'steps' && line.type !== 'log') fsyncSync(this.#handle)
    } catch (error) {
      throw diskError(this.#file, 'write the events', error)
    }
    // As it will be read: what one page shows another shows, too.
    const read = parseLine(text)
    if (read !== undefined) this.history.take(read)
  }

  close(): void {
    closeSync(this.#handle)
  }
}

/** Says in the events of a run that has ended that all that it trained is written. Nothing where it wrote none. */
export function markResults(folder: string): void {
  const file = join(folder, eventsFile)
  if (!existsSync(file)) return
  const { step, status } = RunHistory.read(readFileSync(file, 'utf8'))
  if (status !== 'finished') return
  const events = new EventsFile(folder, step)
  events.write({ type: 'results', time: new Date().toISOString(), step })
  events.close()
}

/**
 * Leaves the lines up to a step, and gives them. Where some go, a new file takes the old one's place: whoever reads it then
 * has the one or the other whole. What is no line, as one that was cut off, goes, too: it would spoil the next one.
 */
function cut(file: string, step: number): string {
  const before = readFileSync(file, 'utf8')
  const whole = before.split('\n').filter((line) => (parseLine(line)?.step ?? Number.POSITIVE_INFINITY) <= step)
  const kept = whole.map((line) => `${line}\n`).join('')
  if (kept === before) return kept
  replaceFile(file, kept)
  return kept
}
