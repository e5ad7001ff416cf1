import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { ResolvedTrainingArguments } from '../../config/training-arguments.js'
import { AdapterError } from '../../native/errors.js'
import { eventsFile } from './lines.js'
import { pageFile, pageStart } from './run-page.js'

/** How files of a run's names begin where a run wrote them. */
const starts: Readonly<Record<string, string>> = { [eventsFile]: '{"type":"start","time":"', [pageFile]: pageStart }

type Reports = Pick<ResolvedTrainingArguments, 'reportTo'>

/**
 * A file that a run would write over in its folder and that no run wrote: rows may be called events.jsonl, too. One that a
 * crash cut off, or left empty, is a run's still.
 */
export function foreignFile(folder: string, { reportTo }: Reports): string | undefined {
  const written = [
    ...(reportTo.includes('jsonl') || reportTo.includes('html') ? [eventsFile] : []),
    ...(reportTo.includes('html') ? [pageFile] : [])
  ]
  return written
    .map((name) => join(folder, name))
    .find((file, i) => {
      const own = starts[written[i] ?? ''] ?? ''
      const found = startOf(file, Buffer.byteLength(own))
      return found !== undefined && !own.startsWith(found)
    })
}

/** @throws {AdapterError} ERR_FILE_EXISTS before the first step */
export function refuseForeign(folder: string, args: Reports): void {
  const file = foreignFile(folder, args)
  if (file === undefined) return
  throw new AdapterError(
    'ERR_FILE_EXISTS',
    'train',
    `${file} is there and no run wrote it; this one would write over it`,
    {
      hint: 'Give the run another loggingDir (by default its outputDir), move the file, or leave it out of reportTo.'
    }
  )
}

/** Its first bytes as text, fewer where it is shorter. Undefined where there is no such file. */
export function startOf(file: string, bytes: number): string | undefined {
  if (!existsSync(file) || !statSync(file).isFile()) return undefined
  const handle = openSync(file, 'r')
  try {
    const start = Buffer.alloc(bytes)
    return start.toString('utf8', 0, readSync(handle, start, 0, bytes, 0))
  } finally {
    closeSync(handle)
  }
}
