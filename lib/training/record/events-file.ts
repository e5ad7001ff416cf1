import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
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

  constructor(folder: string, goesOn: boolean) {
    this.#file = join(folder, eventsFile)
    try {
      makeFolder(folder)
      this.#handle = openSync(this.#file, goesOn ? 'a+' : 'w')
      this.history = RunHistory.read(goesOn ? this.#wholeLines() : '')
    } catch (error) {
      throw diskError(this.#file, 'write the events', error)
    }
  }

  /** A line that was cut off would spoil the next one. */
  #wholeLines(): string {
    const bytes = readFileSync(this.#handle)
    const whole = bytes.lastIndexOf('\n') + 1
    if (whole < bytes.length) ftruncateSync(this.#handle, whole)
    return bytes.toString('utf8', 0, whole)
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
